#include "sim/cluster/faults.h"

#include <algorithm>
#include <utility>

namespace odradek::sim {

Faults::Faults(World& world, Ways& ways, ZooKeeper& zookeeper, Networks& networks, Brokers& brokers, Judge& judge, Events& events, int64_t session_ms)
    : world_(world),
      ways_(ways),
      zookeeper_(zookeeper),
      networks_(networks),
      brokers_(brokers),
      judge_(judge),
      events_(events),
      session_ms_(session_ms),
      due_(brokers.size()) {
  for (auto& broker : brokers_) {
    broker->on_died = [this, one = broker.get()] {
      if (without_power_ != one->id()) start_later(*one, on_ && world_.random.chance(30) ? world_.random.between(3'000, 15'000) : world_.random.between(100, 2'000));
    };
  }
}

void Faults::start_later(ClusterBroker& broker, int64_t ms) {
  world_.after_ms(ms, [this, &broker] { due_[static_cast<size_t>(broker.id() - 1)] = true; });
}

void Faults::start_what_is_due() {
  for (size_t i = 0; i < brokers_.size(); ++i) {
    if (!due_[i]) continue;
    due_[i] = false;
    if (brokers_[i]->is_down() && !brokers_[i]->is_busy()) brokers_[i]->start();
  }
  if (on_ || hold_ill_) return;
  for (auto& broker : brokers_) {
    if (broker->is_up() && !broker->is_busy() && !broker->disk_is_sound()) broker->kill(Death::kKill);
  }
}

void Faults::fail_a_log_dir() {
  hold_ill_ = true;
  any().fail_log_dir();
  events_.count(Event::kLogDirFailsInQuiet);
}

void Faults::cut_power_of_all() {
  for (auto& broker : brokers_) broker->kill(Death::kPowerCut);
  for (auto& broker : brokers_) broker->step();
  // Nobody is left who could take it out of an ISR, and it is as good as the others now.
  if (const int waiting = std::exchange(without_power_, 0); waiting != 0) start_later(*brokers_[static_cast<size_t>(waiting - 1)], world_.random.between(100, 2'000));
  events_.count(Event::kPowerCutOfAll);
}

void Faults::begin() {
  on_ = true;
  ++round_;
  next();
}

void Faults::heal() {
  on_ = false;
  ++round_;
  for (auto& broker : brokers_) {
    broker->die_at_disk_call(-1, Death::kNone);
    broker->set_paused(false);
    broker->repair_disk();
    broker->empty_disk();
  }
  hold_ill_ = false;
  ways_.open_all();
  if (!zookeeper_.has_quorum()) zookeeper_.set_quorum(true);
}

void Faults::next() {
  world_.after_ms(world_.random.between(300, 5'000), [this, round = round_] {
    if (round != round_) return;
    // While a machine without power is still counted on, nothing else may go wrong.
    if (without_power_ == 0) {
      for (int tries = 0; tries < 5; ++tries) {
        auto fault = static_cast<Event>(world_.random.below(static_cast<uint64_t>(Event::kDiskFull) + 1));
        if (!make(fault)) continue;
        if (fault != Event::kKillAtDiskCall && fault != Event::kPowerCut) events_.count(fault);  // those are counted when they happen
        break;
      }
    }
    next();
  });
}

void Faults::for_a_while(int64_t low_ms, int64_t high_ms, std::function<void()> end) {
  world_.after_ms(world_.random.between(low_ms, high_ms), [this, round = round_, end = std::move(end)] {
    if (round == round_) end();
  });
}

void Faults::cut_power(ClusterBroker& broker, int64_t round) {
  if (round != round_ || !may_lose_power(broker)) {
    broker.set_paused(false);
    without_power_ = 0;
    return;
  }
  events_.count(Event::kPowerCut);
  broker.kill(Death::kPowerCut);
  // Alive as a function of its own: it goes on asking until the ISRs are without it.
  auto ask = std::make_shared<std::function<void()>>();
  *ask = [this, &broker, weak = std::weak_ptr(ask)] {
    if (without_power_ != broker.id()) return;  // all have lost their power meanwhile
    if (is_in_an_isr(broker)) {
      world_.after_ms(200, [again = weak.lock()] { (*again)(); });
      return;
    }
    without_power_ = 0;
    start_later(broker, world_.random.between(0, 4'000));
  };
  world_.after_ms(200, [ask] { (*ask)(); });
}

// A log dir that was taken offline stays so until then.
void Faults::start_again_later(ClusterBroker& broker) {
  for_a_while(1'000, 10'000, [&broker] {
    if (!broker.is_up() || broker.is_busy() || broker.is_paused() || broker.disk_is_sound()) return;
    broker.kill(Death::kKill);
  });
}

bool Faults::is_in_an_isr(const ClusterBroker& broker) const {
  auto states = judge_.states();
  return std::any_of(states.begin(), states.end(), [&](const Judge::State& one) {
    return std::count(one.state.isr.begin(), one.state.isr.end(), BrokerId{broker.id()}) > 0;
  });
}

bool Faults::may_lose_power(const ClusterBroker& broker) const {
  if (!ways_.all_open() || !zookeeper_.has_quorum()) return false;
  for (auto& one : brokers_) {
    if (!one->is_up() || one->is_busy() || (one->is_paused() && one->id() != without_power_) || !one->disk_is_sound() || one->disk_is_full()) return false;
  }
  for (const Judge::State& one : judge_.states()) {
    if (std::count(one.state.isr.begin(), one.state.isr.end(), BrokerId{broker.id()}) > 0 && one.state.isr.size() < 2) return false;
  }
  return true;
}

bool Faults::make(Event fault) {
  SeededRandom& random = world_.random;
  ClusterBroker& broker = any();
  ClusterBroker* other = &any();
  while (other == &broker) other = &any();
  const std::string name = broker.name();
  switch (fault) {
    case Event::kKill:
      if (broker.is_down() || broker.is_paused()) return false;
      broker.kill(Death::kKill);
      return true;
    case Event::kKillAtDiskCall:
      if (broker.is_paused()) return false;
      broker.die_at_disk_call(random.between(1, 60), Death::kKill, [this] { events_.count(Event::kKillAtDiskCall); });
      return true;
    case Event::kPowerCut: {
      if (!may_lose_power(broker)) return false;
      without_power_ = broker.id();
      for (auto& one : brokers_) one->die_at_disk_call(-1, Death::kNone);
      // It stands still before: a wish of it to shrink an ISR may be on its way, and would leave it alone in there.
      broker.set_paused(true);
      world_.after_ms(500, [this, &broker, round = round_] { cut_power(broker, round); });
      return true;
    }
    case Event::kPause:
    case Event::kPauseBeyondSession:
      if (!broker.is_up() || broker.is_paused()) return false;
      broker.set_paused(true);
      if (fault == Event::kPause) {
        for_a_while(200, session_ms_ * 2 / 3, [&broker] { broker.set_paused(false); });
      } else {
        for_a_while(session_ms_ + 500, session_ms_ + 12'000, [&broker] { broker.set_paused(false); });
      }
      return true;
    case Event::kCutConnection:
      networks_[static_cast<size_t>(broker.id() - 1)]->cut_one();
      return true;
    case Event::kIsolated:
    case Event::kPairParted:
    case Event::kOneWay:
    case Event::kAwayFromZooKeeper:
      if (!ways_.all_open()) return false;
      if (fault == Event::kIsolated) ways_.isolate(broker.id());
      if (fault == Event::kPairParted) ways_.block_both(broker.id(), other->id());
      if (fault == Event::kOneWay) ways_.block(broker.id(), other->id());
      if (fault == Event::kAwayFromZooKeeper) {
        ways_.block(broker.id(), Ways::kZooKeeper);
        if (random.chance(60)) ways_.block(Ways::kZooKeeper, broker.id());
      }
      world_.trace("{}: {}", kEventNames[static_cast<size_t>(fault)], name);
      for_a_while(500, random.chance(50) ? session_ms_ : 20'000, [this] {
        world_.trace("all ways are open");
        ways_.open_all();
      });
      return true;
    case Event::kSessionExpiry:
      world_.trace("the session of {} expires", name);
      return zookeeper_.has_quorum() && zookeeper_.expire(name);
    case Event::kNoQuorum:
      if (!zookeeper_.has_quorum()) return false;
      zookeeper_.set_quorum(false);
      for_a_while(300, random.chance(50) ? 3'000 : 15'000, [this] { zookeeper_.set_quorum(true); });
      return true;
    case Event::kControllerKill: {
      const int32_t controller = judge_.controller();
      if (controller <= 0) return false;
      ClusterBroker& at = *brokers_[static_cast<size_t>(controller - 1)];
      if (at.is_down() || at.is_paused()) return false;
      at.kill(Death::kKill);
      return true;
    }
    case Event::kControlledShutdown:
      if (!broker.is_up() || broker.is_busy() || broker.is_paused()) return false;
      broker.stop();
      return true;
    case Event::kDiskCallFails:
      if (!broker.is_up() || broker.is_busy()) return false;
      broker.fail_disk_call();
      start_again_later(broker);
      return true;
    case Event::kLogDirFails:
      if (broker.disk_is_failing()) return false;
      broker.fail_log_dir();
      for_a_while(500, 15'000, [this, &broker] {
        broker.repair_disk();
        start_again_later(broker);
      });
      return true;
    case Event::kDiskFull:
      if (broker.disk_is_full()) return false;
      broker.fill_disk(random.between(0, 60'000));
      for_a_while(200, 10'000, [&broker] { broker.empty_disk(); });
      return true;
    default: return false;
  }
}

}  // namespace odradek::sim
