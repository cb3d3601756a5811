#include "app/controller_link.h"

#include "base/log.h"
#include "base/mutex.h"

namespace odradek::app {

struct ControllerLink::State {
  State(base::Executor& e, net::Links& l, metadata::ImageHolder& i, controller::Controller& c, ControllerLinkOptions o)
      : executor(e), links(l), image(i), local(c), options(std::move(o)) {}

  // Executor.
  Result<client::BrokerLink*> connected_to(const metadata::BrokerImage& controller) {
    const metadata::Endpoint* endpoint = controller.endpoint(options.listener);
    if (endpoint == nullptr) {
      return fail(ErrorCode::kBrokerNotAvailable, "the controller, broker " + std::to_string(controller.id.value) + ", has no listener " + options.listener);
    }
    net::Endpoint address{endpoint->host, endpoint->port};
    if (link == nullptr || link->broken() || to != controller.id || link->address() != address) {
      link.reset();
      client::BrokerLinkOptions how;
      how.client_id = std::to_string(options.self.value);
      how.link = options.link;
      how.link.protocol = endpoint->protocol;
      how.request_timeout = options.request_timeout;
      how.ask_versions = true;
      link = std::make_unique<client::BrokerLink>(links, executor, address, std::move(how));
      if (to != controller.id) log::info("app", "the controller is broker {} at {}", controller.id.value, address.to_string());
      to = controller.id;
    }
    return link.get();
  }

  template <class Response, class Request, class AskLocal>
  static void send(std::shared_ptr<State> self, Request request, int16_t version, Done<Response> done, AskLocal ask_local) {
    base::Executor& executor = self->executor;
    executor.post([self = std::move(self), request = std::move(request), version, done = std::move(done), ask_local]() mutable {
      base::MutexLock lock(self->mutex);
      if (self->stopped) return done(fail(ErrorCode::kNotController, "the broker stops"));
      auto now = self->image.current();
      if (now->controller() == self->options.self) return ask_local(self->local, std::move(request), std::move(done));
      const metadata::BrokerImage* controller = now->find_broker(now->controller());
      if (controller == nullptr) return done(fail(ErrorCode::kNotController, "no controller is known"));
      auto over = self->connected_to(*controller);
      if (!over) return done(fail(over.error()));
      (*over)->template ask<Response>(request, version, [done = std::move(done)](Result<client::LinkAnswer<Response>> answer) mutable {
        if (!answer) return done(fail(answer.error()));
        done(std::move(answer->message));
      });
    });
  }

  base::Executor& executor;
  net::Links& links;
  metadata::ImageHolder& image;
  controller::Controller& local;
  const ControllerLinkOptions options;
  base::Mutex mutex;  // held by each task: the end waits for the one that runs, later ones touch nothing
  bool stopped GUARDED_BY(mutex) = false;
  BrokerId to = kNoBroker;
  std::unique_ptr<client::BrokerLink> link;
};

ControllerLink::ControllerLink(base::Executor& metadata, net::Links& links, metadata::ImageHolder& image, controller::Controller& local,
                               ControllerLinkOptions options)
    : state_(std::make_shared<State>(metadata, links, image, local, std::move(options))) {}
ControllerLink::~ControllerLink() {
  base::MutexLock lock(state_->mutex);
  state_->stopped = true;
  state_->link.reset();
}

void ControllerLink::send(protocol::AlterPartitionRequest request, Done<protocol::AlterPartitionResponse> done) {
  using Response = protocol::AlterPartitionResponse;
  const int16_t version = replication::alter_partition_version(request);
  State::send<Response>(state_, std::move(request), version, std::move(done), [version](controller::Controller& local, auto asked, Done<Response> reply) {
    local.alter_partition(std::move(asked), version, [reply = std::move(reply)](Response response) mutable { reply(std::move(response)); });
  });
}

void ControllerLink::send(protocol::AllocateProducerIdsRequest request, Done<protocol::AllocateProducerIdsResponse> done) {
  using Response = protocol::AllocateProducerIdsResponse;
  constexpr int16_t kVersion = protocol::AllocateProducerIdsRequest::kMaxVersion;
  State::send<Response>(state_, std::move(request), kVersion, std::move(done), [](controller::Controller& local, auto asked, Done<Response> reply) {
    local.allocate_producer_ids(std::move(asked), [reply = std::move(reply)](Response response) mutable { reply(std::move(response)); });
  });
}

void ControllerLink::send(protocol::ControlledShutdownRequest request, Done<protocol::ControlledShutdownResponse> done) {
  using Response = protocol::ControlledShutdownResponse;
  constexpr int16_t kVersion = protocol::ControlledShutdownRequest::kMaxVersion;
  State::send<Response>(state_, std::move(request), kVersion, std::move(done), [](controller::Controller& local, auto asked, Done<Response> reply) {
    local.controlled_shutdown(std::move(asked), [reply = std::move(reply)](Response response) mutable { reply(std::move(response)); });
  });
}

}  // namespace odradek::app
