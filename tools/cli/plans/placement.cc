#include "cli/plans/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "model/error_code.h"

namespace odradek::cli {
namespace {

bool holds(const std::vector<int32_t>& replicas, int32_t broker) { return std::find(replicas.begin(), replicas.end(), broker) != replicas.end(); }

std::vector<int32_t> without(const std::vector<int32_t>& some, const std::vector<int32_t>& others) {
  std::vector<int32_t> left;
  std::copy_if(some.begin(), some.end(), std::back_inserter(left), [&](int32_t each) { return !holds(others, each); });
  return left;
}

class Planner {
 public:
  Planner(const std::vector<Placed>& partitions, const PlacementGoal& goal) : before_(partitions), now_(partitions), goal_(goal) {}

  Result<std::vector<Move>> plan() {
    if (auto checked = check(); !checked) return fail(std::move(checked.error()));
    for (size_t i = 0; i < now_.size(); ++i) {
      for (int32_t broker : now_[i].replicas) hold(broker, i);
    }
    std::vector<size_t> order;
    for (size_t i = 0; i < now_.size(); ++i) {
      if (!now_[i].fixed) order.push_back(i);
    }
    // The greatest first: what comes later evens out.
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return now_[a].size_bytes > now_[b].size_bytes; });
    for (size_t i : order) shrink(i);
    for (size_t i : order) replace(i);
    if (goal_.balance) {
      if (racks_known()) {
        for (size_t i : order) spread_over_racks(i);
      }
      std::map<std::string, std::vector<size_t>> topics;
      for (size_t i : order) topics[now_[i].partition.topic].push_back(i);
      for (const auto& [topic, members] : topics) balance_topic(topic);
      balance_all();
    }
    spread_leaders(order);
    std::vector<Move> moves;
    for (size_t i = 0; i < now_.size(); ++i) {
      if (now_[i].replicas != before_[i].replicas) moves.push_back({now_[i].partition, before_[i].replicas, now_[i].replicas, now_[i].size_bytes});
    }
    std::sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) { return a.partition < b.partition; });
    return moves;
  }

 private:
  Result<void> check() {
    size_t with_rack = 0;
    for (const PlacementBroker& broker : goal_.brokers) {
      allowed_.push_back(broker.id);
      rack_[broker.id] = broker.rack.value_or("");
      with_rack += broker.rack.has_value();
    }
    std::sort(allowed_.begin(), allowed_.end());
    if (goal_.rack_aware && with_rack != 0 && with_rack != goal_.brokers.size()) {
      return fail(ErrorCode::kInvalidReplicaAssignment, fmt::format("{} of {} brokers have a rack (broker.rack), the others have none", with_rack, goal_.brokers.size()));
    }
    racks_known_ = goal_.rack_aware && with_rack != 0;
    for (const Placed& each : now_) {
      if (!each.fixed && target_size(each) > allowed_.size()) {
        return fail(ErrorCode::kInvalidReplicationFactor, fmt::format("{} needs {} replicas, {} brokers may hold them", each.partition.to_string(), target_size(each), allowed_.size()));
      }
    }
    return {};
  }

  size_t target_size(const Placed& each) const { return goal_.replication_factor ? static_cast<size_t>(*goal_.replication_factor) : each.replicas.size(); }
  bool racks_known() const { return racks_known_; }
  bool may_hold(int32_t broker) const { return std::binary_search(allowed_.begin(), allowed_.end(), broker); }
  bool may_receive(int32_t broker) const { return goal_.receivers.empty() || goal_.receivers.contains(broker); }

  void hold(int32_t broker, size_t i) {
    on_[broker].insert(i);
    ++of_topic_[now_[i].partition.topic][broker];
    bytes_[broker] += now_[i].size_bytes;
  }
  void release(int32_t broker, size_t i) {
    on_[broker].erase(i);
    --of_topic_[now_[i].partition.topic][broker];
    bytes_[broker] -= now_[i].size_bytes;
  }
  int64_t total(int32_t broker) { return static_cast<int64_t>(on_[broker].size()); }

  // Replicas of a partition in the rack of `broker`; 0 for all where racks do not count.
  int in_rack(size_t i, int32_t broker) {
    if (!racks_known_) return 0;
    const std::string& rack = rack_[broker];
    return static_cast<int>(std::count_if(now_[i].replicas.begin(), now_[i].replicas.end(), [&](int32_t each) { return may_hold(each) && rack_[each] == rack; }));
  }

  // The best broker for one more replica of a partition, among those that `accepts`; -1: none.
  template <class Accepts>
  int32_t best_for(size_t i, Accepts&& accepts) {
    int32_t best = -1;
    std::tuple<int, int64_t, int64_t, int64_t> best_cost;
    for (int32_t broker : allowed_) {
      if (holds(now_[i].replicas, broker) || !accepts(broker)) continue;
      std::tuple<int, int64_t, int64_t, int64_t> cost{in_rack(i, broker), of_topic_[now_[i].partition.topic][broker], total(broker), bytes_[broker]};
      if (best < 0 || cost < best_cost) std::tie(best, best_cost) = std::pair(broker, cost);
    }
    return best;
  }

  // A smaller replication factor: first those that may not stay, then from the fullest rack and from the broker with most of the topic; among
  // equals the preferred leader stays.
  void shrink(size_t i) {
    auto& replicas = now_[i].replicas;
    while (replicas.size() > target_size(now_[i])) {
      auto worth = [&](size_t at) { return std::tuple(!may_hold(replicas[at]), in_rack(i, replicas[at]), of_topic_[now_[i].partition.topic][replicas[at]], at != 0, total(replicas[at]), at); };
      size_t worst = 0;
      for (size_t at = 1; at < replicas.size(); ++at) {
        if (worth(at) > worth(worst)) worst = at;
      }
      release(replicas[worst], i);
      replicas.erase(replicas.begin() + static_cast<ptrdiff_t>(worst));
    }
  }

  // Every replica on a broker that may hold it, as many as there should be.
  void replace(size_t i) {
    auto& replicas = now_[i].replicas;
    auto any = [](int32_t) { return true; };
    for (int32_t& broker : replicas) {
      if (may_hold(broker)) continue;
      int32_t other = best_for(i, any);
      CHECK(other >= 0);
      release(broker, i);
      broker = other;
      hold(other, i);
    }
    while (replicas.size() < target_size(now_[i])) {
      int32_t other = best_for(i, any);
      CHECK(other >= 0);
      replicas.push_back(other);
      hold(other, i);
    }
  }

  void move(size_t i, int32_t from, int32_t to) {
    release(from, i);
    *std::find(now_[i].replicas.begin(), now_[i].replicas.end(), from) = to;
    hold(to, i);
  }

  // While one rack has two more of a partition than a rack that has a free broker.
  void spread_over_racks(size_t i) {
    for (;;) {
      int32_t from = -1;
      for (int32_t broker : now_[i].replicas) {
        if (from < 0 || std::tuple(in_rack(i, broker), total(broker)) > std::tuple(in_rack(i, from), total(from))) from = broker;
      }
      if (from < 0) return;
      int32_t to = best_for(i, [&](int32_t broker) { return may_receive(broker) && in_rack(i, broker) + 2 <= in_rack(i, from); });
      if (to < 0) return;
      move(i, from, to);
    }
  }

  // Bytes that are copied more if a replica goes to `to` rather than stay on `from`: a replica that this plan put there costs nothing more.
  int64_t extra_cost(size_t i, int32_t from, int32_t to) const {
    const auto& original = before_[i].replicas;
    return (holds(original, to) ? 0 : now_[i].size_bytes) - (holds(original, from) ? 0 : now_[i].size_bytes);
  }

  // The cheapest partition that may go from one to the other; false: none.
  template <class Accepts>
  bool move_one(int32_t from, int32_t to, Accepts&& accepts) {
    std::optional<size_t> best;
    for (size_t i : on_[from]) {
      if (now_[i].fixed || holds(now_[i].replicas, to) || !accepts(now_[i].partition.topic)) continue;
      if (racks_known_ && rack_[from] != rack_[to] && in_rack(i, to) >= in_rack(i, from)) continue;
      if (!best || std::tuple(extra_cost(i, from, to), now_[i].partition) < std::tuple(extra_cost(*best, from, to), now_[*best].partition)) best = i;
    }
    if (!best) return false;
    move(*best, from, to);
    return true;
  }

  // Moves while some pair of brokers differs by two or more: the widest pair first, `second` decides among equals.
  template <class First, class Second, class Accepts>
  void even_out(First&& first, Second&& second, Accepts&& accepts) {
    for (;;) {
      std::vector<std::tuple<int64_t, int64_t, int32_t, int32_t>> pairs;
      for (int32_t from : allowed_) {
        for (int32_t to : allowed_) {
          if (may_receive(to) && first(from) - first(to) >= 2) pairs.emplace_back(-(first(from) - first(to)), -(second(from) - second(to)), from, to);
        }
      }
      std::sort(pairs.begin(), pairs.end());
      bool moved = std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
        auto [gap, other_gap, from, to] = pair;
        return move_one(from, to, [&, from = from, to = to](const std::string& topic) { return accepts(topic, from, to); });
      });
      if (!moved) return;
    }
  }

  void balance_topic(const std::string& topic) {
    auto& counts = of_topic_[topic];
    even_out([&](int32_t broker) { return counts[broker]; }, [&](int32_t broker) { return total(broker); },
             [&](const std::string& other, int32_t, int32_t) { return other == topic; });
  }

  // Without making a topic uneven.
  void balance_all() {
    even_out([&](int32_t broker) { return total(broker); }, [&](int32_t broker) { return bytes_[broker]; },
             [&](const std::string& topic, int32_t from, int32_t to) { return of_topic_[topic][from] > of_topic_[topic][to]; });
  }

  // Only within partitions that move anyway: the order of the others is not ours to change.
  void spread_leaders(const std::vector<size_t>& order) {
    std::map<int32_t, int64_t> leaders;
    for (const Placed& each : now_) {
      if (!each.replicas.empty()) ++leaders[each.replicas[0]];
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i : order) {
        auto& replicas = now_[i].replicas;
        if (replicas == before_[i].replicas || replicas.empty()) continue;
        auto least = std::min_element(replicas.begin(), replicas.end(), [&](int32_t a, int32_t b) { return leaders[a] < leaders[b]; });
        if (leaders[replicas[0]] - leaders[*least] < 2) continue;
        --leaders[replicas[0]];
        ++leaders[*least];
        std::swap(replicas[0], *least);
        changed = true;
      }
    }
  }

  const std::vector<Placed>& before_;
  std::vector<Placed> now_;
  const PlacementGoal& goal_;
  std::vector<int32_t> allowed_;  // sorted
  std::map<int32_t, std::string> rack_;
  bool racks_known_ = false;
  std::map<int32_t, std::set<size_t>> on_;  // broker → indexes of what it holds
  std::map<std::string, std::map<int32_t, int64_t>> of_topic_;
  std::map<int32_t, int64_t> bytes_;
};

}  // namespace

std::vector<int32_t> Move::added() const { return without(to, from); }
std::vector<int32_t> Move::removed() const { return without(from, to); }

Result<std::vector<Move>> plan_moves(const std::vector<Placed>& partitions, const PlacementGoal& goal) { return Planner(partitions, goal).plan(); }

std::map<int32_t, BrokerLoad> loads(const std::vector<Placed>& partitions, const std::vector<Move>& moves) {
  std::map<TopicPartition, const Move*> by_name;
  for (const Move& move : moves) by_name[move.partition] = &move;
  std::map<int32_t, BrokerLoad> result;
  for (const Placed& each : partitions) {
    auto found = by_name.find(each.partition);
    const auto& replicas = found == by_name.end() ? each.replicas : found->second->to;
    for (int32_t broker : replicas) {
      BrokerLoad& load = result[broker];
      ++load.replicas;
      load.leaders += broker == replicas[0];
      load.bytes += each.size_bytes;
    }
  }
  return result;
}

}  // namespace odradek::cli
