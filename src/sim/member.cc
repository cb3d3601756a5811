#include "protocol/messages/consumer_protocol_subscription.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/sync_group.h"
#include "sim/clients.h"

namespace odradek::sim {
namespace {

using namespace protocol;

constexpr const char* kTopic = "kept";  // never deleted

class Member final : public Client {
 public:
  Member(Context& context, int group, int number)
      : context_(context),
        world_(context.world),
        model_(context.model),
        group_("g" + std::to_string(group)),
        name_(fmt::format("m{}.{}", group, number)),
        session_ms_(static_cast<int32_t>(world_.random.between(2'000, 6'000))),
        rebalance_ms_(static_cast<int32_t>(world_.random.between(2'000, 6'000))),
        channel_(world_, context.network, name_) {
    if (world_.random.chance(35)) instance_ = "static-" + name_;
    if (!context_.broker) return;
    channel_.brokers_may_be_away = true;
    channel_.elsewhere = [this] { return context_.broker(-1); };
  }

  void start() override {
    channel_.open([this] { find_coordinator(); }, [this] { ++round_; });
  }
  bool is_idle() const override { return true; }

 private:
  // Whatever was begun in an earlier round is forgotten: the connection has gone, or the member has begun again.
  template <class Then>
  void later(int64_t ms, Then then) {
    world_.after_ms(ms, [this, round = round_, then = std::move(then)] {
      if (round == round_ && channel_.is_ready()) then();
    });
  }
  template <class Response, class Request, class Then>
  void ask(const Request& request, int16_t version, int64_t patience_ms, Then then) {
    channel_.call<Request, Response>(request, version, patience_ms, [this, round = round_, then = std::move(then)](Response* response) mutable {
      if (response != nullptr && round == round_) then(*response);
    });
  }
  // Versions that know static members, for who is one.
  template <class Request>
  int16_t version(int16_t least, int16_t knows_static) {
    return channel_.any_version<Request>(instance_ ? knows_static : least);
  }
  std::string identity() const { return instance_.value_or(member_id_); }
  size_t partitions_of_topic() {
    const TopicModel* topic = model_.find(kTopic);
    return topic == nullptr ? 0 : topic->partitions.size();
  }

  void begin_again(int64_t ms) {
    ++round_;
    later(ms, [this] { find_coordinator(); });
  }

  void find_coordinator() {
    FindCoordinatorRequest request;
    request.key_type = 0;
    int16_t v = channel_.any_version<FindCoordinatorRequest>();
    if (v >= 4) {
      request.coordinator_keys.push_back(group_);
    } else {
      request.key = group_;
    }
    ask<FindCoordinatorResponse>(request, v, 0, [this, v](FindCoordinatorResponse& response) {
      int16_t error = v >= 4 ? (response.coordinators.size() == 1 ? response.coordinators[0].error_code : int16_t{-1}) : response.error_code;
      if (error != 0) return later(world_.random.between(50, 300), [this] { find_coordinator(); });
      Network* at = context_.broker ? context_.broker(v >= 4 ? response.coordinators[0].node_id : response.node_id) : nullptr;
      if (at != nullptr && at != &channel_.network()) return channel_.move_to(*at);
      join();
    });
  }

  void join() {
    JoinGroupRequest request;
    request.group_id = group_;
    request.session_timeout_ms = session_ms_;
    request.rebalance_timeout_ms = rebalance_ms_;
    request.member_id = member_id_;
    request.group_instance_id = instance_;
    request.protocol_type = "consumer";
    ConsumerProtocolSubscription subscription;
    subscription.topics.push_back(kTopic);
    request.protocols.push_back({"range", encode_versioned(subscription, 0)});
    ask<JoinGroupResponse>(request, version<JoinGroupRequest>(2, 5), rebalance_ms_ + 10'000, [this](JoinGroupResponse& response) {
      auto error = static_cast<ErrorCode>(response.error_code);
      world_.trace("{} joins: {} generation {} member {}", name_, name_of(error), response.generation_id, response.member_id);
      switch (error) {
        case ErrorCode::kNone: break;
        case ErrorCode::kMemberIdRequired:
          member_id_ = response.member_id;
          return join();
        case ErrorCode::kRebalanceInProgress: return join();
        default: return on_error("JoinGroup", error);
      }
      member_id_ = response.member_id;
      generation_ = response.generation_id;
      sync(response);
    });
  }

