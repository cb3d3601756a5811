#include "coordinator/group/group_shard.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "coordinator/group/group_records.h"
#include "model/repeats.h"
#include "record/batch_builder.h"

namespace odradek::coordinator {

namespace {

constexpr size_t kRemovalBatchBytes = 256 * 1024;  // far below any sensible max.message.bytes
constexpr size_t kExpiryStep = 256;                // groups looked at in one turn of the strand
// One request may name the same partition any number of times, and its group's name stands in each record: no log takes a batch of this size.
constexpr size_t kMostCommitBytes = size_t{64} << 20;
constexpr size_t kGroupBytes = 1'024;  // about what an empty group takes, beside its name
constexpr int64_t kSayNoRoomEachMs = 60'000;

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

ErrorCode commit_error_for_client(ErrorCode error) {
  switch (error) {
    case ErrorCode::kUnknownTopicOrPartition:
    case ErrorCode::kNotEnoughReplicas:
    case ErrorCode::kNotEnoughReplicasAfterAppend:
    case ErrorCode::kRequestTimedOut:
      return ErrorCode::kCoordinatorNotAvailable;
    case ErrorCode::kNotLeaderOrFollower:
    case ErrorCode::kFencedLeaderEpoch:
    case ErrorCode::kUnknownLeaderEpoch:
    case ErrorCode::kKafkaStorageError:
      return ErrorCode::kNotCoordinator;
    case ErrorCode::kMessageTooLarge:
    case ErrorCode::kRecordListTooLarge:
    case ErrorCode::kInvalidFetchSize:
      return ErrorCode::kInvalidCommitOffsetSize;
    default:
      return error;
  }
}

ErrorCode group_write_error_for_client(ErrorCode error) {
  switch (ErrorCode mapped = commit_error_for_client(error); mapped) {
    case ErrorCode::kInvalidCommitOffsetSize:
      return ErrorCode::kUnknownServerError;
    default:
      return mapped;
  }
}

struct GroupShard::Entry {
  Entry(std::string id, const GroupConfig& config, Now now) : group(std::move(id), config, now) {}
  Entry(std::string id, const GroupConfig& config, Group::Stored stored) : group(std::move(id), config, std::move(stored)) {}

