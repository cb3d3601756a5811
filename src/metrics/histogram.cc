#include <bit>

#include "metrics/registry.h"

namespace odradek::metrics {

size_t this_thread_stripe() {
  static std::atomic<size_t> next{0};
  thread_local const size_t stripe = next.fetch_add(1, std::memory_order_relaxed) % kStripes;
  return stripe;
}

uint64_t Counter::value() const {
  uint64_t sum = 0;
  for (const Stripe& stripe : stripes_) sum += stripe.value.load(std::memory_order_relaxed);
  return sum;
}

// Values below 16 have a bucket each. Above, the top five bits say which: 16 buckets for each power of two.
size_t Histogram::bucket_of(uint64_t value) {
  constexpr uint64_t kGreatest = (uint64_t{1} << kMaxBits) - 1;
  if (value > kGreatest) value = kGreatest;
  if (value < (1u << kSubBits)) return value;
  int shift = std::bit_width(value) - 1 - kSubBits;
  return (static_cast<size_t>(shift + 1) << kSubBits) + ((value >> shift) & ((1u << kSubBits) - 1));
}

uint64_t Histogram::upper_edge(size_t bucket) {
  size_t group = bucket >> kSubBits, sub = bucket & ((1u << kSubBits) - 1);
  if (group == 0) return sub;
  return ((((uint64_t{1} << kSubBits) + sub + 1) << (group - 1))) - 1;
}

void Histogram::record(uint64_t value) {
  buckets_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::read(Counts& into) const {
  for (size_t i = 0; i < kBuckets; ++i) into[i] = buckets_[i].load(std::memory_order_relaxed);
}

HistogramWindow HistogramWindow::between(const Histogram::Counts& older, const Histogram::Counts& newer) {
  HistogramWindow window;
  window.counts.resize(Histogram::kBuckets);
  for (size_t i = 0; i < Histogram::kBuckets; ++i) window.counts[i] = static_cast<uint32_t>(newer[i] - older[i]);
  return window;
}

uint64_t HistogramWindow::percentile(double q) const {
  uint64_t total = 0;
  for (uint64_t count : counts) total += count;
  if (total == 0) return 0;
  auto wanted = static_cast<uint64_t>(q * static_cast<double>(total));
  if (static_cast<double>(wanted) < q * static_cast<double>(total) || wanted == 0) ++wanted;
  uint64_t seen = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    seen += counts[i];
    if (seen >= wanted) return Histogram::upper_edge(i);
  }
  return Histogram::upper_edge(counts.size() - 1);
}

}  // namespace odradek::metrics
