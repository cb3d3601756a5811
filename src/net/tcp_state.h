// What the kernel knows of a TCP connection. In a file of its own: linux/tcp.h and netinet/tcp.h do not go together.
#pragma once

#include <chrono>

namespace odradek::net {

// The shortest that the way there and back has taken lately, without queues on it; 0: not known.
std::chrono::microseconds round_trip_of(int socket);

}  // namespace odradek::net
