// OffsetForLeaderEpoch: where an epoch ends in the leader's log, so that a reader finds out where its own log departs from it.
#include "api/data/handlers.h"
#include "api/handler/answer.h"
#include "protocol/messages/offset_for_leader_epoch.h"
#include "replication/replica_manager.h"

namespace odradek::api {

void handle_offset_for_leader_epoch(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::OffsetForLeaderEpochRequest>(request);
  if (!asked) return;
  protocol::OffsetForLeaderEpochResponse response;
  for (const auto& topic : asked->topics) {
    auto& answered = response.topics.emplace_back();
    answered.topic = topic.topic;
    for (const auto& partition : topic.partitions) {
      auto& entry = answered.partitions.emplace_back();
      entry.partition = partition.partition;
      std::shared_ptr<replication::Partition> replica;
      if (ErrorCode error = services.replicas.look_up(topic.topic, partition.partition, replica); error != ErrorCode::kNone) {
        entry.error_code = wire(error);
        continue;
      }
      auto end = replica->end_offset_for_epoch({partition.leader_epoch}, {partition.current_leader_epoch});
      if (!end) {
        entry.error_code = wire(end.error().code);
        continue;
      }
      entry.leader_epoch = end->epoch.value;
      entry.end_offset = end->end.value;
    }
  }
  request->finish(response);
}

}  // namespace odradek::api
