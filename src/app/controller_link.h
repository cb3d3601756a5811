// The way of this broker to the controller: in process while this broker holds the office, over the network otherwise. Who it is says
// the image, at each request; an answer of NOT_CONTROLLER or a lost connection is the asker's to repeat, and finds the new one then.
// Over the network one connection, ApiVersions first. Source: interbroker.md §1, §6, §9.
// Thread: any; the work and `done` are on the metadata executor.
#pragma once

#include <memory>

#include "base/executor.h"
#include "client/broker_link.h"
#include "controller/controller.h"
#include "metadata/image/image.h"
#include "metadata/producer_ids.h"
#include "protocol/messages/controlled_shutdown.h"
#include "replication/partition/isr_updates.h"

namespace odradek::app {

struct ControllerLinkOptions {
  BrokerId self = kNoBroker;
  std::string listener;  // inter.broker.listener.name
  std::chrono::milliseconds request_timeout{30'000};
  net::LinkOptions link;
};

class ControllerLink : public replication::AlterPartitionChannel, public metadata::ProducerIdChannel {
 public:
  template <class Response>
  using Done = UniqueFunction<void(Result<Response>)>;

  // `local`: this broker's own, asked while the image names this broker. All outlive this; links and the executor also its last task.
  ControllerLink(base::Executor& metadata, net::Links& links, metadata::ImageHolder& image, controller::Controller& local, ControllerLinkOptions options);
  ~ControllerLink() override;

  // Errors: kNotController, nobody is known; those of client/broker_link.h.
  void send(protocol::AlterPartitionRequest request, Done<protocol::AlterPartitionResponse> done) override;
  void send(protocol::AllocateProducerIdsRequest request, Done<protocol::AllocateProducerIdsResponse> done) override;
  void send(protocol::ControlledShutdownRequest request, Done<protocol::ControlledShutdownResponse> done);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the executor's tasks
};

}  // namespace odradek::app
