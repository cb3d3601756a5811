#include "sim/simulation.h"

#include <algorithm>
#include <list>

#include "sim/clients.h"

namespace odradek::sim {
namespace {

class Simulation {
 public:
  explicit Simulation(const Options& options)
      : options_(options),
        world_(options.seed, options.verbose),
        network_(world_),
        model_(world_),
        context_{world_, network_, model_, false, [this] { at_change(); }, [this] { at_promise(); }},
        machine_(world_, network_, model_, make_sabotage(world_, options.bug)) {}

  Outcome run() {
    make_clients();
    must_start_ = true;
    trouble();
    while (!over() && world_.steps() < options_.steps) turn();
    if (!world_.failed()) reckon();
    Outcome outcome;
    outcome.violation = world_.what_failed();
    outcome.trace_hash = world_.trace_hash();
    outcome.steps = world_.steps();
    outcome.virtual_ms = world_.now_ms() - World::kStartMs;
    outcome.acked = model_.acked;
    outcome.seen = model_.seen;
    outcome.commits = model_.commits;
    outcome.assignments = model_.assignments;
    outcome.lives = machine_.lives();
    outcome.power_cuts = model_.power_cuts;
    return outcome;
  }

 private:
  bool over() const { return world_.failed(); }

  void make_clients() {
    SeededRandom& random = world_.random;
    int number = 0;
    clients_.push_back(make_admin(context_));
    for (int64_t left = random.between(1, 3); left > 0; --left) clients_.push_back(make_producer(context_, number++, true));
    for (int64_t left = random.between(0, 2); left > 0; --left) clients_.push_back(make_producer(context_, number++, false));
    for (int64_t left = random.between(1, 3); left > 0; --left) clients_.push_back(make_consumer(context_, number++));
    for (int group = 0; group < random.between(0, 2); ++group) {
      for (int64_t left = random.between(1, 4); left > 0; --left) clients_.push_back(make_member(context_, group, number++));
    }
    for (auto& client : clients_) client->start();
  }