  Group group;
  GroupOffsets offsets;
  bool stored = false;       // a record of the group itself is in the log
  uint64_t last_append = 0;  // what a reader of this group stands on
  base::TimerId timer = 0;
  int64_t timer_at_ms = 0;
  std::optional<GroupState> counted_state;
  size_t counted_offsets = 0;
  size_t counted_bytes = 0;
  uint64_t timer_token = 0;  // of the timer that is set: an older one may still be on its way
};

struct GroupShard::Journal : GroupJournal {
  Journal(GroupShard& shard, Entry& entry) : shard(shard), entry(entry) {}
  ErrorCode append(const Group& group) override {
    record::BatchBuilder builder = shard.new_batch();
    builder.append(shard.now().wall_ms, group_key(group.id()), group_value(group));
    auto appended = shard.append(builder);
    if (!appended) {
      log::warn("group", "{}: the state of group {} was not written: {}", shard.tp_.to_string(), group.id(), appended.error().what);
      return group_write_error_for_client(appended.error().code);
    }
    entry.stored = true;
    entry.last_append = *appended;
    return ErrorCode::kNone;
  }
  GroupShard& shard;
  Entry& entry;
};

GroupShard::GroupShard(base::Runtime& runtime, LogAccess& log, const GroupConfig& config, GroupCounts& counts, std::shared_ptr<Strand> strand,
                       TopicPartition tp, LeaderEpoch epoch)
    : runtime_(runtime), log_(log), config_(config), counts_(counts), strand_(std::move(strand)), tp_(std::move(tp)), epoch_(epoch) {}

GroupShard::~GroupShard() = default;

void GroupShard::start(LoadedState state) {
  groups_.reserve(state.groups.size());
  for (auto& [id, loaded] : state.groups) {
    auto entry = loaded.stored ? std::make_unique<Entry>(id, config_, std::move(*loaded.stored)) : std::make_unique<Entry>(id, config_, now());
    entry->stored = loaded.stored.has_value();
    entry->offsets = std::move(loaded.offsets);
    Entry& placed = *entry;
    groups_.emplace(id, std::move(entry));
    Answers none;
    Journal journal(*this, placed);
    placed.group.on_loaded(now(), journal, none);
    arm_group_timer(placed);
    count(placed);
  }
}

void GroupShard::die(ErrorCode why) {
  dead_ = true;
  if (outbox_timer_ != 0) runtime_.timers().cancel(std::exchange(outbox_timer_, 0));
  Answers answers;
  for (auto& [id, entry] : groups_) {
    if (entry->timer != 0) runtime_.timers().cancel(std::exchange(entry->timer, 0));
    entry->group.die(why, answers);
    count(*entry, true);
  }
  outbox_.fail_all(why);
  for (Answer& answer : answers) answer(ErrorCode::kNone);
  groups_.clear();
}

// --- membership --------------------------------------------------------------------------------------------------------------

void GroupShard::join(const std::string& group_id, JoinRequest request, JoinAnswer answer) {
  Entry* entry = find(group_id);
  if (entry == nullptr) {
    if (!request.member_id.empty()) {
      return answer(JoinResult{.error = ErrorCode::kUnknownMemberId, .member_id = std::move(request.member_id)});
    }
  }
  if (ErrorCode error = room_for(entry, group_id, request); error != ErrorCode::kNone) {
    return answer(JoinResult{.error = error, .member_id = error == ErrorCode::kGroupMaxSizeReached ? "" : std::move(request.member_id)});
  }
  if (entry == nullptr) entry = &create(group_id);
  Answers answers;
  Journal journal(*this, *entry);
  entry->group.join(std::move(request), std::move(answer), now(), journal, answers);
  settle(*entry, std::move(answers));
}

void GroupShard::sync(const std::string& group_id, SyncRequest request, SyncAnswer answer) {
  Entry* entry = find(group_id);
  if (entry == nullptr) return answer(SyncResult{.error = ErrorCode::kUnknownMemberId});
  Answers answers;
  Journal journal(*this, *entry);
  entry->group.sync(std::move(request), std::move(answer), now(), journal, answers);
  settle(*entry, std::move(answers));
}

ErrorCode GroupShard::heartbeat(std::string_view group_id, std::string_view member_id, int32_t generation,
                                const std::optional<std::string>& instance_id) {
  Entry* entry = find(group_id);
  if (entry == nullptr) return ErrorCode::kUnknownMemberId;
  ErrorCode error = entry->group.heartbeat(member_id, generation, instance_id, now());
  arm_group_timer(*entry);
  return error;
}

std::vector<ErrorCode> GroupShard::leave(std::string_view group_id, const std::vector<protocol::LeaveGroupRequest::MemberIdentity>& members) {
  std::vector<ErrorCode> results(members.size(), ErrorCode::kUnknownMemberId);
  Entry* entry = find(group_id);
  if (entry == nullptr) return results;
  Answers answers;
  Journal journal(*this, *entry);
  for (size_t i = 0; i < members.size(); ++i) {
    results[i] = entry->group.leave(members[i].member_id, members[i].group_instance_id, now(), journal, answers);
  }
  settle(*entry, std::move(answers));
  return results;
}

// --- offsets -----------------------------------------------------------------------------------------------------------------

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
  record::BatchBuilder builder = new_batch();
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
  auto appended = append(builder, &record);
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
  if (outbox_.is_committed(*appended)) return reply(std::move(response));
  send_after(*appended, [reply = std::move(reply), response = std::move(response), set_all](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) set_all(response, lost);
    reply(std::move(response));
  });
}

