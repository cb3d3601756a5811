#include "coordinator/group/group.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>

#include "base/check.h"
#include "coordinator/group/subscription.h"

namespace odradek::coordinator {

namespace {

// The least that members have for their SyncGroup. Some clients send no rebalance timeout (kafkajs where it joins by hand), and
// whether Kafka then takes their sync is a race of its timer with the network. Also the least time between two looks whether static
// members that are all away have come back.
constexpr int32_t kLeastWaitMs = 1'000;

// Sessions end up to this much late: all that end close together cost one look at the members, not one each.
constexpr int64_t kBetweenLooksMs = 100;

// About what a member, one of its protocols, an id that was given out and a subscribed topic take beside their texts and bytes.
constexpr size_t kMemberBytes = 1'024, kProtocolBytes = 192, kPendingBytes = 1'024, kTopicBytes = 64;

size_t pending_bytes(std::string_view id) { return kPendingBytes + 2 * id.size(); }

size_t member_bytes(size_t id, const std::optional<std::string>& instance, const std::string& client_id, const std::vector<MemberProtocol>& protocols) {
  size_t bytes = kMemberBytes + 3 * id + (instance ? 2 * instance->size() : 0) + client_id.size();
  for (const MemberProtocol& protocol : protocols) bytes += kProtocolBytes + 2 * protocol.name.size() + protocol.metadata.size();
  return bytes;
}

void answer_join(Answers& out, JoinAnswer to, JoinResult result) {
  out.push_back([to = std::move(to), result = std::move(result)](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) result = JoinResult{.error = lost, .member_id = std::move(result.member_id)};
    to(std::move(result));
  });
}

void fail_join(Answers& out, JoinAnswer to, std::string member_id, ErrorCode error) {
  answer_join(out, std::move(to), JoinResult{.error = error, .member_id = std::move(member_id)});
}

void answer_sync(Answers& out, SyncAnswer to, SyncResult result) {
  out.push_back([to = std::move(to), result = std::move(result)](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) result = SyncResult{.error = lost};
    to(std::move(result));
  });
}

}  // namespace

std::string_view name_of(GroupState state) {
  switch (state) {
    case GroupState::kEmpty: return "Empty";
    case GroupState::kPreparingRebalance: return "PreparingRebalance";
    case GroupState::kCompletingRebalance: return "CompletingRebalance";
    case GroupState::kStable: return "Stable";
    case GroupState::kDead: return "Dead";
  }
  return "Dead";
}

const Bytes& Group::Member::metadata(std::string_view protocol) const {
  static const Bytes kNone;
  for (const MemberProtocol& known : protocols) {
    if (known.name == protocol) return known.metadata;
  }
  return kNone;
}

Group::Group(std::string id, const GroupConfig& config, Now now) : id_(std::move(id)), config_(config), state_timestamp_ms_(now.wall_ms) {}

Group::Group(std::string id, const GroupConfig& config, Stored stored)
    : id_(std::move(id)),
      config_(config),
      state_(stored.members.empty() ? GroupState::kEmpty : GroupState::kStable),
      state_timestamp_ms_(stored.state_timestamp_ms),
      generation_(stored.generation),
      protocol_name_(std::move(stored.protocol_name)),
      leader_(std::move(stored.leader)) {
  if (!stored.protocol_type.empty()) protocol_type_ = std::move(stored.protocol_type);
  for (Member& member : stored.members) {
    if (by_id_.contains(member.id)) continue;
    auto owned = std::make_unique<Member>(std::move(member));
    by_id_.emplace(owned->id, owned.get());
    if (owned->instance_id) static_members_[*owned->instance_id] = owned->id;
    index_protocols(*owned, 1);
    weigh(*owned);
    assigned_bytes_ += owned->assignment.size();
    members_.push_back(std::move(owned));
  }
  if (!members_.empty() && (!leader_ || !by_id_.contains(*leader_))) leader_ = members_.front()->id;
  compute_subscribed_topics();
}

Group::~Group() = default;

// --- events ------------------------------------------------------------------------------------------------------------------

void Group::on_loaded(Now now, GroupJournal& journal, Answers& out) {
  for (auto& member : members_) touch(*member, now);
  if (members_.size() > static_cast<size_t>(config_.max_size)) {
    prepare_rebalance(now, out);
    check_join_complete(now, journal, out);
  }
}

