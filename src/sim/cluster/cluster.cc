#include "sim/cluster/cluster.h"

#include <algorithm>
#include <list>

#include "base/check.h"
#include "base/log_listener.h"
#include "config/config.h"
#include "sim/cluster/broker.h"
#include "sim/cluster/clients.h"
#include "sim/cluster/faults.h"
#include "sim/cluster/judge.h"

namespace odradek::sim {
namespace {

constexpr int kBrokers = 3;
constexpr int64_t kLeastFaults = 20, kLeastOperations = 5'000;

class Cluster {
 public:
  explicit Cluster(const Options& options)
      : options_(options),
        world_(options.seed, options.verbose),
        model_(world_),
        ways_(kBrokers),
        zookeeper_(world_),
        context_{world_, model_, {}, events_, ending_} {
    Sabotage sabotage = make_sabotage(world_, options.bug);
    for (int id = 1; id <= kBrokers; ++id) {
      networks_.push_back(std::make_unique<Network>(world_));
      networks_.back()->blocked = [this, id](int from, bool to_broker) { return to_broker ? ways_.is_blocked(from, id) : ways_.is_blocked(id, from); };
      context_.networks.push_back(networks_.back().get());
    }
    const auto settings = draw_settings();
    flushed_ = world_.random.chance(40);
    model_.flush_before_ack = flushed_;
    log::set_listener([this](std::string_view logger, log::Level, std::string_view line) { count_log_line(events_, logger, line); });
    log::set_level("replication", log::Level::kDebug);
    for (int id = 1; id <= kBrokers; ++id) {
      brokers_.push_back(nullptr);
      ClusterBroker::Surroundings around{world_,
                                         zookeeper_,
                                         {[this, id] { return !ways_.is_blocked(id, Ways::kZooKeeper); },
                                          [this, id] { return !ways_.is_blocked(Ways::kZooKeeper, id); },
                                          [this, id] { return brokers_[static_cast<size_t>(id - 1)]->is_paused(); }},
                                         [this](const net::Endpoint& to) { return network_at(to.host); },
                                         load_settings(settings, id),
                                         sabotage};
      networks_[static_cast<size_t>(id - 1)]->without_our_tags = !flushed_ && world_.random.chance(30);
      brokers_.back() = std::make_unique<ClusterBroker>(id, *networks_[static_cast<size_t>(id - 1)], std::move(around));
    }
    judge_ = std::make_unique<Judge>(world_, model_, zookeeper_, events_, brokers_);
    faults_ = std::make_unique<Faults>(world_, ways_, zookeeper_, networks_, brokers_, *judge_, events_, session_ms_);
    for (auto& broker : brokers_) broker->on_serving = [this] { ++context_.starts; };
    context_.leader = [this](const TopicPartition& tp) -> const Network* {
      const auto state = judge_->state(tp);
      return state && state->leader.value > 0 ? networks_[static_cast<size_t>(state->leader.value - 1)].get() : nullptr;
    };
    context_.leader_epoch = [this](const TopicPartition& tp) {
      const auto state = judge_->state(tp);
      return state ? state->leader_epoch.value : -1;
    };
    context_.holds_log = [this](const std::string& topic) {
      return std::any_of(brokers_.begin(), brokers_.end(), [&](auto& broker) { return broker->holds_log(topic); });
    };
    ways_.changed = [this] {
      for (auto& network : networks_) network->ways_changed();
    };
  }

