// ListOffsets: the ends of a partition, and the first record at or after a time.
#include <set>

#include "api/data/handlers.h"
#include "api/handler/answer.h"
#include "model/repeats.h"
#include "protocol/messages/list_offsets.h"
#include "replication/replica_manager.h"

namespace odradek::api {

namespace {

using protocol::ListOffsetsRequest;
using protocol::ListOffsetsResponse;
using replication::ReadBound;

constexpr int64_t kLatestTiered = -5;

// The lowest special timestamp that each version knows.
int64_t lowest_timestamp(int16_t version) {
  if (version >= 9) return -5;
  if (version >= 8) return -4;
  if (version >= 7) return -3;
  return -2;
}

ErrorCode list(Services& services, const ListOffsetsRequest& request, int16_t version, const std::string& topic,
               const ListOffsetsRequest::ListOffsetsPartition& asked, ListOffsetsResponse::ListOffsetsPartitionResponse& entry) {
  if (asked.timestamp < lowest_timestamp(version)) return ErrorCode::kUnsupportedVersion;
  std::shared_ptr<replication::Partition> partition;
  if (ErrorCode error = services.replicas.look_up(topic, asked.partition_index, partition); error != ErrorCode::kNone) return error;
  // As in Kafka; no client sends these.
  if (request.isolation_level < 0 || request.isolation_level > 1 || (version == 0 && asked.max_num_offsets < 0)) return ErrorCode::kUnknownServerError;
  const bool consumer = request.replica_id == kNoBroker.value;
  const ReadBound bound = !consumer ? ReadBound::kLogEnd : request.isolation_level == 1 ? ReadBound::kLastStable : ReadBound::kHighWatermark;
  if (version == 0) {
    auto offsets = partition->list_offsets_v0(asked.timestamp, asked.max_num_offsets, bound);
    if (!offsets) return offsets.error().code;
    for (Offset offset : *offsets) entry.old_style_offsets.push_back(offset.value);
    return ErrorCode::kNone;
  }
  const LeaderEpoch epoch{asked.current_leader_epoch};
  const bool leader_only = request.replica_id != -2;
  if (asked.timestamp == kLatestTiered) return partition->check_leader(epoch);  // nothing is tiered: offset -1
  auto found = partition->list_offset(asked.timestamp, bound, epoch, leader_only);
  if (!found) {
    if (found.error().code == ErrorCode::kOffsetNotAvailable && version < 5) return ErrorCode::kLeaderNotAvailable;
    return found.error().code;
  }
  entry.timestamp = found->timestamp;
  entry.offset = found->offset.value;
  entry.leader_epoch = found->epoch.value;
  return ErrorCode::kNone;
}

}  // namespace

void handle_list_offsets(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<ListOffsetsRequest>(request);
  if (!asked) return;
  std::set<std::pair<std::string_view, int32_t>> seen, twice;
  for (const auto& topic : asked->topics) {
    for (const auto& partition : topic.partitions) {
      if (!seen.emplace(topic.name, partition.partition_index).second) twice.emplace(topic.name, partition.partition_index);
    }
  }
  Repeats<std::pair<std::string_view, int32_t>> repeats;
  ListOffsetsResponse response;
  response.topics.reserve(asked->topics.size());
  for (const auto& topic : asked->topics) {
    auto& answered = response.topics.emplace_back();
    answered.name = topic.name;
    answered.partitions.reserve(topic.partitions.size());
    for (const auto& partition : topic.partitions) {
      auto& entry = answered.partitions.emplace_back();
      entry.partition_index = partition.partition_index;
      // Only the lists of offsets that v0 answers are told more than once.
      const bool ambiguous = twice.contains({topic.name, partition.partition_index}) &&
                             (request->version() > 0 || repeats.too_often({topic.name, partition.partition_index}));
      entry.error_code = wire(ambiguous ? ErrorCode::kInvalidRequest : list(services, *asked, request->version(), topic.name, partition, entry));
    }
  }
  request->finish(response);
}

}  // namespace odradek::api
