// One classic consumer group: members, generation, who leads, who waits for what. A pure state machine: an event comes in with the
// time, the state changes, decided answers go out in `Answers`, and what must be kept goes through GroupJournal before the change
// counts. It has no clock, no thread and no timer: deadline() tells when on_time() wants to be called.
//
// Empty: no members. PreparingRebalance: waits until every member has joined (or the rebalance timeout is over). CompletingRebalance:
// joins are answered, waits for the leader's assignments. Stable: assignments handed out. Dead: dropped; answers only errors.
//
// Sources: group.cc (events, rebalances), group_join.cc (how members come in and come back); who is in it: group_members.h.
//
// Thread: none of its own; the shard gives one event at a time. Source: behaviours.md §6, Kafka 3.9.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/string_map.h"
#include "coordinator/group/group_config.h"
#include "coordinator/group/group_members.h"
#include "coordinator/group/group_requests.h"
#include "model/error_code.h"

namespace odradek::coordinator {

enum class GroupState : uint8_t { kEmpty, kPreparingRebalance, kCompletingRebalance, kStable, kDead };
// "Empty", "PreparingRebalance", ... as DescribeGroups and ListGroups show it.
std::string_view name_of(GroupState state);

struct Now {
  int64_t monotonic_ms = 0;  // for deadlines
  int64_t wall_ms = 0;       // for what is stored
};

class Group;

// Where a group's state is kept.
class GroupJournal {
 public:
  virtual ~GroupJournal() = default;
  // Appends the state that `group` shows now. On an error nothing was appended.
  [[nodiscard]] virtual ErrorCode append(const Group& group) = 0;
};

class Group {
 public:
  using Member = GroupMember;

  // What a stored group is restored from.
  struct Stored {
    std::string protocol_type;
    int32_t generation = 0;
    std::optional<std::string> protocol_name;
    std::optional<std::string> leader;
    int64_t state_timestamp_ms = -1;
    std::vector<Member> members;  // with one protocol each
  };

  // `config` outlives the group.
  Group(std::string id, const GroupConfig& config, Now now);
  Group(std::string id, const GroupConfig& config, Stored stored);
  ~Group();
  Group(const Group&) = delete;

  // --- events -----------------------------------------------------------------------------------------------------------
  // After the restored group became visible: sessions start to run, a group above its size limit is rebalanced.
  void on_loaded(Now now, GroupJournal& journal, Answers& out);
  void join(JoinRequest request, JoinAnswer answer, Now now, GroupJournal& journal, Answers& out);
  void sync(SyncRequest request, SyncAnswer answer, Now now, GroupJournal& journal, Answers& out);
  ErrorCode heartbeat(std::string_view member_id, int32_t generation, const std::optional<std::string>& instance_id, Now now);
  // An empty member id with an instance id is an administrator's removal.
  ErrorCode leave(std::string_view member_id, const std::optional<std::string>& instance_id, Now now, GroupJournal& journal, Answers& out);
  // Whether offsets may be committed by this identity; restarts the member's session.
  ErrorCode check_commit(std::string_view member_id, int32_t generation, const std::optional<std::string>& instance_id, bool transactional,
                         Now now);
  // Whatever is due.
  void on_time(Now now, GroupJournal& journal, Answers& out);
  // The group is dropped (its shard goes, or it was deleted): all who wait get `why`.
  void die(ErrorCode why, Answers& out);

