// FindCoordinator: the leader of the partition of __consumer_offsets that a group belongs to; the topic is made at the first look-up.
// Transactions are not served: their coordinator is refused with words, and with an error that the client that asks takes as final.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/addresses.h"
#include "api/handler/answer.h"
#include "controller/topic_admin.h"
#include "coordinator/group/group_coordinator.h"
#include "metadata/image/image.h"
#include "protocol/messages/find_coordinator.h"

namespace odradek::api {

namespace {

using protocol::FindCoordinatorRequest;
using protocol::FindCoordinatorResponse;

struct Found {
  ErrorCode error = ErrorCode::kCoordinatorNotAvailable;
  std::string message;
  int32_t node = -1;
  Address address{"", -1};
};

Found find(Services& services, const request::ConnectionInfo& client, const metadata::ClusterImage& image, int16_t version, int8_t key_type,
           const std::string& key) {
  Found found;
  if (key_type == 1) {
    // librdkafka, which asks in v0 to v2, tries again for ever after any error but this one. Java's clients take both as final and show
    // the words only beside the other.
    found.error = version <= 2 ? ErrorCode::kTransactionalIdAuthorizationFailed : ErrorCode::kUnsupportedVersion;
    found.message = "Transactions are not served by this broker yet; use a producer without transactional.id.";
    return found;
  }
  if (key_type != 0) {
    // Type 2, share groups, is known from v6 on.
    if (key_type == 2 && version >= 6) return found;
    found.error = ErrorCode::kInvalidRequest;
    found.message = "Unknown coordinator key type " + std::to_string(key_type);
    return found;
  }
  const metadata::PartitionImage* partition = image.find_partition(kGroupMetadataTopic, services.groups.partition_for(key));
  const metadata::BrokerImage* leader = partition == nullptr ? nullptr : image.find_broker(partition->leader);
  if (leader == nullptr) return found;
  auto address = address_of(*leader, client);
  if (!address) return found;
  found.error = ErrorCode::kNone;
  found.node = leader->id.value;
  found.address = std::move(*address);
  return found;
}

}  // namespace

void handle_find_coordinator(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<FindCoordinatorRequest>(request);
  if (!asked || names_too_many(request, asked->coordinator_keys.size())) return;
  const auto image = services.image.current();
  if (asked->key_type == 0 && image->find_topic(kGroupMetadataTopic) == nullptr) {
    // The answer does not wait: the client asks again.
    services.topic_admin.auto_create(std::string(kGroupMetadataTopic), [](ErrorCode error) {
      if (error != ErrorCode::kNone) log::warn("api", "{} could not be created: {}", kGroupMetadataTopic, name_of(error));
    });
  }
  FindCoordinatorResponse response;
  auto describe = [](const Found& found) { return found.message.empty() ? std::string(name_of(found.error)) : found.message; };
  if (request->version() < 4) {
    Found found = find(services, request->connection(), *image, request->version(), asked->key_type, asked->key);
    response.error_code = wire(found.error);
    response.error_message = describe(found);
    response.node_id = found.node;
    response.host = found.address.host;
    response.port = found.address.port;
  } else {
    for (const std::string& key : asked->coordinator_keys) {
      Found found = find(services, request->connection(), *image, request->version(), asked->key_type, key);
      auto& row = response.coordinators.emplace_back();
      row.key = key;
      row.error_code = wire(found.error);
      if (found.error != ErrorCode::kNone) row.error_message = describe(found);
      row.node_id = found.node;
      row.host = found.address.host;
      row.port = found.address.port;
    }
  }
  request->finish(response);
}

}  // namespace odradek::api
