#include "sim/machine.h"

#include "app/settings.h"
#include "base/check.h"
#include "sim/store.h"
#include "storage/log_manager.h"

namespace odradek::sim {

namespace {

std::shared_ptr<const config::BrokerConfig> make_config(World& world, Model& model) {
  SeededRandom& random = world.random;
  auto number = [&](int64_t low, int64_t high) { return std::to_string(random.between(low, high)); };
  // Everything that happens rarely happens often here.
  // Half of the runs write few checkpoints: each one syncs the names in the log dir, and hides who forgot to.
  const int64_t checkpoints = random.chance(50) ? 1 : 20;
  std::vector<std::string> settings = {
      "broker.id=1",
      "log.dirs=/data",
      "listeners=PLAINTEXT://127.0.0.1:9092",
      "auto.create.topics.enable=false",
      "group.initial.rebalance.delay.ms=" + number(0, 1'000),
      "group.min.session.timeout.ms=500",
      "offsets.topic.num.partitions=" + number(1, 4),
      "offsets.topic.segment.bytes=" + number(20'000, 200'000),
      "offsets.topic.replication.factor=1",
      "log.retention.check.interval.ms=" + number(300, 5'000),
      "log.flush.offset.checkpoint.interval.ms=" + number(200 * checkpoints, 10'000 * checkpoints),
      "log.flush.start.offset.checkpoint.interval.ms=" + number(200 * checkpoints, 10'000 * checkpoints),
      "replica.high.watermark.checkpoint.interval.ms=" + number(200 * checkpoints, 5'000 * checkpoints),
      "max.incremental.fetch.session.cache.slots=" + number(1, 10),
      "log.dir.reserve.bytes=" + number(0, 200'000),
  };
  model.flush_before_ack = random.chance(30);
  if (model.flush_before_ack) settings.push_back("log.flush.before.ack=all");
  auto config = config::load_broker_config(std::nullopt, settings);
  if (!config) {
    world.violation("configuration: " + config.error().what);
    return nullptr;
  }
  return *config;
}

}  // namespace

Machine::Life::Life(Machine& machine)
    : runtime(machine.world_, &machine.disk_), waiter(machine.world_, [&machine] { return machine.wanted_death_ != Death::kNone; }) {}

namespace {

class RefusedLink final : public net::Link {
 public:
  explicit RefusedLink(base::Executor& executor) : executor_(executor) {}
  void send(base::Output, std::chrono::milliseconds, Done done) override {
    executor_.post([done = std::move(done)]() mutable { done(fail(ErrorCode::kNetworkException, "connection refused")); });
  }
  void fail_all(Error) override {}
  bool broken() const override { return true; }
  int64_t received_bytes() const override { return 0; }

 private:
  base::Executor& executor_;
};

}  // namespace

std::unique_ptr<net::Link> NoLinks::open(const net::Endpoint&, net::LinkOptions, base::Executor& executor) { return std::make_unique<RefusedLink>(executor); }

// The runtime first stops: what is destroyed after that posts nothing that would run.
Machine::Life::~Life() {
  runtime.halt();
  node.reset();
  handlers.reset();
}

Machine::Machine(World& world, Network& network, Model& model, Sabotage sabotage)
    : world_(world),
      network_(network),
      model_(model),
      sabotage_(std::move(sabotage)),
      disk_(world),
      tree_runtime_(world, nullptr),
      config_(make_config(world, model)) {
  auto tree = metadata::open_embedded_tree(tree_runtime_, "");
  CHECK(tree);
  tree_ = std::move(*tree);
  disk_.lie = sabotage_.lie;
}

Machine::~Machine() {
  network_.stop(true);
  life_.reset();
  tree_runtime_.halt();
}

void Machine::die_at_disk_call(int64_t calls, Death death) {
  disk_.die_at_call(calls, [this, death] { wanted_death_ = death; });
}

void Machine::fail_one_disk_call() {
  if (life_ == nullptr) return;
  disk_failed_ = true;
  ++model_.disk_faults;
  disk_.fail_one_call();
}

void Machine::fill_disk(int64_t room) {
  disk_full_ = true;
  world_.trace("the disk has room for {} bytes", room);
  disk_.memory().set_capacity(disk_.memory().used_bytes() + room);
}

void Machine::empty_disk() {
  if (!disk_full_) return;
  disk_full_ = false;
  world_.trace("the disk has room");
  disk_.memory().set_capacity(INT64_MAX);
}

bool Machine::start() {
  CHECK(life_ == nullptr);
  if (config_ == nullptr) return false;
  ++lives_;
  disk_failed_ = false;
  world_.trace("life {} begins", lives_);
  life_ = std::make_unique<Life>(*this);
  Life& life = *life_;
  life.runtime.lose = sabotage_.lose;
  disk_.hold_up = [&life](int64_t ns) { life.runtime.hold_up(ns); };
  life.node = std::make_unique<app::Node>(life.runtime, life.waiter, life.links, config_);
  auto opened = life.node->open([this](base::Executor& callbacks) -> Result<std::unique_ptr<metadata::Store>> {
    return make_sim_store(world_, metadata::make_embedded_store(tree_, callbacks));
  });
  life.opened = opened.has_value();
  if (opened && wanted_death_ == Death::kNone) {
    life.handlers = life.runtime.make_executor("handlers", 4);
    opened = life.node->join(app::advertised_endpoints(*config_, {}));
  }
  if (wanted_death_ != Death::kNone || world_.failed()) return false;
  if (!opened) {
    if (!disk_failed_ && !disk_full_) world_.violation("the broker cannot start: " + opened.error().what);
    world_.trace("the broker cannot start: {}", opened.error().what);
    wanted_death_ = Death::kKill;
    return false;
  }
  network_.serve(life.node->sink(), *life.handlers, [this] { return wanted_death_ != Death::kNone; });
  life.serving = true;
  world_.trace("life {} serves", lives_);
  return true;
}

bool Machine::stop() {
  CHECK(life_ != nullptr);
  world_.trace("life {} is stopped", lives_);
  Life& life = *life_;
  life.serving = false;
  life.node->answer_parked();
  life.waiter.wait([this](Task done) { world_.after_ms(world_.random.between(0, 200), std::move(done)); }, std::chrono::milliseconds(1'000));
  if (wanted_death_ != Death::kNone) return false;
  network_.stop(false);
  life.handlers.reset();
  life.node->leave();
  if (wanted_death_ != Death::kNone || world_.failed()) return false;
  note_durable();
  life_.reset();
  disk_.hold_up = nullptr;
  disk_.kill();
  model_.on_restart();
  world_.trace("life {} has ended", lives_);
  return true;
}

void Machine::note_durable() {
  if (life_ == nullptr || !life_->opened) return;
  for (const auto& log : life_->node->logs().all()) {
    auto& [id, offset] = durable_[log->name()];
    if (id != log->topic_id()) offset = 0;
    id = log->topic_id();
    offset = std::max(offset, log->recovery_point().value);
  }
}

void Machine::die() {
  const bool power = wanted_death_ == Death::kPowerCut;
  world_.trace("life {} dies: {}", lives_, power ? "power cut" : "killed");
  wanted_death_ = Death::kKill;  // nothing of it is heard any more
  note_durable();
  network_.stop(power);
  life_.reset();
  disk_.hold_up = nullptr;
  if (power) {
    disk_.power_cut();
    std::map<TopicPartition, int64_t> durable;
    for (auto& [tp, promise] : durable_) {
      TopicModel* topic = model_.find(tp.topic);
      if (topic != nullptr && topic->id == promise.first) durable[tp] = promise.second;
    }
    model_.on_power_cut(durable);
  } else {
    disk_.kill();
  }
  model_.on_restart();
  wanted_death_ = Death::kNone;
  if (auto told = std::exchange(after_next_death, nullptr); told && !power) told();
}

std::vector<std::string> Machine::unflushed() {
  std::vector<std::string> names;
  if (!is_up() || disk_failed_) return names;
  for (const auto& log : life_->node->logs().all()) {
    PartitionModel* partition = model_.find(log->name().topic, log->name().partition);
    if (partition == nullptr || log->recovery_point().value >= partition->flush_due) continue;
    names.push_back(fmt::format("{} (flushed up to {}, due up to {})", log->name().to_string(), log->recovery_point().value, partition->flush_due));
  }
  return names;
}

}  // namespace odradek::sim
