#include "sim/cluster/broker.h"

#include <algorithm>

#include "app/settings.h"
#include "base/check.h"
#include "storage/log_manager.h"
#include "storage/files/partition_folder.h"

namespace odradek::sim {

// The fiber stops; the cluster lets it go on when `done` was called or the time is over.
class ClusterBroker::FiberWaiter final : public app::Waiter {
 public:
  explicit FiberWaiter(ClusterBroker& broker) : broker_(broker) {}
  bool wait(UniqueFunction<void(Task done)> begin, std::chrono::milliseconds limit) override {
    World& world = broker_.around_.world;
    auto is_done = std::make_shared<bool>(false);  // shared: `done` may come after the limit
    begin([is_done] { *is_done = true; });
    const int64_t until_ns = world.now_ns() + limit.count() * 1'000'000;
    const World::EventId alarm = world.at(until_ns, [] {});  // time goes at least so far
    auto goes_on = [&, is_done] { return broker_.given_up() || (!broker_.paused_ && (*is_done || world.now_ns() >= until_ns)); };
    while (!goes_on()) {
      broker_.goes_on_ = goes_on;
      Fiber::stop();
    }
    world.cancel(alarm);
    return *is_done && !broker_.given_up();
  }

 private:
  ClusterBroker& broker_;
};

ClusterBroker::Life::Life(ClusterBroker& broker)
    : runtime(broker.around_.world, &broker.disk_),
      links(broker.around_.world, runtime, broker.id_, broker.around_.who_listens),
      waiter(std::make_unique<FiberWaiter>(broker)) {}

// The runtime first stops: what is destroyed after that posts nothing that would run.
ClusterBroker::Life::~Life() {
  runtime.halt();
  node.reset();
  handlers.reset();
}

ClusterBroker::ClusterBroker(int id, Network& network, Surroundings around)
    : id_(id), network_(network), around_(std::move(around)), disk_(around_.world), log_dirs_(around_.config->log_dirs()) {
  disk_.lie = around_.sabotage.lie;
}

ClusterBroker::~ClusterBroker() {
  wanted_death_ = Death::kKill;
  if (life_ != nullptr || fiber_ != nullptr) end_life(false);
}

bool ClusterBroker::holds_log(const std::string& topic) {
  return std::any_of(log_dirs_.begin(), log_dirs_.end(), [&](const std::string& dir) {
    if (disk_.is_failing()) return true;  // who knows
    auto entries = disk_.memory().list(dir);
    if (!entries) return false;
    return std::any_of(entries->begin(), entries->end(), [&](const base::DirectoryEntry& one) {
      return one.name.starts_with(topic + "-") && !one.name.ends_with("-delete");
    });
  });
}

std::vector<TopicPartition> ClusterBroker::logs_on_disk() {
  std::vector<TopicPartition> logs;
  for (const std::string& dir : log_dirs_) {
    auto entries = disk_.memory().list(dir);
    if (!entries) continue;
    for (const base::DirectoryEntry& one : *entries) {
      TopicPartition tp;
      if (one.is_directory && storage::parse_folder(one.name, tp) == storage::FolderKind::kLive) logs.push_back(std::move(tp));
    }
  }
  return logs;
}

void ClusterBroker::start() {
  CHECK(life_ == nullptr && fiber_ == nullptr);
  fiber_ = std::make_unique<Fiber>([this] { run_start(); });
}

void ClusterBroker::stop() {
  CHECK(is_up() && fiber_ == nullptr);
  stopping_ = true;
  fiber_ = std::make_unique<Fiber>([this] { run_stop(); });
}

void ClusterBroker::die_at_disk_call(int64_t calls, Death death, std::function<void()> died) {
  disk_.die_at_call(calls, [this, death, died = std::move(died)] {
    wanted_death_ = death;
    if (died) died();
  });
}

void ClusterBroker::fail_disk_call() {
  around_.world.trace("{}: the next call of the disk fails", name());
  disk_.fail_one_call();
}

void ClusterBroker::fail_log_dir() {
  const std::string& dir = log_dirs_[around_.world.random.below(log_dirs_.size())];
  around_.world.trace("{}: {} fails", name(), dir);
  disk_.fail_below(dir);
}

void ClusterBroker::fill_disk(int64_t room) {
  disk_full_ = true;
  around_.world.trace("{}: the disk has room for {} bytes", name(), room);
  disk_.memory().set_capacity(disk_.memory().used_bytes() + room);
}

void ClusterBroker::empty_disk() {
  if (!std::exchange(disk_full_, false)) return;
  around_.world.trace("{}: the disk has room", name());
  disk_.memory().set_capacity(INT64_MAX);
}

bool ClusterBroker::disk_is_sound() {
  app::Node* running = node();
  return !disk_.is_failing() && (running == nullptr || !running->logs().has_offline_dir());
}

void ClusterBroker::set_paused(bool paused) {
  if (paused == paused_) return;
  around_.world.trace("{} {}", name(), paused ? "is paused" : "goes on");
  paused_ = paused;
  if (life_ != nullptr) life_->runtime.set_paused(paused);
  network_.set_paused(paused);
}

bool ClusterBroker::step() {
  if (wanted_death_ != Death::kNone) {
    const bool alive = life_ != nullptr || fiber_ != nullptr;  // one that was about to start, too (seed 5407)
    end_life(wanted_death_ == Death::kPowerCut);
    if (alive && on_died) on_died();
    return true;
  }
  if (fiber_ == nullptr || (goes_on_ && !goes_on_())) return false;
  goes_on_ = nullptr;
  fiber_->resume();
  if (fiber_->ended()) fiber_.reset();
  return true;
}

void ClusterBroker::run_start() {
  World& world = around_.world;
  ++lives_;
  world.trace("{}: life {} begins", name(), lives_);
  life_ = std::make_unique<Life>(*this);
  Life& life = *life_;
  life.runtime.lose = around_.sabotage.lose;
  disk_.hold_up = [&life](int64_t ns) { life.runtime.hold_up(ns); };
  life.node = std::make_unique<app::Node>(life.runtime, *life.waiter, life.links, around_.config);
  auto begun = life.node->open([&](base::Executor& callbacks) -> Result<std::unique_ptr<metadata::Store>> {
    return around_.zookeeper.make_client(name(), around_.zookeeper_path, callbacks, around_.config->get_int("zookeeper.session.timeout.ms"));
  });
  if (begun && !given_up()) {
    life.handlers = life.runtime.make_executor("handlers", 4);
    begun = life.node->join(app::advertised_endpoints(*around_.config, {}), [&] {
      if (given_up()) return;
      network_.serve(life.node->sink(), *life.handlers, [this] { return wanted_death_ != Death::kNone; });
      life.serving = true;
      if (on_serving) on_serving();
    });
  }
  if (given_up()) return;
  if (!begun) {
    ++failed_starts_;
    world.trace("{} cannot start: {}", name(), begun.error().what);
    wanted_death_ = Death::kKill;
    return;
  }
  world.trace("{}: life {} serves", name(), lives_);
}

void ClusterBroker::run_stop() {
  World& world = around_.world;
  world.trace("{}: life {} is stopped", name(), lives_);
  Life& life = *life_;
  life.node->hand_over();
  if (given_up()) return;
  life.node->answer_parked();
  life.waiter->wait([&](Task done) { world.after_ms(world.random.between(0, 200), std::move(done)); }, std::chrono::milliseconds(1'000));
  if (given_up()) return;
  network_.stop(false);
  life.serving = false;
  life.handlers.reset();
  life.node->leave();
  if (given_up()) return;
  life_.reset();
  disk_.hold_up = nullptr;
  disk_.kill();
  stopping_ = false;
  world.trace("{}: life {} has ended", name(), lives_);
  if (on_died) on_died();
}

void ClusterBroker::end_life(bool power) {
  around_.world.trace("{}: life {} dies: {}", name(), lives_, power ? "power cut" : "killed");
  wanted_death_ = Death::kKill;  // nothing of it is heard any more
  // What waits in its start or stop is told to give up.
  while (fiber_ != nullptr) {
    fiber_->resume();
    if (fiber_->ended()) fiber_.reset();
  }
  goes_on_ = nullptr;
  set_paused(false);
  network_.stop(power);
  life_.reset();
  disk_.hold_up = nullptr;
  if (power) {
    disk_.power_cut();
  } else {
    disk_.kill();
  }
  stopping_ = false;
  wanted_death_ = Death::kNone;
}

}  // namespace odradek::sim
