// Inside the controller: the queue of events, the office, and the steps that change the cluster. One event runs at a time, from its
// first read to its last write; others wait. Methods that are coroutines are called from events alone.
// Sources: controller.cc (events, counts), office.cc, writes.cc, brokers.cc (come, go, shut down), topics.cc (creation, enlargement, deletion),
// partitions.cc (states, ISR changes), leader_elections.cc (those asked for), reassignment.cc, producer_ids.cc.
// Thread: the metadata executor.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controller/broker_queue.h"
#include "controller/controller.h"
#include "controller/elections.h"
#include "controller/request_batch.h"
#include "controller/state.h"
#include "metadata/tree/tree_client.h"
#include "metrics/registry.h"

namespace odradek::controller {

using metadata::Async;

// What an event is about; the values are those of Kafka's ControllerState.
enum class EventKind : uint8_t {
  kIdle = 0,
  kControllerChange = 1,
  kBrokerChange = 2,
  kTopicChange = 3,
  kTopicDeletion = 4,
  kReassignment = 5,
  kAutoLeaderBalance = 6,
  kManualLeaderBalance = 7,
  kControlledShutdown = 8,
  kIsrChange = 9,
  kLeaderAndIsrResponse = 10,
  kLogDirChange = 11,
  kControllerShutdown = 12,
  kUncleanElectionEnable = 13,
  kOther = 14,  // questions, producer ids
};

struct Controller::Impl : std::enable_shared_from_this<Controller::Impl> {
  using Event = std::function<Async<void>()>;

  Impl(base::Runtime& runtime, base::Executor& executor, metadata::Store& store, BrokerChannelFactory channels, ControllerOptions options);

  // --- events (controller.cc) -------------------------------------------------------------------------------------------------------
  // Thread: any. The event runs even when the office was lost meanwhile: it looks.
  void post(EventKind kind, Event event);
  // The event is dropped if the office of now is no longer held when its turn comes.
  void post_in_office(EventKind kind, Event event);
  void enqueue(EventKind kind, Event event);
  Async<void> run_events(std::shared_ptr<Impl> self);
  // A watch that posts `event` for the present office.
  metadata::TreeClient::SharedWatch watch(EventKind kind, Event event);

  // --- office (office.cc) -------------------------------------------------------------------------------------------------------
  Async<void> run_for_office();
  Async<bool> win_or_lose();
  Async<void> take_office();
  Async<bool> read_cluster();
  void resign(const std::string& why);
  void schedule_balance(int64_t delay_ms);
  bool in_office() const { return active.load(std::memory_order_relaxed); }

  // --- writes under the check of /controller_epoch (writes.cc) ---------------------------------------------------------------------------
  // The results of single operations; kConnectionLoss is repeated inside. A failed check resigns: then in_office() is false.
  struct Write {
    metadata::StoreError error = metadata::StoreError::kNone;
    metadata::Stat stat;
    explicit operator bool() const { return error == metadata::StoreError::kNone; }
  };
  // Each on its own. None may need another: see TreeClient::multi_all().
  Async<std::vector<Write>> write_all(std::vector<metadata::StoreOp> ops);
  // The same for operations of which none needs another: many in one multi, those of a multi that was refused each on its own.
  Async<std::vector<Write>> write_together(std::vector<metadata::StoreOp> ops);
  Async<std::vector<Write>> write_in_multis(std::vector<metadata::StoreOp> ops, size_t most);
  Async<Write> write(metadata::StoreOp op);

  // --- partitions (partitions.cc) -------------------------------------------------------------------------------------------------------
  struct StateChange {
    TopicPartition tp;
    Leadership next;
    bool raise_epoch = true;
    bool is_new = false;  // the state node is created
  };
  // Writes the states, brings the records in line. The errors are in the order of `changes`; kBadVersion re-reads the record.
  Async<std::vector<metadata::StoreError>> write_states(std::vector<StateChange> changes);
  // Counts and says that it is so: for every election that may be.
  void note_if_unclean(const TopicPartition& tp, const PartitionRecord& before, const Leadership& next);
  // Elects and shrinks so that only online replicas count; tells the brokers. `partitions`: where something may be to do.
  Async<void> settle_partitions(std::vector<TopicPartition> partitions);
  // What a new controller does before it has read the states: the same, from what it was told when it was not in office. Those whose
  // leaders and followers know of it now.
  Async<std::set<TopicPartition>> settle_as_told();
  // For who takes office: replicas of brokers that have registered since the state was written. They may have started again, and have lost
  // what they had not written to their disks, also of the present leader epoch: a controller in office would have seen them go and come.
  Async<void> settle_restarted();
  // Creates the states of partitions that have none and a live replica.
  Async<void> create_states(std::vector<TopicPartition> partitions);
  Async<void> handle_alter_partition(protocol::AlterPartitionRequest request, int16_t version, Reply<protocol::AlterPartitionResponse> reply);
  Online online_for(const TopicPartition& tp) const {
    return [this, tp](BrokerId broker) { return state.is_online(broker, tp); };
  }