  void sync(const JoinGroupResponse& joined) {
    SyncGroupRequest request;
    request.group_id = group_;
    request.generation_id = generation_;
    request.member_id = member_id_;
    request.group_instance_id = instance_;
    request.protocol_type = "consumer";
    request.protocol_name = "range";
    shared_out_.reset();
    if (joined.leader == member_id_ && !joined.skip_assignment) {
      const size_t partitions = partitions_of_topic();
      shared_out_ = partitions;
      if (joined.members.empty()) return world_.violation(name_ + ": the leader of a group without members");
      std::map<std::string, Bytes> shares;
      for (auto& member : joined.members) shares[member.member_id];
      if (!shares.contains(member_id_)) return world_.violation(name_ + ": the leader is not among the members");
      std::vector<std::string> ids;
      for (auto& [id, share] : shares) ids.push_back(id);
      size_t turn = world_.random.below(ids.size());
      for (size_t p = 0; p < partitions; ++p) shares[ids[(p + turn) % ids.size()]].push_back(static_cast<uint8_t>(p));
      for (auto& [id, share] : shares) request.assignments.push_back({id, share});
    }
    ask<SyncGroupResponse>(request, version<SyncGroupRequest>(0, 3), rebalance_ms_ + 10'000, [this](SyncGroupResponse& response) {
      auto error = static_cast<ErrorCode>(response.error_code);
      world_.trace("{} syncs generation {}: {}", name_, generation_, name_of(error));
      if (error == ErrorCode::kRebalanceInProgress) return join();
      if (error != ErrorCode::kNone) return on_error("SyncGroup", error);
      owned_.clear();
      std::vector<TopicPartition> partitions;
      for (uint8_t p : response.assignment) partitions.push_back({kTopic, p});
      model_.on_assigned(group_, generation_, identity(), partitions);
      for (auto& tp : partitions) owned_[tp] = -1;
      if (synced_generation_ >= 0 && synced_generation_ < generation_ && synced_power_cuts_ == model_.power_cuts && world_.random.chance(40)) {
        commit_late(synced_generation_);
      }
      synced_generation_ = generation_;
      synced_power_cuts_ = model_.power_cuts;
      fetch_offsets();
    });
  }

  void fetch_offsets() {
    OffsetFetchRequest request;
    int16_t v = channel_.any_version<OffsetFetchRequest>(1);
    std::vector<int32_t> wanted;
    std::map<TopicPartition, int64_t> committed;
    for (auto& [tp, position] : owned_) {
      wanted.push_back(tp.partition);
      committed[tp] = model_.committed(group_, tp);
    }
    if (v >= 8) {
      OffsetFetchRequest::OffsetFetchRequestGroup group;
      group.group_id = group_;
      group.topics.emplace();
      group.topics->emplace_back();
      group.topics->back().name = kTopic;
      group.topics->back().partition_indexes = wanted;
      request.groups.push_back(std::move(group));
    } else {
      request.group_id = group_;
      request.topics.emplace();
      request.topics->emplace_back();
      request.topics->back().name = kTopic;
      request.topics->back().partition_indexes = wanted;
    }
    ask<OffsetFetchResponse>(request, v, 0, [this, v, committed](OffsetFetchResponse& response) {
      auto take = [&](auto& topics) {
        for (auto& topic : topics) {
          for (auto& partition : topic.partitions) {
            TopicPartition tp{topic.name, partition.partition_index};
            auto owned = owned_.find(tp);
            if (partition.error_code != 0 || owned == owned_.end()) continue;
            world_.trace("{} finds {} committed for {}", name_, partition.committed_offset, tp.to_string());
            model_.on_commit_fetched(group_, tp, partition.committed_offset, committed.at(tp));
            owned->second = std::max<int64_t>(partition.committed_offset, 0);
          }
        }
      };
      int16_t error = v >= 8 ? (response.groups.size() == 1 ? response.groups[0].error_code : int16_t{-1}) : response.error_code;
      if (error != 0) {
        world_.trace("{} fetches offsets: {}", name_, name_of(static_cast<ErrorCode>(error)));
        return later(200, [this] { fetch_offsets(); });
      }
      if (v >= 8) {
        take(response.groups[0].topics);
      } else {
        take(response.topics);
      }
      beat();
      commit();
    });
  }

