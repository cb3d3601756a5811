// A TUN device in a network namespace: the kernel's packets of one end. Large TCP segments stay whole (generic segmentation offload), so
// that hundreds of megabytes a second cost few system calls; with offload(false) every packet is one of the wire.
// Errors: std::runtime_error that says what failed.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace odradek::distance {

// What the kernel puts before each packet: struct virtio_net_hdr (linux/virtio_net.h is no C++), 10 bytes unless set otherwise.
inline constexpr size_t kHeaderBytes = 10;

class Tun {
 public:
  // `network`: name of a namespace below /run/netns, "-" for that of this process. `address`: IPv4; the device reaches all of its /24.
  Tun(const std::string& network, const std::string& address, int mtu);
  ~Tun();
  Tun(const Tun&) = delete;
  Tun& operator=(const Tun&) = delete;

  int descriptor() const { return descriptor_; }
  void offload(bool on);
  // A packet with its header; 0: none is there.
  size_t read(std::span<std::byte> into);
  // False: the kernel did not take it.
  bool write(std::span<const std::byte> packet);

 private:
  void set_up(const std::string& address, int mtu);

  int descriptor_ = -1;
  std::string name_;
};

}  // namespace odradek::distance
