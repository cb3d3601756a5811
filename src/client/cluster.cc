#include "client/cluster.h"

#include <algorithm>

#include "protocol/messages/find_coordinator.h"

namespace odradek::client {
namespace {

template <class... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <class... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

Error error_of_code(int16_t code, const std::string& what) {
  auto error = static_cast<ErrorCode>(code);
  return {error, what + ": " + std::string(name_of(error))};
}

}  // namespace

Result<std::unique_ptr<Cluster>> Cluster::make(net::Dialer& dialer, base::Random& random, ClusterOptions options) {
  auto bootstrap = net::parse_endpoints(options.bootstrap);
  if (!bootstrap) return fail(std::move(bootstrap.error()));
  return std::unique_ptr<Cluster>(new Cluster(dialer, random, std::move(options), std::move(*bootstrap)));
}

Result<protocol::MetadataResponse> Cluster::metadata(const std::optional<std::vector<std::string>>& topics) {
  for (Attempts attempts = begin();;) {
    auto answer = ask_metadata(topics);
    if (answer || !again(attempts, AnyBroker{}, answer.error())) return answer;
  }
}

Result<BrokerId> Cluster::leader(const TopicPartition& partition, bool wait) {
  for (Attempts attempts = begin();;) {
    if (auto known = leaders_.find(partition); known != leaders_.end()) return known->second;
    Error error{ErrorCode::kLeaderNotAvailable, partition.to_string() + " has no leader"};
    if (auto answer = ask_metadata({{partition.topic}}); !answer) {
      error = std::move(answer.error());
    } else if (leaders_.contains(partition)) {
      continue;
    } else {
      for (const auto& topic : answer->topics) {
        if (topic.error_code != 0) error = error_of_code(topic.error_code, "topic " + partition.topic);
        bool missing = std::none_of(topic.partitions.begin(), topic.partitions.end(),
                                    [&](const auto& each) { return each.partition_index == partition.partition; });
        if (topic.error_code == 0 && missing) error = {ErrorCode::kUnknownTopicOrPartition, partition.to_string() + " does not exist"};
      }
    }
    if (!wait && error.code == ErrorCode::kLeaderNotAvailable) return fail(std::move(error));
    if (!again(attempts, TheLeader{partition}, error)) return fail(std::move(error));
  }
}

Result<BrokerId> Cluster::coordinator(CoordinatorType type, const std::string& key) {
  for (Attempts attempts = begin();;) {
    auto id = ask_coordinator(type, key);
    if (id || !again(attempts, TheCoordinator{type, key}, id.error())) return id;
  }
}

Result<Connection*> Cluster::connect(const Target& target) {
  auto held = hold(target);
  if (!held) return fail(std::move(held.error()));
  return held->get();
}

Result<std::shared_ptr<Connection>> Cluster::hold(const Target& target) {
  return std::visit(
      Overloaded{
          [&](const AnyBroker&) { return any(); },
          [&](const TheController&) -> Result<std::shared_ptr<Connection>> {
            if (controller_ == kNoBroker) {
              if (auto answer = ask_metadata(std::vector<std::string>{}); !answer) return fail(std::move(answer.error()));
            }
            if (controller_ == kNoBroker) return fail(ErrorCode::kNotController, "the cluster has no controller now");
            return broker(controller_);
          },
          [&](const TheBroker& asked) { return broker(asked.id); },
          [&](const TheLeader& asked) -> Result<std::shared_ptr<Connection>> {
            auto id = leader(asked.partition);
            if (!id) return fail(std::move(id.error()));
            return broker(*id);
          },
          [&](const TheCoordinator& asked) -> Result<std::shared_ptr<Connection>> {
            auto id = ask_coordinator(asked.type, asked.key);
            if (!id) return fail(std::move(id.error()));
            return broker(*id);
          },
      },
      target);
}

int64_t Cluster::backoff_ns(int count) const {
  int64_t pause_ms = std::min(options_.backoff_max.count(), options_.backoff_min.count() << std::min(count, 20));
  return pause_ms * (800'000 + static_cast<int64_t>(random_.below(400'001)));
}

bool Cluster::again(Attempts& attempts, const Target& target, const Error& error) {
  // Who asks for one broker by its id means that one; whoever else left the cluster has a successor.
  if (!(std::holds_alternative<TheBroker>(target) ? is_retriable(error.code) : may_pass(error.code))) return false;
  bool unknown_topic = error.code == ErrorCode::kUnknownTopicOrPartition || error.code == ErrorCode::kUnknownTopicId;
  int64_t patience_ms = (unknown_topic ? options_.patience_unknown_topic : options_.patience).count();
  int64_t pause_ns = backoff_ns(attempts.count);
  int64_t now_ns = dialer_.clock().monotonic_ns();
  if (now_ns + pause_ns - attempts.start_ns > patience_ms * 1'000'000) return false;
  ++attempts.count;
  std::visit(Overloaded{
                 [](const AnyBroker&) {},
                 [&](const TheController&) { controller_ = kNoBroker; },
                 [&](const TheBroker& stale) { brokers_.erase(stale.id); },
                 [&](const TheLeader& stale) { leaders_.erase(stale.partition); },
                 [&](const TheCoordinator& stale) { coordinators_.erase({stale.type, stale.key}); },
             },
             target);
  dialer_.pause_until(now_ns + pause_ns);
  return true;
}

