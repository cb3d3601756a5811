#include "coordinator/group/group_shard.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "coordinator/group/group_records.h"

namespace odradek::coordinator {

namespace {

constexpr size_t kGroupBytes = 1'024;  // about what an empty group takes, beside its name
constexpr int64_t kSayNoRoomEachMs = 60'000;
// What the members of a group take in memory for each byte of the record that holds them. Small members take most (a kilobyte each, and
// each protocol they know, of which one is stored): 11 times; more where the record is compressed.
constexpr int64_t kHeldPerStoredByte = 16;
constexpr int64_t kHeldPerCompressedByte = 64;

}  // namespace

struct GroupShard::Journal : GroupJournal {
  Journal(GroupShard& shard, Entry& entry) : shard(shard), entry(entry) {}
  ErrorCode append(const Group& group) override {
    record::BatchBuilder builder = shard.log_->new_batch();
    builder.append(shard.now().wall_ms, group_key(group.id()), group_value(group));
    auto appended = shard.log_->append(builder);
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
    : runtime_(runtime),
      config_(config),
      counts_(counts),
      strand_(std::move(strand)),
      tp_(std::move(tp)),
      log_(std::make_shared<ShardLog>(runtime, log, config, strand_, tp_, epoch)) {}

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
  Answers answers;
  for (auto& [id, entry] : groups_) {
    if (entry->timer != 0) runtime_.timers().cancel(std::exchange(entry->timer, 0));
    entry->group.die(why, answers);
    entry->counted.gone(counts_);
  }
  log_->die(why);
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

// --- view --------------------------------------------------------------------------------------------------------------------

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
  log_->send_after(entry != nullptr ? entry->last_append : last_removal_, [reply = std::move(reply), described = std::move(described)](ErrorCode lost) mutable {
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
  entry.counted.gone(counts_);
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
  for (Answer& answer : answers) log_->send_after(stands_on, std::move(answer));
}

// A group that brings more could never be stored, for its state is one record: it would never be stable.
int64_t GroupShard::group_limit() {
  const auto most = log_->max_batch_bytes();
  if (!most) return config_.group_max_bytes;
  return std::min(config_.group_max_bytes, int64_t{*most} * (config_.offsets_codec == 0 ? kHeldPerStoredByte : kHeldPerCompressedByte));
}

ErrorCode GroupShard::room_for(const Entry* entry, const std::string& group_id, const JoinRequest& request) {
  const size_t comes = Group::bytes_of(request) + (entry == nullptr ? kGroupBytes + 3 * group_id.size() : 0);
  const size_t goes = entry == nullptr ? 0 : entry->group.bytes_freed_by(request);
  if (comes <= goes) return ErrorCode::kNone;
  const auto more = static_cast<int64_t>(comes - goes);
  const bool group_is_full = more + static_cast<int64_t>(entry == nullptr ? 0 : entry->group.held_bytes()) > group_limit();
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

void GroupShard::count(Entry& entry) { entry.counted.update(counts_, entry.group.state(), entry.offsets.size(), held_by(entry)); }

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

}  // namespace odradek::coordinator
