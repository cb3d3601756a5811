// OffsetDelete: removes committed offsets of topics that the group does not read.
#include "api/answer.h"
#include "api/group_client.h"
#include "api/handlers.h"
#include "coordinator/group/group_coordinator.h"
#include "metadata/image.h"
#include "protocol/messages/offset_delete.h"

namespace odradek::api {

void handle_offset_delete(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::OffsetDeleteRequest>(request);
  if (!asked) return;
  using Topic = protocol::OffsetDeleteResponse::OffsetDeleteResponseTopic;
  std::vector<Topic> unknown;
  const auto image = services.image.current();
  std::erase_if(asked->topics, [&](const auto& topic) {
    if (image->find_topic(topic.name) != nullptr) return false;
    Topic& answered = unknown.emplace_back();
    answered.name = topic.name;
    for (const auto& partition : topic.partitions) {
      auto& entry = answered.partitions.emplace_back();
      entry.partition_index = partition.partition_index;
      entry.error_code = wire(ErrorCode::kUnknownTopicOrPartition);
    }
    return true;
  });
  auto finish = [unknown = std::move(unknown), request = std::move(request)](protocol::OffsetDeleteResponse response) mutable {
    if (response.error_code == 0) {
      for (auto& topic : unknown) response.topics.push_back(std::move(topic));
    }
    request->finish(response);
  };
  if (asked->topics.empty()) return finish({});
  services.groups.delete_offsets(std::move(*asked), coordinator::ClientInfo{}, std::move(finish));
}

}  // namespace odradek::api
