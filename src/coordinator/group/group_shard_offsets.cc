// Offsets: committed and fetched.
#include "coordinator/group/group_records.h"
#include "coordinator/group/group_shard.h"
#include "model/repeats.h"

namespace odradek::coordinator {

namespace {

// One request may name the same partition any number of times, and its group's name stands in each record: no log takes a batch of this size.
constexpr size_t kMostCommitBytes = size_t{64} << 20;

// About what a partition takes in an answer beside its metadata.
constexpr int64_t kPartitionBytes = 64;

// Java's String.length() of UTF-8 text.
size_t utf16_units(std::string_view text) {
  size_t units = 0;
  for (unsigned char byte : text) {
    if ((byte & 0xc0) != 0x80) ++units;
    if (byte >= 0xf0) ++units;
  }
  return units;
}

// When offsets are dropped for which a client asked to be kept `retention_ms`; -1: as the broker is configured.
int64_t expiry_of(int64_t now_ms, int64_t retention_ms) {
  if (retention_ms < 0) return -1;
  return retention_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + retention_ms;
}

// Whatever the limit: a record has no room for a longer text than 32,767 bytes.
bool too_large(std::string_view metadata, int32_t limit) {
  if (metadata.size() > INT16_MAX) return true;
  return metadata.size() > static_cast<size_t>(limit) && utf16_units(metadata) > static_cast<size_t>(limit);
}

}  // namespace

void GroupShard::commit(protocol::OffsetCommitRequest request, Reply<protocol::OffsetCommitResponse> reply) {
  protocol::OffsetCommitResponse response;
  response.topics.resize(request.topics.size());
  for (size_t t = 0; t < request.topics.size(); ++t) {
    response.topics[t].name = request.topics[t].name;
    response.topics[t].topic_id = request.topics[t].topic_id;
    response.topics[t].partitions.resize(request.topics[t].partitions.size());
    for (size_t p = 0; p < request.topics[t].partitions.size(); ++p) {
      response.topics[t].partitions[p].partition_index = request.topics[t].partitions[p].partition_index;
    }
  }
  auto set_all = [](protocol::OffsetCommitResponse& to, ErrorCode error) {
    for (auto& topic : to.topics) {
      for (auto& partition : topic.partitions) {
        if (partition.error_code == 0) partition.error_code = static_cast<int16_t>(error);
      }
    }
  };

  const int32_t generation = request.generation_id_or_member_epoch;
  Entry* entry = find(request.group_id);
  ErrorCode refused = ErrorCode::kNone;
  if (entry != nullptr) {
    refused = entry->group.check_commit(request.member_id, generation, request.group_instance_id, false, now());
    arm_group_timer(*entry);
  } else if (generation >= 0) {
    refused = ErrorCode::kIllegalGeneration;
  }
  if (refused != ErrorCode::kNone) {
    set_all(response, refused);
    return reply(std::move(response));
  }

  const int64_t now_ms = now().wall_ms;
  record::BatchBuilder builder = log_->new_batch();
  for (size_t t = 0; t < request.topics.size(); ++t) {
    auto& topic = request.topics[t];
    for (size_t p = 0; p < topic.partitions.size(); ++p) {
      auto& partition = topic.partitions[p];
      if (partition.committed_metadata && too_large(*partition.committed_metadata, config_.offset_metadata_max_bytes)) {
        response.topics[t].partitions[p].error_code = static_cast<int16_t>(ErrorCode::kOffsetMetadataTooLarge);
        continue;
      }
      if (partition.commit_timestamp < 0) partition.commit_timestamp = now_ms;
      CommittedOffset value{.offset = {partition.committed_offset},
                            .leader_epoch = {partition.committed_leader_epoch},
                            .metadata = partition.committed_metadata.value_or(""),
                            .commit_timestamp_ms = partition.commit_timestamp,
                            .expire_timestamp_ms = expiry_of(now_ms, request.retention_time_ms)};
      builder.append(now_ms, offset_key(request.group_id, topic.name, partition.partition_index), offset_value(value));
      if (builder.size_in_bytes() > kMostCommitBytes) {
        set_all(response, ErrorCode::kInvalidCommitOffsetSize);
        return reply(std::move(response));
      }
    }
  }
  if (builder.empty()) return reply(std::move(response));

  Offset record{-1};
  auto appended = log_->append(builder, &record);
  if (!appended) {
    set_all(response, commit_error_for_client(appended.error().code));
    return reply(std::move(response));
  }
  if (entry == nullptr) entry = &create(request.group_id);
  entry->last_append = *appended;
  for (size_t t = 0; t < request.topics.size(); ++t) {
    auto& topic = request.topics[t];
    for (size_t p = 0; p < topic.partitions.size(); ++p) {
      if (response.topics[t].partitions[p].error_code != 0) continue;
      auto& partition = topic.partitions[p];
      entry->offsets.put(topic.name, partition.partition_index,
                         CommittedOffset{.offset = {partition.committed_offset},
                                         .leader_epoch = {partition.committed_leader_epoch},
                                         .metadata = std::move(partition.committed_metadata).value_or(""),
                                         .commit_timestamp_ms = partition.commit_timestamp,
                                         .expire_timestamp_ms = expiry_of(now_ms, request.retention_time_ms),
                                         .record = record});
      record = record + 1;
      counts_.commits.fetch_add(1, std::memory_order_relaxed);
    }
  }
  count(*entry);
  if (log_->is_committed(*appended)) return reply(std::move(response));
  log_->send_after(*appended, [reply = std::move(reply), response = std::move(response), set_all](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) set_all(response, lost);
    reply(std::move(response));
  });
}

