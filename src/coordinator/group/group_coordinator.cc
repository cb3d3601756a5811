#include "coordinator/group/group_coordinator.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/random.h"
#include "base/string_map.h"
#include "base/uuid.h"
#include "coordinator/group/group_loader.h"
#include "coordinator/group/group_shard.h"
#include "coordinator/runtime/strand.h"
#include "metrics/catalog.h"
#include "metrics/registry.h"
#include "model/repeats.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/list_groups.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_delete.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/sync_group.h"

namespace odradek::coordinator {

namespace {

constexpr auto kHighWatermarkPoll = std::chrono::milliseconds(10);  // only while a loaded shard waits for its followers
constexpr int64_t kFirstRetryMs = 1'000;
constexpr int64_t kLongestRetryMs = 30'000;

int16_t code(ErrorCode error) { return static_cast<int16_t>(error); }

// Answers of several shards, put together when the last one is there.
template <class Part>
class Gather {
 public:
  using Done = UniqueFunction<void(std::vector<Part>)>;
  static std::shared_ptr<Gather> make(size_t count, Done done) {
    auto gather = std::make_shared<Gather>();  // shared: by the shards that still have to answer
    gather->parts_.resize(count);
    gather->left_.store(count, std::memory_order_relaxed);
    gather->done_ = std::move(done);
    if (count == 0) gather->done_({});
    return gather;
  }
  void set(size_t index, Part part) {
    parts_[index] = std::move(part);
    // The last one sees what the others wrote.
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) done_(std::move(parts_));
  }

 private:
  std::vector<Part> parts_;
  std::atomic<size_t> left_{0};
  Done done_;
};

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return text;
}

}  // namespace

struct GroupCoordinator::Impl {
  // One partition of __consumer_offsets. Everything but the constants only on the strand.
  struct Slot {
    Slot(int32_t partition, std::shared_ptr<Strand> strand) : tp{std::string(kGroupMetadataTopic), partition}, strand(std::move(strand)) {}
    const TopicPartition tp;
    const std::shared_ptr<Strand> strand;  // shared: see Strand::make
    LeaderEpoch epoch = kNoLeaderEpoch;
    bool loading = false;
    bool awaits_log = false;  // `loading`, and not even the log is there
    // Of `epoch`, asked by the loading thread between reads; set when the load is given up.
    std::shared_ptr<std::atomic<bool>> cancelled;
    int64_t load_began_ms = 0;
    std::shared_ptr<GroupShard> shard;  // set: this broker leads and everything is loaded
  };
  using SlotPtr = std::shared_ptr<Slot>;  // shared: loads and requests on their way hold theirs

  Impl(base::Runtime& runtime, LogAccess& log, std::function<int32_t()> partitions, GroupConfig config)
      : runtime(runtime),
        log(log),
        partitions(std::move(partitions)),
        config(config),
        work(runtime.make_executor("group", 1)),
        loaders(runtime.make_executor("group-load", std::max(config.load_threads, 1))) {}

  base::Runtime& runtime;
  LogAccess& log;
  const std::function<int32_t()> partitions;
  const GroupConfig config;

  base::SharedMutex mutex;
  std::vector<SlotPtr> slots GUARDED_BY(mutex);  // by partition; null: never led here
  std::atomic<bool> stopped{false};
  GroupCounts counts;
  std::vector<metrics::Registration> metrics;  // read `counts`

  std::unique_ptr<base::Executor> work;
  std::unique_ptr<base::Executor> loaders;
  std::unique_ptr<base::PeriodicTask> expiry;

