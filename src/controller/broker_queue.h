// The controller's requests to one broker, in order: one in flight, repeated until it is answered or the broker is gone.
// Source: interbroker.md §1.
// Thread: the metadata executor.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "base/executor.h"
#include "controller/broker_channel.h"
#include "controller/request_batch.h"

namespace odradek::controller {

// What came back, for those that act on it.
struct Answered {
  std::function<void(const protocol::LeaderAndIsrRequest&, const protocol::LeaderAndIsrResponse&)> leader_and_isr;
  std::function<void(const protocol::StopReplicaRequest&, const protocol::StopReplicaResponse&)> stop_replica;
  std::function<void(int16_t error)> update_metadata;
};

class BrokerQueue {
 public:
  BrokerQueue(base::Runtime& runtime, base::Executor& executor, std::unique_ptr<BrokerChannel> channel, int64_t retry_backoff_ms, Answered answered);
  // What was not sent never is; an answer still to come is dropped.
  ~BrokerQueue();

  using Request = decltype(Outgoing::request);
  void push(Request request);
  // The broker has another address: everything that is not answered goes there.
  void move_to(std::unique_ptr<BrokerChannel> channel);
  size_t size() const;
  // Keeps `thing` until what is queued now is answered, or the broker is gone.
  void keep_until_answered(std::shared_ptr<void> thing);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared: an answer may come after the end
};

}  // namespace odradek::controller
