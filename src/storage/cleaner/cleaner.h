// Compacts logs in the background: of all compacted logs the one with the greatest share of dirty bytes comes next, if that is above its
// min.cleanable.dirty.ratio or max.compaction.lag.ms is over. As many at a time as there are workers.
// What cannot be compacted (a batch that cannot be read, an I/O error) is logged, counted, and tried again after a pause that doubles;
// the other logs go on. Nothing of that ends a worker.
// Thread: any, but for stop(), which waits for the running steps. Settings change without waiting.
#pragma once

#include <cstdint>
#include <memory>

#include "base/executor.h"
#include "metrics/registry.h"

namespace odradek::config {
class BrokerConfig;
}

namespace odradek::storage {

class LogManager;

struct CleanerOptions {
  bool enabled = true;
  int threads = 1;
  int64_t dedupe_buffer_bytes = 128 << 20;  // of all workers together, as the next one
  int32_t io_buffer_bytes = 512 << 10;
  double load_factor = 0.9;
  double max_bytes_per_second = 1.7976931348623157e308;  // read and written
  int64_t backoff_ms = 15'000;                           // pause when nothing is to be done
  friend bool operator==(const CleanerOptions&, const CleanerOptions&) = default;
};
CleanerOptions make_cleaner_options(const config::BrokerConfig& config);

class Cleaner {
 public:
  // `logs` must outlive this, or be stopped after it.
  Cleaner(base::Runtime& runtime, LogManager& logs, const CleanerOptions& options, metrics::Registry& metrics);
  ~Cleaner();
  Cleaner(const Cleaner&) = delete;

  // Once, when the logs are loaded.
  void start();
  // Unfinished output is removed. Blocks while a step runs.
  void stop();
  // From the next cleaning on; workers that are no longer wanted end after their step.
  void reconfigure(const CleanerOptions& options);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace odradek::storage