  SlotPtr find(int32_t partition) {
    base::ReaderLock lock(mutex);
    return partition >= 0 && static_cast<size_t>(partition) < slots.size() ? slots[static_cast<size_t>(partition)] : nullptr;
  }
  SlotPtr find_or_make(int32_t partition) {
    if (SlotPtr slot = find(partition)) return slot;
    base::WriterLock lock(mutex);
    if (slots.size() <= static_cast<size_t>(partition)) slots.resize(static_cast<size_t>(partition) + 1);
    SlotPtr& slot = slots[static_cast<size_t>(partition)];
    if (!slot) slot = std::make_shared<Slot>(partition, Strand::make(*work));
    return slot;
  }
  std::vector<SlotPtr> all() {
    base::ReaderLock lock(mutex);
    std::vector<SlotPtr> result;
    for (const SlotPtr& slot : slots) {
      if (slot) result.push_back(slot);
    }
    return result;
  }

  int32_t partition_for(std::string_view group_id) const {
    int32_t count = partitions();
    return coordinator_partition(group_id, count > 0 ? count : config.offsets_topic_partitions);
  }

  // Calls `work(shard, kNone)` on the shard's strand, or `work(nullptr, why)`: INVALID_GROUP_ID, COORDINATOR_NOT_AVAILABLE,
  // COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR.
  template <class Work>
  void on_shard(std::string_view group_id, bool empty_id_allowed, Work work) {
    if (group_id.empty() && !empty_id_allowed) return work(nullptr, ErrorCode::kInvalidGroupId);
    if (stopped.load(std::memory_order_acquire)) return work(nullptr, ErrorCode::kCoordinatorNotAvailable);
    SlotPtr slot = find(partition_for(group_id));
    if (!slot) return work(nullptr, ErrorCode::kNotCoordinator);
    Strand& strand = *slot->strand;
    strand.run([this, slot = std::move(slot), work = std::move(work)]() mutable {
      if (slot->shard) return work(slot->shard.get(), ErrorCode::kNone);
      if (slot->loading) return work(nullptr, ErrorCode::kCoordinatorLoadInProgress);
      work(nullptr, stopped.load(std::memory_order_acquire) ? ErrorCode::kCoordinatorNotAvailable : ErrorCode::kNotCoordinator);
    });
  }

  // --- leadership: on the slot's strand -----------------------------------------------------------------------------------------
  void drop(Slot& slot, ErrorCode why) {
    if (slot.loading) {
      slot.loading = slot.awaits_log = false;
      slot.cancelled->store(true, std::memory_order_release);
    }
    if (slot.shard) {
      std::exchange(slot.shard, nullptr)->die(why);
      log::info("group", "{}: its groups are no longer served here", slot.tp.to_string());
    }
  }

  // `log_is_ready`: else the same epoch comes again when it is.
  void begin_load(const SlotPtr& slot, LeaderEpoch epoch, bool log_is_ready) {
    const bool awaited = slot->awaits_log && epoch == slot->epoch;
    if ((epoch <= slot->epoch && !awaited) || stopped.load(std::memory_order_acquire)) return;
    if (slot->shard && log_is_ready) {
      // The leadership goes on in a new epoch, because a follower went away. The log is as this broker wrote it, and takes what the shard
      // appends in the epoch that it began with (log_access.h): its groups go on too, as in Kafka.
      slot->epoch = epoch;
      return;
    }
    drop(*slot, ErrorCode::kNotCoordinator);
    slot->epoch = epoch;
    slot->loading = true;
    slot->awaits_log = !log_is_ready;
    slot->cancelled = std::make_shared<std::atomic<bool>>(false);
    slot->load_began_ms = runtime.clock().monotonic_ms();
    if (log_is_ready) load(slot, epoch, slot->cancelled, kFirstRetryMs);
  }

  void load(const SlotPtr& slot, LeaderEpoch epoch, std::shared_ptr<std::atomic<bool>> cancelled, int64_t retry_ms) {
    loaders->post([this, slot, epoch, cancelled = std::move(cancelled), retry_ms]() mutable {
      auto loaded = load_groups(log, slot->tp, epoch, config.load_buffer_bytes,
                                [cancelled] { return !cancelled->load(std::memory_order_acquire); });
      auto state = std::make_shared<Result<LoadedState>>(std::move(loaded));  // shared: with the tries below
      slot->strand->post([this, slot, epoch, cancelled = std::move(cancelled), retry_ms, state = std::move(state)]() mutable {
        finish_load(slot, epoch, std::move(cancelled), retry_ms, std::move(state));
      });
    });
  }

