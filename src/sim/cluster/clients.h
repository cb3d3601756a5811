// Clients of a cluster: they ask any broker who leads what, and go there.
// Thread: one.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "sim/clients.h"
#include "sim/cluster/events.h"

namespace odradek::sim {

struct ClusterContext {
  World& world;
  Model& model;
  std::vector<Network*> networks;  // of broker 1, 2, ...
  Events& events;
  bool& ending;
  bool calm = true;  // nothing of a topic is changed
  // What is sent later than this has no excuse to be answered late; kNever: in or behind trouble.
  static constexpr int64_t kNever = INT64_MAX;
  int64_t well_since_ns = kNever;
  bool throttled = false;  // the admin has slowed down replication
  int64_t flushed_acks = 0;  // batches that were acknowledged as flushed
  int64_t power_cuts = 0;  // of all at once: what was read or acknowledged before may be gone
  std::set<std::pair<int64_t, int16_t>> producer_ids;  // given out so far
  // Lives of brokers that began. One that has started knows only the last batch of a producer of what lies below its snapshot, as Kafka.
  int64_t starts = 0;
  // Of who leads, as the tree says; null: nobody. A former leader that has not heard of its successor knows less of a producer.
  std::function<const Network*(const TopicPartition& tp)> leader = {};
  // As the tree says; -1: nothing. A leader that followed another one meanwhile may have cut its log: to it applies what is said of starts.
  std::function<int32_t(const TopicPartition& tp)> leader_epoch = {};
  // Whether a broker still holds a log of this topic. As Kafka, it refuses another topic of that name then; such a log stays when the last
  // word on a replica that moved away does not reach its broker.
  std::function<bool(const std::string& topic)> holds_log = {};
  std::set<Uuid> former_topics;                        // ids of topics that were deleted
};

// A client's connections, one to each broker, and what it was told of leaders.
class Router {
 public:
  Router(ClusterContext& context, const std::string& name);

  void open();
  // Of who leads, if that is known and connected; else null, and the leaders are asked for.
  Channel* leader(const TopicPartition& tp);
  // As it was told with the leader; -1.
  int32_t epoch(const TopicPartition& tp);
  Channel* controller();
  Channel* any();
  // What was told last turned out to be wrong.
  void refresh();
  size_t calls_out() const;
  // After each answer that names the leaders.
  std::function<void()> on_news;

 private:
  ClusterContext& context_;
  World& world_;
  std::vector<std::unique_ptr<Channel>> channels_;
  struct Known {
    Uuid topic;
    int32_t leader = -1, epoch = -1;
  };
  std::map<TopicPartition, Known> leaders_;
  int32_t controller_ = -1;
  bool asking_ = false;
  int64_t asked_ns_ = 0;
};

std::unique_ptr<Client> make_cluster_producer(ClusterContext& context, int number, bool idempotent);
std::unique_ptr<Client> make_cluster_consumer(ClusterContext& context, int number);
// Creates and deletes topics, adds partitions, moves replicas, elects preferred leaders.
std::unique_ptr<Client> make_cluster_admin(ClusterContext& context);

}  // namespace odradek::sim