Result<std::shared_ptr<Connection>> Cluster::any() {
  for (auto& [address, connection] : connections_) {
    if (!connection->broken()) return connection;
  }
  Result<std::shared_ptr<Connection>> result = fail(ErrorCode::kNetworkException, "no broker can be reached");
  std::vector<net::Endpoint> known = bootstrap_;
  for (const auto& [id, broker] : brokers_) known.push_back(broker.address);
  for (const net::Endpoint& address : known) {
    result = open(address);
    if (result) break;
  }
  return result;
}

Result<std::shared_ptr<Connection>> Cluster::open(const net::Endpoint& address) {
  auto& place = connections_[address];
  if (place != nullptr && !place->broken()) return place;
  auto opened = Connection::open(dialer_, address, options_.connection);
  if (!opened) {
    connections_.erase(address);
    return fail(std::move(opened.error()));
  }
  place = std::move(*opened);
  return place;
}

Result<std::shared_ptr<Connection>> Cluster::broker(BrokerId id) {
  if (!brokers_.contains(id)) {
    if (auto answer = ask_metadata(std::vector<std::string>{}); !answer) return fail(std::move(answer.error()));
  }
  auto found = brokers_.find(id);
  if (found == brokers_.end()) return fail(ErrorCode::kBrokerNotAvailable, "broker " + std::to_string(id.value) + " is not in the cluster now");
  return open(found->second.address);
}

Result<protocol::MetadataResponse> Cluster::ask_metadata(const std::optional<std::vector<std::string>>& topics) {
  auto connection = any();
  if (!connection) return fail(std::move(connection.error()));
  protocol::MetadataRequest request;
  request.allow_auto_topic_creation = false;
  request.topics.reset();
  if (topics) {
    request.topics.emplace();
    for (const std::string& topic : *topics) request.topics->emplace_back().name = topic;
  }
  auto answer = (*connection)->ask<protocol::MetadataResponse>(request);
  if (!answer) return fail(std::move(answer.error()));
  protocol::MetadataResponse& metadata = answer->message;
  if (metadata.error_code != 0) return fail(error_of_code(metadata.error_code, "Metadata"));
  brokers_.clear();
  for (const auto& broker : metadata.brokers) brokers_[{broker.node_id}] = {{broker.host, broker.port}, broker.rack};
  controller_ = {metadata.controller_id};
  cluster_id_ = metadata.cluster_id.value_or("");
  for (const auto& topic : metadata.topics) {
    for (const auto& partition : topic.partitions) {
      TopicPartition name{topic.name.value_or(""), partition.partition_index};
      BrokerId leader{partition.leader_id};
      if (partition.error_code == 0 && brokers_.contains(leader)) {
        leaders_[name] = leader;
      } else {
        leaders_.erase(name);
      }
    }
  }
  return std::move(metadata);
}

Result<BrokerId> Cluster::ask_coordinator(CoordinatorType type, const std::string& key) {
  if (auto known = coordinators_.find({type, key}); known != coordinators_.end()) return known->second;
  auto connection = any();
  if (!connection) return fail(std::move(connection.error()));
  protocol::FindCoordinatorRequest request;
  request.key_type = static_cast<int8_t>(type);
  request.key = key;  // up to v3
  request.coordinator_keys = {key};
  auto answer = (*connection)->ask<protocol::FindCoordinatorResponse>(request);
  if (!answer) return fail(std::move(answer.error()));
  protocol::FindCoordinatorResponse& found = answer->message;
  protocol::FindCoordinatorResponse::Coordinator one;
  if (answer->version >= 4) {
    if (found.coordinators.size() != 1) return fail(ErrorCode::kUnknownServerError, "FindCoordinator: no answer for " + key);
    one = found.coordinators[0];
  } else {
    one.error_code = found.error_code;
    one.node_id = found.node_id;
    one.host = found.host;
    one.port = found.port;
  }
  if (one.error_code != 0) return fail(error_of_code(one.error_code, "coordinator of " + key));
  BrokerId id{one.node_id};
  brokers_.try_emplace(id, Broker{{one.host, one.port}, {}});
  coordinators_[{type, key}] = id;
  return id;
}

}  // namespace odradek::client