void GroupShard::fetch(protocol::OffsetFetchRequest::OffsetFetchRequestGroup request, bool require_stable,
                       Reply<protocol::OffsetFetchResponse::OffsetFetchResponseGroup> reply) {
  protocol::OffsetFetchResponse::OffsetFetchResponseGroup response;
  response.group_id = request.group_id;
  Entry* entry = find(request.group_id);
  Repeats<std::pair<std::string_view, int32_t>> repeats;
  auto describe_partition = [&](std::string_view topic, int32_t partition, auto& to) {
    to.partition_index = partition;
    to.committed_offset = -1;
    to.committed_leader_epoch = -1;
    to.metadata = "";
    if (entry == nullptr) return;
    if (require_stable && entry->offsets.has_pending(topic, partition)) {
      to.error_code = static_cast<int16_t>(ErrorCode::kUnstableOffsetCommit);
    } else if (const CommittedOffset* offset = entry->offsets.find(topic, partition)) {
      // (A partition without an offset costs no more than its name.)
      if (repeats.too_often({topic, partition})) {
        to.error_code = static_cast<int16_t>(ErrorCode::kInvalidRequest);
        return;
      }
      to.committed_offset = offset->offset.value;
      to.committed_leader_epoch = offset->leader_epoch.value;
      to.metadata = offset->metadata;
    }
  };
  if (request.topics) {
    response.topics.reserve(request.topics->size());
    for (auto& topic : *request.topics) {
      auto& to = response.topics.emplace_back();
      to.partitions.resize(topic.partition_indexes.size());
      for (size_t p = 0; p < to.partitions.size(); ++p) describe_partition(topic.name, topic.partition_indexes[p], to.partitions[p]);
      to.name = topic.name;  // `repeats` looks at the request's
      to.topic_id = topic.topic_id;
    }
  } else if (entry != nullptr) {
    for (const auto& [topic, partitions] : entry->offsets.topics()) {
      auto& to = response.topics.emplace_back();
      to.name = topic;
      for (const auto& [partition, offset] : partitions) describe_partition(topic, partition, to.partitions.emplace_back());
    }
  }
  const uint64_t stands_on = entry != nullptr ? entry->last_append : last_removal_;
  if (outbox_.is_committed(stands_on)) return reply(std::move(response));
  send_after(stands_on, [reply = std::move(reply), response = std::move(response)](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) {
      response.error_code = static_cast<int16_t>(lost);
      response.topics.clear();
    }
    reply(std::move(response));
  });
}

// --- administration ------------------------------------------------------------------------------------------------------------

void GroupShard::describe(std::string_view group_id, Reply<protocol::DescribeGroupsResponse::DescribedGroup> reply) {
  protocol::DescribeGroupsResponse::DescribedGroup described;
  described.group_id = group_id;
  Entry* entry = find(group_id);
  if (entry == nullptr) {
    described.group_state = name_of(GroupState::kDead);
  } else {
    const Group& group = entry->group;
    const bool stable = group.state() == GroupState::kStable;
    described.group_state = name_of(group.state());
    described.protocol_type = group.protocol_type().value_or("");
    // Only a stable group shows what it agreed on.
    if (stable) described.protocol_data = group.protocol_name().value_or("");
    for (const auto& member : group.members()) {
      auto& to = described.members.emplace_back();
      to.member_id = member->id;
      to.group_instance_id = member->instance_id;
      to.client_id = member->client_id;
      to.client_host = member->client_host;
      if (!stable) continue;
      to.member_metadata = member->metadata(described.protocol_data);
      to.member_assignment = member->assignment;
    }
  }
  send_after(entry != nullptr ? entry->last_append : last_removal_, [reply = std::move(reply), described = std::move(described)](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) {
      protocol::DescribeGroupsResponse::DescribedGroup failed;
      failed.group_id = std::move(described.group_id);
      failed.error_code = static_cast<int16_t>(lost);
      described = std::move(failed);
    }
    reply(std::move(described));
  });
}

std::vector<protocol::ListGroupsResponse::ListedGroup> GroupShard::list() const {
  std::vector<protocol::ListGroupsResponse::ListedGroup> result;
  result.reserve(groups_.size());
  for (const auto& [id, entry] : groups_) {
    auto& listed = result.emplace_back();
    listed.group_id = id;
    listed.protocol_type = entry->group.protocol_type().value_or("");
    listed.group_state = name_of(entry->group.state());
    listed.group_type = "classic";
  }
  return result;
}

