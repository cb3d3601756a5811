#include "storage/cleaner/cleaner.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <new>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "config/config.h"
#include "storage/cleaner/clean_job.h"
#include "storage/dir/log_dir.h"
#include "storage/log_manager.h"

namespace odradek::storage {
namespace {

constexpr int kStepsPerTask = 16;
constexpr int64_t kLongestWaitMs = 1000;  // for the rate: then settings are looked at again
constexpr int64_t kShortestWaitMs = 10;   // shorter debts are carried on
constexpr int64_t kFirstRetryMs = 15'000;
constexpr int64_t kLastRetryMs = 3'600'000;

}  // namespace

CleanerOptions make_cleaner_options(const config::BrokerConfig& config) {
  CleanerOptions options;
  options.enabled = config.get_bool("log.cleaner.enable");
  options.threads = config.get_int("log.cleaner.threads");
  options.dedupe_buffer_bytes = config.get_long("log.cleaner.dedupe.buffer.size");
  options.io_buffer_bytes = config.get_int("log.cleaner.io.buffer.size");
  options.load_factor = config.get_double("log.cleaner.io.buffer.load.factor");
  options.max_bytes_per_second = config.get_double("log.cleaner.io.max.bytes.per.second");
  options.backoff_ms = config.get_long("log.cleaner.backoff.ms");
  return options;
}

struct Cleaner::Impl {
  // One cleaning at a time, on a thread of its own.
  struct Worker {
    int number = 0;
    std::unique_ptr<CleanJob> job;  // its tasks' only
    int64_t began_ms = 0;
    bool running = false;           // a task or timer is on its way
    std::unique_ptr<base::Executor> executor;
  };
  struct Uncleanable {
    std::weak_ptr<Log> log;  // not of another one with the same name
    std::string dir;
    int64_t dirty_bytes = 0;
    int failures = 0;
    int64_t retry_at_ms = 0;
  };
  struct Alive {
    base::Mutex mutex;
    bool stopped GUARDED_BY(mutex) = false;
  };

  Impl(base::Runtime& r, LogManager& l, const CleanerOptions& o, metrics::Registry& metrics);
  void fit_workers() REQUIRES(mutex);
  bool wanted(const Worker& worker) {
    base::MutexLock lock(mutex);
    return !stopped && worker.number < options.threads;
  }
  void turn(Worker& worker);
  // Unless everything stops.
  void go_on(Worker& worker, int64_t delay_ms) EXCLUDES(mutex);
  void run_later(Worker& worker, int64_t delay_ms) REQUIRES(mutex);
  bool pick(Worker& worker);
  int64_t wait_for_rate_ms(int64_t bytes);
  void finish(Worker& worker);
  void fail_job(Worker& worker, const Error& error);
  void mark(const std::shared_ptr<Log>& log, int64_t dirty_bytes, const Error& error) REQUIRES(mutex);
  void leave(Worker& worker);

  base::Runtime& runtime;
  LogManager& logs;
  std::shared_ptr<Alive> alive = std::make_shared<Alive>();  // shared with timers that may outlive this
  base::Mutex mutex;
  CleanerOptions options GUARDED_BY(mutex);
  bool started GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;
  std::vector<std::unique_ptr<Worker>> workers GUARDED_BY(mutex);
  absl::flat_hash_set<TopicPartition> in_progress GUARDED_BY(mutex);
  absl::flat_hash_map<TopicPartition, Uncleanable> uncleanable GUARDED_BY(mutex);
  int64_t rate_clear_ns GUARDED_BY(mutex) = 0;  // until then the bytes so far use up the rate

