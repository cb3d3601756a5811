// Metrics of the process itself: CPU, memory, threads, file descriptors, start time, from /proc and getrusage.
#pragma once

#include <vector>

#include "base/executor.h"
#include "metrics/registry.h"

namespace odradek::metrics {

// Registers them; they live as long as what is returned.
[[nodiscard]] std::vector<Registration> register_process_metrics(Registry& registry, base::Runtime& runtime);

}  // namespace odradek::metrics