void GroupShard::remove_group(std::string_view group_id, Reply<ErrorCode> reply) {
  Entry* entry = find(group_id);
  if (entry == nullptr) return reply(ErrorCode::kGroupIdNotFound);
  if (entry->group.state() != GroupState::kEmpty) return reply(ErrorCode::kNonEmptyGroup);
  std::vector<TopicPartition> all;
  for (const auto& [topic, partitions] : entry->offsets.topics()) {
    for (const auto& [partition, offset] : partitions) all.push_back({topic, partition});
  }
  auto appended = append_removals(*entry, all, true);
  if (!appended) return reply(commit_error_for_client(appended.error().code));
  forget(group_id);
  send_after(*appended, [reply = std::move(reply)](ErrorCode lost) mutable { reply(lost); });
}

void GroupShard::remove_offsets(protocol::OffsetDeleteRequest request, Reply<protocol::OffsetDeleteResponse> reply) {
  protocol::OffsetDeleteResponse response;
  Entry* entry = find(request.group_id);
  if (entry == nullptr) {
    response.error_code = static_cast<int16_t>(ErrorCode::kGroupIdNotFound);
    return reply(std::move(response));
  }
  const bool empty = entry->group.state() == GroupState::kEmpty;
  if (!empty && entry->group.protocol_type() != "consumer") {
    response.error_code = static_cast<int16_t>(ErrorCode::kNonEmptyGroup);
    return reply(std::move(response));
  }
  std::set<TopicPartition> removed;  // each once, however often it is named
  bool any = false;
  for (auto& topic : request.topics) {
    auto& to = response.topics.emplace_back();
    const bool subscribed = !empty && entry->group.is_subscribed_to(topic.name);
    for (auto& partition : topic.partitions) {
      auto& result = to.partitions.emplace_back();
      result.partition_index = partition.partition_index;
      if (subscribed) {
        result.error_code = static_cast<int16_t>(ErrorCode::kGroupSubscribedToTopic);
        continue;
      }
      any = true;
      if (entry->offsets.find(topic.name, partition.partition_index) != nullptr) removed.insert({topic.name, partition.partition_index});
    }
    to.name = std::move(topic.name);
  }
  auto appended = append_removals(*entry, {removed.begin(), removed.end()}, false);
  auto fail_all = [](protocol::OffsetDeleteResponse& to, ErrorCode error) {
    to.topics.clear();
    to.error_code = static_cast<int16_t>(error);
  };
  if (!appended) {
    fail_all(response, commit_error_for_client(appended.error().code));
    return reply(std::move(response));
  }
  const uint64_t stands_on = std::max(*appended, entry->last_append);
  send_after(std::max(stands_on, any ? settle_removal(*entry) : 0), [reply = std::move(reply), response = std::move(response), fail_all](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) fail_all(response, lost);
    reply(std::move(response));
  });
}

void GroupShard::remove_partitions(const std::vector<TopicPartition>& partitions) {
  std::vector<std::string> ids;
  for (const auto& [id, entry] : groups_) ids.push_back(id);
  for (const std::string& id : ids) {
    Entry& entry = *find(id);
    std::vector<TopicPartition> known;
    for (const TopicPartition& tp : partitions) {
      if (entry.offsets.find(tp.topic, tp.partition) != nullptr) known.push_back(tp);
    }
    if (known.empty()) continue;
    if (auto appended = append_removals(entry, known, false); !appended) {
      log::warn("group", "{}: offsets of deleted topics stay in group {}: {}", tp_.to_string(), id, appended.error().what);
    }
    settle_removal(entry);
  }
}

void GroupShard::expire_offsets() {
  auto ids = std::make_shared<std::vector<std::string>>();
  ids->reserve(groups_.size());
  for (const auto& [id, entry] : groups_) ids->push_back(id);
  expire_some(std::move(ids), 0);
}

