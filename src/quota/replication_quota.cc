#include "quota/replication_quota.h"

#include <algorithm>

namespace odradek::quota {

void ReplicationQuota::drop_old(int64_t now_ms) const {
  while (!samples_.empty() && now_ms - samples_.front().begin_ms >= window_.samples * window_.sample_ms) samples_.pop_front();
}

bool ReplicationQuota::is_exceeded() const {
  const int64_t limit = this->limit();
  return limit != kUnlimited && bytes_per_second() > static_cast<double>(limit);
}

double ReplicationQuota::bytes_per_second() const {
  const int64_t now_ms = clock_.monotonic_ms();
  base::MutexLock lock(mutex_);
  drop_old(now_ms);
  if (samples_.empty()) return 0;
  int64_t bytes = 0;
  for (const Sample& sample : samples_) bytes += sample.bytes;
  const int64_t span_ms = std::max(now_ms - samples_.front().begin_ms, window_.sample_ms);
  return static_cast<double>(bytes) * 1000 / static_cast<double>(span_ms);
}

void ReplicationQuota::record(int64_t bytes) {
  if (bytes <= 0) return;
  const int64_t now_ms = clock_.monotonic_ms();
  base::MutexLock lock(mutex_);
  drop_old(now_ms);
  if (samples_.empty() || now_ms - samples_.back().begin_ms >= window_.sample_ms) samples_.push_back({now_ms, 0});
  samples_.back().bytes += bytes;
}

}  // namespace odradek::quota
