// Ids for idempotent producers, in blocks of 1000 from the controller. The next block is asked for when nine tenths are used.
// Thread: any.
#pragma once

#include <memory>

#include "base/executor.h"
#include "base/function.h"
#include "base/result.h"
#include "model/types.h"
#include "protocol/messages/allocate_producer_ids.h"

namespace odradek::metadata {

// The way to the controller, in process or over the network. Filled by app. `done` runs once, on any thread; an Error means: not
// delivered (no controller known, connection lost).
class ProducerIdChannel {
 public:
  virtual ~ProducerIdChannel() = default;
  virtual void send(protocol::AllocateProducerIdsRequest request,
                    UniqueFunction<void(Result<protocol::AllocateProducerIdsResponse>)> done) = 0;
};

class ProducerIds {
 public:
  ProducerIds(base::Runtime& runtime, BrokerId self, ProducerIdChannel& channel);
  ~ProducerIds();
  void set_broker_epoch(int64_t epoch);
  // At once if an id is at hand, else when a block came, on any thread. Errors: kCoordinatorLoadInProgress when none came in 1 s
  // (clients try again).
  void next(UniqueFunction<void(Result<ProducerId>)> done);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared: an answer may come after the end
};

}  // namespace odradek::metadata
