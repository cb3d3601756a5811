// How many connections there may be and how fast they may come. Thread: any; counts change at accept and close only.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

#include "base/mutex.h"
#include "net/options.h"

namespace odradek::net {

// Allows `rate` events per second on average and bursts of one second's worth.
class RateLimit {
 public:
  explicit RateLimit(int rate = kUnlimited) { set_rate(rate); }
  void set_rate(int rate);
  // ns until the next event is allowed; 0: now.
  int64_t wait_ns(int64_t now_ns);
  // An event has happened.
  void take();

 private:
  double rate_ = 0;  // <= 0: unlimited
  double tokens_ = 0;
  int64_t filled_at_ns_ = 0;
};

class ConnectionLimits {
 public:
  explicit ConnectionLimits(const ReactorOptions& options);

  // Broker-wide room for one more.
  bool has_room() const { return open_.load(std::memory_order_seq_cst) < max_.load(std::memory_order_seq_cst); }
  // More than there may be: the number has been lowered, or brokers have come.
  bool exceeded() const { return open_.load(std::memory_order_seq_cst) > max_.load(std::memory_order_seq_cst); }
  // False: too many from this address (nothing is counted). The connection is counted otherwise.
  bool open(const std::string& peer_host);
  void close(const std::string& peer_host);

  int open_connections() const { return open_.load(std::memory_order_relaxed); }
  void set_max_connections(int max) { max_.store(max, std::memory_order_seq_cst); }
  // `overrides`: by address or name; a name stands for all addresses that it has now. Waits for the resolver.
  void set_max_per_ip(int max, const std::map<std::string, int>& overrides);
  // The broker-wide rate, as RateLimit.
  int64_t creation_wait_ns(int64_t now_ns);
  void take_creation();
  void set_creation_rate(int rate);

 private:
  std::atomic<int> open_{0};
  std::atomic<int> max_;
  base::Mutex mutex_;
  std::map<std::string, int, std::less<>> per_ip_ GUARDED_BY(mutex_);
  int max_per_ip_ GUARDED_BY(mutex_);
  std::map<std::string, int> overrides_ GUARDED_BY(mutex_);  // by numeric address
  RateLimit rate_ GUARDED_BY(mutex_);
};

}  // namespace odradek::net