  void finish_load(const SlotPtr& slot, LeaderEpoch epoch, std::shared_ptr<std::atomic<bool>> cancelled, int64_t retry_ms,
                   std::shared_ptr<Result<LoadedState>> state) {
    if (cancelled->load(std::memory_order_acquire)) return;
    auto bounds = *state ? log.bounds(slot->tp, epoch) : fail(state->error());
    if (!bounds) {
      // If leadership is gone, the listener will say so; anything else is tried again.
      if (bounds.error().code != ErrorCode::kNotLeaderOrFollower) {
        log::error("group", "{}: its groups could not be loaded, next try in {} ms: {}", slot->tp.to_string(), retry_ms, bounds.error().what);
      }
      later(slot, std::chrono::milliseconds(retry_ms), [this, slot, epoch, cancelled = std::move(cancelled), retry_ms]() mutable {
        if (cancelled->load(std::memory_order_acquire)) return;
        load(slot, epoch, std::move(cancelled), std::min(2 * retry_ms, kLongestRetryMs));
      });
      return;
    }
    if (bounds->high_watermark < (*state)->end) {
      // What was read may still be lost with this leader: nobody may see it before the high watermark has passed it.
      later(slot, kHighWatermarkPoll, [this, slot, epoch, cancelled = std::move(cancelled), retry_ms, state = std::move(state)]() mutable {
        finish_load(slot, epoch, std::move(cancelled), retry_ms, std::move(state));
      });
      return;
    }
    const int64_t records = (*state)->records;
    slot->shard = std::make_shared<GroupShard>(runtime, log, config, counts, slot->strand, slot->tp, epoch);
    slot->shard->start(std::move(**state));
    slot->loading = false;
    log::info("group", "{}: {} groups with {} offsets loaded from {} records in {} ms, leader epoch {}", slot->tp.to_string(),
              slot->shard->group_count(), slot->shard->offset_count(), records, runtime.clock().monotonic_ms() - slot->load_began_ms, epoch.value);
  }

  template <class F>
  void later(const SlotPtr& slot, std::chrono::milliseconds delay, F task) {
    runtime.timers().after(delay, [strand = slot->strand, task = std::move(task)]() mutable { strand->post(std::move(task)); });
  }

  void lose(const TopicPartition& tp, LeaderEpoch epoch) {
    SlotPtr slot = find(tp.partition);
    if (!slot) return;
    Strand& strand = *slot->strand;
    strand.run([this, slot = std::move(slot), epoch] {
      if (epoch != kNoLeaderEpoch && epoch < slot->epoch) return;
      // A partition that was stopped may come back as a new one, whose epochs start again.
      slot->epoch = epoch == kNoLeaderEpoch ? kNoLeaderEpoch : std::max(slot->epoch, epoch);
      drop(*slot, ErrorCode::kNotCoordinator);
    });
  }
};

GroupCoordinator::GroupCoordinator(base::Runtime& runtime, LogAccess& log, std::function<int32_t()> offsets_partitions, GroupConfig config)
    : impl_(std::make_unique<Impl>(runtime, log, std::move(offsets_partitions), config)) {}

GroupCoordinator::~GroupCoordinator() {
  stop();
  for (const auto& slot : impl_->all()) slot->strand->close();
  // The executors wait for what was posted before the strands were closed.
  impl_->loaders.reset();
  impl_->work.reset();
}

