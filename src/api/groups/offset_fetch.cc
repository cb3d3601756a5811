// OffsetFetch: v1 and later ask the group's coordinator; v0 reads the metadata tree (consumer_offsets_tree.h).
#include <atomic>

#include "api/groups/consumer_offsets_tree.h"
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "metadata/image/image.h"
#include "model/repeats.h"
#include "protocol/messages/offset_fetch.h"

namespace odradek::api {

namespace {

// The answer to a v0 request, filled by the replies of the store.
struct TreeFetch {
  request::RequestPtr request;
  protocol::OffsetFetchResponse response;
  std::atomic<size_t> left{1};  // one for the loop that starts them
  void done() {
    // The last one sees what the others wrote.
    if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) request->finish(response);
  }
};

void fetch_from_tree(Services& services, request::RequestPtr request, const protocol::OffsetFetchRequest& asked) {
  const auto image = services.image.current();
  auto fetch = std::make_shared<TreeFetch>();  // shared: by the replies
  fetch->request = std::move(request);
  Repeats<std::pair<std::string_view, int32_t>> repeats;
  auto& topics = fetch->response.topics;
  topics.resize(asked.topics->size());  // null only from v2 on
  for (size_t t = 0; t < topics.size(); ++t) {
    const auto& from = (*asked.topics)[t];
    topics[t].name = from.name;
    topics[t].partitions.resize(from.partition_indexes.size());
    for (size_t p = 0; p < from.partition_indexes.size(); ++p) {
      auto& to = topics[t].partitions[p];
      to.partition_index = from.partition_indexes[p];
      to.committed_offset = -1;
      auto path = consumer_offset_path(asked.group_id, from.name, to.partition_index);
      if (image->find_partition(from.name, to.partition_index) == nullptr || !path) {
        to.error_code = wire(ErrorCode::kUnknownTopicOrPartition);
        continue;
      }
      if (repeats.too_often({from.name, to.partition_index})) {
        to.error_code = wire(ErrorCode::kInvalidRequest);
        continue;
      }
      fetch->left.fetch_add(1, std::memory_order_relaxed);
      read_consumer_offset(services.store, std::move(*path), [fetch, &to](ErrorCode error, int64_t offset) {
        to.error_code = wire(error);
        to.committed_offset = offset;
        fetch->done();
      });
    }
  }
  fetch->done();
}

}  // namespace

void handle_offset_fetch(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::OffsetFetchRequest>(request);
  if (!asked) return;
  size_t named = 0;
  auto count = [&](const auto& topics) {
    if (!topics) return;
    for (const auto& topic : *topics) named += topic.partition_indexes.size();
  };
  count(asked->topics);
  for (const auto& group : asked->groups) count(group.topics);
  if (names_too_many(request, named + asked->groups.size())) return;
  if (request->version() == 0) return fetch_from_tree(services, std::move(request), *asked);
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.fetch_offsets(std::move(*asked), client,
                                [request = std::move(request)](protocol::OffsetFetchResponse response) { request->finish(response); });
}

}  // namespace odradek::api
