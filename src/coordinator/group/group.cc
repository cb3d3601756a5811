#include "coordinator/group/group.h"

#include <algorithm>

#include "coordinator/group/subscription.h"

namespace odradek::coordinator {

namespace {

// The least that members have for their SyncGroup. Some clients send no rebalance timeout (kafkajs where it joins by hand), and
// whether Kafka then takes their sync is a race of its timer with the network. Also the least time between two looks whether static
// members that are all away have come back.
constexpr int32_t kLeastWaitMs = 1'000;

constexpr size_t kTopicBytes = 64;  // about what a subscribed topic takes beside its name

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

Group::Group(std::string id, const GroupConfig& config, Now now) : id_(std::move(id)), config_(config), state_timestamp_ms_(now.wall_ms) {}

Group::Group(std::string id, const GroupConfig& config, Stored stored)
    : id_(std::move(id)),
      config_(config),
      state_(stored.members.empty() ? GroupState::kEmpty : GroupState::kStable),
      state_timestamp_ms_(stored.state_timestamp_ms),
      generation_(stored.generation),
      protocol_name_(std::move(stored.protocol_name)),
      members_(std::move(stored.members), std::move(stored.leader)) {
  if (!stored.protocol_type.empty()) protocol_type_ = std::move(stored.protocol_type);
  compute_subscribed_topics();
}

Group::~Group() = default;

// --- events ------------------------------------------------------------------------------------------------------------------

void Group::on_loaded(Now now, GroupJournal& journal, Answers& out) {
  for (auto& member : members_.list()) touch(*member, now);
  if (members_.size() > static_cast<size_t>(config_.max_size)) {
    prepare_rebalance(now, out);
    check_join_complete(now, journal, out);
  }
}

void Group::sync(SyncRequest request, SyncAnswer answer, Now now, GroupJournal& journal, Answers& out) {
  ErrorCode error = ErrorCode::kNone;
  if (state_ == GroupState::kDead) {
    error = ErrorCode::kCoordinatorNotAvailable;
  } else if (error = members_.check(request.member_id, request.instance_id); error != ErrorCode::kNone) {
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

  Member& member = *members_.find(request.member_id);
  members_.sync_came(member);
  if (state_ == GroupState::kStable) {
    touch(member, now);
    return answer_sync(out, std::move(answer), SyncResult{.protocol_type = protocol_type_, .protocol_name = protocol_name_, .assignment = member.assignment});
  }

  // A second sync of the same member takes the place of the first, whose connection is most likely gone.
  if (member.sync) answer_sync(out, std::exchange(member.sync, nullptr), SyncResult{.error = ErrorCode::kRebalanceInProgress});
  member.sync = std::move(answer);
  if (!members_.leads(member)) return;

  members_.assign(std::move(request.assignments));
  if (ErrorCode refused = journal.append(*this); refused != ErrorCode::kNone) {
    members_.clear_assignments();
    answer_syncs(refused, now, out);
    maybe_prepare_rebalance(now, out);
    return check_join_complete(now, journal, out);
  }
  answer_syncs(ErrorCode::kNone, now, out);
  transition(GroupState::kStable, now);
}

ErrorCode Group::heartbeat(std::string_view member_id, int32_t generation, const std::optional<std::string>& instance_id, Now now) {
  if (state_ == GroupState::kDead) return ErrorCode::kCoordinatorNotAvailable;
  if (ErrorCode error = members_.check(member_id, instance_id); error != ErrorCode::kNone) return error;
  if (generation != generation_) return ErrorCode::kIllegalGeneration;
  if (state_ == GroupState::kEmpty) return ErrorCode::kUnknownMemberId;
  touch(*members_.find(member_id), now);
  return state_ == GroupState::kPreparingRebalance ? ErrorCode::kRebalanceInProgress : ErrorCode::kNone;
}

ErrorCode Group::leave(std::string_view member_id, const std::optional<std::string>& instance_id, Now now, GroupJournal& journal, Answers& out) {
  if (state_ == GroupState::kDead) return ErrorCode::kCoordinatorNotAvailable;
  if (member_id.empty()) {
    const std::string* known = instance_id ? members_.id_of_instance(*instance_id) : nullptr;
    if (known == nullptr) return ErrorCode::kUnknownMemberId;
    remove_member(std::string(*known), now, journal, out);
    return ErrorCode::kNone;
  }
  if (members_.take_back(member_id)) {
    check_join_complete(now, journal, out);
    return ErrorCode::kNone;
  }
  if (ErrorCode error = members_.check(member_id, instance_id); error != ErrorCode::kNone) return error;
  remove_member(std::string(member_id), now, journal, out);
  return ErrorCode::kNone;
}

ErrorCode Group::check_commit(std::string_view member_id, int32_t generation, const std::optional<std::string>& instance_id, bool transactional,
                              Now now) {
  if (state_ == GroupState::kDead) return ErrorCode::kCoordinatorNotAvailable;
  // Neither a member nor a generation: a client that only keeps its offsets here.
  if (generation < 0 && state_ == GroupState::kEmpty) return ErrorCode::kNone;
  if (generation >= 0 || !member_id.empty() || instance_id) {
    if (ErrorCode error = members_.check(member_id, instance_id); error != ErrorCode::kNone) return error;
    if (generation != generation_) return ErrorCode::kIllegalGeneration;
  } else if (!transactional && state_ != GroupState::kEmpty) {
    return ErrorCode::kUnknownMemberId;
  }
  if (Member* member = members_.find(member_id)) touch(*member, now);
  // During PreparingRebalance commits are welcome: members finish their work before they join again.
  return state_ == GroupState::kCompletingRebalance && !transactional ? ErrorCode::kRebalanceInProgress : ErrorCode::kNone;
}

void Group::on_time(Now now, GroupJournal& journal, Answers& out) {
  if (state_ == GroupState::kDead) return;
  if (now.monotonic_ms >= members_.session_bound_ms()) end_overdue_sessions(now, journal, out);
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
  if (now.monotonic_ms >= sync_deadline_ms()) {
    expire_syncs(now, out);
    check_join_complete(now, journal, out);
  }
}

void Group::end_overdue_sessions(Now now, GroupJournal& journal, Answers& out) {
  const GroupMembers::Overdue overdue = members_.overdue(now.monotonic_ms);
  for (Member* member : overdue.members) {
    answer_member(*member, ErrorCode::kUnknownMemberId, out);
    member->is_leaving = true;
  }
  if (!overdue.members.empty()) {
    members_.erase_leaving();
    if (state_ == GroupState::kStable || state_ == GroupState::kCompletingRebalance) prepare_rebalance(now, out);
  }
  if (!overdue.members.empty() || overdue.ids) check_join_complete(now, journal, out);
}

void Group::die(ErrorCode why, Answers& out) {
  for (auto& member : members_.list()) answer_member(*member, why, out);
  state_ = GroupState::kDead;
  join_deadline_ms_ = sync_deadline_ms_ = kNever;
  members_.end_sessions();
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
    members_.clear_assignments();
    answer_syncs(ErrorCode::kRebalanceInProgress, now, out);
  }
  sync_deadline_ms_ = kNever;
  initial_rebalance_ = state_ == GroupState::kEmpty;
  if (initial_rebalance_) {
    member_added_in_initial_ = false;
    initial_remaining_ms_ = std::max(members_.longest_rebalance_timeout_ms() - config_.initial_rebalance_delay_ms, 0);
    join_deadline_ms_ = now.monotonic_ms + config_.initial_rebalance_delay_ms;
  } else {
    join_deadline_ms_ = now.monotonic_ms + members_.longest_rebalance_timeout_ms();
  }
  transition(GroupState::kPreparingRebalance, now);
}

void Group::check_join_complete(Now now, GroupJournal& journal, Answers& out) {
  if (state_ != GroupState::kPreparingRebalance || initial_rebalance_) return;
  if (members_.waiting_for_join() == members_.size() && members_.given_out() == 0) complete_join(now, journal, out);
}

void Group::complete_join(Now now, GroupJournal& journal, Answers& out) {
  for (const auto& member : members_.list()) member->is_leaving = !member->join && !member->instance_id;
  members_.erase_leaving();

  if (!members_.empty() && !members_.elect_leader_among_joined()) {
    // Only static members, none of them back: their sessions decide.
    initial_rebalance_ = false;
    join_deadline_ms_ = now.monotonic_ms + std::max(members_.longest_rebalance_timeout_ms(), kLeastWaitMs);
    return;
  }
  join_deadline_ms_ = kNever;
  initial_rebalance_ = false;
  generation_ = generation_ == std::numeric_limits<int32_t>::max() ? 1 : generation_ + 1;
  members_.await_syncs(false);

  if (members_.empty()) {
    protocol_name_.reset();
    members_.forget_leader();
    compute_subscribed_topics();
    transition(GroupState::kEmpty, now);
    // If this is refused, the group's last stored state stands, whose members expire after the next load.
    static_cast<void>(journal.append(*this));
    return;
  }
  protocol_name_ = members_.select_protocol();
  compute_subscribed_topics();
  transition(GroupState::kCompletingRebalance, now);
  for (auto& member : members_.list()) {
    if (JoinAnswer answer = members_.take_join(*member)) answer_join(out, std::move(answer), current_generation_for(*member));
    member->is_new = false;
    touch(*member, now);
  }
  members_.await_syncs(true);
  sync_deadline_ms_ = now.monotonic_ms + std::max(members_.longest_rebalance_timeout_ms(), kLeastWaitMs);
}

void Group::expire_syncs(Now now, Answers& out) {
  sync_deadline_ms_ = kNever;
  if (members_.awaiting_sync() == 0) return;
  for (const auto& member : members_.list()) {
    if (!member->awaits_sync) continue;
    answer_member(*member, ErrorCode::kUnknownMemberId, out);
    member->is_leaving = true;
  }
  members_.erase_leaving();
  prepare_rebalance(now, out);
}

// --- members -----------------------------------------------------------------------------------------------------------------

void Group::remove_member(const std::string& member_id, Now now, GroupJournal& journal, Answers& out) {
  answer_member(*members_.find(member_id), ErrorCode::kUnknownMemberId, out);
  members_.erase(member_id);
  if (state_ == GroupState::kStable || state_ == GroupState::kCompletingRebalance) prepare_rebalance(now, out);
  check_join_complete(now, journal, out);
}

void Group::answer_member(Member& member, ErrorCode error, Answers& out) {
  if (JoinAnswer join = members_.take_join(member)) fail_join(out, std::move(join), error == ErrorCode::kUnknownMemberId ? "" : member.id, error);
  if (member.sync) answer_sync(out, std::exchange(member.sync, nullptr), SyncResult{.error = error});
}

void Group::answer_syncs(ErrorCode error, Now now, Answers& out) {
  for (auto& member : members_.list()) {
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
  for (const auto& member : members_.list()) {
    if (!add_subscribed_topics(member->metadata(*protocol_name_), topics)) return;
  }
  for (const std::string& topic : topics) subscribed_bytes_ += kTopicBytes + topic.size();
  subscribed_topics_ = std::move(topics);
}

// --- view --------------------------------------------------------------------------------------------------------------------

std::optional<int64_t> Group::deadline() const {
  int64_t first = std::min({join_deadline_ms_, sync_deadline_ms(), members_.session_bound_ms()});
  return first == kNever ? std::nullopt : std::optional(first);
}

}  // namespace odradek::coordinator
