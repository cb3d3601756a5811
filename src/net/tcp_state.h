// What the kernel knows of a TCP connection. In a file of its own: linux/tcp.h and netinet/tcp.h do not go together.
#pragma once

#include <chrono>

namespace odradek::net {

// The shortest round trip of the last minutes; 0: not known.
std::chrono::microseconds shortest_round_trip_of(int socket);

}  // namespace odradek::net
