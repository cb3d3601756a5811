// Looks at the brokers and the tree from outside and says what must not be: two leaders in one epoch, logs that differ below a high
// watermark, a promised record that is gone. It also counts what the cluster has done.
// Thread: one.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "metadata/tree/znode_json.h"
#include "sim/cluster/broker.h"
#include "sim/cluster/events.h"
#include "sim/model.h"
#include "storage/log/log.h"

namespace odradek::sim {

class Judge {
 public:
  Judge(World& world, Model& model, ZooKeeper& zookeeper, Events& events, std::vector<std::unique_ptr<ClusterBroker>>& brokers)
      : world_(world), model_(model), zookeeper_(zookeeper), events_(events), brokers_(brokers) {
    zookeeper_.on_change = [this](const metadata::WatchEvent& event) { on_change(event); };
  }

  // Now and then.
  void look();
  // Every promised record stands in the log of every replica. After the faults, when whole() holds.
  void check_all();
  // Every partition has its leader and all replicas in sync, and nothing moves; else what is missing.
  std::string not_whole();
  // Every broker has heard who controls, who lives and who leads what; else what one has not.
  std::string not_told();

  // Every partition whose leader's disk fails has another one; else which has not. For when all was in sync before.
  std::string not_led();
  // All brokers have lost their power: what was not promised to be on the disk may differ from now on.
  void on_power_cut_of_all();
  // All replicas are in sync again.
  void on_well();

  // Into the trace: what the tree and each broker say of each partition.
  void describe();

  // What the tree says of a partition; nullptr: nothing.
  struct State {
    TopicPartition tp;
    metadata::PartitionStateNode state;
    std::vector<BrokerId> replicas;
    bool moving = false;
  };
  std::vector<State> states() const;
  int32_t controller() const;
  std::optional<metadata::PartitionStateNode> state(const TopicPartition& tp) const;
  int64_t last_leader_change_ns() const { return last_leader_change_ns_; }

 private:
  using LogKey = std::pair<Uuid, int32_t>;
  struct Batch {
    int64_t next = 0;
    uint32_t crc = 0;
    int32_t epoch = 0;
  };
  struct Checked {
    int life = 0;
    int64_t upto = 0;
  };
  void on_change(const metadata::WatchEvent& event);
  void look_at_leaders();
  void look_at_logs();
  bool is_stray(int broker, const TopicPartition& tp);
  // What has stood below a high watermark and was not promised to be on the disk.
  void forget_unpromised(const LogKey& key);
  void look_at_tree();
  // Who stands there, or is asked for what its disk holds.
  app::Node* sound_node(ClusterBroker& broker) { return broker.disk_is_sound() ? broker.node() : nullptr; }
  void look_at_controllers();
  bool compare(int broker, const storage::Log& log, int64_t from, int64_t upto);
  // Bytes of whole batches from `from` on, below `upto`.
  Result<Bytes> read(const storage::Log& log, int64_t from, int64_t upto);

  World& world_;
  Model& model_;
  ZooKeeper& zookeeper_;
  Events& events_;
  std::vector<std::unique_ptr<ClusterBroker>>& brokers_;
  std::map<std::pair<LogKey, int32_t>, int> leader_of_;        // by partition and epoch
  std::map<LogKey, std::map<int64_t, Batch>> committed_;       // by base offset: what has stood below a high watermark
  std::map<std::pair<int, LogKey>, Checked> checked_;          // by broker: compared so far
  std::map<std::pair<int, LogKey>, std::pair<int, int64_t>> ends_;  // log end in which life, to see truncations
  std::map<TopicPartition, State> before_;
  std::map<std::string, metadata::PartitionStateNode> nodes_;  // by path
  std::map<LogKey, TopicPartition> names_;                     // of what is in committed_
  int32_t controller_before_ = -1;
  std::map<int, std::pair<int, int32_t>> obeyed_;  // by broker: in which life, up to which epoch of a controller
  int64_t last_leader_change_ns_ = 0;
  bool after_cut_ = false;  // followers' high watermarks may be of what was lost
  // By broker: logs of former replicas (a dir that was offline when they were to go) that were not cut since all lost their power: their
  // high watermarks, too, may be of what was lost. Until they are in sync; nothing is read from them before, and none of them leads.
  std::set<std::pair<int, TopicPartition>> strays_;
};

}  // namespace odradek::sim
