#include "mirror/mirror.h"

#include <algorithm>

#include "base/log.h"
#include "mirror/connect.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/init_producer_id.h"

namespace odradek::mirror {

namespace {
constexpr int64_t kTurn_ms = 20;
}  // namespace

// From a take-over to the loss of the lease. Members go in reverse order: the lanes before the partitions that they know.
struct Mirror::Life {
  std::unique_ptr<client::Cluster> source, target;
  std::optional<StoredPositions> before;  // of the mirror in the other direction
  StoredPositions stored;
  Identity identity;
  std::unique_ptr<Positions> positions;
  std::unique_ptr<Topics> topics;
  std::unique_ptr<Placing> placing;
  std::map<std::string, MirroredTopic> seen;
  std::map<TopicPartition, std::shared_ptr<Partition>> partitions;
  std::map<TopicPartition, Offset> checkpoints;  // target offsets stored last
  std::map<std::pair<BrokerId, int>, std::unique_ptr<SourceLane>> source_lanes;
  std::map<std::pair<BrokerId, int>, std::unique_ptr<TargetLane>> target_lanes;
  std::unique_ptr<base::Executor> groups;
};

Mirror::Mirror(base::Runtime& runtime, net::Dialer& dialer, MirrorOptions options, metrics::Registry* registry)
    : runtime_(runtime),
      dialer_(dialer),
      options_(std::move(options)),
      shared_(options_, runtime, dialer),
      lease_(shared_, [this](const std::string& what, const Result<void>& result) { note(what, result); }) {
  if (registry != nullptr) register_metrics(*registry);
}

Mirror::~Mirror() = default;

void Mirror::stop() {
  shared_.stop.store(true, std::memory_order_relaxed);
  shared_.source_alarm.ring();
  shared_.target_alarm.ring();
}

void Mirror::set_phase(MirrorStatus::Phase phase) {
  base::MutexLock lock(mutex_);
  if (phase_ == phase) return;
  phase_ = phase;
  log::info("mirror", "{}: {}", options_.name, name_of(phase));
}

void Mirror::note(const std::string& what, const Result<void>& result) {
  base::MutexLock lock(mutex_);
  if (result) {
    notes_.erase(what);
  } else if (auto [place, added] = notes_.insert_or_assign(what, result.error().what); added) {
    log::warn("mirror", "{}: {}", what, result.error().what);
  }
}

Result<void> Mirror::make_positions_topic(client::Cluster& target) {
  auto metadata = target.metadata(std::vector<std::string>{options_.positions_topic()});
  if (!metadata) return fail(std::move(metadata.error()));
  for (const auto& topic : metadata->topics) {
    if (topic.error_code == 0) return {};
  }
  protocol::CreateTopicsRequest request;
  auto& topic = request.topics.emplace_back();
  topic.name = options_.positions_topic();
  topic.num_partitions = 1;
  topic.replication_factor = options_.replication_factor;
  topic.configs = {{.name = "cleanup.policy", .value = "compact"}, {.name = "segment.bytes", .value = "16777216"}};
  auto answer = target.ask<protocol::CreateTopicsResponse>(client::TheController{}, request, [](const protocol::CreateTopicsResponse& response) {
    return response.topics.empty() ? ErrorCode::kNone : static_cast<ErrorCode>(response.topics[0].error_code);
  });
  if (!answer) return fail(std::move(answer.error()));
  auto code = answer->message.topics.empty() ? ErrorCode::kUnknownServerError : static_cast<ErrorCode>(answer->message.topics[0].error_code);
  if (code == ErrorCode::kNone || code == ErrorCode::kTopicAlreadyExists) return {};
  return fail(code, "topic " + options_.positions_topic() + ": " + std::string(name_of(code)) + " " + answer->message.topics[0].error_message.value_or(""));
}

Result<Identity> Mirror::make_identity(client::Cluster& target) {
  protocol::InitProducerIdRequest request;
  request.transactional_id.reset();
  request.transaction_timeout_ms = 60'000;
  auto answer = target.ask<protocol::InitProducerIdResponse>(client::AnyBroker{}, request, [](const auto& response) { return static_cast<ErrorCode>(response.error_code); });
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.error_code != 0) return fail(static_cast<ErrorCode>(answer->message.error_code), "no producer id");
  return Identity{{answer->message.producer_id}, 0};
}

