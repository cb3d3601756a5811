// The machine that the broker runs on, and the broker's lives on it: start, clean stop, kill, power cut. What outlives a life is the
// disk, the metadata tree and the clients.
// Thread: one. start() and stop() let the world go on while they wait; nothing else of this class may be called from there but
// ask_to_die().
#pragma once

#include <map>
#include <memory>
#include <string>

#include "app/node.h"
#include "metadata/store/embedded_store.h"
#include "net/link.h"
#include "sim/disk.h"
#include "sim/model.h"
#include "sim/network.h"
#include "sim/runtime.h"
#include "sim/world.h"

namespace odradek::sim {

enum class Death { kNone, kKill, kPowerCut };

// There is no other broker to dial: every connection is refused.
class NoLinks final : public net::Links {
 public:
  std::unique_ptr<net::Link> open(const net::Endpoint& to, net::LinkOptions options, base::Executor& executor) override;
};

// What a planted bug does to a life of the broker. Each is asked; empty: nothing.
struct Sabotage {
  std::function<bool(base::FileCall call, const std::string& path)> lie;  // Disk::lie
  std::function<bool(const std::string& executor)> lose;                  // SimRuntime::lose
};

class Machine {
 public:
  Machine(World& world, Network& network, Model& model, Sabotage sabotage);
  ~Machine();

  bool is_up() const { return life_ != nullptr && life_->serving; }
  // Whether it has been asked to die, or has died inside a call to the disk.
  Death wanted_death() const { return wanted_death_; }
  void ask_to_die(Death death) { wanted_death_ = death; }
  // The n-th change of the disk from now on kills.
  void die_at_disk_call(int64_t calls, Death death);
  void fail_one_disk_call();

  // False: the broker could not start, or has been asked to die meanwhile; then die().
  bool start();
  // Clean. False as above.
  bool stop();
  // The life ends here: by power cut if the wanted death is one, else killed.
  void die();
  int lives() const { return lives_; }

  // Called once, when this life has ended in a kill.
  std::function<void()> after_next_death;

  // Only `room` bytes more go onto the disk, until empty_disk().
  void fill_disk(int64_t room);
  void empty_disk();
  // Logs that hold records of this life which flush.messages=1 should have flushed by now: their names.
  std::vector<std::string> unflushed();

 private:
  struct Life {
    explicit Life(Machine& machine);
    ~Life();
    SimRuntime runtime;
    SimWaiter waiter;
    NoLinks links;
    std::unique_ptr<app::Node> node;
    std::unique_ptr<base::Executor> handlers;
    bool opened = false;
    bool serving = false;
  };
  void note_durable();

  World& world_;
  Network& network_;
  Model& model_;
  Sabotage sabotage_;
  Disk disk_;
  SimRuntime tree_runtime_;
  std::shared_ptr<metadata::EmbeddedTree> tree_;  // shared: with the sessions of lives
  std::shared_ptr<const config::BrokerConfig> config_;
  std::unique_ptr<Life> life_;
  Death wanted_death_ = Death::kNone;
  bool disk_failed_ = false;  // a call has failed in this life
  bool disk_full_ = false;
  int lives_ = 0;
  // The recovery point of each log as far as it was ever published: all below is on the disk.
  std::map<TopicPartition, std::pair<Uuid, int64_t>> durable_;
};

}  // namespace odradek::sim
