// The few things about sockets that more than one file needs.
#pragma once

#include <string>

#include "base/result.h"
#include "net/options.h"

struct sockaddr_storage;

namespace odradek::net {

struct Address {
  std::string host;  // numeric; IPv4 also where the socket is IPv6 (::ffff:1.2.3.4)
  int port = 0;
};
Address address_of(const sockaddr_storage& address);
Address local_address(int socket);

// The name under which other machines know this one, as far as its resolver tells: what the address of its host name is called, else the
// host name. Waits for the resolver.
std::string canonical_host_name();

// A listening, non-blocking socket; of a name with several addresses at one of them. Errors: kNetworkException with the address and the reason.
Result<int> listen_on(const ListenerOptions& listener, const ReactorOptions& options);
void set_socket_buffers(int socket, const ReactorOptions& options);

// Closes the descriptor it holds.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset(other.release());
    return *this;
  }
  int get() const { return number_; }
  int release() {
    int number = number_;
    number_ = -1;
    return number;
  }
  void reset(int number = -1);

 private:
  int number_;
};

// An eventfd that is registered edge-triggered, so it is written and never read.
Descriptor make_event_descriptor();
void signal_event(int descriptor);

}  // namespace odradek::net
