// One broker of the cluster and its machine: start, clean stop, kill, power cut, pause. What outlives a life is its disk.
// Thread: one. Starts and stops run as fibers: step() lets them go on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "app/node.h"
#include "sim/cluster/fiber.h"
#include "sim/cluster/links.h"
#include "sim/cluster/zookeeper.h"
#include "sim/disk.h"
#include "sim/machine.h"
#include "sim/network.h"
#include "sim/runtime.h"
#include "sim/world.h"

namespace odradek::sim {

class ClusterBroker {
 public:
  struct Surroundings {
    World& world;
    ZooKeeper& zookeeper;
    ZooKeeperPath zookeeper_path;
    std::function<Network*(const net::Endpoint&)> who_listens;
    std::shared_ptr<const config::BrokerConfig> config;
    Sabotage sabotage;
  };
  ClusterBroker(int id, Network& network, Surroundings around);
  ~ClusterBroker();

  int id() const { return id_; }
  std::string name() const { return "b" + std::to_string(id_); }
  bool is_up() const { return life_ != nullptr && life_->serving && !stopping_; }  // and serves
  bool is_down() const { return life_ == nullptr; }
  bool is_paused() const { return paused_; }
  bool is_busy() const { return fiber_ != nullptr; }  // starts or stops
  int lives() const { return lives_; }
  int failed_starts() const { return failed_starts_; }
  // On its disk, whether it runs or not.
  bool holds_log(const std::string& topic);
  std::vector<TopicPartition> logs_on_disk();
  app::Node* node() { return life_ != nullptr && life_->serving ? life_->node.get() : nullptr; }

  void start();
  // Controlled shutdown and a clean stop.
  void stop();
  // At the next step().
  void kill(Death death) { wanted_death_ = death; }
  // The n-th change of its disk from now on kills; `died` is told.
  void die_at_disk_call(int64_t calls, Death death, std::function<void()> died = {});
  // A log dir that was offline in a life stays so to its end.
  void fail_disk_call();
  void fail_log_dir();
  void repair_disk() { disk_.fail_below(""); }
  void fill_disk(int64_t room);
  void empty_disk();
  bool disk_is_failing() const { return disk_.is_failing(); }
  bool disk_is_full() const { return disk_full_; }
  // No log dir fails, none was taken offline in this life.
  bool disk_is_sound();
  size_t log_dirs() const { return log_dirs_.size(); }
  void set_paused(bool paused);
  // False: nothing to do.
  bool step();

  std::function<void()> on_died;
  std::function<void()> on_serving;

 private:
  struct Life {
    explicit Life(ClusterBroker& broker);
    ~Life();
    SimRuntime runtime;
    SimLinks links;
    std::unique_ptr<app::Waiter> waiter;
    std::unique_ptr<app::Node> node;
    std::unique_ptr<base::Executor> handlers;
    bool serving = false;
  };
  class FiberWaiter;
  void run_start();
  void run_stop();
  void end_life(bool power);
  bool given_up() const { return wanted_death_ != Death::kNone || around_.world.failed(); }

  const int id_;
  Network& network_;
  Surroundings around_;
  Disk disk_;
  const std::vector<std::string> log_dirs_;
  bool disk_full_ = false;
  std::unique_ptr<Life> life_;
  std::unique_ptr<Fiber> fiber_;
  std::function<bool()> goes_on_;  // what the fiber waits for
  Death wanted_death_ = Death::kNone;
  bool paused_ = false;
  bool stopping_ = false;
  int lives_ = 0, failed_starts_ = 0;
};

}  // namespace odradek::sim
