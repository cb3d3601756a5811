// The ways of this broker to the controller, while the controller is in the same process. What is asked of a controller that is not
// in office is answered NOT_CONTROLLER, as over the network.
#pragma once

#include "controller/controller.h"
#include "metadata/producer_ids.h"
#include "replication/isr_updates.h"

namespace odradek::app {

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