void Group::join(JoinRequest request, JoinAnswer answer, Now now, GroupJournal& journal, Answers& out) {
  if (state_ == GroupState::kDead) return fail_join(out, std::move(answer), std::move(request.member_id), ErrorCode::kCoordinatorNotAvailable);
  if (!accepts(request.member_id)) {
    remove_pending(request.member_id);
    if (Member* member = find_member(request.member_id)) {
      answer_member(*member, ErrorCode::kUnknownMemberId, out);
      erase_member(request.member_id);
    }
    fail_join(out, std::move(answer), "", ErrorCode::kGroupMaxSizeReached);
  } else if (!supports(request.protocol_type, request.protocols)) {
    fail_join(out, std::move(answer), std::move(request.member_id), ErrorCode::kInconsistentGroupProtocol);
  } else if (request.member_id.empty()) {
    join_as_new(std::move(request), std::move(answer), now, journal, out);
  } else {
    join_as_known(std::move(request), std::move(answer), now, out);
  }
  check_join_complete(now, journal, out);
}

void Group::join_as_new(JoinRequest request, JoinAnswer answer, Now now, GroupJournal& journal, Answers& out) {
  std::string new_id = request.instance_id.value_or(request.client_id) + "-" + request.uuid;
  if (request.instance_id) {
    auto known = static_members_.find(*request.instance_id);
    if (known != static_members_.end()) {
      std::string old_id = known->second;
      return replace_static_member(std::move(old_id), std::move(new_id), std::move(request), std::move(answer), now, journal, out);
    }
    return add_member(std::move(new_id), std::move(request), std::move(answer), now, out);
  }
  if (request.require_known_member_id) {
    int64_t deadline = now.monotonic_ms + request.session_timeout_ms;
    pending_[new_id] = deadline;
    held_bytes_ += pending_bytes(new_id);
    session_bound_ms_ = std::min(session_bound_ms_, deadline);
    return fail_join(out, std::move(answer), std::move(new_id), ErrorCode::kMemberIdRequired);
  }
  add_member(std::move(new_id), std::move(request), std::move(answer), now, out);
}

void Group::join_as_known(JoinRequest request, JoinAnswer answer, Now now, Answers& out) {
  if (!request.instance_id && pending_.contains(request.member_id)) {
    std::string id = request.member_id;
    return add_member(std::move(id), std::move(request), std::move(answer), now, out);
  }
  if (ErrorCode error = check_member(request.member_id, request.instance_id); error != ErrorCode::kNone) {
    return fail_join(out, std::move(answer), std::move(request.member_id), error);
  }
  Member& member = *find_member(request.member_id);
  switch (state_) {
    case GroupState::kPreparingRebalance:
      return rejoin(member, std::move(request), std::move(answer), now, out);
    case GroupState::kCompletingRebalance:
      // The answer to an earlier join may have been lost: the same join gets the same answer.
      if (member.protocols != request.protocols) return rejoin(member, std::move(request), std::move(answer), now, out);
      touch(member, now);
      return answer_join(out, std::move(answer), current_generation_for(member));
    case GroupState::kStable: {
      // The leader asks for a rebalance by joining again: it saw that topics changed.
      if (is_leader(member) || member.protocols != request.protocols) return rejoin(member, std::move(request), std::move(answer), now, out);
      touch(member, now);
      return answer_join(out, std::move(answer), current_generation_for(member));
    }
    case GroupState::kEmpty:
    case GroupState::kDead:
      break;
  }
  fail_join(out, std::move(answer), std::move(request.member_id), ErrorCode::kUnknownMemberId);
}

