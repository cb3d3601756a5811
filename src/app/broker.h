// The broker put together: every room made, connected and started in the right order, and stopped in the reverse one.
// Thread: start and stop from the main thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/result.h"
#include "config/config.h"

namespace odradek::app {

class Broker {
 public:
  // Returns when the broker serves clients. Errors: one line for the operator: what, why and how to mend it.
  static Result<std::unique_ptr<Broker>> start(base::Runtime& runtime, std::shared_ptr<const config::BrokerConfig> config);
  // Ends without the clean-shutdown sequence if stop() was not called.
  ~Broker();

  // Clean: finishes what runs, leaves the cluster, flushes and closes the logs, writes the clean-shutdown markers.
  void stop();

 private:
  struct Parts;
  explicit Broker(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace odradek::app
