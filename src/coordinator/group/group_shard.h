// The groups of one partition of __consumer_offsets, while this broker leads it without a break, from one leader epoch on. State in
// memory changes when its record is appended; what stands on that record, writes as well as reads that saw it, is answered when the high
// watermark has passed it (shard_log.h). When leadership goes the shard dies; nothing is patched back, the next leader loads the log.
// Sources: group_shard.cc (membership, the groups themselves), group_shard_offsets.cc (commits, fetches), group_shard_removal.cc (groups and
// offsets that go: asked for, with their topics, with time).
// Thread: the strand it is made with; every method runs on it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/string_map.h"
#include "coordinator/group/group.h"
#include "coordinator/group/group_counts.h"
#include "coordinator/group/group_loader.h"
#include "coordinator/group/offsets.h"
#include "coordinator/group/repeat_room.h"
#include "coordinator/group/shard_log.h"
#include "coordinator/runtime/log_access.h"
#include "coordinator/runtime/strand.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/list_groups.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_delete.h"
#include "protocol/messages/offset_fetch.h"

namespace odradek::coordinator {

class GroupShard : public std::enable_shared_from_this<GroupShard> {
 public:
  template <class Response>
  using Reply = UniqueFunction<void(Response)>;

  // Shared: appends on their way and timers refer to it weakly. Everything passed by reference outlives it.
  GroupShard(base::Runtime& runtime, LogAccess& log, const GroupConfig& config, GroupCounts& counts, std::shared_ptr<Strand> strand,
             TopicPartition tp, LeaderEpoch epoch);
  ~GroupShard();

  // Once, before anything else.
  void start(LoadedState state);
  // Everything that waits gets `why`; afterwards nothing is called any more.
  void die(ErrorCode why);

  void join(const std::string& group_id, JoinRequest request, JoinAnswer answer);
  void sync(const std::string& group_id, SyncRequest request, SyncAnswer answer);
  ErrorCode heartbeat(std::string_view group_id, std::string_view member_id, int32_t generation, const std::optional<std::string>& instance_id);
  // One result for each member, in order.
  std::vector<ErrorCode> leave(std::string_view group_id, const std::vector<protocol::LeaveGroupRequest::MemberIdentity>& members);
  void commit(protocol::OffsetCommitRequest request, Reply<protocol::OffsetCommitResponse> reply);
  // `again`: the request has named the group before. What is told again takes `room`; what finds none gets INVALID_REQUEST.
  void fetch(protocol::OffsetFetchRequest::OffsetFetchRequestGroup request, bool require_stable, bool again, RepeatRoom& room,
             Reply<protocol::OffsetFetchResponse::OffsetFetchResponseGroup> reply);
  void describe(std::string_view group_id, Reply<protocol::DescribeGroupsResponse::DescribedGroup> reply);
  std::vector<protocol::ListGroupsResponse::ListedGroup> list() const;
  void remove_group(std::string_view group_id, Reply<ErrorCode> reply);
  void remove_offsets(protocol::OffsetDeleteRequest request, Reply<protocol::OffsetDeleteResponse> reply);
  // Topics that are gone.
  void remove_partitions(const std::vector<TopicPartition>& partitions);

  // The retention of offsets. Goes on in steps, each one turn of the strand.
  void expire_offsets();

  size_t group_count() const { return groups_.size(); }
  size_t offset_count() const;

 private:
  struct Entry {
    Entry(std::string id, const GroupConfig& config, Now now) : group(std::move(id), config, now) {}
    Entry(std::string id, const GroupConfig& config, Group::Stored stored) : group(std::move(id), config, std::move(stored)) {}

    Group group;
    GroupOffsets offsets;
    bool stored = false;       // a record of the group itself is in the log
    uint64_t last_append = 0;  // what a reader of this group stands on
    base::TimerId timer = 0;
    int64_t timer_at_ms = 0;
    uint64_t timer_token = 0;  // of the timer that is set: an older one may still be on its way
    CountedGroup counted;
  };
  struct Journal;
  friend struct Journal;

  Now now() const;
  Entry* find(std::string_view group_id);
  Entry& create(std::string_view group_id);
  void forget(std::string_view group_id);
  // After an event on the group: answers leave or wait, its timer is set, a group without content is forgotten.
  void settle(Entry& entry, Answers answers);
  // After offsets were removed: a group that has neither members nor offsets is removed too. Returns what the removal stands on.
  uint64_t settle_removal(Entry& entry);
  // kNone: there is memory for what the request brings.
  ErrorCode room_for(const Entry* entry, const std::string& group_id, const JoinRequest& request);
  int64_t group_limit();
  static size_t held_by(const Entry& entry);
  // Brings the counts up to date.
  void count(Entry& entry);
  void arm_group_timer(Entry& entry);
  void on_group_timer(const std::string& group_id, uint64_t token);
  void expire_some(std::shared_ptr<std::vector<std::string>> ids, size_t from);

  // Tombstones for the partitions, and for the group itself if `whole`; in as many batches as need be. What was appended is applied.
  // Returns the number of the last append (0: nothing was to be done).
  Result<uint64_t> append_removals(Entry& entry, const std::vector<TopicPartition>& partitions, bool whole);

  base::Runtime& runtime_;
  const GroupConfig& config_;
  GroupCounts& counts_;
  const std::shared_ptr<Strand> strand_;  // shared with the slot and with what is on its way
  const TopicPartition tp_;
  const std::shared_ptr<ShardLog> log_;  // shared: see there
  base::StringMap<std::unique_ptr<Entry>> groups_;
  uint64_t last_removal_ = 0;  // append that the absence of a group stands on
  int64_t no_room_said_ms_ = INT64_MIN;  // monotonic
  uint64_t timers_armed_ = 0;
  bool dead_ = false;
};

}  // namespace odradek::coordinator
