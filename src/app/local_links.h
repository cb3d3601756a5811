// The ways of this broker to the controller, while the controller is in the same process. What is asked of a controller that is not
// in office is answered NOT_CONTROLLER, as over the network.
#pragma once

#include "base/log.h"
#include "controller/broker_channel.h"
#include "controller/controller.h"
#include "metadata/producer_ids.h"
#include "replication/isr_updates.h"

namespace odradek::app {

// To a broker that entered the tree although this version serves only one: what is meant for it is kept back, nothing is applied here.
class ClosedChannel : public controller::BrokerChannel {
 public:
  explicit ClosedChannel(BrokerId to) {
    log::error("controller", "broker {} came into this tree: this version does not speak to other brokers, its partitions have no leader there", to.value);
  }
  void send(const protocol::LeaderAndIsrRequest&, Reply<protocol::LeaderAndIsrResponse> done) override { leader_and_isr_ = std::move(done); }
  void send(const protocol::UpdateMetadataRequest&, Reply<protocol::UpdateMetadataResponse> done) override { update_metadata_ = std::move(done); }
  void send(const protocol::StopReplicaRequest&, Reply<protocol::StopReplicaResponse> done) override { stop_replica_ = std::move(done); }

 private:
  // Not answered before the broker is gone.
  Reply<protocol::LeaderAndIsrResponse> leader_and_isr_;
  Reply<protocol::UpdateMetadataResponse> update_metadata_;
  Reply<protocol::StopReplicaResponse> stop_replica_;
};

class LocalAlterPartition : public replication::AlterPartitionChannel {
 public:
  explicit LocalAlterPartition(controller::Controller& controller) : controller_(controller) {}
  void send(protocol::AlterPartitionRequest request, UniqueFunction<void(Result<protocol::AlterPartitionResponse>)> done) override {
    controller_.alter_partition(std::move(request), protocol::AlterPartitionRequest::kMaxVersion,
                                [done = std::move(done)](protocol::AlterPartitionResponse response) mutable { done(std::move(response)); });
  }

 private:
  controller::Controller& controller_;
};

class LocalProducerIds : public metadata::ProducerIdChannel {
 public:
  explicit LocalProducerIds(controller::Controller& controller) : controller_(controller) {}
  void send(protocol::AllocateProducerIdsRequest request, UniqueFunction<void(Result<protocol::AllocateProducerIdsResponse>)> done) override {
    controller_.allocate_producer_ids(
        std::move(request), [done = std::move(done)](protocol::AllocateProducerIdsResponse response) mutable { done(std::move(response)); });
  }

 private:
  controller::Controller& controller_;
};

}  // namespace odradek::app