void GroupShard::expire_some(std::shared_ptr<std::vector<std::string>> ids, size_t from) {
  if (dead_) return;
  const size_t end = std::min(ids->size(), from + kExpiryStep);
  for (size_t i = from; i < end; ++i) {
    Entry* entry = find((*ids)[i]);
    if (entry == nullptr) continue;
    auto expired = entry->offsets.expired(entry->group, now().wall_ms, config_.offsets_retention_ms);
    const bool whole = entry->group.has_nobody() && expired.size() == entry->offsets.size() && !entry->offsets.has_pending();
    if (expired.empty() && !whole) continue;
    auto appended = append_removals(*entry, expired, whole);
    if (!appended) {
      log::warn("group", "{}: expired offsets of group {} stay: {}", tp_.to_string(), (*ids)[i], appended.error().what);
      continue;
    }
    log::debug("group", "{}: {} offsets of group {} expired{}", tp_.to_string(), expired.size(), (*ids)[i], whole ? ", and the group" : "");
    counts_.expirations.fetch_add(expired.size(), std::memory_order_relaxed);
    count(*entry);
    if (whole) forget((*ids)[i]);
  }
  if (end == ids->size()) return;
  strand_->post([weak = weak_from_this(), ids = std::move(ids), end]() mutable {
    if (auto self = weak.lock()) self->expire_some(std::move(ids), end);
  });
}

size_t GroupShard::offset_count() const {
  size_t count = 0;
  for (const auto& [id, entry] : groups_) count += entry->offsets.size();
  return count;
}

// --- inside ------------------------------------------------------------------------------------------------------------------

Now GroupShard::now() const { return {runtime_.clock().monotonic_ms(), runtime_.clock().wall_ms()}; }

GroupShard::Entry* GroupShard::find(std::string_view group_id) {
  auto found = groups_.find(group_id);
  return found == groups_.end() ? nullptr : found->second.get();
}

GroupShard::Entry& GroupShard::create(std::string_view group_id) {
  auto entry = std::make_unique<Entry>(std::string(group_id), config_, now());
  entry->last_append = last_removal_;
  Entry& placed = *entry;
  groups_.emplace(std::string(group_id), std::move(entry));
  return placed;
}

void GroupShard::forget(std::string_view group_id) {
  auto found = groups_.find(group_id);
  if (found == groups_.end()) return;
  Entry& entry = *found->second;
  last_removal_ = std::max(last_removal_, entry.last_append);
  if (entry.timer != 0) runtime_.timers().cancel(entry.timer);
  count(entry, true);
  Answers answers;
  entry.group.die(ErrorCode::kUnknownMemberId, answers);
  CHECK(answers.empty());  // only empty groups are forgotten
  groups_.erase(found);
}

void GroupShard::settle(Entry& entry, Answers answers) {
  const uint64_t stands_on = entry.last_append;
  if (entry.group.is_trivial() && !entry.stored && entry.offsets.empty()) {
    forget(std::string(entry.group.id()));
  } else {
    arm_group_timer(entry);
    count(entry);
  }
  for (Answer& answer : answers) send_after(stands_on, std::move(answer));
}

uint64_t GroupShard::settle_removal(Entry& entry) {
  const Group& group = entry.group;
  if (group.has_nobody() && entry.offsets.empty()) {
    auto appended = append_removals(entry, {}, true);
    if (appended) {
      const uint64_t stands_on = entry.last_append;
      forget(std::string(group.id()));
      return stands_on;
    }
    // The next look for expired offsets tries again.
    log::warn("group", "{}: group {} stays, without offsets: {}", tp_.to_string(), group.id(), appended.error().what);
  }
  const uint64_t stands_on = entry.last_append;
  settle(entry, {});
  return stands_on;
}

