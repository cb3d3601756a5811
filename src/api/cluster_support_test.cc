// The brokers and the controller of cluster_support.h.
#include "api/cluster_support.h"

#include "api/cluster_network_support.h"
#include "record/frame.h"

namespace odradek::api::testing {

namespace {

// Rooms that replication does not touch: their memory is never looked at.
template <class T>
T& unused() {
  alignas(64) static unsigned char nothing[64];
  return reinterpret_cast<T&>(nothing);
}

bool contains(const std::vector<BrokerId>& list, BrokerId id) { return std::find(list.begin(), list.end(), id) != list.end(); }

constexpr int32_t kControllerEpoch = 1;

}  // namespace

// --- broker -------------------------------------------------------------------------------------------------------------------------

TestBroker::TestBroker(TestCluster& cluster, BrokerId id, base::MemoryFiles& files, int64_t epoch, const storage::LogConfig& log_config,
                       replication::FetcherOptions fetcher, int64_t lag_ms, const config::Properties& broker_config, const std::vector<std::string>& log_dirs)
    : cluster(cluster),
      id(id),
      epoch(epoch),
      runtime(cluster.runtime, files),
      metrics(runtime.clock()),
      sessions(runtime.clock(), runtime.random(), 100),
      config(*config::BrokerConfig::make(broker_config)) {
  storage::LogManagerOptions options;
  options.dirs = log_dirs;
  logs = std::make_unique<storage::LogManager>(runtime, options, metrics);
  auto config_of = [config = std::make_shared<const storage::LogConfig>(log_config)](const std::string&) { return config; };
  auto started = logs->start(config_of);
  EXPECT_TRUE(started) << started.error().what;
  links = std::make_unique<TestCluster::Links>(cluster, id);
  alter_partition = std::make_unique<TestCluster::Channel>(cluster, id);
  replication::ReplicaManagerOptions replica_options;
  replica_options.self = id;
  replica_options.replica_lag_time_max_ms = lag_ms;
  replica_options.log_config = config_of;
  replica_options.leader_links = links.get();
  replica_options.fetcher = fetcher;
  replicas = std::make_unique<replication::ReplicaManager>(runtime, *logs, image, replica_options, metrics);
  replicas->set_broker_epoch(epoch);
  replicas->set_alter_partition_channel(alter_partition.get());
  replicas->start();
  pipelines = std::make_unique<replication::FetchPipelines>(runtime, *replicas);
  services.reset(new Services{.runtime = runtime,
                              .logs = *logs,
                              .replicas = *replicas,
                              .fetch_sessions = sessions,
                              .fetch_pipelines = *pipelines,
                              .groups = unused<coordinator::GroupCoordinator>(),
                              .image = image,
                              .config_store = unused<metadata::ConfigStore>(),
                              .store = unused<metadata::Store>(),
                              .image_waits = unused<metadata::ImageWaits>(),
                              .producer_ids = unused<metadata::ProducerIds>(),
                              .controller = unused<controller::Controller>(),
                              .topic_admin = unused<controller::TopicAdmin>(),
                              .config = config,
                              .metrics = metrics,
                              .self = id,
                              .cluster_id = "test-cluster"});
  dispatcher = std::make_unique<Dispatcher>(*services);
}

TestBroker::~TestBroker() {
  replicas->stop();
  pipelines.reset();
  replicas.reset();
}

std::shared_ptr<storage::Log> TestBroker::log(const TopicPartition& tp) const { return logs->find(tp); }

// --- life -----------------------------------------------------------------------------------------------------------------------------

TestCluster::TestCluster(TestClusterOptions options) : runtime(nullptr, options.seed), options_(std::move(options)) {
  for (int32_t id = 1; id <= options_.brokers; ++id) {
    machines_[{id}].files.set_clock(&runtime.clock());
    start(id);
    live_.insert({id});
  }
  update_metadata();
  run();
}

TestCluster::~TestCluster() {
  for (auto& [id, machine] : machines_) {
    if (machine.broker != nullptr) kill(id.value);
  }
  lost_.clear();
  run();
}

void TestCluster::start(int32_t id) {
  Machine& machine = machines_[{id}];
  machine.broker = std::make_unique<TestBroker>(*this, BrokerId{id}, machine.files, ++epochs_, options_.log, options_.fetcher, options_.lag_ms,
                                                options_.broker_config, options_.log_dirs);
}

void TestCluster::kill(int32_t id, bool power_cut) {
  for (const auto& weak : connections_) {
    auto connection = weak.lock();
    if (connection != nullptr && (connection->from().value == id || connection->to().value == id)) connection->break_off();
  }
  std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
  Machine& machine = machines_.at({id});
  // What the process does on its way out does not reach the disk.
  machine.files.set_fault([](base::FileCall call, const std::string&) {
    return call == base::FileCall::kRead || call == base::FileCall::kStatus || call == base::FileCall::kOpen || call == base::FileCall::kList ? 0 : EIO;
  });
  machine.broker.reset();
  run();
  machine.files.set_fault(nullptr);
  power_cut ? machine.files.power_cut(&runtime.random()) : machine.files.kill();
}

void TestCluster::cut(int32_t a, int32_t b) {
  cuts_.insert(std::minmax(a, b));
  for (const auto& weak : connections_) {
    auto connection = weak.lock();
    if (connection != nullptr && std::minmax(connection->from().value, connection->to().value) == std::minmax(a, b)) connection->break_off();
  }
}

int64_t TestCluster::one_way() {
  return delay_ms + (jitter_ms > 0 ? static_cast<int64_t>(runtime.random().below(static_cast<uint64_t>(jitter_ms + 1))) : 0);
}

// --- controller -----------------------------------------------------------------------------------------------------------------------

void TestCluster::tell(BrokerId id, UniqueFunction<void(replication::ReplicaManager&)> what) {
  Machine& machine = machines_.at(id);
  if (machine.broker == nullptr) return;
  replication::ReplicaManager& replicas = *machine.broker->replicas;
  replicas.control_executor().post([&replicas, what = std::move(what)]() mutable { what(replicas); });
}

void TestCluster::update_metadata() {
  protocol::UpdateMetadataRequest request;
  request.controller_epoch = kControllerEpoch;
  request.controller_id = 1;
  for (BrokerId id : live_) {
    auto& broker = request.live_brokers.emplace_back();
    broker.id = id.value;
    auto& endpoint = broker.endpoints.emplace_back();
    endpoint.listener = "PLAINTEXT";
    endpoint.host = "host" + std::to_string(id.value);
    endpoint.port = 9092;
    if (rack_of) broker.rack = rack_of(id.value);
  }
  for (const auto& [tp, state] : states_) {
    auto& topic = request.topic_states.emplace_back();
    topic.topic_name = tp.topic;
    topic.topic_id = state.topic_id;
    auto& partition = topic.partition_states.emplace_back();
    partition.partition_index = tp.partition;
    partition.leader = state.leader.value;
    partition.leader_epoch = state.leader_epoch;
    partition.zk_version = state.partition_epoch;
    for (BrokerId id : state.isr) partition.isr.push_back(id.value);
    for (BrokerId id : state.replicas) partition.replicas.push_back(id.value);
  }
  for (BrokerId id : live_) {
    tell(id, [request](replication::ReplicaManager& replicas) { EXPECT_EQ(replicas.apply(request).error_code, 0); });
  }
}

protocol::LeaderAndIsrRequest TestCluster::leader_and_isr(const TopicPartition& tp, bool is_new) const {
  const State& state = states_.at(tp);
  protocol::LeaderAndIsrRequest request;
  request.controller_id = 1;
  request.controller_epoch = kControllerEpoch;
  auto& topic = request.topic_states.emplace_back();
  topic.topic_name = tp.topic;
  topic.topic_id = state.topic_id;
  auto& one = topic.partition_states.emplace_back();
  one.partition_index = tp.partition;
  one.leader = state.leader.value;
  one.leader_epoch = state.leader_epoch;
  one.partition_epoch = state.partition_epoch;
  for (BrokerId id : state.isr) one.isr.push_back(id.value);
  for (BrokerId id : state.replicas) one.replicas.push_back(id.value);
  one.is_new = is_new;
  return request;
}

void TestCluster::announce(const TopicPartition& tp) {
  const State& state = states_.at(tp);
  for (BrokerId id : state.replicas) {
    if (!live_.contains(id)) continue;
    tell(id, [request = leader_and_isr(tp, state.partition_epoch == 0)](replication::ReplicaManager& replicas) { (void)replicas.apply(request); });
  }
}

void TestCluster::create(const TopicPartition& tp, std::vector<int32_t> replicas) {
  State& state = states_[tp];
  state = {};
  for (const auto& [other, known] : states_) {
    if (other.topic == tp.topic && !known.topic_id.is_zero()) state.topic_id = known.topic_id;
  }
  if (state.topic_id.is_zero()) state.topic_id = base::random_uuid(runtime.random());
  for (int32_t id : replicas) state.replicas.push_back({id});
  state.isr = state.replicas;
  state.leader = state.replicas.front();
  update_metadata();
  announce(tp);
  run();
}

void TestCluster::remove(const TopicPartition& tp) {
  for (BrokerId id : states_.at(tp).replicas) {
    protocol::StopReplicaRequest request;
    request.controller_epoch = kControllerEpoch;
    auto& topic = request.topic_states.emplace_back();
    topic.topic_name = tp.topic;
    auto& one = topic.partition_states.emplace_back();
    one.partition_index = tp.partition;
    one.leader_epoch = -2;
    one.delete_partition = true;
    tell(id, [request](replication::ReplicaManager& manager) { EXPECT_EQ(manager.apply(request).partition_errors.at(0).error_code, 0); });
  }
  states_.erase(tp);
}

void TestCluster::elect(const TopicPartition& tp, int32_t leader) {
  State& state = states_.at(tp);
  state.leader = {leader};
  ++state.leader_epoch;
  ++state.partition_epoch;
  if (leader >= 0 && !contains(state.isr, {leader})) state.isr = {{leader}};
  announce(tp);
  update_metadata();
}

void TestCluster::down(int32_t id) {
  live_.erase({id});
  for (auto& [tp, state] : states_) {
    const bool led = state.leader.value == id;
    if (!led && !contains(state.isr, {id})) continue;
    if (state.isr.size() > 1) std::erase(state.isr, BrokerId{id});
    if (led) {
      state.leader = kNoBroker;
      for (BrokerId replica : state.replicas) {
        if (state.leader == kNoBroker && contains(state.isr, replica) && live_.contains(replica)) state.leader = replica;
      }
    }
    ++state.leader_epoch;
    ++state.partition_epoch;
    announce(tp);
  }
  update_metadata();
}

void TestCluster::up(int32_t id) {
  live_.insert({id});
  update_metadata();
  for (auto& [tp, state] : states_) {
    if (!contains(state.replicas, {id})) continue;
    if (state.leader == kNoBroker && contains(state.isr, {id})) {
      elect(tp, id);
    } else {
      tell({id}, [request = leader_and_isr(tp, false)](replication::ReplicaManager& replicas) { (void)replicas.apply(request); });
    }
  }
}

void TestCluster::alter(BrokerId from, protocol::AlterPartitionRequest request,
                        UniqueFunction<void(Result<protocol::AlterPartitionResponse>)> done) {
  isr_wishes.push_back(request);
  if (!controller_answers) return wire_->post([done = std::move(done)]() mutable { done(fail(ErrorCode::kNetworkException, "no controller")); });
  protocol::AlterPartitionResponse response;
  for (const auto& topic : request.topics) {
    auto& answers = response.topics.emplace_back();
    answers.topic_id = topic.topic_id;
    for (const auto& wish : topic.partitions) {
      auto& answer = answers.partitions.emplace_back();
      answer.partition_index = wish.partition_index;
      auto found = std::find_if(states_.begin(), states_.end(), [&](const auto& entry) {
        return entry.second.topic_id == topic.topic_id && entry.first.partition == wish.partition_index;
      });
      auto refuse = [&](ErrorCode code) { answer.error_code = static_cast<int16_t>(code); };
      if (found == states_.end()) {
        refuse(ErrorCode::kUnknownTopicId);
        continue;
      }
      State& state = found->second;
      if (wish.leader_epoch < state.leader_epoch || state.leader != from) {
        refuse(ErrorCode::kFencedLeaderEpoch);
        continue;
      }
      if (wish.partition_epoch != state.partition_epoch) {
        refuse(ErrorCode::kInvalidUpdateVersion);
        continue;
      }
      std::vector<BrokerId> isr;
      bool all_live = true;
      for (const auto& member : wish.new_isr_with_epochs) {
        isr.push_back({member.broker_id});
        all_live &= live_.contains({member.broker_id});
      }
      if (!all_live) {
        refuse(ErrorCode::kIneligibleReplica);
        continue;
      }
      state.isr = isr;
      ++state.partition_epoch;
      answer.leader_id = state.leader.value;
      answer.leader_epoch = state.leader_epoch;
      for (BrokerId id : isr) answer.isr.push_back(id.value);
      answer.partition_epoch = state.partition_epoch;
    }
  }
  update_metadata();
  wire_->post([response = std::move(response), done = std::move(done)]() mutable { done(std::move(response)); });
}

// --- clients ----------------------------------------------------------------------------------------------------------------------------

std::shared_ptr<TestCluster::Produced> TestCluster::produce(const TopicPartition& tp, Bytes batch, int16_t acks, int32_t timeout_ms) {
  auto produced = std::make_shared<Produced>();  // shared: with the answer
  const int32_t leader = states_.at(tp).leader.value;
  if (leader < 0 || !runs(leader)) {
    produced->result = ErrorCode::kNotLeaderOrFollower;
    return produced;
  }
  replication::ReplicaManager& replicas = *broker(leader).replicas;
  std::vector<replication::ProducePartition> partitions(1);
  partitions[0].error = replicas.look_up(tp.topic, tp.partition, partitions[0].partition);
  partitions[0].records = batch;
  replication::ProduceParams params;
  params.acks = acks;
  params.timeout_ms = timeout_ms;
  params.append.produce_version = produce_version;
  auto outcome = replicas.append(params, partitions);
  produced->first = outcome.results[0].info.first_offset;
  produced->last = outcome.results[0].info.last_offset;
  if (!outcome.must_wait) {
    produced->result = outcome.results[0].error;
    return produced;
  }
  replicas.wait_for_acks(params, partitions, std::move(outcome.results),
                         [produced](std::vector<replication::ProduceResult> results) { produced->result = results[0].error; });
  return produced;
}

protocol::FetchResponse TestCluster::ask(int32_t id, const protocol::FetchRequest& request, int16_t version) {
  auto connection = std::make_shared<Connection>(*this, BrokerId{id}, BrokerId{id});
  protocol::FetchResponse response;
  connection->send(protocol::ApiKey::kFetch, version, protocol::encode_body(request, version), [&](Result<Bytes> body) {
    ASSERT_TRUE(body) << body.error().what;
    response = *protocol::decode_body<protocol::FetchResponse>(consumed_.emplace_back(std::move(*body)), version);
  });
  run();
  return response;
}

Bytes TestCluster::content(int32_t id, const TopicPartition& tp) {
  Bytes all;
  auto log = broker(id).log(tp);
  if (log == nullptr) return all;
  for (Offset at = log->log_start_offset(); at < log->log_end_offset();) {
    auto read = log->read(at, 1 << 20, log->log_end_offset(), true);
    if (!read || read->slice.size == 0) {
      ADD_FAILURE() << "broker " << id << " cannot read " << at.value;
      break;
    }
    Bytes part(static_cast<size_t>(read->slice.size));
    EXPECT_EQ(read->slice.file->file().pread(read->slice.position, part).value_or(0), part.size());
    all.insert(all.end(), part.begin(), part.end());
    at = read->next_offset;
  }
  return all;
}

void TestCluster::expect_equal(const TopicPartition& tp) {
  const State& state = states_.at(tp);
  auto leader_log = broker(state.leader.value).log(tp);
  ASSERT_NE(leader_log, nullptr);
  const Bytes expected = content(state.leader.value, tp);
  // Epochs that have records: a follower knows no others.
  auto with_records = [](const storage::Log& log) {
    std::vector<storage::EpochEntry> kept;
    const auto all = log.epochs();
    for (size_t i = 0; i < all.size(); ++i) {
      const Offset end = i + 1 < all.size() ? all[i + 1].start : log.log_end_offset();
      if (end > all[i].start) kept.push_back(all[i]);
    }
    return kept;
  };
  for (BrokerId id : state.replicas) {
    if (!runs(id.value) || id == state.leader) continue;
    auto log = broker(id.value).log(tp);
    ASSERT_NE(log, nullptr) << id.value;
    EXPECT_EQ(log->log_end_offset(), leader_log->log_end_offset()) << "broker " << id.value;
    EXPECT_TRUE(content(id.value, tp) == expected) << "broker " << id.value;
    EXPECT_EQ(with_records(*log), with_records(*leader_log)) << "broker " << id.value;
    EXPECT_EQ(broker(id.value).partition(tp)->high_watermark(), broker(state.leader.value).partition(tp)->high_watermark()) << "broker " << id.value;
  }
}

}  // namespace odradek::api::testing
