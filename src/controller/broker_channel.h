// How the controller talks to one broker: over the network, or in process to its own. Whoever sends sees no difference.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/function.h"
#include "base/result.h"
#include "metadata/tree/znode_json.h"
#include "protocol/messages/leader_and_isr.h"
#include "protocol/messages/stop_replica.h"
#include "protocol/messages/update_metadata.h"

namespace odradek::metadata {
class ConfigStore;
}

namespace odradek::controller {

// At most one request is in flight. `done` runs exactly once, on any thread; an Error means: not answered, to be repeated.
class BrokerChannel {
 public:
  template <class Response>
  using Reply = UniqueFunction<void(Result<Response>)>;

  virtual ~BrokerChannel() = default;
  virtual void send(const protocol::LeaderAndIsrRequest& request, Reply<protocol::LeaderAndIsrResponse> done) = 0;
  virtual void send(const protocol::UpdateMetadataRequest& request, Reply<protocol::UpdateMetadataResponse> done) = 0;
  virtual void send(const protocol::StopReplicaRequest& request, Reply<protocol::StopReplicaResponse> done) = 0;
};

// Makes the channel to a broker that has registered; on the metadata executor.
using BrokerChannelFactory = std::function<std::unique_ptr<BrokerChannel>(const metadata::BrokerInfo& broker)>;

// The handlers of the broker in this process (ReplicaManager::apply).
struct LocalBroker {
  std::function<void(const protocol::LeaderAndIsrRequest&, Task then)> prepare_topics;  // runs before leader_and_isr; may be empty
  std::function<protocol::LeaderAndIsrResponse(const protocol::LeaderAndIsrRequest&)> leader_and_isr;
  std::function<protocol::UpdateMetadataResponse(const protocol::UpdateMetadataRequest&)> update_metadata;
  std::function<protocol::StopReplicaResponse(const protocol::StopReplicaRequest&)> stop_replica;
};
// Before a LeaderAndIsr is applied: the settings of topics that are new here, whose creation comes without a notification; and, where replicas join,
// every change of a setting until now, so that no throttle that was set before a reassignment comes after it.
void prepare_topics(metadata::ConfigStore& configs, const protocol::LeaderAndIsrRequest& request, Task then);
// Calls `broker` on `executor` (single-threaded; not the metadata executor: the handlers touch the disk).
std::unique_ptr<BrokerChannel> make_local_channel(base::Executor& executor, std::shared_ptr<const LocalBroker> broker);

}  // namespace odradek::controller
