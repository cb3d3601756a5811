// What the reactor is started with. Names in comments are the config keys.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "model/types.h"

namespace odradek::net {

inline constexpr int kUnlimited = std::numeric_limits<int>::max();

struct ListenerOptions {
  std::string name = "PLAINTEXT";
  SecurityProtocol protocol = SecurityProtocol::kPlaintext;
  std::string host;  // empty: all addresses, v6 and v4
  int port = 0;      // 0: the system chooses
  int network_threads = 3;  // num.network.threads
  int max_connections = kUnlimited;               // listener.name.<l>.max.connections
  int max_connection_creation_rate = kUnlimited;  // listener.name.<l>.max.connection.creation.rate, per second
  bool inter_broker = false;                      // not held up by the broker-wide max.connections and max.connection.creation.rate
};

struct ReactorOptions {
  std::vector<ListenerOptions> listeners;
  int64_t request_max_bytes = 100 << 20;      // socket.request.max.bytes
  int64_t queued_max_request_bytes = 0;       // queued.max.request.bytes; <= 0: max(256 MiB, 1/8 of RAM)
  // A frame without progress for this long closes its connection; so does one of which less than a quarter came while others waited.
  std::chrono::milliseconds reservation_stall{30'000};
  int new_connection_queue = 20;              // new.connection.queue.size, per network thread
  int send_buffer_bytes = -1;                 // socket.send.buffer.bytes; -1: the system's autotuning
  int receive_buffer_bytes = -1;              // socket.receive.buffer.bytes
  int listen_backlog = 50;                    // socket.listen.backlog.size
  std::chrono::milliseconds max_idle{600'000};  // connections.max.idle.ms; <= 0: never; with open requests only if the peer has ended its side
  int max_connections = kUnlimited;           // max.connections
  int max_connections_per_ip = kUnlimited;    // max.connections.per.ip
  std::map<std::string, int> max_connections_per_ip_overrides;  // max.connections.per.ip.overrides: addresses, names
  int max_connection_creation_rate = kUnlimited;  // max.connection.creation.rate, per second
  int max_pipelined_requests = 64;            // connection.max.pipelined.requests
};

}  // namespace odradek::net
