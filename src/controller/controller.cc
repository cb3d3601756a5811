#include "controller/controller.h"

#include "base/clock.h"
#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metrics/catalog.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::CreateMode;
using metadata::kAnyVersion;
using metadata::StoreError;
using metadata::StoreOp;

namespace {
constexpr int64_t kStorageRetryMs = 1000;
// Of write_together(): so few multis that thousands of states cost the ensemble a few flushes of its log, each far below what a server
// takes (metadata::kMaxRequestBytes) and what it can do in a moment.
constexpr size_t kOpsOfMulti = 250;
constexpr size_t kBytesOfMulti = 256 << 10;
}  // namespace

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

// --- office ------------------------------------------------------------------------------------------------------------------------------

// Looks at /controller, follows whoever is there, takes office if nobody is. Comes again with each change of the node.
Async<void> Controller::Impl::run_for_office() {
  uint64_t mine = session;
  while (mine == session && !stopping) {
    auto changed = [weak = weak_from_this(), mine](const metadata::WatchEvent&) {
      auto self = weak.lock();
      if (!self || self->session != mine) return;
      self->enqueue(EventKind::kControllerChange, [impl = self.get(), mine]() -> Async<void> {
        if (impl->session == mine) co_await impl->run_for_office();
      });
    };
    // The watch first, then the look.
    auto exists = co_await tree.exists(paths::kController, changed);
    if (mine != session || stopping) co_return;
    if (!exists && exists.error() != StoreError::kNoNode) co_return;
    if (exists) {
      bool own = exists->ephemeral_owner == tree.store().session_id();
      if (in_office() && own) co_return;
      if (in_office()) resign("another broker is controller");
      if (!own) {
        co_return;  // followed: the image will say who it is
      }
    } else if (in_office()) {
      resign("/controller was deleted");
    }
    bool won = co_await win_or_lose();
    if (won) co_return co_await take_office();
    metadata::SessionState now = tree.store().state();
    if (mine != session || now == metadata::SessionState::kExpired || now == metadata::SessionState::kClosed) co_return;
    // Lost: the next look finds the winner, or nobody again. Not at once: the store may be the reason.
    co_await tree.pause(options.retry_backoff_ms);
  }
}

// For the session of now alone: who runs in the next one has registered the broker before.
Async<bool> Controller::Impl::win_or_lose() {
  const uint64_t mine = session;
  auto node = co_await tree.get(paths::kControllerEpoch);
  if (!node && node.error() == StoreError::kNoNode) {
    Bytes zero = metadata::encode_controller_epoch(0);
    auto made = co_await tree.create(paths::kControllerEpoch, zero);
    if (!made && made.error() != StoreError::kNodeExists) co_return false;
    node = co_await tree.get(paths::kControllerEpoch);
  }
  if (!node) co_return false;
  auto former = metadata::decode_controller_epoch(node->data);
  if (!former) {
    log::error("controller", "{}: no broker can become controller until it is mended", former.error().what);
    co_return false;
  }
  int32_t wanted = *former + 1;
  metadata::ControllerNode self;
  self.broker = options.self;
  self.timestamp_ms = runtime.clock().wall_ms();
  std::vector<StoreOp> ops;
  ops.push_back(StoreOp::create(paths::kController, metadata::encode_controller(self), CreateMode::kEphemeral));
  ops.push_back(StoreOp::set(paths::kControllerEpoch, metadata::encode_controller_epoch(wanted), node->stat.version));
  metadata::MultiResult won = tl::unexpected(metadata::MultiFailure{StoreError::kConnectionLoss, -1});
  while (!won && won.error().error == StoreError::kConnectionLoss) {
    if (mine != session || stopping) co_return false;
    won = co_await metadata::callback<metadata::MultiResult>([this, &ops](metadata::MultiReply reply) { tree.store().multi(ops, std::move(reply)); });
    if (!won && won.error().error == StoreError::kConnectionLoss) co_await tree.pause(metadata::TreeClient::kRetryMs);
  }
  int32_t version = node->stat.version + 1;
  int64_t elected_ms = 0;
  if (won) {
    elected_ms = (*won)[1].stat.mtime_ms;
  } else {
    if (won.error().error != StoreError::kNodeExists && won.error().error != StoreError::kBadVersion) co_return false;
    // Perhaps by the own hand, before a connection was lost.
    auto holder = co_await tree.get(paths::kController);
    auto epoch_now = co_await tree.get(paths::kControllerEpoch);
    if (!holder || !epoch_now || holder->stat.ephemeral_owner != tree.store().session_id()) co_return false;
    auto value = metadata::decode_controller_epoch(epoch_now->data);
    if (!value || *value != wanted) co_return false;
    version = epoch_now->stat.version;
    elected_ms = epoch_now->stat.mtime_ms;
  }
  if (mine != session) co_return false;  // with it went the node
  ++office;
  state = ControllerState();
  state.epoch = wanted;
  state.epoch_version = version;
  state.elected_ms = elected_ms;
  epoch.store(wanted, std::memory_order_release);
  active.store(true, std::memory_order_release);
  log::info("controller", "broker {} is the controller, epoch {}", options.self.value, wanted);
  co_return true;
}

