#include "controller/controller.h"

#include "base/clock.h"
#include "base/log.h"
#include "controller/controller_impl.h"
#include "metrics/catalog.h"

namespace odradek::controller {

// --- the public face -------------------------------------------------------------------------------------------------------------------

Controller::Controller(base::Runtime& runtime, base::Executor& metadata, metadata::Store& store, BrokerChannelFactory channels,
                       ControllerOptions options)
    : impl_(std::make_shared<Impl>(runtime, metadata, store, std::move(channels), std::move(options))), active_(impl_->active), epoch_(impl_->epoch) {}

Controller::~Controller() = default;

void Controller::start(int64_t broker_epoch) {
  impl_->post(EventKind::kControllerChange, [impl = impl_.get(), broker_epoch]() -> Async<void> {
    ++impl->session;
    impl->broker_epoch = broker_epoch;
    co_await impl->run_for_office();
  });
}

void Controller::on_session_expired() {
  auto end = [impl = impl_] {
    ++impl->session;
    impl->resign("the session expired");
  };
  // At once where that is possible: right behind come the answers of the writes that went with the session, and who waits for them is to
  // find nobody in office.
  if (impl_->executor.on_this_executor()) return end();
  impl_->executor.post(std::move(end));
}

void Controller::stop(Task done) {
  impl_->executor.post([impl = impl_, done = std::move(done)]() mutable {
    impl->stopping = true;
    ++impl->session;
    impl->resign("the broker stops");
    impl->stopped = std::move(done);
    if (!impl->running) std::exchange(impl->stopped, {})();
  });
}

void Controller::alter_partition(protocol::AlterPartitionRequest request, int16_t version, Reply<protocol::AlterPartitionResponse> reply) {
  auto shared = std::make_shared<Reply<protocol::AlterPartitionResponse>>(std::move(reply));
  impl_->post(EventKind::kIsrChange, [impl = impl_.get(), request = std::move(request), version, shared]() -> Async<void> {
    return impl->handle_alter_partition(request, version, std::move(*shared));
  });
}

void Controller::allocate_producer_ids(protocol::AllocateProducerIdsRequest request, Reply<protocol::AllocateProducerIdsResponse> reply) {
  auto shared = std::make_shared<Reply<protocol::AllocateProducerIdsResponse>>(std::move(reply));
  impl_->post(EventKind::kOther, [impl = impl_.get(), request = std::move(request), shared]() -> Async<void> {
    return impl->handle_allocate_producer_ids(request, std::move(*shared));
  });
}

void Controller::controlled_shutdown(protocol::ControlledShutdownRequest request, Reply<protocol::ControlledShutdownResponse> reply) {
  auto shared = std::make_shared<Reply<protocol::ControlledShutdownResponse>>(std::move(reply));
  impl_->post(EventKind::kControlledShutdown, [impl = impl_.get(), request = std::move(request), shared]() -> Async<void> {
    return impl->handle_controlled_shutdown(request, std::move(*shared));
  });
}

void Controller::elect_leaders(protocol::ElectLeadersRequest request, Reply<protocol::ElectLeadersResponse> reply) {
  auto shared = std::make_shared<Reply<protocol::ElectLeadersResponse>>(std::move(reply));
  impl_->post(EventKind::kManualLeaderBalance, [impl = impl_.get(), request = std::move(request), shared]() -> Async<void> {
    return impl->handle_elect_leaders(request, std::move(*shared));
  });
}

void Controller::list_partition_reassignments(protocol::ListPartitionReassignmentsRequest request,
                                              Reply<protocol::ListPartitionReassignmentsResponse> reply) {
  auto shared = std::make_shared<Reply<protocol::ListPartitionReassignmentsResponse>>(std::move(reply));
  impl_->post(EventKind::kOther, [impl = impl_.get(), request = std::move(request), shared]() -> Async<void> {
    (*shared)(impl->list_reassignments(request));
    co_return;
  });
}

void Controller::alter_partition_reassignments(protocol::AlterPartitionReassignmentsRequest request,
                                               Reply<protocol::AlterPartitionReassignmentsResponse> reply) {
  auto shared = std::make_shared<Reply<protocol::AlterPartitionReassignmentsResponse>>(std::move(reply));
  impl_->post(EventKind::kReassignment, [impl = impl_.get(), request = std::move(request), shared]() -> Async<void> {
    return impl->handle_alter_reassignments(request, std::move(*shared));
  });
}

void Controller::on_unclean_election_enabled(std::string topic) {
  impl_->executor.post([impl = impl_, topic = std::move(topic)] {
    impl->post_in_office(EventKind::kUncleanElectionEnable, [impl = impl.get(), topic]() -> Async<void> {
      std::vector<TopicPartition> leaderless;
      for (const TopicPartition& tp : impl->state.all_partitions()) {
        const PartitionRecord* record = impl->state.find(tp);
        if ((topic.empty() || tp.topic == topic) && record->has_state && record->leader == kNoBroker) leaderless.push_back(tp);
      }
      co_await impl->settle_partitions(std::move(leaderless));
    });
  });
}

Controller::Counts Controller::counts() const {
  Counts now;
  {
    base::MutexLock lock(impl_->counts_mutex);
    now = impl_->counts;
  }
  now.at_work_on = static_cast<int>(impl_->at_work_on.load(std::memory_order_relaxed));
  now.waiting_events = static_cast<int64_t>(impl_->waiting_events.load(std::memory_order_relaxed));
  return now;
}

void Controller::register_metrics(metrics::Registry& registry) {
  using enum EventKind;
  impl_->queue_time = registry.histogram(metrics::kControllerEventQueueTime);
  for (auto [kind, def] : std::initializer_list<std::pair<EventKind, const metrics::MetricDef*>>{
           {kControllerChange, &metrics::kControllerChangeTime},       {kBrokerChange, &metrics::kLeaderElectionTime},
           {kTopicChange, &metrics::kTopicChangeTime},                 {kTopicDeletion, &metrics::kTopicDeletionTime},
           {kReassignment, &metrics::kAlterPartitionReassignmentTime}, {kAutoLeaderBalance, &metrics::kAutoLeaderBalanceTime},
           {kManualLeaderBalance, &metrics::kManualLeaderBalanceTime}, {kControlledShutdown, &metrics::kControlledShutdownTime},
           {kIsrChange, &metrics::kIsrChangeTime},                     {kLeaderAndIsrResponse, &metrics::kLeaderAndIsrResponseReceivedTime},
           {kLogDirChange, &metrics::kLogDirChangeTime},               {kControllerShutdown, &metrics::kControllerShutdownTime}}) {
    impl_->event_times[kind] = registry.histogram(*def);
  }
}

// --- events ------------------------------------------------------------------------------------------------------------------------------

Controller::Impl::Impl(base::Runtime& r, base::Executor& e, metadata::Store& store, BrokerChannelFactory c, ControllerOptions o)
    : runtime(r), executor(e), tree(r, e, store), channels(std::move(c)), options(std::move(o)) {}

void Controller::Impl::post(EventKind kind, Event event) {
  executor.post([self = shared_from_this(), kind, event = std::move(event)]() mutable { self->enqueue(kind, std::move(event)); });
}

void Controller::Impl::post_in_office(EventKind kind, Event event) {
  uint64_t held = office;
  enqueue(kind, [this, held, event = std::move(event)]() -> Async<void> {
    if (held == office && in_office()) co_await event();
  });
}

void Controller::Impl::enqueue(EventKind kind, Event event) {
  events.push_back({kind, runtime.clock().monotonic_ns(), std::move(event)});
  waiting_events.store(events.size(), std::memory_order_relaxed);
  if (std::exchange(running, true)) return;
  metadata::spawn(run_events(shared_from_this()));
}

Async<void> Controller::Impl::run_events([[maybe_unused]] std::shared_ptr<Impl> self) {
  while (!events.empty()) {
    // The coroutine uses what the event captured: it must stay in place until its end.
    Waiting next = std::move(events.front());
    events.pop_front();
    waiting_events.store(events.size(), std::memory_order_relaxed);
    at_work_on.store(next.kind, std::memory_order_relaxed);
    const int64_t begin_ns = runtime.clock().monotonic_ns();
    if (queue_time && in_office()) queue_time->record(static_cast<uint64_t>(begin_ns - next.since_ns));
    co_await next.event();
    auto time = event_times.find(next.kind);
    if (time != event_times.end() && in_office()) time->second->record(static_cast<uint64_t>(runtime.clock().monotonic_ns() - begin_ns));
    count_soon();
  }
  at_work_on.store(EventKind::kIdle, std::memory_order_relaxed);
  running = false;
  if (stopped) std::exchange(stopped, {})();
}

metadata::TreeClient::SharedWatch Controller::Impl::watch(EventKind kind, Event event) {
  return [weak = weak_from_this(), held = office, kind, event = std::move(event)](const metadata::WatchEvent&) {
    auto self = weak.lock();
    if (self && held == self->office && self->in_office()) self->post_in_office(kind, event);
  };
}

// --- counts ------------------------------------------------------------------------------------------------------------------------------

// Counting walks over every partition: not after each event of a burst.
void Controller::Impl::count_soon() {
  if (std::exchange(count_pending, true)) return;
  runtime.timers().after(std::chrono::milliseconds(500), executor.posting([weak = weak_from_this()] {
    auto self = weak.lock();
    if (!self) return;
    self->count_pending = false;
    self->count();
  }));
}

void Controller::Impl::count() {
  Counts now;
  now.unclean_elections = unclean_elections;
  if (in_office()) {
    now.topics = static_cast<int64_t>(state.topics.size());
    now.live_brokers = static_cast<int64_t>(state.live.size());
    now.topics_to_delete = static_cast<int64_t>(state.deletions.size());
    for (const auto& [id, queue] : queues) now.unanswered[id] = static_cast<int64_t>(queue->size());
    for (const auto& [name, topic] : state.topics) {
      for (const auto& [index, partition] : topic.partitions) {
        ++now.partitions;
        if (state.is_deleting(name)) continue;
        if (!state.live.contains(partition.leader) || !contains(partition.replicas, partition.leader)) ++now.offline_partitions;
        if (!partition.replicas.empty() && partition.leader != partition.replicas.front()) ++now.preferred_imbalance;
      }
    }
  }
  base::MutexLock lock(counts_mutex);
  counts = now;
}

}  // namespace odradek::controller
