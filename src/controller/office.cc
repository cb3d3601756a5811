// The office: running for it, taking it, giving it up. Source: zookeeper.md §6, interbroker.md §14.
#include "base/clock.h"
#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::CreateMode;
using metadata::kAnyVersion;
using metadata::StoreError;
using metadata::StoreOp;

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
  co_await resume_reassignments();
  if (!in_office()) co_return;
  // Everything that stands, so that brokers hear what they may have missed.
  RequestBatch all;
  std::vector<TopicPartition> without_state;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr) continue;
    if (record->has_state) {
      if (record->controller_epoch == state.epoch && settled.contains(tp)) continue;  // written a moment ago, and told
      all.leader_and_isr_of_move(state, tp);
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

}  // namespace odradek::controller
