// The controller: one broker of the cluster holds /controller and decides who leads what. It watches brokers, topics and requests in
// the tree, writes partition states, and tells every broker by LeaderAndIsr, UpdateMetadata and StopReplica.
// Every broker has this object; it acts only while it holds office, and every write checks /controller_epoch.
// Inside: one event at a time (broker came, topic wanted, ISR change asked, ...): read from the tree, decide (elections.h,
// assignment.h), write, then hand requests to the brokers' queues (broker_queue.h).
// Source: zookeeper.md §4-§6, interbroker.md §2-§14.
// Thread: all work on the metadata executor (single-threaded, the store's callback executor); calls from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/executor.h"
#include "base/function.h"
#include "controller/broker_channel.h"
#include "metadata/cluster_config.h"
#include "metadata/image/image.h"
#include "metadata/store/store.h"
#include "model/types.h"
#include "protocol/messages/allocate_producer_ids.h"
#include "protocol/messages/alter_partition.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/controlled_shutdown.h"
#include "protocol/messages/elect_leaders.h"
#include "protocol/messages/list_partition_reassignments.h"

namespace odradek::metrics {
class Registry;
}

namespace odradek::controller {

struct ControllerOptions {
  BrokerId self;
  std::string inter_broker_listener = "PLAINTEXT";  // the endpoint named in LeaderAndIsr's live leaders
  bool auto_leader_rebalance = true;                // auto.leader.rebalance.enable
  int32_t leader_imbalance_check_seconds = 300;     // leader.imbalance.check.interval.seconds
  int32_t leader_imbalance_percent = 10;            // leader.imbalance.per.broker.percentage
  int64_t retry_backoff_ms = 100;                   // before a request that was not answered, or an operation lost with the connection, is repeated
  // Whether a topic may elect a leader outside the ISR (topic config or broker default).
  std::function<bool(const std::string& topic)> unclean_election = [](const std::string&) { return false; };
  bool delete_topics = true;                        // delete.topic.enable
  // What former controllers have told this broker. Only a guess, which a new controller's first writes may begin with (settle_as_told). May be empty.
  std::function<std::shared_ptr<const metadata::ClusterImage>()> told;
  int64_t silence_ms = 36'000;  // how long a dead controller may still have held its office: a session timeout, and more
};

template <class Response>
using Reply = UniqueFunction<void(Response)>;

class Controller {
 public:
  Controller(base::Runtime& runtime, base::Executor& metadata, metadata::Store& store, BrokerChannelFactory channels, ControllerOptions options);
  // After stop() or without start().
  ~Controller();

  // This broker is registered: watch /controller and run for it. Again after each new session.
  void start(int64_t broker_epoch);
  // The session is gone: no longer in office; everything that waits is answered with NOT_CONTROLLER.
  void on_session_expired();
  // Leaves office; `done` when nothing runs any more.
  void stop(Task done);

  bool is_active() const { return active_.load(std::memory_order_acquire); }
  // -1 when not in office.
  int32_t epoch() const { return epoch_.load(std::memory_order_acquire); }

  // Requests of brokers and clients. Not in office: NOT_CONTROLLER (41) where the message has its error. `reply` runs once, on any thread.
  void alter_partition(protocol::AlterPartitionRequest request, int16_t version, Reply<protocol::AlterPartitionResponse> reply);
  void allocate_producer_ids(protocol::AllocateProducerIdsRequest request, Reply<protocol::AllocateProducerIdsResponse> reply);
  void controlled_shutdown(protocol::ControlledShutdownRequest request, Reply<protocol::ControlledShutdownResponse> reply);
  // Answers when the states are written; the caller waits for its own image.
  void elect_leaders(protocol::ElectLeadersRequest request, Reply<protocol::ElectLeadersResponse> reply);
  void list_partition_reassignments(protocol::ListPartitionReassignmentsRequest request, Reply<protocol::ListPartitionReassignmentsResponse> reply);
  void alter_partition_reassignments(protocol::AlterPartitionReassignmentsRequest request, Reply<protocol::AlterPartitionReassignmentsResponse> reply);
  // unclean.leader.election.enable was switched on: tries to elect leaders for partitions without one. Empty: all topics.
  void on_unclean_election_enabled(std::string topic);

  // Times of events, recorded while in office. Before start().
  void register_metrics(metrics::Registry& registry);
  // For tests and metrics.
  struct Counts {
    int64_t topics = 0, partitions = 0, offline_partitions = 0, preferred_imbalance = 0, live_brokers = 0, topics_to_delete = 0;
    int64_t unclean_elections = 0;  // since the start of this process
    std::map<BrokerId, int64_t> unanswered;  // requests to each live broker
    int at_work_on = 0;                      // Kafka's ControllerState
    int64_t waiting_events = 0;
  };
  Counts counts() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared: replies of the store and of brokers may come after the end
  std::atomic<bool>& active_;
  std::atomic<int32_t>& epoch_;
};

}  // namespace odradek::controller