  // --- view -------------------------------------------------------------------------------------------------------------
  const std::string& id() const { return id_; }
  GroupState state() const { return state_; }
  int32_t generation() const { return generation_; }
  const std::optional<std::string>& protocol_type() const { return protocol_type_; }  // nullopt: only offsets are kept
  const std::optional<std::string>& protocol_name() const { return protocol_name_; }
  const std::optional<std::string>& leader() const { return members_.leader(); }
  // Wall clock of the last change of state; -1: unknown (stored by an old broker).
  int64_t state_timestamp_ms() const { return state_timestamp_ms_; }
  // In order of arrival.
  const std::vector<std::unique_ptr<Member>>& members() const { return members_.list(); }
  const Member* find(std::string_view member_id) const { return members_.find(member_id); }
  // Neither members nor ids that were given out to new ones: without offsets the group may go.
  bool has_nobody() const { return state_ == GroupState::kEmpty && members_.given_out() == 0; }
  size_t pending_members() const { return members_.given_out(); }
  // About what members and ids that were given out take in memory.
  size_t held_bytes() const { return members_.held_bytes() + subscribed_bytes_; }
  // What `request` would add to it at most, and what it would free: the share of the member, or of the id, whose place it takes.
  static size_t bytes_of(const JoinRequest& request) { return GroupMembers::bytes_of(request); }
  size_t bytes_freed_by(const JoinRequest& request) const { return members_.bytes_freed_by(request); }
  // Topics that members of a consumer group are subscribed to; nullopt: unknown.
  const std::optional<base::StringSet>& subscribed_topics() const { return subscribed_topics_; }
  // True if unknown.
  bool is_subscribed_to(std::string_view topic) const;
  // Monotonic ms at which on_time() has something to do (or a little earlier); nullopt: never.
  std::optional<int64_t> deadline() const;
  // No member, nobody on the way in, nothing ever stored: may be forgotten without a trace.
  bool is_trivial() const { return has_nobody() && generation_ == 0; }

 private:
  static constexpr int64_t kNever = GroupMembers::kNever;

  // --- how members come in (group_join.cc) ----------------------------------------------------------------------------------------
  bool accepts(std::string_view member_id) const;
  bool supports(const std::string& protocol_type, const std::vector<MemberProtocol>& protocols) const;
  void join_as_new(JoinRequest request, JoinAnswer answer, Now now, GroupJournal& journal, Answers& out);
  void join_as_known(JoinRequest request, JoinAnswer answer, Now now, Answers& out);
  void add_member(std::string member_id, JoinRequest request, JoinAnswer answer, Now now, Answers& out);
  void replace_static_member(const std::string& old_id, const std::string& new_id, JoinRequest request, JoinAnswer answer, Now now,
                             GroupJournal& journal, Answers& out);
  void rejoin(Member& member, JoinRequest request, JoinAnswer answer, Now now, Answers& out);
  void wait_for_join(Member& member, JoinAnswer answer, Answers& out);
  JoinResult current_generation_for(const Member& member) const;
  std::vector<JoinResult::Member> member_list() const;

  // --- rebalances (group.cc) --------------------------------------------------------------------------------------------------------
  void transition(GroupState to, Now now);
  void maybe_prepare_rebalance(Now now, Answers& out);
  void prepare_rebalance(Now now, Answers& out);
  void check_join_complete(Now now, GroupJournal& journal, Answers& out);
  void complete_join(Now now, GroupJournal& journal, Answers& out);
  void expire_syncs(Now now, Answers& out);
  void end_overdue_sessions(Now now, GroupJournal& journal, Answers& out);
  int64_t sync_deadline_ms() const { return members_.awaiting_sync() == 0 ? kNever : sync_deadline_ms_; }

  void touch(Member& member, Now now) { members_.touch(member, now.monotonic_ms); }
  void remove_member(const std::string& member_id, Now now, GroupJournal& journal, Answers& out);
  void answer_member(Member& member, ErrorCode error, Answers& out);  // join and sync, if it waits for them
  void answer_syncs(ErrorCode error, Now now, Answers& out);
  void compute_subscribed_topics();

  const std::string id_;
  const GroupConfig& config_;
  GroupState state_ = GroupState::kEmpty;
  int64_t state_timestamp_ms_ = -1;
  int32_t generation_ = 0;
  std::optional<std::string> protocol_type_;
  std::optional<std::string> protocol_name_;

  GroupMembers members_;
  size_t subscribed_bytes_ = 0;  // of subscribed_topics_
  std::optional<base::StringSet> subscribed_topics_;

  int64_t join_deadline_ms_ = kNever;     // PreparingRebalance ends
  bool initial_rebalance_ = false;        // from Empty: only the deadline ends it
  int64_t initial_remaining_ms_ = 0;      // by how much the initial delay may still be extended
  bool member_added_in_initial_ = false;
  int64_t sync_deadline_ms_ = kNever;     // CompletingRebalance ends for those whose sync is awaited
};

}  // namespace odradek::coordinator