void Group::add_member(std::string member_id, JoinRequest request, JoinAnswer answer, Now now, Answers& out) {
  if (state_ == GroupState::kPreparingRebalance && generation_ == 0) member_added_in_initial_ = true;
  remove_pending(member_id);
  auto owned = std::make_unique<Member>();
  Member& member = *owned;
  member.id = std::move(member_id);
  member.instance_id = std::move(request.instance_id);
  member.client_id = std::move(request.client_id);
  member.client_host = std::move(request.client_host);
  member.rebalance_timeout_ms = request.rebalance_timeout_ms;
  member.session_timeout_ms = request.session_timeout_ms;
  member.protocols = std::move(request.protocols);
  member.is_new = true;
  if (members_.empty()) protocol_type_ = std::move(request.protocol_type);
  if (!leader_) leader_ = member.id;
  by_id_.emplace(member.id, &member);
  if (member.instance_id) static_members_[*member.instance_id] = member.id;
  members_.push_back(std::move(owned));
  index_protocols(member, 1);
  weigh(member);
  wait_for_join(member, std::move(answer), out);
  // It cannot send heartbeats while its join waits, and its connection is not read, so a lost client shows only by this limit.
  set_deadline(member, now.monotonic_ms + config_.new_member_join_timeout_ms);
  maybe_prepare_rebalance(now, out);
}

void Group::replace_static_member(std::string old_id, std::string new_id, JoinRequest request, JoinAnswer answer, Now now, GroupJournal& journal,
                                  Answers& out) {
  const std::optional<std::string> old_leader = leader_;
  const std::string instance = *request.instance_id;
  const bool supports_skip = request.supports_skip_assignment;
  Member& member = *find_member(old_id);
  // Whoever still waits under the old id is a duplicate of this instance.
  answer_member(member, ErrorCode::kFencedInstanceId, out);
  auto rename = [&](const std::string& to) {
    if (leader_ == member.id) leader_ = to;
    by_id_.erase(member.id);
    member.id = to;
    by_id_[to] = &member;
    static_members_[instance] = to;
  };
  rename(new_id);
  touch(member, now);

  auto old_protocols = member.protocols;
  auto old_client_id = member.client_id;
  auto old_client_host = member.client_host;
  const int32_t old_rebalance = member.rebalance_timeout_ms, old_session = member.session_timeout_ms;
  update_member(member, std::move(request));

  switch (state_) {
    case GroupState::kStable: {
      if (protocol_name_ != select_protocol()) {
        wait_for_join(member, std::move(answer), out);
        return maybe_prepare_rebalance(now, out);
      }
      // Nothing that the others see has changed: only the new id is kept.
      if (ErrorCode error = journal.append(*this); error != ErrorCode::kNone) {
        JoinRequest back;
        back.protocols = std::move(old_protocols);
        back.client_id = std::move(old_client_id);
        back.client_host = std::move(old_client_host);
        back.rebalance_timeout_ms = old_rebalance;
        back.session_timeout_ms = old_session;
        update_member(member, std::move(back));
        rename(old_id);
        touch(member, now);
        return answer_join(out, std::move(answer),
                           JoinResult{.error = error, .generation = generation_, .protocol_type = protocol_type_, .protocol_name = protocol_name_,
                                      .leader = old_leader.value_or("")});
      }
      compute_subscribed_topics();
      JoinResult result{.generation = generation_, .protocol_type = protocol_type_, .protocol_name = protocol_name_, .member_id = new_id};
      if (supports_skip) {
        // A returning leader learns that it leads, and that it must not assign again.
        result.leader = leader_.value_or("");
        result.skip_assignment = is_leader(member);
        if (result.skip_assignment) result.members = member_list();
      } else {
        // Before v9 it must not believe that it leads, else it would send assignments: it is told of the leader's old id.
        result.leader = old_leader.value_or("");
      }
      return answer_join(out, std::move(answer), std::move(result));
    }
    case GroupState::kCompletingRebalance:
      // The leader may be assigning to the old id already.
      wait_for_join(member, std::move(answer), out);
      return prepare_rebalance(now, out);
    case GroupState::kPreparingRebalance:
      return wait_for_join(member, std::move(answer), out);
    case GroupState::kEmpty:
    case GroupState::kDead:
      break;
  }
  CHECK(false);  // such a group has no members
}

void Group::rejoin(Member& member, JoinRequest request, JoinAnswer answer, Now now, Answers& out) {
  update_member(member, std::move(request));
  wait_for_join(member, std::move(answer), out);
  maybe_prepare_rebalance(now, out);
}