void Controller::Impl::resign(const std::string& why) {
  if (!in_office()) return;
  log::info("controller", "broker {} is no longer the controller: {}", options.self.value, why);
  ++office;
  active.store(false, std::memory_order_release);
  epoch.store(-1, std::memory_order_release);
  queues.clear();
  state = ControllerState();
  if (balance_timer != 0) runtime.timers().cancel(std::exchange(balance_timer, 0));
  count();
}

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

// What a new controller does, in the order of zookeeper.md §6 and interbroker.md §14.
Async<void> Controller::Impl::take_office() {
  const int64_t begin_ms = runtime.clock().monotonic_ms();
  std::set<TopicPartition> settled;
  std::vector<TopicPartition> partitions;
  bool read = co_await read_cluster();
  if (read && in_office()) {
    for (const auto& [id, broker] : state.live) open_queue(id);
    RequestBatch greeting;
    greeting.update_brokers();
    send(greeting);
    settled = co_await settle_as_told();
    partitions = state.all_partitions();
    read = in_office() && co_await read_states(partitions);
  }
  if (!read || !in_office()) {
    // The tree cannot be read: leave the office to whoever can.
    if (in_office()) {
      auto gone = co_await write(StoreOp::remove(paths::kController, kAnyVersion));
      (void)gone;
      resign("the cluster's metadata could not be read");
    }
    co_return;
  }
  log::info("controller", "{} partitions of {} topics are known after {} ms", partitions.size(), state.topics.size(),
            runtime.clock().monotonic_ms() - begin_ms);
  std::vector<TopicPartition> flawed;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    const auto flaw = record->has_state ? flaw_of(*record) : std::nullopt;
    if (!flaw) continue;
    log::error("controller", "{}: the state in the tree is wrong: {}", tp.to_string(), *flaw);
    flawed.push_back(tp);
  }
  co_await settle_restarted();
  if (!in_office()) co_return;
  // First what needs another leader: it is written to again a whole round of requests earlier.
  std::vector<TopicPartition> unsettled;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (!record->has_state) continue;
    if (elect_among_online(*record, online_for(tp), options.unclean_election(tp.topic)) != leadership_of(*record)) unsettled.push_back(tp);
  }
  co_await settle_partitions(unsettled);
  if (!in_office()) co_return;
  settled.insert(unsettled.begin(), unsettled.end());
  for (const TopicPartition& tp : flawed) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr || is_led(*record, online_for(tp))) continue;
    log::error("controller", "{} has no leader: none of its live replicas is known to have everything that was acknowledged; `odradek elect unclean --topic {}:{}` "
               "makes one of them the leader as it is", tp.to_string(), tp.topic, tp.partition);
  }
  // Everything that stands, so that brokers hear what they may have missed.
  RequestBatch all;
  std::vector<TopicPartition> without_state;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr) continue;
    if (record->has_state) {
      if (record->controller_epoch == state.epoch && settled.contains(tp)) continue;  // written a moment ago, and told
      all.leader_and_isr_to_replicas(state, tp);
      all.update_metadata(tp);
    } else if (!state.is_deleting(tp.topic)) {
      without_state.push_back(tp);
    }
  }
  send(all);
  co_await create_partitions(std::move(without_state));
  if (!in_office()) co_return;
  for (const TopicPartition& tp : state.all_partitions()) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr || !record->is_reassigning()) continue;
    co_await advance_reassignment(tp);
    if (!in_office()) co_return;
  }
  co_await on_deletions_changed();
  if (!in_office()) co_return;
  co_await on_reassign_node();
  if (!in_office()) co_return;
  co_await on_preferred_election_node();
  if (in_office() && options.auto_leader_rebalance) schedule_balance(5'000);
}

