#include "net/outgoing.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>

#include "model/error_code.h"
#include "net/resolve.h"

namespace odradek::net {
namespace {

auto network_failure(const std::string& what, int error) {
  return fail(ErrorCode::kNetworkException, what + ": " + std::strerror(error), error);
}

auto too_late(const std::string& what) { return fail(ErrorCode::kRequestTimedOut, what + ": no answer in time"); }

// False: the deadline came first.
bool wait_for(int descriptor, short events, base::Clock& clock, int64_t deadline_ns) {
  for (;;) {
    int64_t left_ns = deadline_ns - clock.monotonic_ns();
    if (left_ns <= 0) return false;
    pollfd waited{.fd = descriptor, .events = events, .revents = 0};
    int left_ms = static_cast<int>(std::min<int64_t>(left_ns / 1'000'000 + 1, std::numeric_limits<int>::max()));
    if (::poll(&waited, 1, left_ms) > 0) return true;
  }
}

class TcpStream final : public Stream {
 public:
  TcpStream(int descriptor, std::string name, base::Clock& clock) : descriptor_(descriptor), name_(std::move(name)), clock_(clock) {}
  ~TcpStream() override { ::close(descriptor_); }
  TcpStream(const TcpStream&) = delete;
  TcpStream& operator=(const TcpStream&) = delete;

  Result<void> send(std::span<const ByteView> parts, int64_t deadline_ns) override {
    for (size_t i = 0; i < parts.size(); ++i) {
      ByteView part = parts[i];
      bool last = std::all_of(parts.begin() + static_cast<ptrdiff_t>(i) + 1, parts.end(), [](ByteView later) { return later.empty(); });
      while (!part.empty()) {
        ssize_t put = ::send(descriptor_, part.data(), part.size(), MSG_NOSIGNAL | (last ? 0 : MSG_MORE));
        if (put >= 0) {
          part = part.subspan(static_cast<size_t>(put));
        } else if (errno == EAGAIN) {
          if (!wait_for(descriptor_, POLLOUT, clock_, deadline_ns)) return too_late(name_);
        } else if (errno != EINTR) {
          return network_failure(name_, errno);
        }
      }
    }
    return {};
  }

  Result<size_t> receive(MutableByteView into, int64_t deadline_ns) override {
    for (;;) {
      ssize_t got = ::recv(descriptor_, into.data(), into.size(), 0);
      if (got > 0) return static_cast<size_t>(got);
      if (got == 0) return fail(ErrorCode::kNetworkException, name_ + " closed the connection");
      if (errno == EAGAIN) {
        if (!wait_for(descriptor_, POLLIN, clock_, deadline_ns)) return too_late(name_);
      } else if (errno != EINTR) {
        return network_failure(name_, errno);
      }
    }
  }

 private:
  int descriptor_;
  std::string name_;
  base::Clock& clock_;
};

class TcpDialer final : public Dialer {
 public:
  explicit TcpDialer(base::Clock& clock) : clock_(clock) {}

  base::Clock& clock() override { return clock_; }

  Result<std::unique_ptr<Stream>> dial(const Endpoint& address, int64_t deadline_ns) override {
    auto found = resolve(address.host, address.port);
    if (!found) return fail(ErrorCode::kNetworkException, address.host + ": " + found.error().what);
    auto result = dial_one(found->front(), address.to_string(), deadline_ns);
    for (size_t i = 1; i < found->size() && !result; ++i) result = dial_one((*found)[i], address.to_string(), deadline_ns);
    return result;
  }

  void pause_until(int64_t moment_ns) override {
    int64_t left = moment_ns - clock_.monotonic_ns();
    if (left <= 0) return;
    timespec pause{left / 1'000'000'000, left % 1'000'000'000};
    while (::nanosleep(&pause, &pause) != 0 && errno == EINTR) {
    }
  }

 private:
  Result<std::unique_ptr<Stream>> dial_one(const SocketAddress& to, const std::string& name, int64_t deadline_ns) {
    int descriptor = ::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return network_failure(name, errno);
    auto stream = std::make_unique<TcpStream>(descriptor, name, clock_);
    int on = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(descriptor, to.get(), to.size) != 0) {
      if (errno != EINPROGRESS) return network_failure(name, errno);
      if (!wait_for(descriptor, POLLOUT, clock_, deadline_ns)) return too_late(name);
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return network_failure(name, error);
    }
    return stream;
  }

  base::Clock& clock_;
};

}  // namespace

std::string Endpoint::to_string() const {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  auto refused = [&] { return fail(ErrorCode::kInvalidRequest, "'" + std::string(text) + "' is not host:port"); };
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return refused();
  Endpoint address;
  address.host = text.substr(0, colon);
  if (address.host.front() == '[') {
    if (address.host.size() < 3 || address.host.back() != ']') return refused();
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    return refused();
  }
  std::string_view port = text.substr(colon + 1);
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc{} || end != port.data() + port.size() || address.port < 1 || address.port > 65535) return refused();
  return address;
}

Result<std::vector<Endpoint>> parse_endpoints(std::string_view text) {
  std::vector<Endpoint> addresses;
  while (!text.empty()) {
    size_t comma = std::min(text.find(','), text.size());
    std::string_view one = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (one.empty()) continue;
    auto address = parse_endpoint(one);
    if (!address) return fail(std::move(address.error()));
    addresses.push_back(std::move(*address));
  }
  if (addresses.empty()) return fail(ErrorCode::kInvalidRequest, "no address");
  return addresses;
}

std::unique_ptr<Dialer> make_tcp_dialer(base::Clock& clock) { return std::make_unique<TcpDialer>(clock); }

}  // namespace odradek::net