void GroupCoordinator::start() {
  Impl* impl = impl_.get();
  impl->expiry = std::make_unique<base::PeriodicTask>(impl->runtime, *impl->work, std::chrono::milliseconds(impl->config.retention_check_interval_ms),
                                                      [impl] {
                                                        for (const auto& slot : impl->all()) {
                                                          slot->strand->run([slot] {
                                                            if (slot->shard) slot->shard->expire_offsets();
                                                          });
                                                        }
                                                      });
}

void GroupCoordinator::stop() {
  if (impl_->stopped.exchange(true, std::memory_order_acq_rel)) return;
  impl_->expiry.reset();
  for (const auto& slot : impl_->all()) {
    slot->strand->run([impl = impl_.get(), slot] { impl->drop(*slot, ErrorCode::kCoordinatorNotAvailable); });
  }
}

void GroupCoordinator::register_metrics(metrics::Registry& registry) {
  GroupCounts& counts = impl_->counts;
  auto show = [&](const metrics::MetricDef& def, std::function<double()> value) {
    impl_->metrics.push_back(registry.callback(def, {}, std::move(value)));
  };
  show(metrics::kNumGroups, [&counts] { return static_cast<double>(counts.total()); });
  const std::pair<const metrics::MetricDef&, GroupState> states[] = {{metrics::kNumGroupsPreparingRebalance, GroupState::kPreparingRebalance},
                                                                     {metrics::kNumGroupsCompletingRebalance, GroupState::kCompletingRebalance},
                                                                     {metrics::kNumGroupsStable, GroupState::kStable},
                                                                     {metrics::kNumGroupsEmpty, GroupState::kEmpty},
                                                                     {metrics::kNumGroupsDead, GroupState::kDead}};
  for (const auto& [def, state] : states) show(def, [&count = counts.of(state)] { return static_cast<double>(count.load(std::memory_order_relaxed)); });
  show(metrics::kNumOffsets, [&counts] { return static_cast<double>(counts.offsets.load(std::memory_order_relaxed)); });
  show(metrics::kOffsetCommits, [&counts] { return static_cast<double>(counts.commits.load(std::memory_order_relaxed)); });
  show(metrics::kOffsetExpirations, [&counts] { return static_cast<double>(counts.expirations.load(std::memory_order_relaxed)); });
  show(metrics::kGroupRebalances, [&counts] { return static_cast<double>(counts.rebalances.load(std::memory_order_relaxed)); });
}

int32_t GroupCoordinator::partition_for(std::string_view group_id) const { return impl_->partition_for(group_id); }

// --- membership --------------------------------------------------------------------------------------------------------------

void GroupCoordinator::join_group(protocol::JoinGroupRequest request, const ClientInfo& client, Reply<protocol::JoinGroupResponse> reply) {
  JoinRequest join;
  join.member_id = std::move(request.member_id);
  join.instance_id = std::move(request.group_instance_id);
  join.client_id = client.client_id;
  join.client_host = client.client_host;
  join.session_timeout_ms = request.session_timeout_ms;
  join.rebalance_timeout_ms = client.version == 0 ? request.session_timeout_ms : request.rebalance_timeout_ms;
  join.protocol_type = std::move(request.protocol_type);
  join.protocols.reserve(request.protocols.size());
  for (auto& protocol : request.protocols) join.protocols.push_back({std::move(protocol.name), std::move(protocol.metadata)});
  join.require_known_member_id = client.version >= 4 && !join.instance_id;
  join.supports_skip_assignment = client.version >= 9;
  if (join.member_id.empty()) join.uuid = base::to_java_text(base::random_uuid(impl_->runtime.random()));

  JoinAnswer answer = [version = client.version, reply = std::move(reply)](JoinResult result) mutable {
    protocol::JoinGroupResponse response;
    response.error_code = code(result.error);
    response.generation_id = result.generation;
    response.protocol_type = std::move(result.protocol_type);
    response.protocol_name = std::move(result.protocol_name);
    if (version < 7 && !response.protocol_name) response.protocol_name = "";
    response.leader = std::move(result.leader);
    response.skip_assignment = result.skip_assignment;
    response.member_id = std::move(result.member_id);
    response.members.reserve(result.members.size());
    for (auto& member : result.members) {
      auto& to = response.members.emplace_back();
      to.member_id = std::move(member.member_id);
      to.group_instance_id = std::move(member.instance_id);
      to.metadata = std::move(member.metadata);
    }
    reply(std::move(response));
  };
  const GroupConfig& config = impl_->config;
  std::string group_id = std::move(request.group_id);
  std::string_view route = group_id;
  impl_->on_shard(route, false,
                  [&config, join = std::move(join), answer = std::move(answer), group_id = std::string(route)](GroupShard* shard, ErrorCode why) mutable {
                    if (shard != nullptr &&
                        (join.session_timeout_ms < config.min_session_timeout_ms || join.session_timeout_ms > config.max_session_timeout_ms)) {
                      why = ErrorCode::kInvalidSessionTimeout;
                    }
                    if (why != ErrorCode::kNone) return answer(JoinResult{.error = why, .member_id = std::move(join.member_id)});
                    shard->join(group_id, std::move(join), std::move(answer));
                  });
}