Async<bool> Controller::Impl::read_cluster() {
  auto feature = co_await tree.exists(paths::kFeature);
  if (!feature && feature.error() == StoreError::kNoNode) {
    Bytes none = metadata::encode_feature();
    auto made = co_await tree.create(paths::kFeature, none);
    if (!made && made.error() != StoreError::kNodeExists) co_return false;
  }
  // Notifications from before: what they told stands in the states that are read now.
  for (const char* folder : {paths::kLogDirEvents, paths::kIsrChanges}) {
    auto old = co_await tree.children(folder);
    if (!old) {
      if (old.error() == StoreError::kNoNode) continue;
      co_return false;
    }
    std::vector<StoreOp> removals;
    for (const std::string& name : old->names) removals.push_back(StoreOp::remove(paths::child(folder, name), kAnyVersion));
    co_await write_together(std::move(removals));
    if (!in_office()) co_return false;
  }
  auto log_dirs_changed = watch(EventKind::kLogDirChange, [this] { return on_log_dir_events(); });
  auto log_dirs = co_await tree.children(paths::kLogDirEvents, log_dirs_changed);
  if (!log_dirs && log_dirs.error() != StoreError::kNoNode) co_return false;

  auto brokers = co_await read_brokers();
  if (!brokers) co_return false;
  state.live = std::move(*brokers);
  auto topics_changed = watch(EventKind::kTopicChange, [this] { return on_topics_changed(); });
  auto topics = co_await tree.children(paths::kTopics, topics_changed);
  if (!topics) co_return false;
  bool read = co_await read_topics(topics->names);
  if (!read) co_return false;
  // What is on its way out is told so from the first request on.
  auto doomed = co_await tree.children(paths::kDeleteTopics);
  if (!doomed && doomed.error() != StoreError::kNoNode) co_return false;
  if (doomed && options.delete_topics) {
    for (const std::string& topic : doomed->names) {
      if (state.topics.contains(topic)) state.deletions.try_emplace(topic);
    }
  }
  co_return true;
}

void Controller::Impl::schedule_balance(int64_t delay_ms) {
  balance_timer = runtime.timers().after(std::chrono::milliseconds(delay_ms), executor.posting([weak = weak_from_this(), held = office] {
    auto self = weak.lock();
    if (!self || self->office != held || !self->in_office()) return;
    self->post_in_office(EventKind::kAutoLeaderBalance, [impl = self.get()]() -> Async<void> { return impl->balance_leaders(); });
    self->schedule_balance(int64_t{1000} * self->options.leader_imbalance_check_seconds);
  }));
}

// --- writes ------------------------------------------------------------------------------------------------------------------------------

Async<std::vector<Controller::Impl::Write>> Controller::Impl::write_all(std::vector<StoreOp> ops) { co_return co_await write_in_multis(std::move(ops), 1); }

Async<std::vector<Controller::Impl::Write>> Controller::Impl::write_together(std::vector<StoreOp> ops) {
  co_return co_await write_in_multis(std::move(ops), kOpsOfMulti);
}

Async<std::vector<Controller::Impl::Write>> Controller::Impl::write_in_multis(std::vector<StoreOp> ops, size_t most) {
  uint64_t held = office;
  std::vector<std::vector<StoreOp>> multis;  // in each the check, then operations
  size_t bytes = 0;
  for (StoreOp& op : ops) {
    const size_t op_bytes = metadata::request_bytes(op.path, op.data);
    if (multis.empty() || multis.back().size() > most || bytes + op_bytes > kBytesOfMulti) {
      multis.emplace_back().push_back(StoreOp::check(paths::kControllerEpoch, state.epoch_version));
      bytes = 0;
    }
    bytes += op_bytes;
    multis.back().push_back(std::move(op));
  }
  auto results = co_await tree.multi_all(multis);
  std::vector<Write> writes;
  writes.reserve(ops.size());
  std::vector<StoreOp> alone;  // one of a multi was refused, and the others with it
  std::vector<size_t> alone_at;
  for (size_t i = 0; i < results.size(); ++i) {
    metadata::MultiResult& result = results[i];
    // A store whose disk is full or fails: nothing of it took effect, and nothing else can be decided before it does.
    while (held == office && in_office() && !result && result.error().error == StoreError::kStorage) {
      co_await tree.pause(kStorageRetryMs);
      std::vector<StoreOp> again = multis[i];
      result = co_await tree.multi(std::move(again));
    }
    if (!result && result.error().op == 0 && held == office) resign("/controller_epoch was raised by another broker");
    for (size_t k = 1; k < multis[i].size(); ++k) {
      Write write;
      if (result) {
        write.stat = (*result)[k].stat;
      } else {
        write.error = result.error().error;
        if (most > 1 && result.error().op > 0) {
          alone_at.push_back(writes.size());
          alone.push_back(std::move(multis[i][k]));
        }
      }
      writes.push_back(write);
    }
  }
  if (alone.empty() || held != office || !in_office()) co_return writes;
  auto again = co_await write_in_multis(std::move(alone), 1);
  for (size_t i = 0; i < again.size(); ++i) writes[alone_at[i]] = again[i];
  co_return writes;
}

Async<Controller::Impl::Write> Controller::Impl::write(StoreOp op) {
  std::vector<StoreOp> one;
  one.push_back(std::move(op));
  auto writes = co_await write_all(std::move(one));
  co_return writes.front();
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
