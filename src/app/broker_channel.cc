#include "app/broker_channel.h"

#include "model/error_code.h"

namespace odradek::app {
namespace {

class NetworkChannel final : public controller::BrokerChannel {
 public:
  NetworkChannel(base::Executor& metadata, net::Links& links, const metadata::BrokerInfo& to, const BrokerChannelOptions& options)
      : executor_(metadata), links_(links), listener_(options.listener), name_("broker " + std::to_string(to.id.value)) {
    how_.client_id = std::to_string(options.self.value);
    how_.link = options.link;
    how_.request_timeout = options.request_timeout;
    for (const metadata::Endpoint& endpoint : to.endpoints) {
      if (endpoint.listener != options.listener) continue;
      address_ = {endpoint.host, endpoint.port};
      how_.link.protocol = endpoint.protocol;
    }
  }

  void send(const protocol::LeaderAndIsrRequest& request, Reply<protocol::LeaderAndIsrResponse> done) override { ask(request, std::move(done)); }
  void send(const protocol::UpdateMetadataRequest& request, Reply<protocol::UpdateMetadataResponse> done) override { ask(request, std::move(done)); }
  void send(const protocol::StopReplicaRequest& request, Reply<protocol::StopReplicaResponse> done) override { ask(request, std::move(done)); }

 private:
  template <class Request, class Response>
  void ask(const Request& request, Reply<Response> done) {
    if (address_.port == 0) return done(fail(ErrorCode::kBrokerNotAvailable, name_ + " has no listener " + listener_));
    if (link_ == nullptr || link_->broken()) {
      link_.reset();
      link_ = std::make_unique<client::BrokerLink>(links_, executor_, address_, how_);
    }
    link_->ask<Response>(request, Request::kMaxVersion, [done = std::move(done), name = name_](Result<client::LinkAnswer<Response>> answer) mutable {
      if (!answer) return done(fail(answer.error().code, name + ": " + answer.error().what, answer.error().os_error));
      done(std::move(answer->message));
    });
  }

  base::Executor& executor_;
  net::Links& links_;
  const std::string listener_, name_;
  net::Endpoint address_;
  client::BrokerLinkOptions how_;
  std::unique_ptr<client::BrokerLink> link_;
};

}  // namespace

std::unique_ptr<controller::BrokerChannel> make_network_channel(base::Executor& metadata, net::Links& links, const metadata::BrokerInfo& to,
                                                                const BrokerChannelOptions& options) {
  return std::make_unique<NetworkChannel>(metadata, links, to, options);
}

}  // namespace odradek::app