ErrorCode GroupShard::room_for(const Entry* entry, const std::string& group_id, const JoinRequest& request) {
  const size_t comes = Group::bytes_of(request) + (entry == nullptr ? kGroupBytes + 3 * group_id.size() : 0);
  const size_t goes = entry == nullptr ? 0 : entry->group.bytes_freed_by(request);
  if (comes <= goes) return ErrorCode::kNone;
  const auto more = static_cast<int64_t>(comes - goes);
  const bool group_is_full = more + static_cast<int64_t>(entry == nullptr ? 0 : entry->group.held_bytes()) > config_.group_max_bytes;
  if (!group_is_full && counts_.held_bytes.load(std::memory_order_relaxed) + more <= config_.membership_max_bytes) return ErrorCode::kNone;
  if (const int64_t now_ms = now().monotonic_ms; no_room_said_ms_ == INT64_MIN || now_ms - no_room_said_ms_ >= kSayNoRoomEachMs) {
    no_room_said_ms_ = now_ms;
    log::warn("group", "{}: a member from {} is refused at group {}: {}", tp_.to_string(), request.client_host, group_id,
              group_is_full ? "what its members bring is more than a group can hold" : "the members of all groups take all memory that they may have");
  }
  // The second passes when others have left.
  return group_is_full ? ErrorCode::kGroupMaxSizeReached : ErrorCode::kCoordinatorNotAvailable;
}

// Offsets are on the disk first, and as many as the clients commit; what else a group takes is bounded.
size_t GroupShard::held_by(const Entry& entry) {
  return entry.group.held_bytes() + (entry.offsets.empty() ? kGroupBytes + 3 * entry.group.id().size() : 0);
}

void GroupShard::count(Entry& entry, bool gone) {
  const std::optional<GroupState> state = gone ? std::nullopt : std::optional(entry.group.state());
  const size_t offsets = gone ? 0 : entry.offsets.size();
  if (offsets != entry.counted_offsets) {
    counts_.offsets.fetch_add(static_cast<int64_t>(offsets) - static_cast<int64_t>(entry.counted_offsets), std::memory_order_relaxed);
    entry.counted_offsets = offsets;
  }
  if (const size_t bytes = gone ? 0 : held_by(entry); bytes != entry.counted_bytes) {
    counts_.held_bytes.fetch_add(static_cast<int64_t>(bytes) - static_cast<int64_t>(entry.counted_bytes), std::memory_order_relaxed);
    entry.counted_bytes = bytes;
  }
  if (state == entry.counted_state) return;
  if (entry.counted_state == GroupState::kCompletingRebalance && state == GroupState::kStable) counts_.rebalances.fetch_add(1, std::memory_order_relaxed);
  if (entry.counted_state) counts_.of(*entry.counted_state).fetch_sub(1, std::memory_order_relaxed);
  if (state) counts_.of(*state).fetch_add(1, std::memory_order_relaxed);
  entry.counted_state = state;
}

void GroupShard::send_after(uint64_t append, Answer answer) {
  outbox_.send_after(append, now().monotonic_ms + config_.commit_timeout_ms, std::move(answer));
  arm_outbox_timer();
}

void GroupShard::arm_group_timer(Entry& entry) {
  auto deadline = entry.group.deadline();
  if (!deadline || (entry.timer != 0 && entry.timer_at_ms <= *deadline)) return;  // one that is set fires and looks again
  if (entry.timer != 0) runtime_.timers().cancel(entry.timer);
  entry.timer_at_ms = *deadline;
  const int64_t delay = std::max<int64_t>(*deadline - now().monotonic_ms, 0);
  entry.timer_token = ++timers_armed_;
  entry.timer = runtime_.timers().after(std::chrono::milliseconds(delay), [strand = strand_, weak = weak_from_this(), id = entry.group.id(),
                                                                           token = entry.timer_token] {
    strand->post([weak, id, token] {
      if (auto self = weak.lock()) self->on_group_timer(id, token);
    });
  });
}

void GroupShard::on_group_timer(const std::string& group_id, uint64_t token) {
  if (dead_) return;
  Entry* entry = find(group_id);
  if (entry == nullptr || entry->timer_token != token) return;
  entry->timer = 0;
  Answers answers;
  Journal journal(*this, *entry);
  entry->group.on_time(now(), journal, answers);
  settle(*entry, std::move(answers));
}

