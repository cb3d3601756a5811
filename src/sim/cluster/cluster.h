// One run of a cluster from one seed: three brokers, an ensemble of ZooKeeper, clients, and what happens to them; then the reckoning.
#pragma once

#include "sim/cluster/events.h"
#include "sim/simulation.h"

namespace odradek::sim {

// Outcome::happened counts the Events.
Outcome run_cluster(const Options& options);

}  // namespace odradek::sim