void Group::sync(SyncRequest request, SyncAnswer answer, Now now, GroupJournal& journal, Answers& out) {
  ErrorCode error = ErrorCode::kNone;
  if (state_ == GroupState::kDead) {
    error = ErrorCode::kCoordinatorNotAvailable;
  } else if (error = check_member(request.member_id, request.instance_id); error != ErrorCode::kNone) {
    // as it says
  } else if (request.generation != generation_) {
    error = ErrorCode::kIllegalGeneration;
  } else if ((request.protocol_type && request.protocol_type != protocol_type_) || (request.protocol_name && request.protocol_name != protocol_name_)) {
    error = ErrorCode::kInconsistentGroupProtocol;
  } else if (state_ == GroupState::kEmpty) {
    error = ErrorCode::kUnknownMemberId;
  } else if (state_ == GroupState::kPreparingRebalance) {
    error = ErrorCode::kRebalanceInProgress;
  }
  if (error != ErrorCode::kNone) return answer_sync(out, std::move(answer), SyncResult{.error = error});

  Member& member = *find_member(request.member_id);
  if (member.awaits_sync) {
    member.awaits_sync = false;
    if (--awaiting_sync_ == 0) sync_deadline_ms_ = kNever;
  }
  if (state_ == GroupState::kStable) {
    touch(member, now);
    return answer_sync(out, std::move(answer), SyncResult{.protocol_type = protocol_type_, .protocol_name = protocol_name_, .assignment = member.assignment});
  }

  // A second sync of the same member takes the place of the first, whose connection is most likely gone.
  if (member.sync) answer_sync(out, std::exchange(member.sync, nullptr), SyncResult{.error = ErrorCode::kRebalanceInProgress});
  member.sync = std::move(answer);
  if (!is_leader(member)) return;

  clear_assignments();
  for (auto& [member_id, assignment] : request.assignments) {
    if (Member* assigned = find_member(member_id)) assigned->assignment = std::move(assignment);
  }
  for (const auto& each : members_) assigned_bytes_ += each->assignment.size();
  if (ErrorCode refused = journal.append(*this); refused != ErrorCode::kNone) {
    clear_assignments();
    answer_syncs(refused, now, out);
    maybe_prepare_rebalance(now, out);
    return check_join_complete(now, journal, out);
  }
  answer_syncs(ErrorCode::kNone, now, out);
  transition(GroupState::kStable, now);
}

ErrorCode Group::heartbeat(std::string_view member_id, int32_t generation, const std::optional<std::string>& instance_id, Now now) {
  if (state_ == GroupState::kDead) return ErrorCode::kCoordinatorNotAvailable;
  if (ErrorCode error = check_member(member_id, instance_id); error != ErrorCode::kNone) return error;
  if (generation != generation_) return ErrorCode::kIllegalGeneration;
  if (state_ == GroupState::kEmpty) return ErrorCode::kUnknownMemberId;
  touch(*find_member(member_id), now);
  return state_ == GroupState::kPreparingRebalance ? ErrorCode::kRebalanceInProgress : ErrorCode::kNone;
}

ErrorCode Group::leave(std::string_view member_id, const std::optional<std::string>& instance_id, Now now, GroupJournal& journal, Answers& out) {
  if (state_ == GroupState::kDead) return ErrorCode::kCoordinatorNotAvailable;
  if (member_id.empty()) {
    auto known = instance_id ? static_members_.find(*instance_id) : static_members_.end();
    if (known == static_members_.end()) return ErrorCode::kUnknownMemberId;
    std::string id = known->second;
    remove_member(id, now, journal, out);
    return ErrorCode::kNone;
  }
  if (remove_pending(member_id)) {
    check_join_complete(now, journal, out);
    return ErrorCode::kNone;
  }
  if (ErrorCode error = check_member(member_id, instance_id); error != ErrorCode::kNone) return error;
  remove_member(member_id, now, journal, out);
  return ErrorCode::kNone;
}

