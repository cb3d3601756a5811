// Clients as small state machines over encoded bytes. Each tells the model what it learns.
// Thread: one.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/error_code.h"
#include "sim/model.h"
#include "sim/network.h"
#include "sim/world.h"

namespace odradek::sim {

struct Context {
  World& world;
  Network& network;
  Model& model;
  bool ending = false;  // no new work
  std::function<void()> at_change = {};  // the cluster is about to change: a good moment for a crash
  std::function<void()> at_promise = {};  // records that have to be on the disk were acknowledged: another one
  // The way to a broker of a cluster, -1: to any; empty: there is one broker.
  std::function<Network*(int32_t broker)> broker = {};
};

class Client {
 public:
  virtual ~Client() = default;
  virtual void start() = 0;
  // Nothing of it waits for an answer that would change what is known.
  virtual bool is_idle() const = 0;
};

// Writes batches to random partitions. An idempotent one (acks=all, five in flight) repeats what was not answered with the same
// sequences until it is; the others never repeat.
std::unique_ptr<Client> make_producer(Context& context, int number, bool idempotent);
// Reads random partitions from the start, in a fetch session or without.
std::unique_ptr<Client> make_consumer(Context& context, int number);
// Joins, syncs, beats, fetches and commits offsets, leaves, comes back; some with a static id.
std::unique_ptr<Client> make_member(Context& context, int group, int number);
// Creates and deletes topics, changes their settings, deletes records.
std::unique_ptr<Client> make_admin(Context& context);

// Reads every partition once from its start to its end and compares. `done` runs when all of it was read without a break, or a
// connection was lost (false).
class Scan {
 public:
  Scan(Context& context, int number, std::function<void(bool whole)> done);
  ~Scan();
  void start();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace odradek::sim
