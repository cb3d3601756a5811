// DeleteRecords: moves the log start of partitions; answered when every live replica has followed or the time is over.
#include <map>

#include "api/data/handlers.h"
#include "api/handler/answer.h"
#include "protocol/messages/delete_records.h"
#include "replication/replica_manager.h"

namespace odradek::api {

void handle_delete_records(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DeleteRecordsRequest>(request);
  if (!asked) return;
  // What is named twice counts as named last, and is answered once.
  std::map<std::string, std::map<int32_t, int64_t>> wanted;
  for (const auto& topic : asked->topics) {
    for (const auto& partition : topic.partitions) wanted[topic.name][partition.partition_index] = partition.offset;
  }
  std::vector<replication::ReplicaManager::Deletion> deletions;
  for (const auto& [topic, partitions] : wanted) {
    if (is_internal_topic(topic)) continue;
    for (const auto& [partition, offset] : partitions) deletions.push_back({{topic, partition}, {offset}});
  }
  const int32_t timeout_ms = asked->timeout_ms;
  struct Waiting {
    request::RequestPtr request;
    std::map<std::string, std::map<int32_t, int64_t>> wanted;
  };
  auto waiting = std::make_unique<Waiting>(std::move(request), std::move(wanted));
  services.replicas.delete_records(std::move(deletions), timeout_ms,
                                   [waiting = std::move(waiting)](std::vector<replication::ReplicaManager::Deleted> results) {
    protocol::DeleteRecordsResponse response;
    size_t next = 0;
    for (const auto& [topic, partitions] : waiting->wanted) {
      auto& answered = response.topics.emplace_back();
      answered.name = topic;
      for (const auto& [partition, offset] : partitions) {
        auto& entry = answered.partitions.emplace_back();
        entry.partition_index = partition;
        if (is_internal_topic(topic)) {
          entry.error_code = wire(ErrorCode::kInvalidTopicException);
          entry.low_watermark = -1;
          continue;
        }
        const auto& result = results[next++];
        entry.error_code = wire(result.error);
        entry.low_watermark = result.low_watermark.value;
      }
    }
    waiting->request->finish(response);
  });
}

}  // namespace odradek::api