  Outcome run() {
    for (auto& broker : brokers_) faults_->start_later(*broker, world_.random.between(0, 2'000));
    make_clients();
    look();
    // Long enough that much happens.
    for (int64_t left = world_.random.between(1, 2); !over() && (left > 0 || events_.faults() < kLeastFaults || world_.operations < kLeastOperations); --left) {
      settle();
      if (world_.random.chance(30)) live_without_a_log_dir();
      trouble(world_.random.between(20'000, 60'000));
      faults_->heal();
      if (world_.random.chance(flushed_ ? 60 : 20)) cut_power_of_all();
    }
    settle();
    reckon();
    if (world_.random.chance(30)) start_all_again();
    log::set_listener(nullptr);
    for (auto& network : networks_) events_.count(Event::kRequestOvertaken, network->overtaken());
    events_.count(Event::kWatchOvertaken, zookeeper_.overtaken());
    Outcome outcome;
    outcome.violation = world_.what_failed();
    outcome.trace_hash = world_.trace_hash();
    outcome.steps = world_.steps();
    outcome.virtual_ms = world_.now_ms() - World::kStartMs;
    outcome.acked = model_.acked;
    outcome.seen = model_.seen;
    outcome.commits = model_.commits;
    outcome.assignments = model_.assignments;
    outcome.operations = world_.operations;
    for (auto& broker : brokers_) outcome.lives += broker->lives();
    outcome.power_cuts = static_cast<int>(events_.counts[static_cast<size_t>(Event::kPowerCut)]);
    outcome.happened = events_.counts;
    return outcome;
  }

 private:
  bool over() const { return world_.failed(); }

  Network* network_at(const std::string& host) {
    for (int id = 1; id <= kBrokers; ++id) {
      if (host == "b" + std::to_string(id)) return networks_[static_cast<size_t>(id - 1)].get();
    }
    return nullptr;
  }

  // Everything that happens rarely happens often here.
  std::vector<std::string> draw_settings() {
    SeededRandom& random = world_.random;
    auto number = [&](int64_t low, int64_t high) { return std::to_string(random.between(low, high)); };
    session_ms_ = random.between(4'000, 9'000);
    return {"zookeeper.connect=zookeeper:2181",
            "zookeeper.session.timeout.ms=" + std::to_string(session_ms_),
            "zookeeper.connection.timeout.ms=30000",
            "auto.create.topics.enable=false",
            "group.initial.rebalance.delay.ms=" + number(0, 1'000),
            "group.min.session.timeout.ms=500",
            "offsets.topic.num.partitions=" + number(1, 3),
            "offsets.topic.replication.factor=3",
            "min.insync.replicas=" + number(1, 2),
            "log.cleaner.enable=false",
            "replica.lag.time.max.ms=" + number(3'000, 10'000),
            "replica.socket.timeout.ms=" + number(3'000, 30'000),
            "controller.socket.timeout.ms=" + number(3'000, 30'000),
            "replica.fetch.wait.max.ms=" + number(100, 1'000),
            "num.replica.fetchers=" + number(1, 3),
            "auto.leader.rebalance.enable=" + std::string(random.chance(50) ? "true" : "false"),
            "leader.imbalance.check.interval.seconds=" + number(5, 60),
            "controlled.shutdown.retry.backoff.ms=" + number(200, 2'000),
            "replica.high.watermark.checkpoint.interval.ms=" + number(200, 5'000),
            "log.flush.offset.checkpoint.interval.ms=" + number(200, 20'000),
            "log.dir.reserve.bytes=" + std::string(random.chance(50) ? "0" : "100000")};
  }
  std::shared_ptr<const config::BrokerConfig> load_settings(std::vector<std::string> settings, int id) {
    settings.push_back(std::string("log.dirs=") + (world_.random.chance(60) ? "/data,/more" : "/data"));
    if (flushed_) settings.push_back("log.flush.before.ack=acks-all");
    // Its fetches are Kafka's. It does not tell what it has flushed, so what waits for that has all brokers pipelined.
    if (!flushed_ && world_.random.chance(30)) settings.push_back("replica.fetch.in.flight.bytes=0");
    settings.push_back("broker.id=" + std::to_string(id));
    settings.push_back("listeners=PLAINTEXT://b" + std::to_string(id) + ":9092");
    auto config = config::load_broker_config(std::nullopt, settings);
    CHECK(config);
    return *config;
  }

  void make_clients() {
    SeededRandom& random = world_.random;
    int number = 0;
    clients_.push_back(make_cluster_admin(context_));
    for (int64_t left = random.between(2, 3); left > 0; --left) clients_.push_back(make_cluster_producer(context_, number++, true));
    for (int64_t left = random.between(0, 1); left > 0; --left) clients_.push_back(make_cluster_producer(context_, number++, false));
    for (int64_t left = random.between(1, 3); left > 0; --left) clients_.push_back(make_cluster_consumer(context_, number++));
    member_context_ = std::make_unique<Context>(Context{.world = world_, .network = *networks_[0], .model = model_});
    member_context_->broker = [this](int32_t id) { return networks_[id > 0 && id <= kBrokers ? static_cast<size_t>(id - 1) : world_.random.below(kBrokers)].get(); };
    for (int64_t left = random.between(1, 3); left > 0; --left) clients_.push_back(make_member(*member_context_, 0, number++));
    for (auto& client : clients_) client->start();
  }

  void look() {
    world_.after_ms(world_.random.between(100, 500), [this] { look_due_ = true; });
  }

  // One thing happens; what may not happen inside of something else happens here.
  void turn() {
    if (std::exchange(look_due_, false)) {
      judge_->look();
      // Who follows a new leader may need a moment.
      if (context_.well_since_ns != ClusterContext::kNever) context_.well_since_ns = std::max(context_.well_since_ns, judge_->last_leader_change_ns() + 2'000'000'000);
      look();
    }
    for (auto& broker : brokers_) {
      if (broker->step()) return;
    }
    faults_->start_what_is_due();
    if (!world_.step()) world_.violation("nothing is left to happen");
  }
  bool go_on_until(int64_t ms, const std::function<bool()>& holds) {
    const int64_t until = world_.now_ms() + ms;
    int64_t next_ms = world_.now_ms();
    world_.after_ms(ms, [] {});
    while (!over()) {
      if (world_.now_ms() >= next_ms) {
        if (holds()) return true;
        next_ms = world_.now_ms() + 50;
      }
      if (world_.now_ms() >= until) return false;
      turn();
    }
    return false;
  }

  void trouble(int64_t ms) {
    faults_->begin();
    context_.calm = false;
    go_on_until(ms, [] { return false; });
    context_.calm = true;
    world_.trace("the trouble ends");
  }

  void require(int64_t ms, const char* what, const std::function<std::string()>& missing) {
    std::string last;
    if (over() || go_on_until(ms, [&] { return (last = missing()).empty(); }) || over()) return;
    judge_->describe();
    world_.violation(fmt::format("{} within {} s: {}", what, ms / 1'000, last));
  }

  // No more trouble: everybody comes back, every partition takes records that are promised to stay.
  void settle() {
    if (over()) return;
    require(120'000, "not all brokers serve", [this]() -> std::string {
      for (auto& broker : brokers_) {
        if (!broker->is_up() || broker->is_busy()) return broker->name() + " does not";
      }
      return "";
    });
    const int64_t since_ns = world_.now_ns();
    require(60'000, "the cluster does not get well", [&]() -> std::string {
      if (model_.find("kept") == nullptr) return "there is no topic";
      for (auto& [name, topic] : model_.topics) {
        for (size_t p = 0; p < topic.partitions.size() && !topic.dying; ++p) {
          auto& known = topic.partitions[p].known;
          if (known.empty() || known.rbegin()->second.known_ns < since_ns) return fmt::format("{}-{} takes no records", name, p);
        }
      }
      for (const Judge::State& one : judge_->states()) {
        if (one.state.leader.value <= 0) return one.tp.to_string() + " has no leader";
        if (one.moving) return one.tp.to_string() + ": its replicas are still moved";
        if (one.state.isr.size() != one.replicas.size()) return fmt::format("{} has {} of {} replicas in sync", one.tp.to_string(), one.state.isr.size(), one.replicas.size());
      }
      if (context_.throttled) return "replication is throttled";
      return judge_->not_told();
    });
    const int64_t commits = model_.commits;
    require(60'000, "a group does not get well", [&]() -> std::string { return model_.commits > commits ? "" : "no commit is taken"; });
    world_.trace("all is well");
    judge_->on_well();
    be_quiet(world_.random.between(6'000, 10'000));
  }

  // Everything was in sync: whatever stands in a log dir that fails is led by another broker, and served.
  void live_without_a_log_dir() {
    if (over()) return;
    faults_->fail_a_log_dir();
    go_on_until(2'000, [] { return false; });
    const int64_t since_ns = world_.now_ns();
    require(60'000, "a failed log dir is not made up for", [&]() -> std::string {
      if (std::string missing = judge_->not_led(); !missing.empty()) return missing;
      for (auto& [name, topic] : model_.topics) {
        for (size_t p = 0; p < topic.partitions.size() && !topic.dying; ++p) {
          auto& known = topic.partitions[p].known;
          if (!takes_with_two(name, static_cast<int32_t>(p))) continue;
          if (known.empty() || known.rbegin()->second.known_ns < since_ns) return fmt::format("{}-{} takes no records", name, p);
        }
      }
      return "";
    });
    const int64_t commits = model_.commits;
    require(60'000, "a group does not go on without a log dir", [&]() -> std::string { return model_.commits > commits ? "" : "no commit is taken"; });
    world_.trace("the failed log dir is made up for");
    faults_->heal();
    settle();
  }
  // Whether one replica less leaves min.insync.replicas, and copies that tell of their flushes, enough.
  bool takes_with_two(const std::string& topic, int32_t partition) {
    for (const Judge::State& one : judge_->states()) {
      if (one.tp.topic == topic && one.tp.partition == partition) return one.replicas.size() >= 3;
    }
    return false;
  }

  // At the worst moment: something has just been promised to be on the disks.
  void cut_power_of_all() {
    const int64_t acks = context_.flushed_acks, until = world_.now_ms() + 10'000;
    while (flushed_ && !over() && context_.flushed_acks == acks && world_.now_ms() < until) turn();
    if (over()) return;
    world_.trace("all lose their power");
    faults_->cut_power_of_all();
    model_.on_power_cut({});
    judge_->on_power_cut_of_all();
    ++context_.power_cuts;
  }

  // Nothing is wrong and nobody has a reason to wait: who waits all the same was forgotten.
  void be_quiet(int64_t ms) {
    if (over()) return;
    context_.well_since_ns = world_.now_ns();
    go_on_until(ms, [] { return false; });
    context_.well_since_ns = ClusterContext::kNever;
  }

  void reckon() {
    if (over()) return;
    ending_ = true;
    member_context_->ending = true;
    require(60'000, "a client does not come to its end", [this]() -> std::string {
      for (size_t i = 0; i < clients_.size(); ++i) {
        if (!clients_[i]->is_idle()) return i == 0 ? "the admin" : fmt::format("client {}", i - 1);
      }
      return "";
    });
    require(60'000, "the cluster does not come to rest", [this] { return judge_->not_whole(); });
    if (!over()) judge_->check_all();
  }

  void start_all_again() {
    if (over()) return;
    for (auto& broker : brokers_) broker->kill(Death::kKill);
    for (auto& broker : brokers_) broker->step();
    require(120'000, "the cluster does not come back after all were killed", [this] { return judge_->not_whole(); });
    if (!over()) judge_->check_all();
  }

  const Options options_;
  World world_;
  Model model_;
  Events events_;
  bool ending_ = false;
  Ways ways_;
  ZooKeeper zookeeper_;
  int64_t session_ms_ = 6'000;
  bool flushed_ = false;  // what is acknowledged is on the disks
  ClusterContext context_;
  std::vector<std::unique_ptr<Network>> networks_;
  std::vector<std::unique_ptr<ClusterBroker>> brokers_;
  std::unique_ptr<Judge> judge_;
  std::unique_ptr<Faults> faults_;
  std::unique_ptr<Context> member_context_;
  std::vector<std::unique_ptr<Client>> clients_;
  bool look_due_ = false;
};

}  // namespace

Outcome run_cluster(const Options& options) { return Cluster(options).run(); }

}  // namespace odradek::sim