  // --- elections that are asked for (leader_elections.cc) --------------------------------------------------------------------------------
  Async<void> handle_elect_leaders(protocol::ElectLeadersRequest request, Reply<protocol::ElectLeadersResponse> reply);
  // Per partition what came of it.
  Async<std::map<TopicPartition, ErrorCode>> elect(std::vector<TopicPartition> partitions, bool unclean);
  Async<void> balance_leaders();
  Async<void> on_preferred_election_node();

  // --- producer ids (producer_ids.cc) -------------------------------------------------------------------------------------------------
  Async<void> handle_allocate_producer_ids(protocol::AllocateProducerIdsRequest request, Reply<protocol::AllocateProducerIdsResponse> reply);

  // --- brokers (brokers.cc) -----------------------------------------------------------------------------------------------------------
  Async<void> on_brokers_changed();
  Async<void> on_broker_data_changed(BrokerId id);
  Async<std::optional<std::map<BrokerId, LiveBroker>>> read_brokers();
  Async<void> brokers_came(std::vector<BrokerId> ids);
  Async<void> brokers_went(std::vector<BrokerId> ids);
  Async<void> handle_controlled_shutdown(protocol::ControlledShutdownRequest request, Reply<protocol::ControlledShutdownResponse> reply);
  Async<void> on_log_dir_events();
  Async<void> on_leader_and_isr_answer(BrokerId from, std::vector<std::pair<TopicPartition, ErrorCode>> errors);
  void open_queue(BrokerId id);
  void send(const RequestBatch& batch);

  // --- topics (topics.cc) ---------------------------------------------------------------------------------------------------------------
  Async<void> on_topics_changed();
  Async<void> on_topic_data_changed(std::string topic);
  // Reads nodes, sets data watches, gives an id to those without one; false: not in office any more.
  Async<bool> read_topics(std::vector<std::string> topics);
  Async<bool> read_states(std::vector<TopicPartition> partitions);
  Async<void> create_partitions(std::vector<TopicPartition> partitions);
  Async<void> on_deletions_changed();
  Async<void> resume_deletions();
  Async<void> finish_deletion(std::string topic);
  // None of them below another. False: one is still there, or the office is lost.
  Async<bool> remove_nodes(std::vector<std::string> nodes);
  Async<void> on_stop_replica_answer(BrokerId from, std::vector<std::pair<TopicPartition, ErrorCode>> errors);

  // --- reassignment (reassignment.cc) -----------------------------------------------------------------------------------------------------
  Async<void> handle_alter_reassignments(protocol::AlterPartitionReassignmentsRequest request, Reply<protocol::AlterPartitionReassignmentsResponse> reply);
  Async<ErrorCode> start_reassignment(TopicPartition tp, std::optional<std::vector<BrokerId>> targets);
  // Whether one of its targets is not in sync yet.
  bool is_catching_up(const PartitionRecord& record) const;
  // What a new controller does with those that are under way: a new leader epoch, unless it has written one already. The former one may have
  // written the set of replicas and no state (a 3.9 broker does so in this order): in their old epoch leaders do not take a new set.
  Async<void> resume_reassignments();
  // Goes on with it if all targets are in sync.
  Async<void> advance_reassignment(TopicPartition tp);
  Async<bool> write_assignment(std::string topic);
  Async<void> on_reassign_node();
  protocol::ListPartitionReassignmentsResponse list_reassignments(const protocol::ListPartitionReassignmentsRequest& request) const;

  base::Runtime& runtime;
  base::Executor& executor;
  metadata::TreeClient tree;
  const BrokerChannelFactory channels;
  const ControllerOptions options;

  std::atomic<bool> active{false};
  std::atomic<int32_t> epoch{-1};
  uint64_t office = 0;   // changes with every winning and losing
  uint64_t session = 0;  // changes with start() and on_session_expired()
  int64_t broker_epoch = -1;
  bool stopping = false;
  Task stopped;

  struct Waiting {
    EventKind kind;
    int64_t since_ns;
    Event event;
  };
  std::deque<Waiting> events;
  bool running = false;
  // Read by metrics.
  std::atomic<EventKind> at_work_on{EventKind::kIdle};
  std::atomic<size_t> waiting_events{0};
  std::shared_ptr<metrics::Histogram> queue_time;  // null: register_metrics() was not called
  std::map<EventKind, std::shared_ptr<metrics::Histogram>> event_times;

  ControllerState state;
  std::map<BrokerId, std::unique_ptr<BrokerQueue>> queues;
  base::TimerId balance_timer = 0;
  int64_t unclean_elections = 0;

  mutable base::Mutex counts_mutex;
  Counts counts GUARDED_BY(counts_mutex);
  bool count_pending = false;
  void count();
  void count_soon();
};

// Partitions of answers by topic, for the errors of whole requests.
inline int16_t wire(ErrorCode code) { return static_cast<int16_t>(code); }

}  // namespace odradek::controller