Result<void> Mirror::run() {
  auto bad = [](const Error& error) { return !client::may_pass(error.code) && error.code != ErrorCode::kRebalanceInProgress; };
  // The positions topic must be there before the group can share it out.
  for (;;) {
    auto target = connect(shared_, options_.target);
    auto made = target ? make_positions_topic(**target) : Result<void>(fail(std::move(target.error())));
    note("target", made);
    if (made || shared_.stop) break;
    if (bad(made.error())) return made;
    shared_.pause(1'000);
  }
  lease_.start();
  Result<void> result;
  while (!shared_.stop) {
    if (auto fatal = lease_.fatal()) {
      result = fail(std::move(*fatal));
      break;
    }
    if (!lease_.held()) {
      set_phase(MirrorStatus::Phase::kStandby);
      shared_.pause(kTurn_ms * 5);
      continue;
    }
    auto ended = live();
    if (!ended) result = fail(ended.error());
    if (!result && bad(result.error())) break;
    note("start", result);
    if (ended && *ended == Ended::kCaughtUp) break;
    if (!result) shared_.pause(1'000);
    result = {};
  }
  stop();
  lease_.end();
  set_phase(MirrorStatus::Phase::kStopped);
  return result;
}

Result<void> Mirror::begin(Life& life) {
  auto source = connect(shared_, options_.source);
  auto target = connect(shared_, options_.target);
  auto writer = connect(shared_, options_.target);
  if (!source) return fail(std::move(source.error()));
  if (!target) return fail(std::move(target.error()));
  if (!writer) return fail(std::move(writer.error()));
  life.source = std::move(*source);
  life.target = std::move(*target);
  if (auto seen = life.source->metadata(std::vector<std::string>{}); !seen) return fail(seen.error().code, "source: " + seen.error().what);
  if (auto seen = life.target->metadata(std::vector<std::string>{}); !seen) return fail(seen.error().code, "target: " + seen.error().what);
  if (!life.source->cluster_id().empty() && life.source->cluster_id() == life.target->cluster_id()) {
    return fail(ErrorCode::kInvalidConfig, "source and target are the same cluster");
  }
  auto stored = load_positions(*life.target, options_.positions_topic());
  if (!stored) return fail(std::move(stored.error()));
  // run() has made the topic. Without what it holds all would be copied a second time, so a broker that does not know it yet is no answer.
  if (!*stored) return fail(ErrorCode::kUnknownTopicOrPartition, "the target does not show the topic " + options_.positions_topic());
  life.stored = std::move(**stored);
  if (!life.stored.source_cluster.empty() && life.stored.source_cluster != life.source->cluster_id()) {
    return fail(ErrorCode::kInvalidConfig, "mirror " + options_.name + " copies cluster " + life.stored.source_cluster + ", not " + life.source->cluster_id() +
                                               "; give this one another name");
  }
  if (options_.start == MirrorOptions::Start::kAfter) {
    auto before = load_positions(*life.source, MirrorOptions::positions_topic_of(options_.after));
    if (!before) return fail(std::move(before.error()));
    if (!*before) return fail(ErrorCode::kInvalidConfig, "start=after:" + options_.after + ": the source has no topic " + MirrorOptions::positions_topic_of(options_.after));
    life.before = std::move(**before);
    protocol::DescribeGroupsRequest request;
    request.groups = {"odradek-mirror-" + options_.after};
    auto group = life.source->ask<protocol::DescribeGroupsResponse>(client::TheCoordinator{client::CoordinatorType::kGroup, request.groups[0]}, request);
    if (!group) return fail(std::move(group.error()));
    for (const auto& each : group->message.groups) {
      if (!each.members.empty()) return fail(ErrorCode::kRebalanceInProgress, "mirror " + options_.after + " still writes to the source: stop it first");
    }
  }
  if (life.stored.producer_id) {
    life.identity.producer_id = *life.stored.producer_id;
  } else {
    auto identity = make_identity(*life.target);
    if (!identity) return fail(std::move(identity.error()));
    life.identity = *identity;
  }
  life.positions = std::make_unique<Positions>(runtime_, std::move(*writer), options_.positions_topic());
  if (auto done = life.positions->take_over(life.stored, life.identity, life.source->cluster_id(), life.target->cluster_id()); !done) return done;
  life.positions->start([this] { shared_.target_alarm.ring(); });
  shared_.durable = [positions = life.positions.get()] { return positions->durable(); };
  life.topics = std::make_unique<Topics>(*life.source, *life.target, options_);
  life.placing = std::make_unique<Placing>(*life.source, *life.target, options_, life.identity, life.before ? &*life.before : nullptr);
  log::info("mirror", "{}: producer id {}, {} partitions known", options_.name, life.identity.producer_id.value, life.stored.maps.size());
  return {};
}

Result<void> Mirror::refresh(Life& life) {
  auto topics = life.topics->refresh();
  if (!topics) return fail(std::move(topics.error()));
  FetchPlanOptions plan{.range_bytes = options_.fetch_range_bytes, .ranges = 4 * options_.fetch_connections, .poll_bytes = 1 << 20};
  std::map<TopicPartition, std::shared_ptr<Partition>> partitions;
  for (const auto& [name, topic] : *topics) {
    if (!topic.there) shared_.stale = true;  // it was made, or given more partitions, just now
    for (const auto& [index, leader] : topic.source_leaders) {
      TopicPartition key{name, index};
      auto found = life.partitions.find(key);
      if (!topic.there && (found == life.partitions.end() || !topic.target_leaders.contains(index))) continue;
      auto& partition = partitions[key];
      if (found != life.partitions.end()) {
        partition = found->second;
      } else {
        partition = std::make_shared<Partition>(key, plan, options_.isolation, life.identity,
                                                [positions = life.positions.get()](const TopicPartition& of, const OffsetMap& map, int64_t first) { return positions->announce(of, map, first); },
                                                runtime_.clock());
        if (auto map = life.stored.maps.find(key); map != life.stored.maps.end()) partition->set_map(map->second);
      }
      partition->set_topic_id(topic.id);
      auto there = topic.target_leaders.find(index);
      partition->set_leaders(leader, there == topic.target_leaders.end() ? kNoBroker : there->second);
    }
  }
  std::set<std::string> gone;
  for (const auto& [key, partition] : life.partitions) {
    if (!topics->contains(key.topic)) gone.insert(key.topic);
  }
  for (const auto& [key, partition] : life.partitions) {
    if (partitions.contains(key)) continue;
    partition->lose(0, "the topic is gone");
    life.stored.maps[key] = partition->map();  // it may come back
  }
  if (options_.delete_topics && !gone.empty()) {
    if (auto removed = life.topics->remove(gone); !removed) return removed;
  }
  for (const std::string& topic : gone) log::info("mirror", "topic {} is not copied any more: it is gone from the source", topic);
  topics_ = static_cast<int64_t>(topics->size());
  life.seen = std::move(*topics);
  life.partitions = std::move(partitions);
  auto list = std::make_shared<PartitionList>();
  for (const auto& [key, partition] : life.partitions) list->push_back(partition);
  shared_.set_partitions(std::move(list));
  match_lanes(life);
  shared_.source_alarm.ring();
  shared_.target_alarm.ring();
  return {};
}

// A set of lanes for each broker that leads a partition, none for others.
void Mirror::match_lanes(Life& life) {
  auto match = [&](auto& lanes, client::Cluster& cluster, int count, auto leader_of, const char* thread, auto make) {
    std::set<BrokerId> leaders;
    for (const auto& [key, partition] : life.partitions) leaders.insert({leader_of(*partition)});
    for (auto at = lanes.begin(); at != lanes.end();) {
      auto broker = cluster.brokers().find(at->first.first);
      bool wanted = leaders.contains(at->first.first) && broker != cluster.brokers().end() && broker->second.address == at->second->address();
      at = wanted ? std::next(at) : lanes.erase(at);
    }
    for (BrokerId leader : leaders) {
      auto broker = cluster.brokers().find(leader);
      if (broker == cluster.brokers().end()) continue;
      for (int i = 0; i < count; ++i) {
        auto& lane = lanes[{leader, i}];
        if (lane != nullptr) continue;
        lane = make(leader, broker->second.address, i);
        lane->start(std::string(thread) + "-" + std::to_string(leader.value) + "-" + std::to_string(i));
      }
    }
  };
  std::string client = "odradek-mirror-" + options_.name;
  match(life.source_lanes, *life.source, options_.fetch_connections + 1, [](const Partition& partition) { return partition.source_leader.load(); }, "fetch",
        [&](BrokerId id, const net::Endpoint& address, int i) { return std::make_unique<SourceLane>(shared_, id, address, i, client); });
  match(life.target_lanes, *life.target, options_.produce_connections, [](const Partition& partition) { return partition.target_leader.load(); }, "produce",
        [&](BrokerId id, const net::Endpoint& address, int i) { return std::make_unique<TargetLane>(shared_, id, address, i, client); });
}

Result<void> Mirror::lanes_connected(const Life& life) const {
  auto check = [](const auto& lanes) -> Result<void> {
    for (const auto& [key, lane] : lanes) {
      if (std::string trouble = lane->trouble(); !trouble.empty()) return fail(ErrorCode::kNetworkException, std::move(trouble));
    }
    return {};
  };
  auto source = check(life.source_lanes);
  return source ? check(life.target_lanes) : source;
}

uint64_t Mirror::checkpoint(Life& life) {
  uint64_t ticket = 0;
  for (const auto& [key, partition] : life.partitions) {
    Progress progress = partition->progress();
    if (progress.target.value < 0) continue;
    auto [place, added] = life.checkpoints.try_emplace(key, progress.target);
    if (!added && place->second == progress.target) continue;
    place->second = progress.target;
    ticket = life.positions->checkpoint(key, progress.source, progress.target);
  }
  return ticket;
}

bool Mirror::caught_up(const Life& life) const {
  return std::all_of(life.partitions.begin(), life.partitions.end(), [](const auto& each) {
    Progress progress = each.second->progress();
    return progress.state == Progress::State::kFailed || (progress.state == Progress::State::kRunning && progress.lag() == 0);
  });
}

void Mirror::groups_loop() {
  auto source = connect(shared_, options_.source), target = connect(shared_, options_.target);
  if (!source || !target) return;
  Groups groups(**source, **target, options_);
  while (!shared_.stop && living_) {
    int64_t round = ++rounds_begun_;
    auto partitions = shared_.partitions();
    std::map<TopicPartition, std::shared_ptr<Partition>> by_name;
    for (const auto& partition : *partitions) by_name[partition->name] = partition;
    auto count = groups.sync([&](const TopicPartition& name, Offset offset) -> std::optional<Offset> {
      auto found = by_name.find(name);
      return found == by_name.end() ? std::nullopt : found->second->translate(offset);
    });
    note("offsets of groups", count ? Result<void>{} : fail(count.error()));
    if (count) {
      group_offsets_ += *count;
      rounds_done_ = round;
    }
    for (int64_t waited = 0; waited < options_.sync_groups_ms && living_ && !groups_now_.exchange(false); waited += 50) shared_.pause(50);
  }
}

Result<Mirror::Ended> Mirror::live() {
  Life life;
  if (auto begun = begin(life); !begun) return fail(std::move(begun.error()));
  set_phase(MirrorStatus::Phase::kCopying);
  living_ = true;
  const int64_t losses = lease_.losses(), cuts_before = source_cuts_;
  int64_t round_wanted = 0;  // over the groups, begun when everything was copied
  int64_t next_refresh = 0, next_configs = 0, next_checkpoint = shared_.now_ns() + options_.checkpoint_ms * 1'000'000;
  int64_t last_refresh = 0;
  bool configs_synced = false, refreshed = false, all_copied = false;
  while (!all_copied && !shared_.stop && lease_.held() && lease_.losses() == losses) {
    int64_t now = shared_.now_ns();
    if (now >= next_refresh || (shared_.stale && now - last_refresh > 250'000'000)) {
      shared_.stale = false;
      auto done = refresh(life);
      note("topics", done);
      refreshed = done.has_value();
      if (done) note("topics on the target", life.topics->refusals());
      last_refresh = shared_.now_ns();
      next_refresh = last_refresh + (done ? options_.refresh_topics_ms : 500) * 1'000'000;
    }
    note("placing", life.placing->place(*shared_.partitions()));
    if (std::string trouble = life.positions->trouble(); trouble.empty()) {
      note("positions", {});
    } else {
      note("positions", fail(ErrorCode::kUnknownServerError, std::move(trouble)));
    }
    note("connections", lanes_connected(life));
    missed_ = life.placing->missed();
    source_cuts_ = cuts_before + life.placing->cut();
    shared_.source_alarm.ring();
    if (options_.sync_groups && life.groups == nullptr) {
      // After the partitions have their places: before, nothing can be translated.
      bool placed = std::none_of(life.partitions.begin(), life.partitions.end(), [](const auto& each) { return each.second->lost_until().has_value(); });
      if (placed && !life.partitions.empty()) {
        life.groups = runtime_.make_executor("mirror-groups", 1);
        life.groups->post([this] { groups_loop(); });
      }
    }
    if (options_.sync_configs && now >= next_configs && !life.seen.empty()) {
      auto done = life.topics->sync_configs(life.seen);
      note("configs of topics", done);
      configs_synced |= done && std::all_of(life.seen.begin(), life.seen.end(), [](const auto& topic) { return topic.second.there; });
      next_configs = shared_.now_ns() + options_.sync_configs_ms * 1'000'000;
    }
    if (now >= next_checkpoint) {
      checkpoint(life);
      next_checkpoint = shared_.now_ns() + options_.checkpoint_ms * 1'000'000;
    }
    bool there = !shared_.stale && refreshed && caught_up(life);
    set_phase(there ? MirrorStatus::Phase::kCaughtUp : MirrorStatus::Phase::kCopying);
    if (options_.exit_when_caught_up && there) {
      bool groups_too = !options_.sync_groups || life.partitions.empty();
      if (!groups_too && round_wanted == 0 && life.groups != nullptr) {
        round_wanted = rounds_begun_ + 1;
        groups_now_ = true;
      }
      groups_too |= round_wanted > 0 && rounds_done_ >= round_wanted;
      all_copied = groups_too && (configs_synced || !options_.sync_configs || life.partitions.empty());
    }
    if (!all_copied) shared_.pause(kTurn_ms);
  }
  // What is on its way is abandoned; the next life finds the target's end. Progress is stored for those who ask.
  uint64_t ticket = checkpoint(life);
  for (int64_t until = shared_.now_ns() + 2'000'000'000; lease_.held() && life.positions->durable() < ticket && shared_.now_ns() < until;) dialer_.pause_until(shared_.now_ns() + 5'000'000);
  living_ = false;
  for (auto& [key, lane] : life.source_lanes) lane->stop();
  for (auto& [key, lane] : life.target_lanes) lane->stop();
  shared_.source_alarm.ring();
  shared_.target_alarm.ring();
  life.source_lanes.clear();
  life.target_lanes.clear();
  for (const char* what : {"topics", "topics on the target", "placing", "positions", "connections", "configs of topics"}) note(what, {});  // they were of this life
  shared_.set_partitions(std::make_shared<PartitionList>());
  if (shared_.stop) return Ended::kStopped;
  if (!all_copied) return Ended::kLeaseLost;
  for (const auto& [key, partition] : life.partitions) {
    Progress progress = partition->progress();
    if (progress.state == Progress::State::kFailed) return fail(ErrorCode::kUnknownServerError, key.to_string() + " was not copied to its end: " + progress.why);
  }
  return Ended::kCaughtUp;
}

}  // namespace odradek::mirror
