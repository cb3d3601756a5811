#include "app/leader_links.h"

#include "model/error_code.h"
#include "protocol/header.h"

namespace odradek::app {
namespace {

using replication::LinkAnswer;

class NetworkLeaderLink final : public replication::LeaderLink {
 public:
  // `link` null: `why` it cannot be.
  NetworkLeaderLink(base::Executor& executor, std::unique_ptr<net::Link> link, Error why, std::string client_id, std::chrono::milliseconds timeout)
      : executor_(executor), link_(std::move(link)), why_(std::move(why)), client_id_(std::move(client_id)), timeout_(timeout) {}

  void fetch(protocol::FetchRequest request, int16_t version, Done<protocol::FetchResponse> done) override { send(request, version, std::move(done)); }
  void list_offsets(protocol::ListOffsetsRequest request, Done<protocol::ListOffsetsResponse> done) override {
    send(request, replication::kFollowerListOffsetsVersion, std::move(done));
  }
  std::chrono::microseconds round_trip() const override { return link_ == nullptr ? std::chrono::microseconds{} : link_->round_trip(); }

 private:
  template <class Request, class Response>
  void send(const Request& request, int16_t version, Done<Response> done) {
    if (link_ == nullptr) {
      executor_.post([why = why_, done = std::move(done)]() mutable { done(fail(std::move(why))); });
      return;
    }
    const int32_t id = next_correlation_id_++;
    protocol::RequestHeader header{.request_api_version = version, .correlation_id = id, .client_id = client_id_};
    link_->send(protocol::encode_request(std::move(header), request), timeout_,
                [weak = std::weak_ptr<net::Link>(link_), id, version, done = std::move(done)](Result<net::Answer> answer) mutable {
                  auto read = decode<Response>(std::move(answer), id, version);
                  if (!read) {
                    // Nothing that follows could be trusted.
                    if (auto link = weak.lock()) link->fail_all(read.error());
                  }
                  done(std::move(read));
                });
  }

  template <class Response>
  static Result<LinkAnswer<Response>> decode(Result<net::Answer> answer, int32_t id, int16_t version) {
    if (!answer) return fail(answer.error());
    auto frame = std::make_shared<net::Answer>(std::move(*answer));  // shared: with whoever holds the records
    size_t used = 0;
    auto answered = protocol::decode_response_header(frame->bytes(), Response::kKey, version, used);
    if (!answered) return fail(answered.error());
    if (*answered != id) return fail(ErrorCode::kCorruptMessage, "answer " + std::to_string(*answered) + " came where " + std::to_string(id) + " was next");
    auto message = protocol::decode_body<Response>(frame->bytes().subspan(used), version);
    if (!message) return fail(message.error());
    return LinkAnswer<Response>{std::move(frame), std::move(*message)};
  }

  base::Executor& executor_;
  const std::shared_ptr<net::Link> link_;  // shared with answers that are being worked off
  const Error why_;
  const std::string client_id_;
  const std::chrono::milliseconds timeout_;
  int32_t next_correlation_id_ = 0;
};

class NetworkLeaderLinks final : public replication::LeaderLinks {
 public:
  NetworkLeaderLinks(base::Runtime& runtime, net::Links& links, metadata::ImageHolder& image, LeaderLinkOptions options)
      : links_(links), image_(image), options_(std::move(options)), executor_(runtime.make_executor("fetch-answers", 1)) {}

  std::unique_ptr<replication::LeaderLink> open(const replication::LinkTarget& target) override {
    auto image = image_.current();
    const metadata::BrokerImage* leader = image->find_broker(target.leader);
    const metadata::Endpoint* endpoint = leader == nullptr ? nullptr : leader->endpoint(options_.listener);
    std::unique_ptr<net::Link> link;
    Error why;
    if (endpoint != nullptr) {
      net::LinkOptions how = options_.link;
      how.protocol = endpoint->protocol;
      link = links_.open({endpoint->host, endpoint->port}, how, *executor_);
    } else {
      why = {ErrorCode::kBrokerNotAvailable, "broker " + std::to_string(target.leader.value) + (leader == nullptr ? " is not alive" : " has no listener " + options_.listener)};
    }
    std::string client_id = "broker-" + std::to_string(options_.self.value) + "-fetcher-" + std::to_string(target.fetcher);
    return std::make_unique<NetworkLeaderLink>(*executor_, std::move(link), std::move(why), std::move(client_id), options_.request_timeout);
  }

 private:
  net::Links& links_;
  metadata::ImageHolder& image_;
  const LeaderLinkOptions options_;
  std::unique_ptr<base::Executor> executor_;
};

}  // namespace

std::unique_ptr<replication::LeaderLinks> make_leader_links(base::Runtime& runtime, net::Links& links, metadata::ImageHolder& image,
                                                            LeaderLinkOptions options) {
  return std::make_unique<NetworkLeaderLinks>(runtime, links, image, std::move(options));
}

}  // namespace odradek::app
