// Metadata: brokers, controller, topics and their leaders, from this broker's image. Missing topics are made if client and broker
// allow it; the client hears LEADER_NOT_AVAILABLE and asks again. Source: behaviours.md §5.
#include <algorithm>
#include <atomic>
#include <memory>
#include <set>

#include "api/handler/addresses.h"
#include "api/handler/answer.h"
#include "api/topics/handlers.h"
#include "config/config.h"
#include "controller/topic_admin.h"
#include "metadata/image/image.h"
#include "protocol/messages/metadata.h"
#include "replication/replica_manager.h"

namespace odradek::api {

namespace {

bool is_loading(const Services& services, const std::string& topic, int32_t partition, bool hasten) {
  return hasten ? services.replicas.hasten(topic, partition) : services.replicas.is_loading(topic, partition);
}

using protocol::MetadataRequest;
using protocol::MetadataResponse;
using Topic = MetadataResponse::MetadataResponseTopic;

// `named`: the client asks for this topic. Its partitions whose logs are still being loaded here come next; until they can be served
// they have no leader for clients, so that these wait without sending anything.
void fill(Topic& to, const metadata::TopicImage& topic, const metadata::ClusterImage& image, const request::RequestContext& request, const Services& services,
          bool named) {
  const int16_t version = request.version();
  to.name = topic.name;
  to.topic_id = topic.id;
  to.is_internal = is_internal_topic(topic.name);
  to.partitions.reserve(topic.partitions.size());
  // v0 names only replicas that are alive; later versions name all, and those that are offline.
  auto ids = [&](const std::vector<BrokerId>& brokers) {
    std::vector<int32_t> named;
    named.reserve(brokers.size());
    for (BrokerId id : brokers) {
      if (version > 0 || image.is_alive(id)) named.push_back(id.value);
    }
    return named;
  };
  for (const metadata::PartitionImage& partition : topic.partitions) {
    auto& row = to.partitions.emplace_back();
    row.partition_index = partition.index;
    row.leader_epoch = partition.leader_epoch.value;
    row.replica_nodes = ids(partition.replicas);
    row.isr_nodes = ids(partition.isr);
    for (BrokerId id : partition.replicas) {
      const metadata::BrokerImage* broker = image.find_broker(id);
      const bool offline = broker == nullptr || broker->endpoint(request.connection().listener) == nullptr ||
                           std::find(partition.offline.begin(), partition.offline.end(), id) != partition.offline.end();
      if (offline) row.offline_replicas.push_back(id.value);
    }
    const metadata::BrokerImage* leader = image.find_broker(partition.leader);
    ErrorCode error = ErrorCode::kNone;
    if (leader == nullptr || (partition.leader == services.self && is_loading(services, topic.name, partition.index, named))) {
      error = ErrorCode::kLeaderNotAvailable;
    } else if (leader->endpoint(request.connection().listener) == nullptr) {
      error = version < 6 ? ErrorCode::kLeaderNotAvailable : ErrorCode::kListenerNotFound;
    } else if (row.replica_nodes.size() < partition.replicas.size() || row.isr_nodes.size() < partition.isr.size()) {
      error = ErrorCode::kReplicaNotAvailable;
    }
    row.error_code = wire(error);
    row.leader_id = leader == nullptr || error == ErrorCode::kListenerNotFound || (error == ErrorCode::kLeaderNotAvailable) ? -1 : partition.leader.value;
  }
}

// One request while its missing topics are made.
struct Asking {
  request::RequestPtr request;
  MetadataRequest asked;
  MetadataResponse response;
  std::atomic<size_t> open{1};  // creations that have not answered, and the handler itself
};

void answer(Services& services, Asking& asking) {
  const auto image = services.image.current();
  const request::RequestContext& request = *asking.request;
  MetadataResponse& response = asking.response;
  for (const metadata::BrokerImage& broker : image->brokers()) {
    auto address = address_of(broker, request.connection());
    if (!address) continue;
    auto& row = response.brokers.emplace_back();
    row.node_id = broker.id.value;
    row.host = address->host;
    row.port = address->port;
    row.rack = broker.rack;
  }
  response.cluster_id = services.cluster_id;
  const metadata::BrokerImage* controller = image->find_broker(image->controller());
  response.controller_id = controller != nullptr && controller->endpoint(request.connection().listener) != nullptr ? controller->id.value : -1;
  if (asking.asked.include_cluster_authorized_operations) response.cluster_authorized_operations = kAllClusterOperations;
  if (asking.asked.include_topic_authorized_operations) {
    for (Topic& topic : response.topics) {
      topic.topic_authorized_operations = kAllTopicOperations;
    }
  }
  asking.request->finish(response);
}

void release(Services& services, const std::shared_ptr<Asking>& asking) {
  if (asking->open.fetch_sub(1, std::memory_order_acq_rel) == 1) answer(services, *asking);
}

}  // namespace

void handle_metadata(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<MetadataRequest>(request);
  if (!asked) return;
  const int16_t version = request->version();
  const auto image = services.image.current();
  // Shared by the creations, which answer on other threads.
  auto asking = std::make_shared<Asking>();
  asking->request = std::move(request);
  asking->asked = std::move(*asked);
  auto& topics = asking->response.topics;

  const bool all = !asking->asked.topics || (version == 0 && asking->asked.topics->empty());
  if (all) {
    const auto known = image->topics();
    topics.reserve(known.size());
    for (const auto& topic : known) fill(topics.emplace_back(), *topic, *image, *asking->request, services, false);
    return release(services, asking);
  }
  // Topics are found by their ids from v12 on; who names an id, or neither id nor name, before that is refused as a whole.
  const auto names_id = [](const auto& wanted) { return !wanted.topic_id.is_zero(); };
  const auto names_nothing = [](const auto& wanted) { return !wanted.name && wanted.topic_id.is_zero(); };
  const auto& named = *asking->asked.topics;
  const bool by_id = version >= 10 && std::any_of(named.begin(), named.end(), names_id);
  if (version >= 10 && (std::any_of(named.begin(), named.end(), names_nothing) || (by_id && version < 12))) {
    for (const auto& wanted : named) {
      auto& row = topics.emplace_back();
      row.name = wanted.name.value_or("");
      row.topic_id = wanted.topic_id;
      row.error_code = wire(version < 12 ? ErrorCode::kInvalidRequest : ErrorCode::kUnknownServerError);
    }
    asking->response.controller_id = -1;
    return asking->request->finish(asking->response);
  }
  const bool may_create = (version < 4 || asking->asked.allow_auto_topic_creation) && services.config.current()->get_bool("auto.create.topics.enable");
  std::set<std::string_view> seen;
  std::set<Uuid> seen_ids;
  std::vector<size_t> missing;  // places in topics
  topics.reserve(asking->asked.topics->size());
  for (const auto& wanted : *asking->asked.topics) {
    // One id makes it a request by ids: names count no more.
    if (by_id) {
      if (wanted.topic_id.is_zero() || !seen_ids.insert(wanted.topic_id).second) continue;
      auto& row = topics.emplace_back();
      if (const metadata::TopicImage* topic = image->find_topic(wanted.topic_id)) {
        fill(row, *topic, *image, *asking->request, services, true);
      } else {
        row.name = std::nullopt;
        row.topic_id = wanted.topic_id;
        row.error_code = wire(ErrorCode::kUnknownTopicId);
      }
      continue;
    }
    if (!seen.insert(*wanted.name).second) continue;
    auto& row = topics.emplace_back();
    if (const metadata::TopicImage* topic = image->find_topic(*wanted.name)) {
      fill(row, *topic, *image, *asking->request, services, true);
      continue;
    }
    row.name = *wanted.name;
    row.is_internal = is_internal_topic(*wanted.name);
    if (!topic_name_fault(*wanted.name).empty()) {
      row.error_code = wire(ErrorCode::kInvalidTopicException);
    } else if (may_create) {
      missing.push_back(topics.size() - 1);
    } else {
      row.error_code = wire(ErrorCode::kUnknownTopicOrPartition);
    }
  }
  asking->open.fetch_add(missing.size(), std::memory_order_relaxed);
  for (size_t at : missing) {
    services.topic_admin.auto_create(*topics[at].name, [&services, asking, at](ErrorCode error) {
      asking->response.topics[at].error_code = wire(error == ErrorCode::kNone ? ErrorCode::kLeaderNotAvailable : error);
      release(services, asking);
    });
  }
  release(services, asking);
}

}  // namespace odradek::api
