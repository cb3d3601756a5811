// What the controller knows while it is in office, read from the tree and kept in step with its own writes. Data and questions;
// no decisions (elections.h) and no effects (controller_impl.h). Read by nobody but the controller.
// Thread: the metadata executor.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "metadata/tree/znode_json.h"
#include "model/types.h"

namespace odradek::controller {

using metadata::BrokerInfo;

struct LiveBroker {
  BrokerInfo info;
  int64_t epoch = -1;  // czxid of its node
  int64_t registered_ms = 0;  // by the clock of ZooKeeper, as elected_ms
};

struct PartitionRecord {
  std::vector<BrokerId> replicas;  // preferred leader first; under reassignment targets first, then those to be removed
  std::vector<BrokerId> adding;
  std::vector<BrokerId> removing;

  bool has_state = false;  // false: the state node does not exist yet (no replica was live)
  BrokerId leader = kNoBroker;
  LeaderEpoch leader_epoch;
  std::vector<BrokerId> isr;
  bool recovering = false;
  int32_t controller_epoch = 0;
  int32_t partition_epoch = 0;  // version of the state node
  int64_t state_zxid = -1;      // of the change that wrote the state, as it was read when this broker took office

  bool is_reassigning() const { return !adding.empty() || !removing.empty(); }
  // What a running reassignment leads to, and where it came from.
  std::vector<BrokerId> target_replicas() const;
  std::vector<BrokerId> original_replicas() const;
};

struct TopicRecord {
  Uuid id;
  std::map<int32_t, PartitionRecord> partitions;
  int32_t node_version = -1;
};

// A topic on its way out. It begins when none of its replicas is moved any more; until then its partitions go on as those of any topic,
// but for metadata: clients no longer see it.
struct Deletion {
  bool begun = false;                                  // UpdateMetadata -2 and the first StopReplica are on their way
  std::set<std::pair<BrokerId, int32_t>> asked;        // StopReplica with delete is on its way
  std::set<std::pair<BrokerId, int32_t>> done;         // answered without error
  std::set<std::pair<BrokerId, int32_t>> failed;       // until the broker comes again
};

struct ControllerState {
  int32_t epoch = -1;
  int32_t epoch_version = -1;  // of the /controller_epoch node: what every write checks
  int64_t elected_ms = 0;

  std::map<BrokerId, LiveBroker> live;  // registered ones, those shutting down too
  std::set<BrokerId> shutting_down;
  std::set<std::pair<BrokerId, TopicPartition>> offline_replicas;  // on live brokers: their log dir failed
  std::map<std::string, TopicRecord> topics;
  absl::flat_hash_map<Uuid, std::string> names;
  std::map<std::string, Deletion> deletions;

  bool is_live(BrokerId broker) const { return live.contains(broker) && !shutting_down.contains(broker); }
  bool is_online(BrokerId broker, const TopicPartition& tp) const { return is_live(broker) && !offline_replicas.contains({broker, tp}); }
  PartitionRecord* find(const TopicPartition& tp);
  const PartitionRecord* find(const TopicPartition& tp) const;
  bool is_deleting(const std::string& topic) const { return deletions.contains(topic); }
  // Its replicas are told to go: nothing of it is led, followed or elected any more.
  bool is_deletion_begun(const std::string& topic) const {
    auto deletion = deletions.find(topic);
    return deletion != deletions.end() && deletion->second.begun;
  }
  std::vector<TopicPartition> all_partitions() const;
  std::vector<TopicPartition> partitions_on(BrokerId broker) const;
  void forget_topic(const std::string& topic);
};

bool contains(const std::vector<BrokerId>& brokers, BrokerId broker);
// `brokers` without those for which `drop` is true, order kept.
template <class Drop>
std::vector<BrokerId> without(const std::vector<BrokerId>& brokers, Drop&& drop) {
  std::vector<BrokerId> rest;
  for (BrokerId broker : brokers) {
    if (!drop(broker)) rest.push_back(broker);
  }
  return rest;
}

}  // namespace odradek::controller