void GroupCoordinator::sync_group(protocol::SyncGroupRequest request, const ClientInfo& client, Reply<protocol::SyncGroupResponse> reply) {
  SyncAnswer answer = [reply = std::move(reply)](SyncResult result) mutable {
    protocol::SyncGroupResponse response;
    response.error_code = code(result.error);
    response.protocol_type = std::move(result.protocol_type);
    response.protocol_name = std::move(result.protocol_name);
    response.assignment = std::move(result.assignment);
    reply(std::move(response));
  };
  if (client.version >= 5 && (!request.protocol_type || !request.protocol_name)) {
    return answer(SyncResult{.error = ErrorCode::kInconsistentGroupProtocol});
  }
  SyncRequest sync;
  sync.member_id = std::move(request.member_id);
  sync.generation = request.generation_id;
  sync.instance_id = std::move(request.group_instance_id);
  sync.protocol_type = std::move(request.protocol_type);
  sync.protocol_name = std::move(request.protocol_name);
  sync.assignments.reserve(request.assignments.size());
  for (auto& assignment : request.assignments) sync.assignments.emplace_back(std::move(assignment.member_id), std::move(assignment.assignment));
  impl_->on_shard(request.group_id, false,
                  [sync = std::move(sync), answer = std::move(answer), group_id = request.group_id](GroupShard* shard, ErrorCode why) mutable {
                    // What the members agreed on is gone with the former coordinator: they have to join again, and old clients know no
                    // other error that says so.
                    if (why == ErrorCode::kCoordinatorLoadInProgress) why = ErrorCode::kRebalanceInProgress;
                    if (why != ErrorCode::kNone) return answer(SyncResult{.error = why});
                    shard->sync(group_id, std::move(sync), std::move(answer));
                  });
}

void GroupCoordinator::heartbeat(protocol::HeartbeatRequest request, const ClientInfo&, Reply<protocol::HeartbeatResponse> reply) {
  std::string_view route = request.group_id;
  std::string group_id(route);
  impl_->on_shard(group_id, false, [request = std::move(request), reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
    // Nobody expires while the group is being loaded.
    if (why == ErrorCode::kCoordinatorLoadInProgress) why = ErrorCode::kNone;
    if (shard != nullptr) why = shard->heartbeat(request.group_id, request.member_id, request.generation_id, request.group_instance_id);
    protocol::HeartbeatResponse response;
    response.error_code = code(why);
    reply(std::move(response));
  });
}

