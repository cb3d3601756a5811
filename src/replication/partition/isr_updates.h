// The leader's wishes for other ISRs on their way to the controller: one AlterPartition in flight per broker, carrying every
// partition that waits (one change per partition); others wait for the next. Source: interbroker.md §6.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/function.h"
#include "base/mutex.h"
#include "base/result.h"
#include "model/error_code.h"
#include "protocol/messages/alter_partition.h"
#include "replication/partition/partition.h"

namespace odradek::replication {

// The way to the controller, in process or over the network. Filled by app. `done` runs once, on any thread; an Error means: not
// delivered (no controller known, connection lost).
class AlterPartitionChannel {
 public:
  virtual ~AlterPartitionChannel() = default;
  virtual void send(protocol::AlterPartitionRequest request, UniqueFunction<void(Result<protocol::AlterPartitionResponse>)> done) = 0;
};

// The version in which it is sent, or a lower one: later ones name topics by their ids, which those of an old cluster lack.
int16_t alter_partition_version(const protocol::AlterPartitionRequest& request);

class IsrUpdates {
 public:
  // Told after an answer that gave a partition its ISR, with the former one (the same after a refusal).
  using OnChanged = UniqueFunction<void(const std::shared_ptr<Partition>&, const std::vector<BrokerId>& before)>;
  // `executor` (one thread): where answers are worked off; `on_changed` runs there.
  IsrUpdates(base::Runtime& runtime, base::Executor& executor, BrokerId self, OnChanged on_changed);
  ~IsrUpdates();

  // Before the first submit() that can be sent; null detaches.
  void set_channel(AlterPartitionChannel* channel);
  void set_broker_epoch(int64_t epoch);
  void submit(std::shared_ptr<Partition> partition, Uuid topic_id, IsrChange change);

 private:
  struct Item {
    std::shared_ptr<Partition> partition;
    Uuid topic_id;
    IsrChange change;
  };
  struct State;
  std::shared_ptr<State> state_;  // shared: an answer may come after the end
};

}  // namespace odradek::replication
