// The values behind the catalog. Recording is lock-free; registering and writing the text take a lock that recording never takes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "metrics/catalog.h"

namespace odradek::metrics {

inline constexpr size_t kStripes = 8;
// The stripe of this thread, so that threads do not share a cache line.
size_t this_thread_stripe();

// Rises only. Thread: any; inc() is one relaxed add on a cache line of few threads.
class Counter {
 public:
  void inc(uint64_t n = 1) { stripes_[this_thread_stripe()].value.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const;

 private:
  struct alignas(64) Stripe {
    std::atomic<uint64_t> value{0};
  };
  std::array<Stripe, kStripes> stripes_;
};

// Thread: any.
class Gauge {
 public:
  void set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void add(int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Log-linear: 16 buckets per power of two, so a quantile is at most 1/16 off. Values from 0 up to 2^42 (73 minutes in ns); larger
// ones count as the largest. Thread: any; record() is three relaxed adds.
class Histogram {
 public:
  void record(uint64_t value);  // ns or bytes
  uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  uint64_t sum() const { return sum_.load(std::memory_order_relaxed); }

  static constexpr int kSubBits = 4;
  static constexpr int kMaxBits = 42;
  static constexpr size_t kBuckets = static_cast<size_t>(kMaxBits - kSubBits + 1) << kSubBits;
  static size_t bucket_of(uint64_t value);
  static uint64_t upper_edge(size_t bucket);  // greatest value of the bucket

  using Counts = std::array<uint32_t, kBuckets>;  // modulo 2^32: only differences are used
  void read(Counts& into) const;

 private:
  std::array<std::atomic<uint32_t>, kBuckets> buckets_{};
  std::atomic<uint64_t> count_{0};
  std::atomic<uint64_t> sum_{0};
};

// Values of one moment of a histogram, for those who ask for percentiles themselves (odradek bench, the dashboard).
struct HistogramWindow {
  std::vector<uint64_t> counts;  // per bucket
  // Smallest value that at least share `q` (0..1) of the records do not exceed, as a bucket's upper edge; 0 if there are none.
  uint64_t percentile(double q) const;
  static HistogramWindow between(const Histogram::Counts& older, const Histogram::Counts& newer);
};

// Label values in the order of MetricDef::labels; none at all: the sample without labels ("all topics").
using LabelValues = std::initializer_list<std::string_view>;

// Takes samples of one metric while the text is written; for what is many (one sample per partition) and known elsewhere.
class SampleSink {
 public:
  virtual ~SampleSink() = default;
  virtual void add(LabelValues labels, double value) = 0;
  virtual void add(LabelValues labels, int64_t value) = 0;
};

// Unregisters when destroyed; afterwards the callback does not run and is not running.
class Registration {
 public:
  Registration() = default;
  explicit Registration(std::function<void()> release) : release_(std::move(release)) {}
  ~Registration() { reset(); }
  Registration(Registration&& other) noexcept : release_(std::move(other.release_)) { other.release_ = nullptr; }
  Registration& operator=(Registration&& other) noexcept;
  void reset();

 private:
  std::function<void()> release_;
};

// One for the process; outlives everything that registers. Thread: any.
class Registry {
 public:
  explicit Registry(base::Clock& clock);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // The value of that metric and labels, made at the first call. Shared: whoever records keeps it while the topic's sample is
  // removed. Look it up once and keep it, not per request.
  std::shared_ptr<Counter> counter(const MetricDef& def, LabelValues labels = {});
  std::shared_ptr<Gauge> gauge(const MetricDef& def, LabelValues labels = {});
  std::shared_ptr<Histogram> histogram(const MetricDef& def, LabelValues labels = {});
  // The sample disappears from the next text. May be called from within a callback or collector.
  void remove(const MetricDef& def, LabelValues labels);

  // Asked while the text is written, on the web thread: short, no lock that is held during I/O. For gauges and counters.
  [[nodiscard]] Registration callback(const MetricDef& def, LabelValues labels, std::function<double()> value);
  [[nodiscard]] Registration collector(const MetricDef& def, std::function<void(SampleSink&)> collect);
  // As collector, for several metrics from one walk: collect(sinks) with one sink per def, in the order given.
  [[nodiscard]] Registration collector(std::vector<const MetricDef*> defs, std::function<void(std::vector<SampleSink*>&)> collect);

  // The exposition text of everything registered (text/plain; version=0.0.4).
  std::string prometheus_text();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// docs/metrics.md, printed from the catalog.
std::string reference_markdown();

}  // namespace odradek::metrics
