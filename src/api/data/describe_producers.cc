// DescribeProducers: the producers that a leader remembers, with their last sequence and open transaction.
#include "api/data/handlers.h"
#include "api/handler/answer.h"
#include "model/repeats.h"
#include "protocol/messages/describe_producers.h"
#include "replication/replica_manager.h"

namespace odradek::api {

void handle_describe_producers(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DescribeProducersRequest>(request);
  if (!asked) return;
  protocol::DescribeProducersResponse response;
  Repeats<std::pair<std::string_view, int32_t>> repeats;
  for (const auto& topic : asked->topics) {
    auto& answered = response.topics.emplace_back();
    answered.name = topic.name;
    for (int32_t index : topic.partition_indexes) {
      auto& entry = answered.partitions.emplace_back();
      entry.partition_index = index;
      if (std::string fault = topic_name_fault(topic.name); !fault.empty()) {
        entry.error_code = wire(ErrorCode::kInvalidTopicException);
        entry.error_message = std::move(fault);
        continue;
      }
      if (repeats.too_often({topic.name, index})) {
        entry.error_code = wire(ErrorCode::kInvalidRequest);
        continue;
      }
      auto partition = services.replicas.leader_or_error({topic.name, index}, kNoLeaderEpoch);
      if (!partition) {
        entry.error_code = wire(partition.error().code);
        if (partition.error().code == ErrorCode::kUnknownTopicOrPartition) entry.error_message = "This server does not host this topic-partition.";
        continue;
      }
      for (const auto& producer : (*partition)->log()->active_producers()) {
        auto& listed = entry.active_producers.emplace_back();
        listed.producer_id = producer.producer_id.value;
        listed.producer_epoch = producer.producer_epoch;
        listed.last_sequence = producer.last_sequence;
        listed.last_timestamp = producer.last_timestamp;
        listed.coordinator_epoch = producer.coordinator_epoch;
        listed.current_txn_start_offset = producer.current_txn_first_offset.value;
      }
    }
  }
  request->finish(response);
}

}  // namespace odradek::api
