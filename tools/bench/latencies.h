// Counts of times with about 1 % of resolution, from 1 ns to hours, in fixed memory. Thread: one; merge() joins threads' results.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace odradek::bench {

class Latencies {
 public:
  void add(int64_t ns) {
    auto value = static_cast<uint64_t>(ns < 0 ? 0 : ns);
    ++buckets_[bucket_of(value)];
    ++count_;
    if (value > max_) max_ = value;
    sum_ += static_cast<double>(value);
  }
  void merge(const Latencies& other) {
    for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    if (other.max_ > max_) max_ = other.max_;
  }
  uint64_t count() const { return count_; }
  double max_ms() const { return static_cast<double>(max_) / 1e6; }
  double mean_ms() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_) / 1e6; }
  // The least time that `fraction` of all counts do not exceed, as the upper end of its bucket.
  double quantile_ms(double fraction) const {
    auto wanted = static_cast<uint64_t>(fraction * static_cast<double>(count_));
    uint64_t seen = 0;
    for (size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen > wanted || (seen == count_ && seen > 0)) return static_cast<double>(upper_end(i)) / 1e6;
    }
    return 0;
  }

 private:
  // Below 128 one bucket a value; above, 64 buckets for each power of two.
  static constexpr int kSubBits = 6;
  static constexpr uint64_t kSub = 1 << kSubBits;
  static size_t bucket_of(uint64_t value) {
    if (value < 2 * kSub) return value;
    int shift = 63 - std::countl_zero(value) - kSubBits;
    return static_cast<size_t>(shift) * kSub + (value >> shift);
  }
  static uint64_t upper_end(size_t bucket) {
    if (bucket < 2 * kSub) return bucket;
    size_t shift = bucket / kSub - 1;
    return ((bucket - shift * kSub + 1) << shift) - 1;
  }

  std::array<uint64_t, 64 * kSub> buckets_{};
  uint64_t count_ = 0;
  uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace odradek::bench