void GroupCoordinator::leave_group(protocol::LeaveGroupRequest request, const ClientInfo& client, Reply<protocol::LeaveGroupResponse> reply) {
  if (client.version < 3) {
    request.members.clear();
    request.members.emplace_back().member_id = std::move(request.member_id);
  }
  std::string group_id = request.group_id;
  impl_->on_shard(group_id, false,
                  [request = std::move(request), version = client.version, reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
                    protocol::LeaveGroupResponse response;
                    response.error_code = code(why);
                    if (shard != nullptr) {
                      auto results = shard->leave(request.group_id, request.members);
                      for (size_t i = 0; i < results.size(); ++i) {
                        auto& to = response.members.emplace_back();
                        to.member_id = std::move(request.members[i].member_id);
                        to.group_instance_id = std::move(request.members[i].group_instance_id);
                        to.error_code = code(results[i]);
                      }
                      // Before v3 there is one member, and its error is the answer.
                      if (version < 3) response.error_code = response.members.front().error_code;
                    }
                    reply(std::move(response));
                  });
}

// --- offsets -----------------------------------------------------------------------------------------------------------------

void GroupCoordinator::commit_offsets(protocol::OffsetCommitRequest request, const ClientInfo&, Reply<protocol::OffsetCommitResponse> reply) {
  std::string group_id = request.group_id;
  impl_->on_shard(group_id, true, [request = std::move(request), reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
    if (shard != nullptr) return shard->commit(std::move(request), std::move(reply));
    protocol::OffsetCommitResponse response;
    for (auto& topic : request.topics) {
      auto& to = response.topics.emplace_back();
      to.name = std::move(topic.name);
      to.topic_id = topic.topic_id;
      for (auto& partition : topic.partitions) {
        auto& result = to.partitions.emplace_back();
        result.partition_index = partition.partition_index;
        result.error_code = code(why);
      }
    }
    reply(std::move(response));
  });
}

void GroupCoordinator::fetch_offsets(protocol::OffsetFetchRequest request, const ClientInfo& client, Reply<protocol::OffsetFetchResponse> reply) {
  using Group = protocol::OffsetFetchResponse::OffsetFetchResponseGroup;
  const int16_t version = client.version;
  if (version < 8) {
    auto& group = request.groups.emplace_back();
    group.group_id = std::move(request.group_id);
    if (request.topics) {
      for (auto& topic : *request.topics) {
        auto& to = group.topics->emplace_back();
        to.name = std::move(topic.name);
        to.partition_indexes = std::move(topic.partition_indexes);
      }
    } else {
      group.topics.reset();
    }
  }
  auto refused = [](std::string group_id, ErrorCode why) {
    Group group;
    group.group_id = std::move(group_id);
    group.error_code = code(why);
    return group;
  };
  auto gather = Gather<Group>::make(request.groups.size(), [version, reply = std::move(reply)](std::vector<Group> groups) mutable {
    protocol::OffsetFetchResponse response;
    if (version >= 8) {
      response.groups = std::move(groups);
      return reply(std::move(response));
    }
    Group& group = groups.front();
    response.error_code = group.error_code;
    for (auto& topic : group.topics) {
      auto& to = response.topics.emplace_back();
      to.name = std::move(topic.name);
      for (auto& partition : topic.partitions) {
        auto& out = to.partitions.emplace_back();
        out.partition_index = partition.partition_index;
        out.committed_offset = partition.committed_offset;
        out.committed_leader_epoch = partition.committed_leader_epoch;
        out.metadata = std::move(partition.metadata);
        out.error_code = partition.error_code;
      }
    }
    reply(std::move(response));
  });
  Repeats<std::string> repeats;
  for (size_t i = 0; i < request.groups.size(); ++i) {
    // v0, v1 have no place for an error of the whole group: each partition carries it.
    std::vector<std::pair<std::string, std::vector<int32_t>>> asked;
    if (version < 2 && request.groups[i].topics) {
      for (const auto& topic : *request.groups[i].topics) asked.emplace_back(topic.name, topic.partition_indexes);
    }
    auto answer = [gather, i, version, asked = std::move(asked)](Group group) mutable {
      if (version < 2 && group.error_code != 0) {
        group.topics.clear();
        for (auto& [topic, partitions] : asked) {
          auto& to = group.topics.emplace_back();
          to.name = std::move(topic);
          for (int32_t partition : partitions) {
            auto& out = to.partitions.emplace_back();
            out.partition_index = partition;
            out.committed_offset = -1;
            out.error_code = group.error_code;
          }
        }
      }
      gather->set(i, std::move(group));
    };
    std::string group_id = request.groups[i].group_id;
    if (repeats.too_often(group_id)) {
      answer(refused(std::move(group_id), ErrorCode::kInvalidRequest));
      continue;
    }
    impl_->on_shard(group_id, true,
                    [group = std::move(request.groups[i]), stable = request.require_stable, answer = std::move(answer), refused](GroupShard* shard,
                                                                                                                               ErrorCode why) mutable {
                      if (shard != nullptr) return shard->fetch(std::move(group), stable, std::move(answer));
                      answer(refused(std::move(group.group_id), why));
                    });
  }
}

