// How members come into a group and come back.
#include <algorithm>

#include "base/check.h"
#include "coordinator/group/group.h"

namespace odradek::coordinator {

void Group::join(JoinRequest request, JoinAnswer answer, Now now, GroupJournal& journal, Answers& out) {
  if (state_ == GroupState::kDead) return fail_join(out, std::move(answer), std::move(request.member_id), ErrorCode::kCoordinatorNotAvailable);
  if (!accepts(request.member_id)) {
    members_.take_back(request.member_id);
    if (Member* member = members_.find(request.member_id)) {
      answer_member(*member, ErrorCode::kUnknownMemberId, out);
      members_.erase(request.member_id);
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
    if (const std::string* known = members_.id_of_instance(*request.instance_id)) {
      const std::string old_id = *known;
      return replace_static_member(old_id, new_id, std::move(request), std::move(answer), now, journal, out);
    }
    return add_member(std::move(new_id), std::move(request), std::move(answer), now, out);
  }
  if (request.require_known_member_id) {
    members_.give_out(new_id, now.monotonic_ms + request.session_timeout_ms);
    return fail_join(out, std::move(answer), std::move(new_id), ErrorCode::kMemberIdRequired);
  }
  add_member(std::move(new_id), std::move(request), std::move(answer), now, out);
}

void Group::join_as_known(JoinRequest request, JoinAnswer answer, Now now, Answers& out) {
  if (!request.instance_id && members_.is_given_out(request.member_id)) {
    std::string id = request.member_id;
    return add_member(std::move(id), std::move(request), std::move(answer), now, out);
  }
  if (ErrorCode error = members_.check(request.member_id, request.instance_id); error != ErrorCode::kNone) {
    return fail_join(out, std::move(answer), std::move(request.member_id), error);
  }
  Member& member = *members_.find(request.member_id);
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
      if (members_.leads(member) || member.protocols != request.protocols) return rejoin(member, std::move(request), std::move(answer), now, out);
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
  members_.take_back(member_id);
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
  members_.add(std::move(owned));
  wait_for_join(member, std::move(answer), out);
  // It cannot send heartbeats while its join waits, and its connection is not read, so a lost client shows only by this limit.
  members_.set_deadline(member, now.monotonic_ms + config_.new_member_join_timeout_ms);
  maybe_prepare_rebalance(now, out);
}

void Group::replace_static_member(const std::string& old_id, const std::string& new_id, JoinRequest request, JoinAnswer answer, Now now,
                                  GroupJournal& journal, Answers& out) {
  const std::optional<std::string> old_leader = members_.leader();
  const bool supports_skip = request.supports_skip_assignment;
  Member& member = *members_.find(old_id);
  // Whoever still waits under the old id is a duplicate of this instance.
  answer_member(member, ErrorCode::kFencedInstanceId, out);
  members_.rename(member, new_id);
  touch(member, now);

  auto old_protocols = member.protocols;
  auto old_client_id = member.client_id;
  auto old_client_host = member.client_host;
  const int32_t old_rebalance = member.rebalance_timeout_ms, old_session = member.session_timeout_ms;
  members_.update(member, std::move(request));

  switch (state_) {
    case GroupState::kStable: {
      if (protocol_name_ != members_.select_protocol()) {
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
        members_.update(member, std::move(back));
        members_.rename(member, old_id);
        touch(member, now);
        return answer_join(out, std::move(answer),
                           JoinResult{.error = error, .generation = generation_, .protocol_type = protocol_type_, .protocol_name = protocol_name_,
                                      .leader = old_leader.value_or("")});
      }
      compute_subscribed_topics();
      JoinResult result{.generation = generation_, .protocol_type = protocol_type_, .protocol_name = protocol_name_, .member_id = new_id};
      if (supports_skip) {
        // A returning leader learns that it leads, and that it must not assign again.
        result.leader = members_.leader().value_or("");
        result.skip_assignment = members_.leads(member);
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
  members_.update(member, std::move(request));
  wait_for_join(member, std::move(answer), out);
  maybe_prepare_rebalance(now, out);
}

bool Group::accepts(std::string_view member_id) const {
  const Member* member = find(member_id);
  const size_t limit = static_cast<size_t>(config_.max_size);
  switch (state_) {
    case GroupState::kPreparingRebalance:
      // Members that have not come back do not count: their places may be taken.
      return (member && member->join) || members_.waiting_for_join() < limit;
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
  return std::any_of(protocols.begin(), protocols.end(), [&](const MemberProtocol& protocol) { return members_.all_know(protocol.name); });
}

void Group::wait_for_join(Member& member, JoinAnswer answer, Answers& out) {
  // A second join of the same member takes the place of the first, whose connection is most likely gone.
  if (JoinAnswer former = members_.wait_for_join(member, std::move(answer))) fail_join(out, std::move(former), member.id, ErrorCode::kRebalanceInProgress);
}

JoinResult Group::current_generation_for(const Member& member) const {
  JoinResult result{.generation = generation_, .protocol_type = protocol_type_, .protocol_name = protocol_name_, .leader = members_.leader().value_or(""),
                    .member_id = member.id};
  if (members_.leads(member)) result.members = member_list();
  return result;
}

std::vector<JoinResult::Member> Group::member_list() const {
  std::vector<JoinResult::Member> list;
  list.reserve(members_.size());
  for (const auto& member : members_.list()) list.push_back({member->id, member->instance_id, member->metadata(protocol_name_.value_or(""))});
  return list;
}

}  // namespace odradek::coordinator