void GroupShard::fetch(protocol::OffsetFetchRequest::OffsetFetchRequestGroup request, bool require_stable, bool again, RepeatRoom& room,
                       Reply<protocol::OffsetFetchResponse::OffsetFetchResponseGroup> reply) {
  protocol::OffsetFetchResponse::OffsetFetchResponseGroup response;
  response.group_id = request.group_id;
  Entry* entry = find(request.group_id);
  Repeats<std::pair<std::string_view, int32_t>> repeats;
  auto describe_partition = [&](std::string_view topic, int32_t partition, auto& to, auto&& may_tell) {
    to.partition_index = partition;
    to.committed_offset = -1;
    to.committed_leader_epoch = -1;
    to.metadata = "";
    if (entry == nullptr) return;
    if (require_stable && entry->offsets.has_pending(topic, partition)) {
      to.error_code = static_cast<int16_t>(ErrorCode::kUnstableOffsetCommit);
    } else if (const CommittedOffset* offset = entry->offsets.find(topic, partition)) {
      if (!may_tell(*offset)) {
        to.error_code = static_cast<int16_t>(ErrorCode::kInvalidRequest);
        return;
      }
      to.committed_offset = offset->offset.value;
      to.committed_leader_epoch = offset->leader_epoch.value;
      to.metadata = offset->metadata;
    }
  };
  auto bytes_of = [](const CommittedOffset& offset) { return kPartitionBytes + static_cast<int64_t>(offset.metadata.size()); };
  if (request.topics) {
    response.topics.reserve(request.topics->size());
    for (auto& topic : *request.topics) {
      auto& to = response.topics.emplace_back();
      to.partitions.resize(topic.partition_indexes.size());
      for (size_t p = 0; p < to.partitions.size(); ++p) {
        const int32_t partition = topic.partition_indexes[p];
        // Asked only of what has an offset: without one, a partition costs no more than its name.
        describe_partition(topic.name, partition, to.partitions[p], [&](const CommittedOffset& offset) {
          const size_t times = repeats.count({topic.name, partition});
          return times <= repeats.kMost && ((!again && times == 1) || room.take(bytes_of(offset)));
        });
      }
      to.name = topic.name;  // `repeats` looks at the request's
      to.topic_id = topic.topic_id;
    }
  } else if (entry != nullptr) {
    for (const auto& [topic, partitions] : entry->offsets.topics()) {
      // The whole group or nothing: the request names none of these.
      int64_t bytes = static_cast<int64_t>(topic.size());
      for (const auto& [partition, offset] : partitions) bytes += bytes_of(offset);
      if (again && !room.take(bytes)) {
        response.topics.clear();
        response.error_code = static_cast<int16_t>(ErrorCode::kInvalidRequest);
        break;
      }
      auto& to = response.topics.emplace_back();
      to.name = topic;
      to.partitions.resize(partitions.size());
      size_t p = 0;
      for (const auto& [partition, offset] : partitions) {
        describe_partition(topic, partition, to.partitions[p++], [](const CommittedOffset&) { return true; });
      }
    }
  }
  const uint64_t stands_on = entry != nullptr ? entry->last_append : last_removal_;
  if (log_->is_committed(stands_on)) return reply(std::move(response));
  log_->send_after(stands_on, [reply = std::move(reply), response = std::move(response)](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) {
      response.error_code = static_cast<int16_t>(lost);
      response.topics.clear();
    }
    reply(std::move(response));
  });
}

}  // namespace odradek::coordinator
