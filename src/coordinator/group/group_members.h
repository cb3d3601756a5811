// Who is in one classic group: in order of arrival, by id and by instance; the ids that were given out to new members; who leads. Keeps in
// step with it what follows from it: how many know each protocol, how many wait for an answer, what all of it takes in memory, when the
// next session may end. When there is a rebalance is Group's business.
// The leader is a member once there are members; who goes leads no more, and the first in order follows.
// Thread: none of its own (a shard's strand).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/string_map.h"
#include "coordinator/group/group_requests.h"
#include "model/error_code.h"

namespace odradek::coordinator {

struct GroupMember {
  std::string id;
  std::optional<std::string> instance_id;
  std::string client_id;
  std::string client_host;
  int32_t rebalance_timeout_ms = 0;
  int32_t session_timeout_ms = 0;
  std::vector<MemberProtocol> protocols;  // in the member's order of preference
  Bytes assignment;

  JoinAnswer join;  // set while the member waits for the rebalance to end
  SyncAnswer sync;  // set while it waits for its assignment
  bool is_new = false;        // its first join is not answered yet
  bool awaits_sync = false;   // its join is answered, its sync has not come
  bool is_leaving = false;    // erase_leaving() takes it out
  size_t held_bytes = 0;      // its share of GroupMembers::held_bytes()
  int64_t deadline_ms = 0;    // monotonic; removed when it passes without a sign of life

  const Bytes& metadata(std::string_view protocol) const;  // empty if it does not know the protocol
};

class GroupMembers {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  GroupMembers() = default;
  // As they were stored. A leader that is none of them gives way to the first.
  GroupMembers(std::vector<GroupMember> members, std::optional<std::string> leader);

  // --- who they are -------------------------------------------------------------------------------------------------------------
  // In order of arrival.
  const std::vector<std::unique_ptr<GroupMember>>& list() const { return list_; }
  size_t size() const { return list_.size(); }
  bool empty() const { return list_.empty(); }
  // Null: none.
  const GroupMember* find(std::string_view member_id) const;
  GroupMember* find(std::string_view member_id);
  // The member id of an instance. Null: unknown.
  const std::string* id_of_instance(const std::string& instance_id) const;
  // kUnknownMemberId, kFencedInstanceId.
  ErrorCode check(std::string_view member_id, const std::optional<std::string>& instance_id) const;

  // --- they come, change and go --------------------------------------------------------------------------------------------------
  GroupMember& add(std::unique_ptr<GroupMember> member);
  // Protocols, timeouts and client as the request has them.
  void update(GroupMember& member, JoinRequest request);
  // Of a static member, whose new instance has a new id.
  void rename(GroupMember& member, const std::string& to);
  // The waiting answers of who is erased are gone already.
  void erase(std::string_view member_id);
  void erase_leaving();  // all that are marked, in one pass

  // --- ids that were given out and are not used yet --------------------------------------------------------------------------------
  void give_out(std::string member_id, int64_t deadline_ms);
  bool take_back(std::string_view member_id);
  bool is_given_out(std::string_view member_id) const { return given_out_.contains(member_id); }
  size_t given_out() const { return given_out_.size(); }

  // --- who leads, and by which protocol ----------------------------------------------------------------------------------------------
  const std::optional<std::string>& leader() const { return leader_; }
  bool leads(const GroupMember& member) const { return leader_ == member.id; }
  // The leader, if it has joined again, else the first that has. False: nobody has.
  bool elect_leader_among_joined();
  // Of a group that is empty.
  void forget_leader() { leader_.reset(); }
  bool all_know(const std::string& protocol) const;
  // The one with most votes among those that all know; each votes for the first of its own. There must be one.
  std::string select_protocol() const;
  int32_t longest_rebalance_timeout_ms() const;

  // --- who waits for an answer ---------------------------------------------------------------------------------------------------------
  // The answer whose place it takes; null: none.
  JoinAnswer wait_for_join(GroupMember& member, JoinAnswer answer);
  // Null: it does not wait.
  JoinAnswer take_join(GroupMember& member);
  size_t waiting_for_join() const { return waiting_for_join_; }
  // Of each: whether its join is answered and its sync has not come.
  void await_syncs(bool awaited);
  void sync_came(GroupMember& member);
  size_t awaiting_sync() const { return awaiting_sync_; }

  // --- assignments -------------------------------------------------------------------------------------------------------------------
  // Those of unknown members are dropped; who is not named gets none.
  void assign(std::vector<std::pair<std::string, Bytes>> assignments);
  void clear_assignments();

  // --- sessions: monotonic ms ------------------------------------------------------------------------------------------------------------
  void touch(GroupMember& member, int64_t now_ms) { set_deadline(member, now_ms + member.session_timeout_ms); }
  void set_deadline(GroupMember& member, int64_t deadline_ms);
  // No session and no id that was given out ends before this.
  int64_t session_bound_ms() const { return session_bound_ms_; }
  void end_sessions() { session_bound_ms_ = kNever; }
  struct Overdue {
    std::vector<GroupMember*> members;
    bool ids = false;  // ids that were given out; they are taken back already
  };
  // Who has given no sign of life for too long. Called when session_bound_ms() is over.
  Overdue overdue(int64_t now_ms);

  // --- memory ------------------------------------------------------------------------------------------------------------------------
  // About what they, their assignments and the ids that were given out take.
  size_t held_bytes() const { return held_bytes_ + assigned_bytes_; }
  // What `request` would add to it at most, and what it would free: the share of the member, or of the id, whose place it takes.
  static size_t bytes_of(const JoinRequest& request);
  size_t bytes_freed_by(const JoinRequest& request) const;

 private:
  void index(std::unique_ptr<GroupMember> member);
  void index_protocols(const GroupMember& member, int delta);
  void unlink(const GroupMember& member);
  void weigh(GroupMember& member);

  std::vector<std::unique_ptr<GroupMember>> list_;
  base::StringMap<GroupMember*> by_id_;
  base::StringMap<std::string> by_instance_;  // instance id → member id
  base::StringMap<int64_t> given_out_;        // → deadline
  base::StringMap<size_t> protocol_counts_;   // protocol name → members that know it
  std::optional<std::string> leader_;
  size_t held_bytes_ = 0;        // of members and ids that were given out
  size_t assigned_bytes_ = 0;    // of assignments
  size_t waiting_for_join_ = 0;  // members with `join` set
  size_t awaiting_sync_ = 0;     // members with awaits_sync
  int64_t session_bound_ms_ = kNever;
};

}  // namespace odradek::coordinator
