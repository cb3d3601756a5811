#include "client/broker_link.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "model/error_code.h"
#include "protocol/messages/api_versions.h"

namespace odradek::client {

using protocol::ApiKey;

struct BrokerLink::State : std::enable_shared_from_this<BrokerLink::State> {
  State(base::Executor& e, net::Endpoint a, BrokerLinkOptions o) : executor(e), address(std::move(a)), options(std::move(o)) {}

  struct Later {
    Wanted wanted;
    Encode encode;
    Take take;
  };

  void ask_versions(int16_t version) {
    protocol::ApiVersionsRequest request;
    request.client_software_name = "odradek";
    request.client_software_version = options.software_version;
    protocol::RequestHeader header{.request_api_version = version, .correlation_id = next_correlation_id++, .client_id = options.client_id};
    int32_t id = header.correlation_id;
    send(ApiKey::kApiVersions, version, id, protocol::encode_request(std::move(header), request), options.request_timeout,
         [weak = weak_from_this(), version](Result<Raw> raw) -> Result<void> {
           auto self = weak.lock();
           if (!self) return {};
           if (!raw) {
             self->versions_failed(raw.error());
             return {};
           }
           return self->on_versions(*raw, version);
         });
  }

  Result<void> on_versions(const Raw& raw, int16_t version) {
    MutableByteView body = raw.frame.bytes().subspan(raw.body_at);
    // A broker that does not know this version answers in v0.
    bool refused = body.size() >= 2 && base::load_be<int16_t>(body.data()) == static_cast<int16_t>(ErrorCode::kUnsupportedVersion);
    if (refused && version != 0) {
      ask_versions(0);
      return {};
    }
    auto answer = protocol::decode_body<protocol::ApiVersionsResponse>(body, version);
    Error why;
    if (!answer) {
      why = answer.error();
    } else if (answer->error_code != 0) {
      why = {static_cast<ErrorCode>(answer->error_code), address.to_string() + " refused ApiVersions"};
    } else {
      for (const auto& api : answer->api_keys) versions[api.api_key] = {api.min_version, api.max_version};
      versions_known = true;
      for (Later& one : std::exchange(later, {})) {
        auto header = next_header(one.wanted);
        if (!header) {
          (void)one.take(fail(header.error()));
          continue;
        }
        int16_t chosen = header->request_api_version;
        int32_t id = header->correlation_id;
        send(one.wanted.key, chosen, id, one.encode(std::move(*header)), one.wanted.timeout, std::move(one.take));
      }
      return {};
    }
    versions_failed(why);
    return fail(std::move(why));
  }

  void versions_failed(const Error& why) {
    for (Later& one : std::exchange(later, {})) (void)one.take(fail(why));
  }

  Result<protocol::RequestHeader> next_header(const Wanted& wanted) {
    int16_t version = wanted.high;
    if (options.ask_versions) {
      auto found = versions.find(static_cast<int16_t>(wanted.key));
      if (found != versions.end()) version = std::min(version, found->second.second);
      if (found == versions.end() || version < std::max(wanted.low, found->second.first)) {
        return fail(ErrorCode::kUnsupportedVersion, address.to_string() + " does not serve " + std::string(name_of(wanted.key)) + " in a version known here");
      }
    }
    return protocol::RequestHeader{.request_api_version = version, .correlation_id = next_correlation_id++, .client_id = options.client_id};
  }

  void send(ApiKey key, int16_t version, int32_t correlation_id, base::Output request, std::chrono::milliseconds timeout, Take take) {
    ++in_flight;
    link->send(std::move(request), timeout, [weak = weak_from_this(), key, version, correlation_id, take = std::move(take)](Result<net::Answer> answer) mutable {
      auto self = weak.lock();
      if (self) --self->in_flight;
      auto broken = take_answer(key, version, correlation_id, std::move(answer), take);
      if (!broken && self && self->link) self->link->fail_all(broken.error());
    });
  }

  static Result<void> take_answer(ApiKey key, int16_t version, int32_t correlation_id, Result<net::Answer> answer, Take& take) {
    if (!answer) return take(fail(answer.error()));
    Raw raw{std::move(*answer), 0, version};
    auto id = protocol::decode_response_header(raw.frame.bytes(), key, version, raw.body_at);
    Error why;
    if (!id) {
      why = id.error();
    } else if (*id != correlation_id) {
      why = {ErrorCode::kCorruptMessage, "answer " + std::to_string(*id) + " came where " + std::to_string(correlation_id) + " was next"};
    } else {
      return take(std::move(raw));
    }
    (void)take(fail(why));
    return fail(std::move(why));
  }

  // What waits for the versions hears of the end as the rest does, from the executor.
  void close() {
    for (Later& one : std::exchange(later, {})) {
      refuse({ErrorCode::kNetworkException, "the connection to " + address.to_string() + " was given up"}, std::move(one.take));
    }
    link.reset();
  }

  void refuse(Error why, Take take) {
    executor.post([why = std::move(why), take = std::move(take)]() mutable { (void)take(fail(std::move(why))); });
  }

  base::Executor& executor;
  const net::Endpoint address;
  const BrokerLinkOptions options;
  std::unique_ptr<net::Link> link;
  int32_t next_correlation_id = 0;
  size_t in_flight = 0;
  bool versions_known = false;
  std::map<int16_t, std::pair<int16_t, int16_t>> versions;  // lowest, highest, by API key
  std::deque<Later> later;                                   // until the versions are known
};

BrokerLink::BrokerLink(net::Links& links, base::Executor& executor, const net::Endpoint& to, BrokerLinkOptions options)
    : state_(std::make_shared<State>(executor, to, std::move(options))) {
  state_->link = links.open(to, state_->options.link, executor);
  if (state_->options.ask_versions) state_->ask_versions(protocol::ApiVersionsRequest::kMaxVersion);
}

BrokerLink::~BrokerLink() {
  base::Executor& executor = state_->executor;
  if (executor.on_this_executor()) {
    state_->close();
  } else {
    executor.post([state = std::move(state_)] { state->close(); });
  }
}

bool BrokerLink::broken() const { return state_->link->broken(); }
size_t BrokerLink::in_flight() const { return state_->in_flight + state_->later.size(); }
int64_t BrokerLink::received_bytes() const { return state_->link->received_bytes(); }
const net::Endpoint& BrokerLink::address() const { return state_->address; }
std::chrono::milliseconds BrokerLink::request_timeout() const { return state_->options.request_timeout; }

// A link that broke before the versions came says so with the next request.
bool BrokerLink::versions_known() const { return !state_->options.ask_versions || state_->versions_known || state_->link->broken(); }
Result<protocol::RequestHeader> BrokerLink::next_header(const Wanted& wanted) {
  if (state_->options.ask_versions && !state_->versions_known) {
    return fail(ErrorCode::kNetworkException, "the connection to " + state_->address.to_string() + " is broken");
  }
  return state_->next_header(wanted);
}

void BrokerLink::send(const Wanted& wanted, int16_t version, int32_t correlation_id, base::Output request, Take take) {
  state_->send(wanted.key, version, correlation_id, std::move(request), wanted.timeout, std::move(take));
}

void BrokerLink::send_later(const Wanted& wanted, Encode encode, Take take) {
  state_->later.push_back({wanted, std::move(encode), std::move(take)});
}

void BrokerLink::refuse(Error why, Take take) { state_->refuse(std::move(why), std::move(take)); }

}  // namespace odradek::client
