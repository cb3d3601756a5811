// What throttled replicas may copy in a second: measured over the newest windows, as Kafka's ReplicationQuotaManager does it. Nothing
// waits here: who copies asks is_exceeded() before, and tells record() after.
// The rate is the sum of the samples that are left, over the time since the oldest of them began (one sample's span at least). A sample
// lasts sample_ms or until the next bytes come, and counts for samples * sample_ms.
// Source: replication.quota.window.num, replication.quota.window.size.seconds of Apache Kafka 3.9.
// Thread: any. Without a limit is_exceeded() is one relaxed load.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>

#include "base/clock.h"
#include "base/mutex.h"

namespace odradek::quota {

struct RateWindow {
  int32_t samples = 11;
  int64_t sample_ms = 1000;
};

class ReplicationQuota {
 public:
  static constexpr int64_t kUnlimited = INT64_MAX;

  ReplicationQuota(const base::Clock& clock, RateWindow window) : clock_(clock), window_(window) {}
  ReplicationQuota(const ReplicationQuota&) = delete;

  void set_limit(int64_t bytes_per_second) { limit_.store(bytes_per_second, std::memory_order_relaxed); }
  int64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  bool is_exceeded() const;
  void record(int64_t bytes);
  double bytes_per_second() const;

 private:
  struct Sample {
    int64_t begin_ms = 0;
    int64_t bytes = 0;
  };
  void drop_old(int64_t now_ms) const REQUIRES(mutex_);

  const base::Clock& clock_;
  const RateWindow window_;
  std::atomic<int64_t> limit_{kUnlimited};
  mutable base::Mutex mutex_;
  mutable std::deque<Sample> samples_ GUARDED_BY(mutex_);  // oldest first
};

// The three that a broker has.
struct ReplicationQuotas {
  ReplicationQuotas(const base::Clock& clock, RateWindow replication, RateWindow log_dirs)
      : leader(clock, replication), follower(clock, replication), log_dirs(clock, log_dirs) {}

  ReplicationQuota leader;    // leader.replication.throttled.rate: sent to followers
  ReplicationQuota follower;  // follower.replication.throttled.rate: fetched from leaders
  ReplicationQuota log_dirs;  // replica.alter.log.dirs.io.max.bytes.per.second: copied from one log dir to another
};

}  // namespace odradek::quota
