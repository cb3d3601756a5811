// What goes wrong in a cluster: which ways lose what is sent, and which faults are made when. Kills leave what a broker has written, so
// any number of brokers may be killed. A power cut loses what was not synced: it is made only when every promised record stands on
// another machine, and that broker stays away until the controller has taken it out of every ISR. When all lose their power at once,
// only what was acknowledged with flush.before.ack is promised to stay.
// Thread: one.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "sim/cluster/broker.h"
#include "sim/cluster/events.h"
#include "sim/cluster/judge.h"

namespace odradek::sim {

// Whether what one host sends arrives at another. Hosts: Network::kClients, kZooKeeper, brokers from 1 on.
class Ways {
 public:
  static constexpr int kZooKeeper = 0;

  explicit Ways(int brokers) : brokers_(brokers) {}
  std::function<void()> changed;

  bool is_blocked(int from, int to) const { return blocked_.contains({from, to}); }
  void block(int from, int to) { blocked_.insert({from, to}); }
  void block_both(int one, int other) {
    block(one, other);
    block(other, one);
  }
  // From the other brokers and ZooKeeper.
  void isolate(int broker) {
    for (int other = 0; other <= brokers_; ++other) {
      if (other != broker) block_both(broker, other);
    }
  }
  void open_all() {
    blocked_.clear();
    if (changed) changed();
  }
  bool all_open() const { return blocked_.empty(); }

 private:
  const int brokers_;
  std::set<std::pair<int, int>> blocked_;
};

class Faults {
 public:
  using Networks = std::vector<std::unique_ptr<Network>>;
  using Brokers = std::vector<std::unique_ptr<ClusterBroker>>;
  Faults(World& world, Ways& ways, ZooKeeper& zookeeper, Networks& networks, Brokers& brokers, Judge& judge, Events& events, int64_t session_ms);

  // Trouble from now on, until heal().
  void begin();
  void heal();
  void start_later(ClusterBroker& broker, int64_t ms);
  // Not from inside of anything that runs. In quiet times brokers with a log dir that was taken offline are started again, too.
  void start_what_is_due();
  // A log dir of one broker, until heal().
  void fail_a_log_dir();
  void cut_power_of_all();

 private:
  void next();
  bool make(Event fault);
  ClusterBroker& any() { return *brokers_[world_.random.below(brokers_.size())]; }
  bool may_lose_power(const ClusterBroker& broker) const;
  bool is_in_an_isr(const ClusterBroker& broker) const;
  void start_again_later(ClusterBroker& broker);
  void cut_power(ClusterBroker& broker, int64_t round);
  // Ends by itself after a while.
  void for_a_while(int64_t low_ms, int64_t high_ms, std::function<void()> end);

  World& world_;
  Ways& ways_;
  ZooKeeper& zookeeper_;
  Networks& networks_;
  Brokers& brokers_;
  Judge& judge_;
  Events& events_;
  const int64_t session_ms_;
  int64_t round_ = 0;  // raised by heal(): ends of former faults are void
  bool on_ = false;
  bool hold_ill_ = false;  // a log dir that failed in quiet times stays so for now
  std::vector<bool> due_;        // to be started
  int without_power_ = 0;        // the broker that waits to be out of every ISR; 0: none
};

}  // namespace odradek::sim
