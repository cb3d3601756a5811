// Reads the closed segments of all logs, round after round, and checks every batch: its frame and its CRC. What is bad is logged once and
// counted, and stays as it is: a consumer that comes to it gets it and refuses it, as with Kafka.
// What is in the page cache is checked there; what had to be read from the disk is given up again, so that no reader loses its pages.
// Thread: any, but for stop(), which waits for a step.
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

struct ScrubberOptions {
  int64_t bytes_per_second = 1 << 20;  // 0: nothing is read
  int64_t interval_ms = 86'400'000;    // from the start of a round to that of the next; a long round is followed at once
};
ScrubberOptions make_scrubber_options(const config::BrokerConfig& config);

class Scrubber {
 public:
  // `logs` must outlive this.
  Scrubber(base::Runtime& runtime, LogManager& logs, const ScrubberOptions& options, metrics::Registry& metrics);
  ~Scrubber();
  Scrubber(const Scrubber&) = delete;

  // Once, when the logs are loaded. The first round begins after one interval.
  void start();
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with timers that may outlive this
};

}  // namespace odradek::storage