  // One thing happens; what may not happen inside of something else happens here.
  void turn() {
    if (machine_.wanted_death() != Death::kNone) {
      machine_.die();
      must_stop_ = false;
      // Troubles come in pairs.
      if (!context_.ending && world_.random.chance(30)) die_soon(world_.random.chance(70) ? Death::kPowerCut : Death::kKill);
      world_.after_ms(world_.random.between(0, 1'500), [this] { must_start_ = true; });
    } else if (must_start_) {
      must_start_ = false;
      if (machine_.start()) scan();
    } else if (must_stop_) {
      must_stop_ = false;
      if (machine_.is_up() && machine_.stop()) world_.after_ms(world_.random.between(0, 1'500), [this] { must_start_ = true; });
    } else if (!world_.step()) {
      world_.violation("nothing is left to happen");
    }
    std::erase_if(scans_, [](auto& one) { return one.over; });
  }

  // In the next moments of the next life, or in the middle of its start.
  void die_soon(Death death) {
    if (world_.random.chance(50)) return machine_.die_at_disk_call(world_.random.between(1, 200), death);
    world_.after_ms(world_.random.between(300, 4'000), [this, death, lives = machine_.lives()] {
      if (!context_.ending && machine_.is_up() && machine_.lives() == lives + 1) machine_.ask_to_die(death);
    });
  }

  void at_change() {
    if (context_.ending || !machine_.is_up() || !world_.random.chance(20)) return;
    // What a killed process has left and the next one builds upon has to be on the disk, too.
    machine_.after_next_death = [this] { cut_at_promise_ = true; };
    if (world_.random.chance(50)) return machine_.die_at_disk_call(world_.random.between(1, 40), world_.random.chance(70) ? Death::kKill : Death::kPowerCut);
    world_.after_us(world_.random.between(100, 60'000), [this] {
      if (!context_.ending && machine_.is_up()) machine_.ask_to_die(world_.random.chance(70) ? Death::kKill : Death::kPowerCut);
    });
  }

  void at_promise() {
    if (context_.ending || !machine_.is_up() || !std::exchange(cut_at_promise_, false)) return;
    machine_.ask_to_die(Death::kPowerCut);
  }

  void trouble() {
    world_.after_ms(world_.random.between(200, 6'000), [this] {
      if (context_.ending) return;
      SeededRandom& random = world_.random;
      const int64_t kind = random.between(0, 119);
      if (kind < 40) {
        network_.cut_one();
      } else if (kind < 52) {
        if (machine_.is_up()) machine_.ask_to_die(Death::kKill);
      } else if (kind < 66) {
        machine_.die_at_disk_call(random.between(1, 60), Death::kKill);
      } else if (kind < 76) {
        if (machine_.is_up()) machine_.ask_to_die(Death::kPowerCut);
      } else if (kind < 88) {
        machine_.die_at_disk_call(random.between(1, 60), Death::kPowerCut);
      } else if (kind < 96) {
        must_stop_ = true;
      } else if (kind >= 110) {
        cut_at_promise_ = true;
      } else if (kind >= 100) {
        machine_.fill_disk(random.between(0, 100'000));
        world_.after_ms(random.between(50, 6'000), [this] { machine_.empty_disk(); });
      } else if (machine_.is_up()) {
        // A disk that has failed once is not used any more until the next life.
        machine_.fail_one_disk_call();
        world_.after_ms(random.between(100, 3'000), [this, life = machine_.lives()] {
          if (machine_.is_up() && machine_.lives() == life) machine_.ask_to_die(Death::kKill);
        });
      }
      trouble();
    });
  }

  struct RunningScan {
    std::unique_ptr<Scan> scan;
    bool over = false;
  };

  void scan() {
    scans_.emplace_back();
    RunningScan* place = &scans_.back();
    place->scan = std::make_unique<Scan>(context_, ++scan_number_, [place](bool) { place->over = true; });
    place->scan->start();
  }

  void go_on_for(int64_t ms) {
    const int64_t until = world_.now_ms() + ms;
    while (!over() && world_.now_ms() < until) turn();
  }
  bool go_on_until(int64_t ms, const std::function<bool()>& holds) {
    const int64_t until = world_.now_ms() + ms;
    while (!over() && !holds()) {
      if (world_.now_ms() >= until) return false;
      turn();
    }
    return !over();
  }

  void scan_whole() {
    if (over()) return;
    bool is_over = false, is_whole = false;
    Scan scan(context_, ++scan_number_, [&](bool whole) {
      is_over = true;
      is_whole = whole;
    });
    scan.start();
    if (!go_on_until(120'000, [&] { return is_over; })) {
      if (!over()) world_.violation("the final scan does not end");
    } else if (!is_whole) {
      world_.violation("the final scan lost its connection");
    }
  }

  void start_again(Death death) {
    if (over()) return;
    if (death == Death::kNone) {
      must_stop_ = true;
    } else {
      machine_.ask_to_die(death);
    }
    const int life = machine_.lives();
    if (!go_on_until(60'000, [&] { return machine_.is_up() && machine_.lives() > life; }) && !over()) world_.violation("the broker does not come back");
  }

  // No more trouble: everybody must come to an end, and everything must be there, also after a restart of each kind.
  void reckon() {
    world_.trace("the end begins");
    context_.ending = true;
    machine_.die_at_disk_call(-1, Death::kNone);
    machine_.empty_disk();
    must_stop_ = false;
    if (!go_on_until(60'000, [&] { return machine_.is_up(); }) && !over()) return world_.violation("the broker does not come back");
    bool idle = go_on_until(120'000, [&] { return std::all_of(clients_.begin(), clients_.end(), [](auto& client) { return client->is_idle(); }); });
    if (!idle && !over()) return world_.violation("a producer or the admin does not come to an end");
    go_on_for(28'000);  // as long as any request may take
    if (over()) return;
    if (auto names = machine_.unflushed(); !names.empty()) return world_.violation("flush.messages=1, but not flushed: " + names.front());
    scan_whole();
    start_again(Death::kKill);
    scan_whole();
    start_again(Death::kNone);
    scan_whole();
    start_again(Death::kPowerCut);
    scan_whole();
    world_.trace("the end: {} acknowledged, {} read, {} commits, {} assignments, {} lives", model_.acked, model_.seen, model_.commits, model_.assignments,
                 machine_.lives());
  }

  const Options options_;
  World world_;
  Network network_;
  Model model_;
  Context context_;
  Machine machine_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::list<RunningScan> scans_;
  int scan_number_ = 0;
  bool must_start_ = false, must_stop_ = false;
  bool cut_at_promise_ = false;  // at the next promise
};

}  // namespace

Outcome run_simulation(const Options& options) { return Simulation(options).run(); }

}  // namespace odradek::sim
