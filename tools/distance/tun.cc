#include "distance/tun.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace odradek::distance {
namespace {

constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
constexpr int kQueuePackets = 10'000;  // what the kernel keeps for us; the default of 500 overflows while this process is not scheduled

int checked(int result, const std::string& what) {
  if (result < 0) throw std::runtime_error(what + ": " + std::strerror(errno));
  return result;
}

struct Descriptor {
  explicit Descriptor(int value) : value(value) {}
  ~Descriptor() {
    if (value >= 0) close(value);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value;
};

}  // namespace

Tun::Tun(const std::string& network, const std::string& address, int mtu) {
  Descriptor own(checked(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), "own network namespace"));
  if (network != "-") {
    Descriptor other(checked(open(("/run/netns/" + network).c_str(), O_RDONLY | O_CLOEXEC), "network namespace " + network));
    checked(setns(other.value, CLONE_NEWNET), "enter network namespace " + network);
  }
  try {
    // Device and descriptor belong to the namespace in which they are made, whoever uses them later.
    descriptor_ = checked(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), "/dev/net/tun");
    set_up(address, mtu);
  } catch (...) {
    setns(own.value, CLONE_NEWNET);
    if (descriptor_ >= 0) close(descriptor_);
    throw;
  }
  checked(setns(own.value, CLONE_NEWNET), "return to the own network namespace");
}

Tun::~Tun() { close(descriptor_); }

void Tun::set_up(const std::string& address, int mtu) {
  ifreq request{};
  std::strncpy(request.ifr_name, "distance%d", IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  checked(ioctl(descriptor_, TUNSETIFF, &request), "make a TUN device");
  name_ = request.ifr_name;
  offload(true);
  Descriptor socket(checked(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  auto set = [&](unsigned long what, const char* words, auto&& fill) {
    ifreq each{};
    std::strncpy(each.ifr_name, name_.c_str(), IFNAMSIZ - 1);
    fill(each);
    checked(ioctl(socket.value, what, &each), name_ + ": " + words);
  };
  auto as_address = [](const std::string& text) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    if (inet_pton(AF_INET, text.c_str(), &in.sin_addr) != 1) throw std::runtime_error(text + " is no IPv4 address");
    return std::bit_cast<sockaddr>(in);
  };
  set(SIOCSIFTXQLEN, "queue length", [](ifreq& r) { r.ifr_qlen = kQueuePackets; });
  set(SIOCSIFMTU, "MTU", [&](ifreq& r) { r.ifr_mtu = mtu; });
  set(SIOCSIFADDR, "address", [&](ifreq& r) { r.ifr_addr = as_address(address); });
  set(SIOCSIFNETMASK, "netmask", [&](ifreq& r) { r.ifr_netmask = as_address("255.255.255.0"); });
  set(SIOCSIFFLAGS, "up", [](ifreq& r) { r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_POINTOPOINT | IFF_NOARP; });
}

void Tun::offload(bool on) { checked(ioctl(descriptor_, TUNSETOFFLOAD, on ? kOffloads : 0u), name_ + ": offload"); }

size_t Tun::read(std::span<std::byte> into) {
  for (;;) {
    ssize_t size = ::read(descriptor_, into.data(), into.size());
    if (size >= 0) return static_cast<size_t>(size);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) throw std::runtime_error(name_ + ": read: " + std::strerror(errno));
  }
}

bool Tun::write(std::span<const std::byte> packet) {
  for (;;) {
    if (::write(descriptor_, packet.data(), packet.size()) >= 0) return true;
    if (errno != EINTR) return false;
  }
}

}  // namespace odradek::distance