  int64_t last_run_ms GUARDED_BY(mutex) = 0;
  double max_dirty_ratio GUARDED_BY(mutex) = 0;
  int64_t max_overdue_ms GUARDED_BY(mutex) = 0;
  double max_utilization GUARDED_BY(mutex) = 0;  // of the last cleaning, as the next ones
  double recopy_ratio GUARDED_BY(mutex) = 0;
  int64_t clean_time_ms GUARDED_BY(mutex) = 0;
  std::shared_ptr<metrics::Counter> failures, bytes_read, bytes_written, records_removed;
  std::vector<metrics::Registration> registrations;
};

Cleaner::Impl::Impl(base::Runtime& r, LogManager& l, const CleanerOptions& o, metrics::Registry& metrics)
    : runtime(r),
      logs(l),
      options(o),
      last_run_ms(r.clock().wall_ms()),
      failures(metrics.counter(metrics::kCleanerFailures)),
      bytes_read(metrics.counter(metrics::kCleanerBytesRead)),
      bytes_written(metrics.counter(metrics::kCleanerBytesWritten)),
      records_removed(metrics.counter(metrics::kCleanerRecordsRemoved)) {
  auto gauge = [&](const metrics::MetricDef& def, auto value) {
    registrations.push_back(metrics.callback(def, {}, [this, value]() -> double {
      base::MutexLock lock(mutex);
      return static_cast<double>(value(*this));
    }));
  };
  gauge(metrics::kCleanerDeadThreads, [](Impl&) { return 0; });  // what goes wrong in a worker ends its job, not the worker
  gauge(metrics::kCleanerMaxDirtyPercent, [](Impl& self) { return std::floor(self.max_dirty_ratio * 100); });
  gauge(metrics::kCleanerTimeSinceLastRun, [](Impl& self) { return self.runtime.clock().wall_ms() - self.last_run_ms; });
  gauge(metrics::kCleanerBufferUtilization, [](Impl& self) { return std::floor(self.max_utilization * 100); });
  gauge(metrics::kCleanerRecopyPercent, [](Impl& self) { return std::floor(self.recopy_ratio * 100); });
  gauge(metrics::kCleanerMaxTime, [](Impl& self) { return self.clean_time_ms / 1000; });
  gauge(metrics::kCleanerMaxCompactionDelay, [](Impl& self) { return self.max_overdue_ms / 1000; });
  registrations.push_back(metrics.collector({&metrics::kUncleanablePartitions, &metrics::kUncleanableBytes}, [this](std::vector<metrics::SampleSink*>& sinks) {
    std::map<std::string, std::pair<int64_t, int64_t>> by_dir;
    for (const auto& dir : logs.dir_paths()) by_dir[dir];
    {
      base::MutexLock lock(mutex);
      for (const auto& [tp, entry] : uncleanable) {
        if (entry.log.expired()) continue;
        auto& [count, bytes] = by_dir[entry.dir];
        ++count;
        bytes += entry.dirty_bytes;
      }
    }
    for (const auto& [dir, sums] : by_dir) {
      sinks[0]->add({dir}, sums.first);
      sinks[1]->add({dir}, sums.second);
    }
  }));
}

// --- workers ----------------------------------------------------------------------------------------------------------------

void Cleaner::Impl::fit_workers() {
  if (!started || stopped) return;
  const int count = options.enabled ? options.threads : 0;
  for (int i = 0; i < count; ++i) {
    if (i == static_cast<int>(workers.size())) {
      workers.push_back(std::make_unique<Worker>());
      workers.back()->number = i;
      workers.back()->executor = runtime.make_executor("cleaner-" + std::to_string(i), 1);
    }
    Worker& worker = *workers[static_cast<size_t>(i)];
    if (worker.running) continue;
    worker.running = true;
    run_later(worker, 0);
  }
}

void Cleaner::Impl::go_on(Worker& worker, int64_t delay_ms) {
  base::MutexLock lock(mutex);
  if (stopped) {
    worker.running = false;
    return;
  }
  run_later(worker, delay_ms);
}

void Cleaner::Impl::run_later(Worker& worker, int64_t delay_ms) {
  if (delay_ms <= 0) return worker.executor->post([this, &worker] { turn(worker); });
  runtime.timers().after(std::chrono::milliseconds(delay_ms), [this, &worker, alive = alive] {
    base::MutexLock lock(alive->mutex);
    if (!alive->stopped) worker.executor->post([this, &worker] { turn(worker); });
  });
}

void Cleaner::Impl::leave(Worker& worker) {
  if (worker.job != nullptr) {
    worker.job->abandon();
    base::MutexLock lock(mutex);
    in_progress.erase(worker.job->log().name());
  }
  worker.job.reset();
}

void Cleaner::Impl::turn(Worker& worker) {
  if (worker.job == nullptr && (!wanted(worker) || !pick(worker))) {
    int64_t pause_ms;
    {
      base::MutexLock lock(mutex);
      if (stopped || worker.number >= options.threads) {
        worker.running = false;
        return;
      }
      pause_ms = std::max<int64_t>(options.backoff_ms, 1);
    }
    return go_on(worker, pause_ms);
  }
  // Settings may have changed while it waited for the rate.
  if (const int64_t wait_ms = wait_for_rate_ms(0); wait_ms > 0 && wanted(worker)) return go_on(worker, std::min(wait_ms, kLongestWaitMs));
  for (int i = 0; i < kStepsPerTask; ++i) {
    if (!wanted(worker)) {
      leave(worker);
      break;
    }
    Result<CleanJob::Step> step;
    try {
      step = worker.job->step();
    } catch (const std::bad_alloc&) {
      step = fail(ErrorCode::kUnknownServerError, "out of memory");
    }
    if (!step) {
      fail_job(worker, step.error());
      break;
    }
    if (step->outcome == CleanJob::Outcome::kLogChanged) {
      log::info("storage", "{}: changed while it was compacted: once more later", worker.job->log().name().to_string());
      leave(worker);
      break;
    }
    if (step->outcome == CleanJob::Outcome::kDone) {
      finish(worker);
      break;
    }
    if (const int64_t wait_ms = wait_for_rate_ms(step->bytes); wait_ms > 0) return go_on(worker, std::min(wait_ms, kLongestWaitMs));
  }
  go_on(worker, 0);
}

int64_t Cleaner::Impl::wait_for_rate_ms(int64_t bytes) {
  base::MutexLock lock(mutex);
  const int64_t now = runtime.clock().monotonic_ns();
  const double rate = std::max(options.max_bytes_per_second, 1.0);
  const double cost_ns = static_cast<double>(bytes) / rate * 1e9;
  rate_clear_ns = std::max(rate_clear_ns, now) + static_cast<int64_t>(std::min(cost_ns, 3.6e12));
  const int64_t wait_ms = (rate_clear_ns - now) / 1'000'000;
  return wait_ms < kShortestWaitMs ? 0 : wait_ms;
}

// --- which log --------------------------------------------------------------------------------------------------------------

bool Cleaner::Impl::pick(Worker& worker) {
  const int64_t now_ms = runtime.clock().wall_ms();
  std::shared_ptr<Log> best;
  std::optional<CleanPlan> best_plan;
  double dirtiest = 0;
  int64_t overdue_ms = 0;
  for (const auto& log : logs.all()) {
    const auto config = log->config();
    if (!config->compact_policy || !log->dir().online()) continue;
    {
      base::MutexLock lock(mutex);
      if (stopped) return false;
      if (in_progress.contains(log->name())) continue;
      if (auto found = uncleanable.find(log->name()); found != uncleanable.end()) {
        if (found->second.log.lock() != log) {
          uncleanable.erase(found);
        } else if (now_ms < found->second.retry_at_ms) {
          continue;
        }
      }
    }
    auto plan = log->plan_cleaning(now_ms);
    if (!plan) {
      if (!log->dir().online() || logs.find(log->name()) != log) continue;
      base::MutexLock lock(mutex);
      mark(log, 0, plan.error());
      continue;
    }
    overdue_ms = std::max(overdue_ms, plan->overdue_ms);
    const double ratio = plan->dirty_ratio();
    dirtiest = std::max(dirtiest, ratio);
    if (plan->dirty_bytes == 0 || (plan->overdue_ms == 0 && ratio <= config->min_cleanable_dirty_ratio)) continue;
    if (best_plan && ratio <= best_plan->dirty_ratio()) continue;
    best = log;
    best_plan = std::move(*plan);
  }
  base::MutexLock lock(mutex);
  last_run_ms = now_ms;
  max_dirty_ratio = dirtiest;
  max_overdue_ms = overdue_ms;
  if (best == nullptr || stopped || !in_progress.insert(best->name()).second) return false;
  const int shares = std::max(options.threads, 1);
  CleanLimits limits;
  limits.map_bytes = options.dedupe_buffer_bytes / shares;
  limits.load_factor = options.load_factor;
  limits.buffer_bytes = options.io_buffer_bytes / shares / 2;
  worker.job = std::make_unique<CleanJob>(best, std::move(*best_plan), limits, runtime.clock(), runtime.random());
  worker.began_ms = runtime.clock().monotonic_ms();
  return true;
}

void Cleaner::Impl::finish(Worker& worker) {
  const CleanStats stats = worker.job->stats();
  const TopicPartition tp = worker.job->log().name();
  bytes_read->inc(static_cast<uint64_t>(stats.map_bytes_read + stats.bytes_read));
  bytes_written->inc(static_cast<uint64_t>(stats.bytes_written));
  records_removed->inc(static_cast<uint64_t>(stats.records.records_read - stats.records.records_kept));
  const int64_t took_ms = runtime.clock().monotonic_ms() - worker.began_ms;
  log::info("storage", "{}: compacted up to {}: {} of {} records stay, {} segments of {} bytes became {} of {}, in {} ms", tp.to_string(),
            worker.job->log().cleaned_offset().value, stats.records.records_kept, stats.records.records_read, stats.segments_before, stats.bytes_read,
            stats.segments_after, stats.bytes_written, took_ms);
  if (stats.records.records_without_key > 0) {
    log::warn("storage", "{}: {} records without a key were dropped by compaction", tp.to_string(), stats.records.records_without_key);
  }
  base::MutexLock lock(mutex);
  max_utilization = stats.map_utilization;
  recopy_ratio = stats.bytes_read == 0 ? 0 : static_cast<double>(stats.bytes_written) / static_cast<double>(stats.bytes_read);
  clean_time_ms = took_ms;
  in_progress.erase(tp);
  uncleanable.erase(tp);
  worker.job.reset();
}

// --- what cannot be compacted -----------------------------------------------------------------------------------------------

void Cleaner::Impl::fail_job(Worker& worker, const Error& error) {
  std::shared_ptr<Log> log = worker.job->shared_log();
  const int64_t dirty_bytes = worker.job->plan().dirty_bytes;
  leave(worker);
  // Deleted meanwhile, or its dir has failed and was reported: nothing to try again.
  if (!log->dir().online() || logs.find(log->name()) != log) return;
  base::MutexLock lock(mutex);
  mark(log, dirty_bytes, error);
}

void Cleaner::Impl::mark(const std::shared_ptr<Log>& log, int64_t dirty_bytes, const Error& error) {
  Uncleanable& entry = uncleanable[log->name()];
  if (entry.log.lock() != log) entry = {};
  entry.log = log;
  entry.dir = log->dir().path();
  entry.dirty_bytes = dirty_bytes;
  const int64_t pause_ms = std::min(kLastRetryMs, kFirstRetryMs << std::min(entry.failures, 16));
  ++entry.failures;
  entry.retry_at_ms = runtime.clock().wall_ms() + pause_ms;
  failures->inc();
  log::error("storage", "{} in {} cannot be compacted: {}; tried again in {} s, the other logs go on", log->name().to_string(), entry.dir, error.what,
             pause_ms / 1000);
}

// --- Cleaner ----------------------------------------------------------------------------------------------------------------

Cleaner::Cleaner(base::Runtime& runtime, LogManager& logs, const CleanerOptions& options, metrics::Registry& metrics)
    : impl_(std::make_unique<Impl>(runtime, logs, options, metrics)) {}

Cleaner::~Cleaner() { stop(); }

void Cleaner::start() {
  base::MutexLock lock(impl_->mutex);
  impl_->started = true;
  impl_->fit_workers();
}

void Cleaner::reconfigure(const CleanerOptions& options) {
  base::MutexLock lock(impl_->mutex);
  if (impl_->options == options) return;
  impl_->options = options;
  impl_->fit_workers();
}

void Cleaner::stop() {
  std::vector<std::unique_ptr<Impl::Worker>> workers;
  {
    base::MutexLock lock(impl_->mutex);
    impl_->stopped = true;
    workers.swap(impl_->workers);
  }
  {
    base::MutexLock lock(impl_->alive->mutex);
    impl_->alive->stopped = true;
  }
  for (auto& worker : workers) worker->executor.reset();
  for (auto& worker : workers) impl_->leave(*worker);
}

}  // namespace odradek::storage
