// OffsetCommit: v1 and later go to the group's coordinator; v0 writes the metadata tree (consumer_offsets_tree.h).
// Pending until the offsets are safe, so that a client's next request finds them.
#include <atomic>

#include "api/groups/consumer_offsets_tree.h"
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/groups/unknown_partitions.h"
#include "api/handler/answer.h"
#include "config/config.h"
#include "coordinator/group/group_coordinator.h"
#include "metadata/image/image.h"
#include "model/repeats.h"
#include "protocol/messages/offset_commit.h"

namespace odradek::api {

namespace {

using Topic = protocol::OffsetCommitResponse::OffsetCommitResponseTopic;

// The answer to a v0 request, filled by the replies of the store.
struct TreeCommit {
  request::RequestPtr request;
  protocol::OffsetCommitResponse response;
  std::atomic<size_t> left{1};  // one for the loop that starts them
  void done() {
    // The last one sees what the others wrote.
    if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) request->finish(response);
  }
};

void commit_to_tree(Services& services, request::RequestPtr request, const protocol::OffsetCommitRequest& asked) {
  const auto image = services.image.current();
  const auto limit = static_cast<size_t>(services.config.current()->get_int("offset.metadata.max.bytes"));
  auto commit = std::make_shared<TreeCommit>();  // shared: by the replies
  commit->request = std::move(request);
  Repeats<std::pair<std::string_view, int32_t>> repeats;
  auto& topics = commit->response.topics;
  topics.resize(asked.topics.size());
  for (size_t t = 0; t < topics.size(); ++t) {
    const auto& from = asked.topics[t];
    topics[t].name = from.name;
    topics[t].partitions.resize(from.partitions.size());
    for (size_t p = 0; p < from.partitions.size(); ++p) {
      const auto& partition = from.partitions[p];
      auto& to = topics[t].partitions[p];
      to.partition_index = partition.partition_index;
      auto path = consumer_offset_path(asked.group_id, from.name, partition.partition_index);
      if (image->find_partition(from.name, partition.partition_index) == nullptr) {
        to.error_code = wire(ErrorCode::kUnknownTopicOrPartition);
      } else if (partition.committed_metadata && partition.committed_metadata->size() > limit) {
        to.error_code = wire(ErrorCode::kOffsetMetadataTooLarge);
      } else if (!path) {
        to.error_code = wire(ErrorCode::kInvalidGroupId);
      } else if (repeats.too_often({from.name, partition.partition_index})) {
        to.error_code = wire(ErrorCode::kInvalidRequest);
      } else {
        commit->left.fetch_add(1, std::memory_order_relaxed);
        write_consumer_offset(services.store, std::move(*path), partition.committed_offset, [commit, &to](ErrorCode error) {
          to.error_code = wire(error);
          commit->done();
        });
      }
    }
  }
  commit->done();
}

}  // namespace

void handle_offset_commit(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::OffsetCommitRequest>(request);
  if (!asked) return;
  if (request->version() == 0) return commit_to_tree(services, std::move(request), *asked);
  if (!is_storable(asked->group_id)) return refuse(std::move(request), Error{ErrorCode::kInvalidRequest, "OffsetCommit with a group id that is too long to be stored"});

  const auto image = services.image.current();
  std::vector<Topic> unknown = take_unknown_partitions<Topic>(*image, asked->topics);
  const coordinator::ClientInfo client = client_info(*request);
  auto finish = [unknown = std::move(unknown), request = std::move(request)](protocol::OffsetCommitResponse response) mutable {
    merge_topics(response.topics, std::move(unknown));
    request->finish(response);
  };
  if (asked->topics.empty()) return finish({});
  services.groups.commit_offsets(std::move(*asked), client, std::move(finish));
}

}  // namespace odradek::api
