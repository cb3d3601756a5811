// Collects what brokers have to be told after a change, and makes one request of each kind per broker of it. Values are those of the
// state when build() is called. Order to each broker: LeaderAndIsr, UpdateMetadata, StopReplica. Source: interbroker.md §1, §3.
#pragma once

#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "controller/state.h"
#include "protocol/messages/leader_and_isr.h"
#include "protocol/messages/stop_replica.h"
#include "protocol/messages/update_metadata.h"

namespace odradek::controller {

struct Outgoing {
  BrokerId to;
  std::variant<protocol::LeaderAndIsrRequest, protocol::UpdateMetadataRequest, protocol::StopReplicaRequest> request;
};

class RequestBatch {
 public:
  // To one broker that holds a replica. Twice for one partition: once, new if one of both was.
  void leader_and_isr(BrokerId to, const TopicPartition& tp, bool is_new = false) { leader_and_isr_[to][tp] |= is_new; }
  // To the brokers that hold replicas of it.
  void leader_and_isr_to_replicas(const ControllerState& state, const TopicPartition& tp, bool is_new = false);
  // The same, new for those that join by a reassignment and are not in sync. One that is, by a former plan, has what was acknowledged, if need be
  // in a log dir that is offline now.
  void leader_and_isr_of_move(const ControllerState& state, const TopicPartition& tp);
  // The partition's state to every live broker.
  void update_metadata(const TopicPartition& tp) {
    to_all_ = true;
    partitions_.insert(tp);
  }
  // The list of brokers to every live broker.
  void update_brokers() { to_all_ = true; }
  // All partitions to one broker, which is new.
  void update_everything(BrokerId to) { everything_.insert(to); }
  // The list of brokers to one.
  void update_brokers(BrokerId to) { brokers_only_.insert(to); }
  void stop_replica(BrokerId to, const TopicPartition& tp, LeaderEpoch epoch, bool delete_partition);

  std::vector<Outgoing> build(const ControllerState& state, BrokerId self, const std::string& inter_broker_listener) const;

 private:
  struct Stop {
    LeaderEpoch epoch;
    bool delete_partition;
  };
  std::map<BrokerId, std::map<TopicPartition, bool>> leader_and_isr_;
  bool to_all_ = false;
  std::set<TopicPartition> partitions_;
  std::set<BrokerId> everything_, brokers_only_;
  std::map<BrokerId, std::map<TopicPartition, Stop>> stops_;
};

// Leader epochs in StopReplica and UpdateMetadata of a topic that is being deleted.
inline constexpr LeaderEpoch kEpochDuringDelete{-2};
inline constexpr BrokerId kLeaderDuringDelete{-2};

}  // namespace odradek::controller
