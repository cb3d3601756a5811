// DeleteRecords: moves the log start of partitions; answered when every live replica has followed or the time is over.
#include "api/answer.h"
#include "api/handlers.h"
#include "protocol/messages/delete_records.h"
#include "replication/replica_manager.h"

namespace odradek::api {

void handle_delete_records(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DeleteRecordsRequest>(request);
  if (!asked) return;
  std::vector<replication::ReplicaManager::Deletion> deletions;
  for (const auto& topic : asked->topics) {
    for (const auto& partition : topic.partitions) {
      if (!is_internal_topic(topic.name)) deletions.push_back({{topic.name, partition.partition_index}, {partition.offset}});
    }
  }
  const int32_t timeout_ms = asked->timeout_ms;
  struct Waiting {
    request::RequestPtr request;
    protocol::DeleteRecordsRequest asked;
  };
  auto waiting = std::make_unique<Waiting>(std::move(request), std::move(*asked));
  services.replicas.delete_records(std::move(deletions), timeout_ms,
                                   [waiting = std::move(waiting)](std::vector<replication::ReplicaManager::Deleted> results) {
    protocol::DeleteRecordsResponse response;
    size_t next = 0;
    for (const auto& topic : waiting->asked.topics) {
      auto& answered = response.topics.emplace_back();
      answered.name = topic.name;
      for (const auto& partition : topic.partitions) {
        auto& entry = answered.partitions.emplace_back();
        entry.partition_index = partition.partition_index;
        if (is_internal_topic(topic.name)) {
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