ErrorCode Group::check_commit(std::string_view member_id, int32_t generation, const std::optional<std::string>& instance_id, bool transactional,
                              Now now) {
  if (state_ == GroupState::kDead) return ErrorCode::kCoordinatorNotAvailable;
  // Neither a member nor a generation: a client that only keeps its offsets here.
  if (generation < 0 && state_ == GroupState::kEmpty) return ErrorCode::kNone;
  if (generation >= 0 || !member_id.empty() || instance_id) {
    if (ErrorCode error = check_member(member_id, instance_id); error != ErrorCode::kNone) return error;
    if (generation != generation_) return ErrorCode::kIllegalGeneration;
  } else if (!transactional && state_ != GroupState::kEmpty) {
    return ErrorCode::kUnknownMemberId;
  }
  if (Member* member = find_member(member_id)) touch(*member, now);
  // During PreparingRebalance commits are welcome: members finish their work before they join again.
  return state_ == GroupState::kCompletingRebalance && !transactional ? ErrorCode::kRebalanceInProgress : ErrorCode::kNone;
}

void Group::on_time(Now now, GroupJournal& journal, Answers& out) {
  if (state_ == GroupState::kDead) return;
  if (now.monotonic_ms >= session_bound_ms_) {
    bool any_expired = false, pending_expired = false;
    int64_t bound = kNever;
    for (auto it = pending_.begin(); it != pending_.end();) {
      if (it->second <= now.monotonic_ms) {
        pending_expired = true;
        held_bytes_ -= pending_bytes(it->first);
        pending_.erase(it++);
      } else {
        bound = std::min(bound, it->second);
        ++it;
      }
    }
    for (const auto& member : members_) {
      // Who waits for an answer of ours cannot send heartbeats. A new member is bound by its first deadline even then.
      if (!member->is_new && (member->join || member->sync)) continue;
      if (member->deadline_ms <= now.monotonic_ms) {
        answer_member(*member, ErrorCode::kUnknownMemberId, out);
        member->is_leaving = any_expired = true;
      } else {
        bound = std::min(bound, member->deadline_ms);
      }
    }
    session_bound_ms_ = bound == kNever ? kNever : std::max(bound, now.monotonic_ms + kBetweenLooksMs);
    if (any_expired) {
      erase_leaving();
      if (state_ == GroupState::kStable || state_ == GroupState::kCompletingRebalance) prepare_rebalance(now, out);
    }
    if (any_expired || pending_expired) check_join_complete(now, journal, out);
  }
  if (now.monotonic_ms >= join_deadline_ms_) {
    if (initial_rebalance_ && member_added_in_initial_ && initial_remaining_ms_ > 0) {
      // Members are still arriving: wait a little more, at most until their rebalance timeout.
      member_added_in_initial_ = false;
      int64_t delay = std::min<int64_t>(config_.initial_rebalance_delay_ms, initial_remaining_ms_);
      initial_remaining_ms_ -= delay;
      join_deadline_ms_ = now.monotonic_ms + delay;
    } else {
      complete_join(now, journal, out);
    }
  }
  if (now.monotonic_ms >= sync_deadline_ms_) {
    expire_syncs(now, out);
    check_join_complete(now, journal, out);
  }
}

void Group::die(ErrorCode why, Answers& out) {
  for (auto& member : members_) answer_member(*member, why, out);
  state_ = GroupState::kDead;
  join_deadline_ms_ = sync_deadline_ms_ = session_bound_ms_ = kNever;
}

// --- rebalance ---------------------------------------------------------------------------------------------------------------

void Group::transition(GroupState to, Now now) {
  state_ = to;
  state_timestamp_ms_ = now.wall_ms;
}

void Group::maybe_prepare_rebalance(Now now, Answers& out) {
  if (state_ == GroupState::kEmpty || state_ == GroupState::kStable || state_ == GroupState::kCompletingRebalance) prepare_rebalance(now, out);
}

void Group::prepare_rebalance(Now now, Answers& out) {
  if (state_ == GroupState::kCompletingRebalance) {
    clear_assignments();
    answer_syncs(ErrorCode::kRebalanceInProgress, now, out);
  }
  sync_deadline_ms_ = kNever;
  initial_rebalance_ = state_ == GroupState::kEmpty;
  if (initial_rebalance_) {
    member_added_in_initial_ = false;
    initial_remaining_ms_ = std::max(rebalance_timeout_ms() - config_.initial_rebalance_delay_ms, 0);
    join_deadline_ms_ = now.monotonic_ms + config_.initial_rebalance_delay_ms;
  } else {
    join_deadline_ms_ = now.monotonic_ms + rebalance_timeout_ms();
  }
  transition(GroupState::kPreparingRebalance, now);
}

