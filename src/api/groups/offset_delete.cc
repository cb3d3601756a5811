// OffsetDelete: removes committed offsets of topics that the group does not read.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/groups/unknown_partitions.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "metadata/image/image.h"
#include "protocol/messages/offset_delete.h"

namespace odradek::api {

void handle_offset_delete(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::OffsetDeleteRequest>(request);
  if (!asked) return;
  using Topic = protocol::OffsetDeleteResponse::OffsetDeleteResponseTopic;
  const auto image = services.image.current();
  std::vector<Topic> unknown = take_unknown_partitions<Topic>(*image, asked->topics);
  auto finish = [unknown = std::move(unknown), request = std::move(request)](protocol::OffsetDeleteResponse response) mutable {
    if (response.error_code == 0) merge_topics(response.topics, std::move(unknown));
    request->finish(response);
  };
  // Even without a topic: an error of the group is the answer then.
  services.groups.delete_offsets(std::move(*asked), coordinator::ClientInfo{}, std::move(finish));
}

}  // namespace odradek::api