// --- administration ------------------------------------------------------------------------------------------------------------

void GroupCoordinator::describe_groups(protocol::DescribeGroupsRequest request, const ClientInfo& client,
                                       Reply<protocol::DescribeGroupsResponse> reply) {
  using Described = protocol::DescribeGroupsResponse::DescribedGroup;
  auto gather = Gather<Described>::make(request.groups.size(), [version = client.version, reply = std::move(reply)](std::vector<Described> groups) mutable {
    protocol::DescribeGroupsResponse response;
    response.groups = std::move(groups);
    if (version >= 6) {
      for (auto& group : response.groups) {
        if (group.error_code != 0 || group.group_state != name_of(GroupState::kDead)) continue;
        group.error_code = code(ErrorCode::kGroupIdNotFound);
        group.error_message = "Group " + group.group_id + " not found.";
      }
    }
    reply(std::move(response));
  });
  auto refused = [](std::string group_id, ErrorCode why) {
    Described group;
    group.group_id = std::move(group_id);
    group.error_code = code(why);
    return group;
  };
  Repeats<std::string> repeats;
  for (size_t i = 0; i < request.groups.size(); ++i) {
    std::string group_id = std::move(request.groups[i]);
    if (repeats.too_often(group_id)) {
      gather->set(i, refused(std::move(group_id), ErrorCode::kInvalidRequest));
      continue;
    }
    std::string route = group_id;
    impl_->on_shard(route, true, [gather, i, refused, group_id = std::move(group_id)](GroupShard* shard, ErrorCode why) mutable {
      if (shard != nullptr) return shard->describe(group_id, [gather, i](Described described) { gather->set(i, std::move(described)); });
      gather->set(i, refused(std::move(group_id), why));
    });
  }
}

void GroupCoordinator::list_groups(protocol::ListGroupsRequest request, const ClientInfo&, Reply<protocol::ListGroupsResponse> reply) {
  struct Part {
    bool loading = false;
    std::vector<protocol::ListGroupsResponse::ListedGroup> groups;
  };
  if (impl_->stopped.load(std::memory_order_acquire)) {
    protocol::ListGroupsResponse response;
    response.error_code = code(ErrorCode::kCoordinatorNotAvailable);
    return reply(std::move(response));
  }
  auto slots = impl_->all();
  auto gather = Gather<Part>::make(slots.size(), [request = std::move(request), reply = std::move(reply)](std::vector<Part> parts) mutable {
    protocol::ListGroupsResponse response;
    auto in_lower_case = [](std::vector<std::string>& words) {
      base::StringSet set;
      for (std::string& word : words) set.insert(lower_case(std::move(word)));
      return set;
    };
    const base::StringSet states = in_lower_case(request.states_filter), types = in_lower_case(request.types_filter);
    auto wanted = [](const base::StringSet& filter, std::string_view value) { return filter.empty() || filter.contains(lower_case(std::string(value))); };
    for (Part& part : parts) {
      if (part.loading) response.error_code = code(ErrorCode::kCoordinatorLoadInProgress);
      for (auto& group : part.groups) {
        if (wanted(states, group.group_state) && wanted(types, group.group_type)) {
          response.groups.push_back(std::move(group));
        }
      }
    }
    reply(std::move(response));
  });
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i]->strand->run([gather, i, slot = slots[i]] {
      Part part;
      part.loading = slot->loading;
      if (slot->shard) part.groups = slot->shard->list();
      gather->set(i, std::move(part));
    });
  }
}