  void beat() {
    later(world_.random.between(100, session_ms_ / 3), [this] {
      SeededRandom& random = world_.random;
      if (random.chance(3) && !context_.ending) return leave();
      if (random.chance(3) && !context_.ending) return be_silent();
      if (random.chance(2) && !context_.ending) return restart();
      // As a leader that sees other metadata than those it has shared out.
      if (shared_out_ && *shared_out_ != partitions_of_topic()) {
        ++round_;
        return join();
      }
      HeartbeatRequest request;
      request.group_id = group_;
      request.generation_id = generation_;
      request.member_id = member_id_;
      request.group_instance_id = instance_;
      ask<HeartbeatResponse>(request, version<HeartbeatRequest>(0, 3), 0, [this](HeartbeatResponse& response) {
        auto error = static_cast<ErrorCode>(response.error_code);
        if (error == ErrorCode::kRebalanceInProgress) {
          ++round_;
          return join();
        }
        if (error != ErrorCode::kNone) return on_error("Heartbeat", error);
        beat();
      });
    });
  }

  void commit() {
    later(world_.random.between(20, 600), [this] {
      send_commit();
      commit();
    });
  }

  void send_commit() {
    OffsetCommitRequest request;
    request.group_id = group_;
    request.generation_id_or_member_epoch = generation_;
    request.member_id = member_id_;
    request.group_instance_id = instance_;
    OffsetCommitRequest::OffsetCommitRequestTopic topic;
    topic.name = kTopic;
    std::map<TopicPartition, std::pair<int64_t, int32_t>> sent;
    for (auto& [tp, position] : owned_) {
      if (position < 0) continue;
      position += world_.random.between(1, 20);
      OffsetCommitRequest::OffsetCommitRequestPartition partition;
      partition.partition_index = tp.partition;
      partition.committed_offset = position;
      partition.committed_metadata = "";
      topic.partitions.push_back(std::move(partition));
      sent[tp] = {position, model_.on_commit_sent(group_, tp, position)};
    }
    if (sent.empty()) return;
    request.topics.push_back(std::move(topic));
    // The answer counts also when the member has begun again.
    channel_.call<OffsetCommitRequest, OffsetCommitResponse>(
        request, version<OffsetCommitRequest>(2, 7), 5'000, [this, sent, round = round_, generation = generation_](OffsetCommitResponse* response) {
          if (response == nullptr) return;
          for (auto& answered : response->topics) {
            for (auto& partition : answered.partitions) {
              auto found = sent.find({answered.name, partition.partition_index});
              if (found == sent.end()) return world_.violation(name_ + ": an answer to OffsetCommit for something else");
              auto error = static_cast<ErrorCode>(partition.error_code);
              if (error == ErrorCode::kNone) {
                model_.on_commit_acked(group_, found->first, found->second.first, generation, found->second.second);
              } else {
                world_.trace("{} commits in generation {}: {}", name_, generation, name_of(error));
                // A coordinator may hear of a new partition later than who made it.
                if (context_.broker && error == ErrorCode::kUnknownTopicOrPartition) continue;
                if (round == round_ && error != ErrorCode::kRebalanceInProgress && error != ErrorCode::kRequestTimedOut) {
                  return on_error("OffsetCommit", error);
                }
              }
            }
          }
        });
  }

  // A commit of an earlier generation that was under way for long: it must be refused.
  void commit_late(int32_t generation) {
    OffsetCommitRequest request;
    request.group_id = group_;
    request.generation_id_or_member_epoch = generation;
    request.member_id = member_id_;
    request.group_instance_id = instance_;
    OffsetCommitRequest::OffsetCommitRequestTopic topic;
    topic.name = kTopic;
    topic.partitions.emplace_back();
    topic.partitions.back().committed_metadata = "late";
    request.topics.push_back(std::move(topic));
    ask<OffsetCommitResponse>(request, version<OffsetCommitRequest>(2, 7), 5'000, [this, generation, newer = generation_](OffsetCommitResponse& response) {
      if (response.topics.size() != 1 || response.topics[0].partitions.size() != 1) return world_.violation(name_ + ": a wrong answer to OffsetCommit");
      if (response.topics[0].partitions[0].error_code != 0) return;
      world_.violation(fmt::format("group {}: a commit of generation {} was taken although {} has begun", group_, generation, newer));
    });
  }

  void leave() {
    LeaveGroupRequest request;
    request.group_id = group_;
    int16_t v = version<LeaveGroupRequest>(0, 3);
    if (v >= 3) {
      LeaveGroupRequest::MemberIdentity identity;
      identity.member_id = member_id_;
      identity.group_instance_id = instance_;
      request.members.push_back(std::move(identity));
    } else {
      request.member_id = member_id_;
    }
    ++round_;
    ask<LeaveGroupResponse>(request, v, 0, [this](LeaveGroupResponse& response) {
      world_.trace("{} leaves: {}", name_, name_of(static_cast<ErrorCode>(response.error_code)));
      member_id_.clear();
      begin_again(world_.random.between(0, 4'000));
    });
  }

  // Longer than its session: then it goes on as if nothing had happened.
  void be_silent() {
    world_.trace("{} is silent", name_);
    ++round_;
    later(session_ms_ + world_.random.between(-1'000, 6'000), [this] {
      send_commit();
      commit();
      beat();
    });
  }

  // A new process: it does not know its member id.
  void restart() {
    world_.trace("{} restarts", name_);
    member_id_.clear();
    owned_.clear();
    begin_again(world_.random.between(0, 1'000));
  }

  void on_error(const char* what, ErrorCode error) {
    world_.trace("{}: {}: {}", name_, what, name_of(error));
    switch (error) {
      case ErrorCode::kCoordinatorLoadInProgress:
      case ErrorCode::kCoordinatorNotAvailable:
      case ErrorCode::kNotCoordinator:
      case ErrorCode::kRequestTimedOut: return begin_again(world_.random.between(50, 300));
      case ErrorCode::kUnknownMemberId:
      case ErrorCode::kFencedInstanceId: member_id_.clear(); return begin_again(world_.random.between(0, 300));
      case ErrorCode::kIllegalGeneration: return begin_again(world_.random.between(0, 100));
      default: return world_.violation(fmt::format("{}: {} is answered {}", name_, what, name_of(error)));
    }
  }

  Context& context_;
  World& world_;
  Model& model_;
  const std::string group_, name_;
  const int32_t session_ms_, rebalance_ms_;
  std::optional<std::string> instance_;
  Channel channel_;
  int64_t round_ = 0;
  std::string member_id_;
  int32_t generation_ = -1;
  int32_t synced_generation_ = -1;
  int synced_power_cuts_ = 0;
  std::optional<size_t> shared_out_;  // partitions, by the leader of the group
  std::map<TopicPartition, int64_t> owned_;  // position; -1: not known yet
};

}  // namespace

std::unique_ptr<Client> make_member(Context& context, int group, int number) { return std::make_unique<Member>(context, group, number); }

}  // namespace odradek::sim
