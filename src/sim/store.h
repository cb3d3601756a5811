// The metadata tree of the simulated machine. Its commits are slow, and an operation that has not been committed when the process
// dies is lost; one that has been stays, answered or not: what SQLite promises with synchronous=FULL.
// The tree itself is the shipped embedded store in memory, which outlives the broker's lives.
// Thread: one.
#pragma once

#include <memory>

#include "metadata/store/embedded_store.h"
#include "metadata/store/store.h"
#include "sim/world.h"

namespace odradek::sim {

// A session of one life of the broker. `inner`: a session on the shared tree.
std::unique_ptr<metadata::Store> make_sim_store(World& world, std::unique_ptr<metadata::Store> inner);

}  // namespace odradek::sim