void GroupCoordinator::delete_groups(protocol::DeleteGroupsRequest request, const ClientInfo&, Reply<protocol::DeleteGroupsResponse> reply) {
  using Deleted = protocol::DeleteGroupsResponse::DeletableGroupResult;
  base::StringSet seen;
  std::vector<std::string> ids;
  for (auto& id : request.groups_names) {
    if (seen.insert(id).second) ids.push_back(std::move(id));
  }
  auto gather = Gather<Deleted>::make(ids.size(), [reply = std::move(reply)](std::vector<Deleted> results) mutable {
    protocol::DeleteGroupsResponse response;
    response.results = std::move(results);
    reply(std::move(response));
  });
  for (size_t i = 0; i < ids.size(); ++i) {
    impl_->on_shard(ids[i], true, [gather, i, group_id = ids[i]](GroupShard* shard, ErrorCode why) mutable {
      auto answer = [gather, i, group_id](ErrorCode error) {
        Deleted result;
        result.group_id = group_id;
        result.error_code = code(error);
        gather->set(i, std::move(result));
      };
      if (shard == nullptr) return answer(why);
      shard->remove_group(group_id, std::move(answer));
    });
  }
}

void GroupCoordinator::delete_offsets(protocol::OffsetDeleteRequest request, const ClientInfo&, Reply<protocol::OffsetDeleteResponse> reply) {
  std::string group_id = request.group_id;
  impl_->on_shard(group_id, false, [request = std::move(request), reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
    if (shard != nullptr) return shard->remove_offsets(std::move(request), std::move(reply));
    protocol::OffsetDeleteResponse response;
    response.error_code = code(why);
    reply(std::move(response));
  });
}

void GroupCoordinator::on_partitions_deleted(std::vector<TopicPartition> partitions) {
  auto shared = std::make_shared<const std::vector<TopicPartition>>(std::move(partitions));  // shared: by all shards
  for (const auto& slot : impl_->all()) {
    slot->strand->post([slot, shared] {
      if (slot->shard) slot->shard->remove_partitions(*shared);
    });
  }
}

// --- leadership --------------------------------------------------------------------------------------------------------------

void GroupCoordinator::on_leader(const TopicPartition& tp, LeaderEpoch epoch) {
  if (tp.topic != kGroupMetadataTopic) return;
  auto slot = impl_->find_or_make(tp.partition);
  Strand& strand = *slot->strand;
  strand.run([impl = impl_.get(), slot = std::move(slot), epoch] { impl->begin_load(slot, epoch, true); });
}

void GroupCoordinator::on_loading(const TopicPartition& tp, LeaderEpoch epoch) {
  if (tp.topic != kGroupMetadataTopic) return;
  auto slot = impl_->find_or_make(tp.partition);
  Strand& strand = *slot->strand;
  strand.run([impl = impl_.get(), slot = std::move(slot), epoch] { impl->begin_load(slot, epoch, false); });
}

void GroupCoordinator::on_follower(const TopicPartition& tp, LeaderEpoch epoch) {
  if (tp.topic == kGroupMetadataTopic) impl_->lose(tp, epoch);
}

void GroupCoordinator::on_stopped(const TopicPartition& tp) {
  if (tp.topic == kGroupMetadataTopic) impl_->lose(tp, kNoLeaderEpoch);
}

}  // namespace odradek::coordinator
