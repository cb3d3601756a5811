#include "coordinator/group/group_members.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>

#include "base/check.h"

namespace odradek::coordinator {

namespace {

// Sessions end up to this much late: all that end close together cost one look at the members, not one each.
constexpr int64_t kBetweenLooksMs = 100;

// About what a member, one of its protocols and an id that was given out take beside their texts and bytes.
constexpr size_t kMemberBytes = 1'024, kProtocolBytes = 192, kGivenOutBytes = 1'024;

size_t given_out_bytes(std::string_view id) { return kGivenOutBytes + 2 * id.size(); }

size_t member_bytes(size_t id, const std::optional<std::string>& instance, const std::string& client_id, const std::vector<MemberProtocol>& protocols) {
  size_t bytes = kMemberBytes + 3 * id + (instance ? 2 * instance->size() : 0) + client_id.size();
  for (const MemberProtocol& protocol : protocols) bytes += kProtocolBytes + 2 * protocol.name.size() + protocol.metadata.size();
  return bytes;
}

}  // namespace

const Bytes& GroupMember::metadata(std::string_view protocol) const {
  static const Bytes kNone;
  for (const MemberProtocol& known : protocols) {
    if (known.name == protocol) return known.metadata;
  }
  return kNone;
}

GroupMembers::GroupMembers(std::vector<GroupMember> members, std::optional<std::string> leader) : leader_(std::move(leader)) {
  for (GroupMember& member : members) {
    if (!by_id_.contains(member.id)) index(std::make_unique<GroupMember>(std::move(member)));
  }
  if (!list_.empty() && (!leader_ || !by_id_.contains(*leader_))) leader_ = list_.front()->id;
}

const GroupMember* GroupMembers::find(std::string_view member_id) const {
  auto found = by_id_.find(member_id);
  return found == by_id_.end() ? nullptr : found->second;
}

GroupMember* GroupMembers::find(std::string_view member_id) {
  auto found = by_id_.find(member_id);
  return found == by_id_.end() ? nullptr : found->second;
}

const std::string* GroupMembers::id_of_instance(const std::string& instance_id) const {
  auto known = by_instance_.find(instance_id);
  return known == by_instance_.end() ? nullptr : &known->second;
}

ErrorCode GroupMembers::check(std::string_view member_id, const std::optional<std::string>& instance_id) const {
  if (instance_id) {
    auto known = by_instance_.find(*instance_id);
    if (known == by_instance_.end()) return ErrorCode::kUnknownMemberId;
    if (known->second != member_id) return ErrorCode::kFencedInstanceId;
  }
  return by_id_.contains(member_id) ? ErrorCode::kNone : ErrorCode::kUnknownMemberId;
}

// --- they come, change and go ------------------------------------------------------------------------------------------------------

GroupMember& GroupMembers::add(std::unique_ptr<GroupMember> member) {
  GroupMember& added = *member;
  if (!leader_) leader_ = added.id;
  index(std::move(member));
  return added;
}

void GroupMembers::index(std::unique_ptr<GroupMember> member) {
  by_id_.emplace(member->id, member.get());
  if (member->instance_id) by_instance_[*member->instance_id] = member->id;
  index_protocols(*member, 1);
  weigh(*member);
  assigned_bytes_ += member->assignment.size();
  list_.push_back(std::move(member));
}

void GroupMembers::index_protocols(const GroupMember& member, int delta) {
  absl::flat_hash_set<std::string_view> counted;  // a name that a member lists twice counts once
  for (const MemberProtocol& protocol : member.protocols) {
    const std::string& name = protocol.name;
    if (!counted.insert(name).second) continue;
    auto [known, _] = protocol_counts_.try_emplace(name, 0);
    known->second = static_cast<size_t>(static_cast<int64_t>(known->second) + delta);
    if (known->second == 0) protocol_counts_.erase(known);
  }
}

void GroupMembers::weigh(GroupMember& member) {
  held_bytes_ -= member.held_bytes;
  member.held_bytes = member_bytes(member.id.size(), member.instance_id, member.client_id, member.protocols);
  held_bytes_ += member.held_bytes;
}

void GroupMembers::update(GroupMember& member, JoinRequest request) {
  index_protocols(member, -1);
  member.protocols = std::move(request.protocols);
  index_protocols(member, 1);
  member.rebalance_timeout_ms = request.rebalance_timeout_ms;
  member.session_timeout_ms = request.session_timeout_ms;
  member.client_id = std::move(request.client_id);
  member.client_host = std::move(request.client_host);
  weigh(member);
}

void GroupMembers::rename(GroupMember& member, const std::string& to) {
  if (leader_ == member.id) leader_ = to;
  by_id_.erase(member.id);
  member.id = to;
  by_id_[to] = &member;
  by_instance_[*member.instance_id] = to;
}

void GroupMembers::erase(std::string_view member_id) {
  const GroupMember* wanted = find(member_id);
  auto found = std::find_if(list_.begin(), list_.end(), [&](const auto& member) { return member.get() == wanted; });
  CHECK(found != list_.end());
  unlink(**found);
  list_.erase(found);
  if (!leader_ && !list_.empty()) leader_ = list_.front()->id;
}

void GroupMembers::erase_leaving() {
  for (const auto& member : list_) {
    if (member->is_leaving) unlink(*member);
  }
  std::erase_if(list_, [](const auto& member) { return member->is_leaving; });
  if (!leader_ && !list_.empty()) leader_ = list_.front()->id;
}

void GroupMembers::unlink(const GroupMember& member) {
  CHECK(!member.join && !member.sync);
  by_id_.erase(member.id);
  index_protocols(member, -1);
  held_bytes_ -= member.held_bytes;
  assigned_bytes_ -= member.assignment.size();
  if (member.awaits_sync) --awaiting_sync_;
  if (member.instance_id) {
    auto known = by_instance_.find(*member.instance_id);
    if (known != by_instance_.end() && known->second == member.id) by_instance_.erase(known);
  }
  if (leader_ == member.id) leader_.reset();
}

// --- ids that were given out -------------------------------------------------------------------------------------------------------

void GroupMembers::give_out(std::string member_id, int64_t deadline_ms) {
  held_bytes_ += given_out_bytes(member_id);
  session_bound_ms_ = std::min(session_bound_ms_, deadline_ms);
  given_out_[std::move(member_id)] = deadline_ms;
}

bool GroupMembers::take_back(std::string_view member_id) {
  if (given_out_.erase(member_id) == 0) return false;
  held_bytes_ -= given_out_bytes(member_id);
  return true;
}

// --- who leads, and by which protocol ----------------------------------------------------------------------------------------------

bool GroupMembers::elect_leader_among_joined() {
  if (leader_) {
    GroupMember* current = find(*leader_);
    if (current && current->join) return true;
  }
  for (const auto& member : list_) {
    if (member->join) {
      leader_ = member->id;
      return true;
    }
  }
  return false;
}

bool GroupMembers::all_know(const std::string& protocol) const {
  auto known = protocol_counts_.find(protocol);
  return (known == protocol_counts_.end() ? 0 : known->second) == list_.size();
}

std::string GroupMembers::select_protocol() const {
  std::vector<std::pair<std::string_view, size_t>> votes;  // in the order of the first member's preference
  for (const auto& member : list_) {
    for (const MemberProtocol& protocol : member->protocols) {
      if (!all_know(protocol.name)) continue;
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

int32_t GroupMembers::longest_rebalance_timeout_ms() const {
  int32_t longest = 0;
  for (const auto& member : list_) longest = std::max(longest, member->rebalance_timeout_ms);
  return longest;
}

// --- who waits for an answer ---------------------------------------------------------------------------------------------------------

JoinAnswer GroupMembers::wait_for_join(GroupMember& member, JoinAnswer answer) {
  if (!member.join) ++waiting_for_join_;
  return std::exchange(member.join, std::move(answer));
}

JoinAnswer GroupMembers::take_join(GroupMember& member) {
  if (member.join) --waiting_for_join_;
  return std::exchange(member.join, nullptr);
}

void GroupMembers::await_syncs(bool awaited) {
  for (const auto& member : list_) member->awaits_sync = awaited;
  awaiting_sync_ = awaited ? list_.size() : 0;
}

void GroupMembers::sync_came(GroupMember& member) {
  if (std::exchange(member.awaits_sync, false)) --awaiting_sync_;
}

// --- assignments ---------------------------------------------------------------------------------------------------------------------

void GroupMembers::assign(std::vector<std::pair<std::string, Bytes>> assignments) {
  clear_assignments();
  for (auto& [member_id, assignment] : assignments) {
    if (GroupMember* assigned = find(member_id)) assigned->assignment = std::move(assignment);
  }
  for (const auto& each : list_) assigned_bytes_ += each->assignment.size();
}

void GroupMembers::clear_assignments() {
  for (auto& member : list_) member->assignment = {};
  assigned_bytes_ = 0;
}

// --- sessions ------------------------------------------------------------------------------------------------------------------------

void GroupMembers::set_deadline(GroupMember& member, int64_t deadline_ms) {
  member.deadline_ms = deadline_ms;
  session_bound_ms_ = std::min(session_bound_ms_, deadline_ms);
}

GroupMembers::Overdue GroupMembers::overdue(int64_t now_ms) {
  Overdue result;
  int64_t bound = kNever;
  for (auto it = given_out_.begin(); it != given_out_.end();) {
    if (it->second <= now_ms) {
      result.ids = true;
      held_bytes_ -= given_out_bytes(it->first);
      given_out_.erase(it++);
    } else {
      bound = std::min(bound, it->second);
      ++it;
    }
  }
  for (const auto& member : list_) {
    // Who waits for an answer of ours cannot send heartbeats. A new member is bound by its first deadline even then.
    if (!member->is_new && (member->join || member->sync)) continue;
    if (member->deadline_ms <= now_ms) {
      result.members.push_back(member.get());
    } else {
      bound = std::min(bound, member->deadline_ms);
    }
  }
  session_bound_ms_ = bound == kNever ? kNever : std::max(bound, now_ms + kBetweenLooksMs);
  return result;
}

// --- memory --------------------------------------------------------------------------------------------------------------------------

size_t GroupMembers::bytes_of(const JoinRequest& request) {
  const size_t id = request.member_id.empty() ? request.instance_id.value_or(request.client_id).size() + 1 + request.uuid.size() : request.member_id.size();
  return member_bytes(id, request.instance_id, request.client_id, request.protocols);
}

size_t GroupMembers::bytes_freed_by(const JoinRequest& request) const {
  const GroupMember* known = find(request.member_id);
  if (known == nullptr && request.member_id.empty() && request.instance_id) {
    if (const std::string* id = id_of_instance(*request.instance_id)) known = find(*id);
  }
  if (known != nullptr) return known->held_bytes;
  return is_given_out(request.member_id) ? given_out_bytes(request.member_id) : 0;
}

}  // namespace odradek::coordinator