void Group::check_join_complete(Now now, GroupJournal& journal, Answers& out) {
  if (state_ != GroupState::kPreparingRebalance || initial_rebalance_) return;
  if (waiting_for_join_ == members_.size() && pending_.empty()) complete_join(now, journal, out);
}

void Group::complete_join(Now now, GroupJournal& journal, Answers& out) {
  for (const auto& member : members_) member->is_leaving = !member->join && !member->instance_id;
  erase_leaving();

  if (!members_.empty() && !elect_leader_among_joined()) {
    // Only static members, none of them back: their sessions decide.
    initial_rebalance_ = false;
    join_deadline_ms_ = now.monotonic_ms + std::max(rebalance_timeout_ms(), kLeastWaitMs);
    return;
  }
  join_deadline_ms_ = kNever;
  initial_rebalance_ = false;
  generation_ = generation_ == std::numeric_limits<int32_t>::max() ? 1 : generation_ + 1;
  for (auto& member : members_) member->awaits_sync = false;
  awaiting_sync_ = 0;

  if (members_.empty()) {
    protocol_name_.reset();
    leader_.reset();
    compute_subscribed_topics();
    transition(GroupState::kEmpty, now);
    // If this is refused, the group's last stored state stands, whose members expire after the next load.
    static_cast<void>(journal.append(*this));
    return;
  }
  protocol_name_ = select_protocol();
  compute_subscribed_topics();
  transition(GroupState::kCompletingRebalance, now);
  for (auto& member : members_) {
    if (member->join) {
      --waiting_for_join_;
      answer_join(out, std::exchange(member->join, nullptr), current_generation_for(*member));
    }
    member->is_new = false;
    member->awaits_sync = true;
    ++awaiting_sync_;
    touch(*member, now);
  }
  sync_deadline_ms_ = now.monotonic_ms + std::max(rebalance_timeout_ms(), kLeastWaitMs);
}

bool Group::elect_leader_among_joined() {
  if (leader_) {
    Member* current = find_member(*leader_);
    if (current && current->join) return true;
  }
  for (const auto& member : members_) {
    if (member->join) {
      leader_ = member->id;
      return true;
    }
  }
  return false;
}

void Group::expire_syncs(Now now, Answers& out) {
  sync_deadline_ms_ = kNever;
  if (awaiting_sync_ == 0) return;
  for (const auto& member : members_) {
    if (!member->awaits_sync) continue;
    answer_member(*member, ErrorCode::kUnknownMemberId, out);
    member->is_leaving = true;
  }
  erase_leaving();
  prepare_rebalance(now, out);
}

// --- members -----------------------------------------------------------------------------------------------------------------

const Group::Member* Group::find(std::string_view member_id) const {
  auto found = by_id_.find(member_id);
  return found == by_id_.end() ? nullptr : found->second;
}

Group::Member* Group::find_member(std::string_view member_id) {
  auto found = by_id_.find(member_id);
  return found == by_id_.end() ? nullptr : found->second;
}

bool Group::accepts(std::string_view member_id) const {
  const Member* member = find(member_id);
  const size_t limit = static_cast<size_t>(config_.max_size);
  switch (state_) {
    case GroupState::kPreparingRebalance:
      // Members that have not come back do not count: their places may be taken.
      return (member && member->join) || waiting_for_join_ < limit;
    case GroupState::kCompletingRebalance:
    case GroupState::kStable:
      return member || members_.size() < limit;
    case GroupState::kEmpty:
    case GroupState::kDead:
      return true;
  }
  return true;
}

bool Group::supports(const std::string& protocol_type, const std::vector<MemberProtocol>& protocols) const {
  if (state_ == GroupState::kEmpty) return !protocol_type.empty() && !protocols.empty();
  if (protocol_type_ != protocol_type) return false;
  return std::any_of(protocols.begin(), protocols.end(), [&](const MemberProtocol& protocol) {
    auto known = protocol_counts_.find(protocol.name);
    return (known == protocol_counts_.end() ? 0 : known->second) == members_.size();
  });
}