void GroupShard::arm_outbox_timer() {
  auto deadline = outbox_.deadline();
  if (!deadline || outbox_timer_ != 0 || dead_) return;
  const int64_t delay = std::max<int64_t>(*deadline - now().monotonic_ms, 0);
  outbox_timer_ = runtime_.timers().after(std::chrono::milliseconds(delay), [strand = strand_, weak = weak_from_this()] {
    strand->post([weak] {
      auto self = weak.lock();
      if (!self || self->dead_) return;
      self->outbox_timer_ = 0;
      self->outbox_.expire(self->now().monotonic_ms, ErrorCode::kCoordinatorNotAvailable);
      self->arm_outbox_timer();
    });
  });
}

record::BatchBuilder GroupShard::new_batch() const {
  record::BuilderOptions options;
  options.codec = static_cast<record::Codec>(config_.offsets_codec);
  return record::BatchBuilder(options);
}

Result<uint64_t> GroupShard::append(record::BatchBuilder& builder, Offset* first) {
  // Where the high watermark stands at the end of the log (one replica in the ISR) the log calls back before append() returns. That is
  // told apart from a call on another thread by who comes first.
  enum State : int { kInCall, kReturned, kCommitted };
  struct Shared {
    std::atomic<int> state{kInCall};
    ErrorCode error = ErrorCode::kNone;
  };
  auto shared = std::make_shared<Shared>();
  const uint64_t number = outbox_.next_append();
  auto appended = log_.append(tp_, epoch_, builder.build(), [shared, number, strand = strand_, weak = weak_from_this()](ErrorCode error) {
    shared->error = error;
    if (shared->state.exchange(kCommitted, std::memory_order_acq_rel) == kInCall) return;
    strand->post([weak, number, error] {
      if (auto self = weak.lock()) self->on_committed(number, error);
    });
  });
  const bool called = shared->state.exchange(kReturned, std::memory_order_acq_rel) == kCommitted;
  if (!appended) return fail(std::move(appended.error()));
  if (first != nullptr) *first = *appended;
  if (called && shared->error == ErrorCode::kNone) {
    outbox_.committed(number, ErrorCode::kNone);
  } else if (called) {
    // Not within the caller's change of state: after it.
    strand_->post([weak = weak_from_this(), number, error = shared->error] {
      if (auto self = weak.lock()) self->on_committed(number, error);
    });
  }
  return number;
}

void GroupShard::on_committed(uint64_t append, ErrorCode error) {
  if (dead_) return;
  switch (error) {
    case ErrorCode::kNone:
    case ErrorCode::kNotEnoughReplicasAfterAppend:  // it stands, with fewer copies than asked for
      return outbox_.committed(append, commit_error_for_client(error));
    default:
      // Leadership is gone; the listener will drop this shard. Until then nothing that stands on the lost append may leave.
      log::info("group", "{}: an append was lost: {}", tp_.to_string(), name_of(error));
      return outbox_.fail_all(ErrorCode::kNotCoordinator);
  }
}

Result<uint64_t> GroupShard::append_removals(Entry& entry, const std::vector<TopicPartition>& partitions, bool whole) {
  uint64_t last = 0;
  size_t next = 0;
  const int64_t now_ms = now().wall_ms;
  bool group_left = whole && entry.stored;
  while (next < partitions.size() || group_left) {
    record::BatchBuilder builder = new_batch();
    const size_t from = next;
    while (next < partitions.size() && builder.size_in_bytes() < kRemovalBatchBytes) {
      builder.append(now_ms, offset_key(entry.group.id(), partitions[next].topic, partitions[next].partition), std::nullopt);
      ++next;
    }
    bool with_group = group_left && next == partitions.size();
    if (with_group) builder.append(now_ms, group_key(entry.group.id()), std::nullopt);
    auto appended = append(builder);
    if (!appended) return appended;
    last = entry.last_append = *appended;
    for (size_t i = from; i < next; ++i) entry.offsets.remove(partitions[i].topic, partitions[i].partition);
    if (with_group) {
      group_left = false;
      entry.stored = false;
    }
  }
  return last;
}

}  // namespace odradek::coordinator
