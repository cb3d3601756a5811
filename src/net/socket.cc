#include "net/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "model/error_code.h"
#include "net/resolve.h"

namespace odradek::net {
namespace {

Result<int> listen_at(const sockaddr* address, socklen_t size, const std::string& name, const ReactorOptions& options) {
  auto failed = [&](const char* step) {
    int error = errno;
    return fail(ErrorCode::kNetworkException, std::string(step) + " " + name + ": " + std::strerror(error), error);
  };
  Descriptor socket(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return failed("cannot open a socket for");
  int on = 1, off = 0;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address->sa_family == AF_INET6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  set_socket_buffers(socket.get(), options);  // before listen: the window scale is fixed when a connection is made
  if (::bind(socket.get(), address, size) != 0) return failed("cannot listen on");
  if (::listen(socket.get(), options.listen_backlog) != 0) return failed("cannot listen on");
  return socket.release();
}

}  // namespace

void Descriptor::reset(int number) {
  if (number_ >= 0) ::close(number_);
  number_ = number;
}

Address address_of(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return {text, ntohs(v4.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      ::inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, text, sizeof text);
    } else {
      ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    }
    return {text, ntohs(v6.sin6_port)};
  }
  return {};
}

Address local_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return address_of(address);
}

std::string canonical_host_name() {
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) != 0 || host[0] == 0) return "localhost";
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_family = AF_INET;  // first, as Java
  addrinfo* found = nullptr;
  if (::getaddrinfo(host, nullptr, &hints, &found) != 0) {
    hints.ai_family = AF_INET6;
    if (::getaddrinfo(host, nullptr, &hints, &found) != 0) return host;
  }
  char name[NI_MAXHOST] = "";
  const bool named = ::getnameinfo(found->ai_addr, found->ai_addrlen, name, sizeof name, nullptr, 0, NI_NAMEREQD) == 0;
  ::freeaddrinfo(found);
  return named ? name : host;
}

void set_socket_buffers(int socket, const ReactorOptions& options) {
  if (options.send_buffer_bytes >= 0) {
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &options.send_buffer_bytes, sizeof options.send_buffer_bytes);
  }
  if (options.receive_buffer_bytes >= 0) {
    ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &options.receive_buffer_bytes, sizeof options.receive_buffer_bytes);
  }
}

Result<int> listen_on(const ListenerOptions& listener, const ReactorOptions& options) {
  std::string name = listener.name + "://" + listener.host + ":" + std::to_string(listener.port);
  if (listener.host.empty()) {
    sockaddr_in6 any6{};
    any6.sin6_family = AF_INET6;
    any6.sin6_port = htons(static_cast<uint16_t>(listener.port));
    auto both = listen_at(reinterpret_cast<sockaddr*>(&any6), sizeof any6, name, options);
    if (both || both.error().os_error == EADDRINUSE || both.error().os_error == EACCES) return both;
    sockaddr_in any4{};  // no IPv6 on this machine
    any4.sin_family = AF_INET;
    any4.sin_port = htons(static_cast<uint16_t>(listener.port));
    return listen_at(reinterpret_cast<sockaddr*>(&any4), sizeof any4, name, options);
  }
  auto found = resolve(listener.host, listener.port);
  if (!found) return fail(ErrorCode::kNetworkException, "cannot listen on " + name + ": " + found.error().what);
  // The first: localhost has both kinds on most machines, and clients dial 127.0.0.1. Another one only where this machine does not have
  // the first: a port that is taken is not to be found free on an address that nobody dials.
  auto result = listen_at(found->front().get(), found->front().size, name, options);
  for (size_t i = 1; i < found->size(); ++i) {
    if (result || (result.error().os_error != EADDRNOTAVAIL && result.error().os_error != EAFNOSUPPORT)) break;
    result = listen_at((*found)[i].get(), (*found)[i].size, name, options);
  }
  return result;
}

Descriptor make_event_descriptor() {
  Descriptor descriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  CHECK(descriptor.get() >= 0);
  return descriptor;
}

void signal_event(int descriptor) {
  uint64_t one = 1;
  ssize_t written = ::write(descriptor, &one, sizeof one);
  (void)written;  // a full counter wakes as well
}

}  // namespace odradek::net