ErrorCode Group::check_member(std::string_view member_id, const std::optional<std::string>& instance_id) const {
  if (instance_id) {
    auto known = static_members_.find(*instance_id);
    if (known == static_members_.end()) return ErrorCode::kUnknownMemberId;
    if (known->second != member_id) return ErrorCode::kFencedInstanceId;
  }
  return by_id_.contains(member_id) ? ErrorCode::kNone : ErrorCode::kUnknownMemberId;
}

int32_t Group::rebalance_timeout_ms() const {
  int32_t longest = 0;
  for (const auto& member : members_) longest = std::max(longest, member->rebalance_timeout_ms);
  return longest;
}

std::string Group::select_protocol() const {
  auto known_by_all = [&](const std::string& name) {
    auto known = protocol_counts_.find(name);
    return known != protocol_counts_.end() && known->second == members_.size();
  };
  std::vector<std::pair<std::string_view, size_t>> votes;  // in the order of the first member's preference
  for (const auto& member : members_) {
    for (const MemberProtocol& protocol : member->protocols) {
      if (!known_by_all(protocol.name)) continue;
      auto counted = std::find_if(votes.begin(), votes.end(), [&](const auto& vote) { return vote.first == protocol.name; });
      if (counted == votes.end()) {
        votes.emplace_back(protocol.name, 1);
      } else {
        ++counted->second;
      }
      break;  // one vote a member: the first that all know
    }
  }
  CHECK(!votes.empty());  // every join was checked against the others
  return std::string(std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first);
}

void Group::update_member(Member& member, JoinRequest request) {
  index_protocols(member, -1);
  member.protocols = std::move(request.protocols);
  index_protocols(member, 1);
  member.rebalance_timeout_ms = request.rebalance_timeout_ms;
  member.session_timeout_ms = request.session_timeout_ms;
  member.client_id = std::move(request.client_id);
  member.client_host = std::move(request.client_host);
  weigh(member);
}

void Group::wait_for_join(Member& member, JoinAnswer answer, Answers& out) {
  if (member.join) {
    // A second join of the same member takes the place of the first, whose connection is most likely gone.
    fail_join(out, std::exchange(member.join, nullptr), member.id, ErrorCode::kRebalanceInProgress);
  } else {
    ++waiting_for_join_;
  }
  member.join = std::move(answer);
}

void Group::touch(Member& member, Now now) { set_deadline(member, now.monotonic_ms + member.session_timeout_ms); }

void Group::set_deadline(Member& member, int64_t deadline_ms) {
  member.deadline_ms = deadline_ms;
  session_bound_ms_ = std::min(session_bound_ms_, deadline_ms);
}

void Group::index_protocols(const Member& member, int delta) {
  absl::flat_hash_set<std::string_view> counted;  // a name that a member lists twice counts once
  for (const MemberProtocol& protocol : member.protocols) {
    const std::string& name = protocol.name;
    if (!counted.insert(name).second) continue;
    auto [known, _] = protocol_counts_.try_emplace(name, 0);
    known->second = static_cast<size_t>(static_cast<int64_t>(known->second) + delta);
    if (known->second == 0) protocol_counts_.erase(known);
  }
}

void Group::erase_member(std::string_view member_id) {
  const Member* wanted = find_member(member_id);
  auto found = std::find_if(members_.begin(), members_.end(), [&](const auto& member) { return member.get() == wanted; });
  CHECK(found != members_.end());
  unlink(**found);
  members_.erase(found);
  if (!leader_ && !members_.empty()) leader_ = members_.front()->id;
}

void Group::erase_leaving() {
  for (const auto& member : members_) {
    if (member->is_leaving) unlink(*member);
  }
  std::erase_if(members_, [](const auto& member) { return member->is_leaving; });
  if (!leader_ && !members_.empty()) leader_ = members_.front()->id;
}

void Group::unlink(const Member& member) {
  CHECK(!member.join && !member.sync);
  by_id_.erase(member.id);
  index_protocols(member, -1);
  held_bytes_ -= member.held_bytes;
  assigned_bytes_ -= member.assignment.size();
  if (member.awaits_sync && --awaiting_sync_ == 0) sync_deadline_ms_ = kNever;
  if (member.instance_id) {
    auto known = static_members_.find(*member.instance_id);
    if (known != static_members_.end() && known->second == member.id) static_members_.erase(known);
  }
  if (leader_ == member.id) leader_.reset();
}

void Group::weigh(Member& member) {
  held_bytes_ -= member.held_bytes;
  member.held_bytes = member_bytes(member.id.size(), member.instance_id, member.client_id, member.protocols);
  held_bytes_ += member.held_bytes;
}

void Group::remove_member(std::string_view member_id, Now now, GroupJournal& journal, Answers& out) {
  std::string id(member_id);
  answer_member(*find_member(id), ErrorCode::kUnknownMemberId, out);
  erase_member(id);
  if (state_ == GroupState::kStable || state_ == GroupState::kCompletingRebalance) prepare_rebalance(now, out);
  check_join_complete(now, journal, out);
}

bool Group::remove_pending(std::string_view member_id) {
  if (pending_.erase(member_id) == 0) return false;
  held_bytes_ -= pending_bytes(member_id);
  return true;
}

void Group::answer_member(Member& member, ErrorCode error, Answers& out) {
  if (member.join) {
    --waiting_for_join_;
    fail_join(out, std::exchange(member.join, nullptr), error == ErrorCode::kUnknownMemberId ? "" : member.id, error);
  }
  if (member.sync) answer_sync(out, std::exchange(member.sync, nullptr), SyncResult{.error = error});
}

void Group::answer_syncs(ErrorCode error, Now now, Answers& out) {
  for (auto& member : members_) {
    if (!member->sync) continue;
    SyncResult result{.error = error};
    if (error == ErrorCode::kNone) {
      result.protocol_type = protocol_type_;
      result.protocol_name = protocol_name_;
      result.assignment = member->assignment;
    }
    answer_sync(out, std::exchange(member->sync, nullptr), std::move(result));
    touch(*member, now);
  }
}

void Group::clear_assignments() {
  for (auto& member : members_) member->assignment = {};
  assigned_bytes_ = 0;
}

bool Group::is_subscribed_to(std::string_view topic) const { return !subscribed_topics_ || subscribed_topics_->contains(topic); }

void Group::compute_subscribed_topics() {
  subscribed_topics_.reset();
  subscribed_bytes_ = 0;
  if (protocol_type_ != "consumer") return;
  if (members_.empty()) {
    subscribed_topics_.emplace();
    return;
  }
  if (!protocol_name_) return;
  base::StringSet topics;
  for (const auto& member : members_) {
    if (!add_subscribed_topics(member->metadata(*protocol_name_), topics)) return;
  }
  for (const std::string& topic : topics) subscribed_bytes_ += kTopicBytes + topic.size();
  subscribed_topics_ = std::move(topics);
}

// --- view --------------------------------------------------------------------------------------------------------------------

std::optional<int64_t> Group::deadline() const {
  int64_t first = std::min({join_deadline_ms_, sync_deadline_ms_, session_bound_ms_});
  return first == kNever ? std::nullopt : std::optional(first);
}

size_t Group::bytes_of(const JoinRequest& request) {
  const size_t id = request.member_id.empty() ? request.instance_id.value_or(request.client_id).size() + 1 + request.uuid.size() : request.member_id.size();
  return member_bytes(id, request.instance_id, request.client_id, request.protocols);
}

size_t Group::bytes_freed_by(const JoinRequest& request) const {
  const Member* known = find(request.member_id);
  if (known == nullptr && request.member_id.empty() && request.instance_id) {
    auto by_instance = static_members_.find(*request.instance_id);
    if (by_instance != static_members_.end()) known = find(by_instance->second);
  }
  if (known != nullptr) return known->held_bytes;
  return pending_.contains(request.member_id) ? pending_bytes(request.member_id) : 0;
}

JoinResult Group::current_generation_for(const Member& member) const {
  JoinResult result{.generation = generation_, .protocol_type = protocol_type_, .protocol_name = protocol_name_, .leader = leader_.value_or(""),
                    .member_id = member.id};
  if (is_leader(member)) result.members = member_list();
  return result;
}

std::vector<JoinResult::Member> Group::member_list() const {
  std::vector<JoinResult::Member> list;
  list.reserve(members_.size());
  for (const auto& member : members_) list.push_back({member->id, member->instance_id, member->metadata(protocol_name_.value_or(""))});
  return list;
}

}  // namespace odradek::coordinator
