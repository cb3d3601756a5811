#include "controller/assignment.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "model/error_code.h"

namespace odradek::controller {

namespace {

// Where the n-th further replica stands relative to the first one: never on it, shifted a little more in each round.
size_t replica_index(size_t first, size_t shift, size_t n, size_t brokers) {
  size_t step = 1 + (shift + n) % (brokers - 1);
  return (first + step) % brokers;
}

// Brokers in turn of racks: one of each rack, then the next of each.
std::vector<BrokerRack> alternate_racks(const std::vector<BrokerRack>& brokers) {
  std::map<std::string, std::vector<BrokerRack>> racks;
  for (const BrokerRack& broker : brokers) racks[*broker.rack].push_back(broker);
  std::vector<BrokerRack> order;
  for (size_t round = 0; order.size() < brokers.size(); ++round) {
    for (const auto& [rack, members] : racks) {
      if (round < members.size()) order.push_back(members[round]);
    }
  }
  return order;
}

}  // namespace

Result<std::vector<std::vector<BrokerId>>> assign_replicas(std::vector<BrokerRack> brokers, int32_t partitions, int32_t replication_factor,
                                                           base::Random& random, std::optional<size_t> fixed_start, int32_t first_partition) {
  if (partitions <= 0) return fail(ErrorCode::kInvalidPartitions, "Number of partitions must be larger than 0.");
  if (replication_factor <= 0) return fail(ErrorCode::kInvalidReplicationFactor, "Replication factor must be larger than 0.");
  if (static_cast<size_t>(replication_factor) > brokers.size()) {
    return fail(ErrorCode::kInvalidReplicationFactor,
                fmt::format("Replication factor: {} larger than available brokers: {}.", replication_factor, brokers.size()));
  }
  std::sort(brokers.begin(), brokers.end(), [](const BrokerRack& a, const BrokerRack& b) { return a.id < b.id; });
  bool racks_known = std::all_of(brokers.begin(), brokers.end(), [](const BrokerRack& broker) { return broker.rack.has_value(); });
  if (racks_known) brokers = alternate_racks(brokers);
  std::set<std::string> racks;
  if (racks_known) {
    for (const BrokerRack& broker : brokers) racks.insert(*broker.rack);
  }

  size_t count = brokers.size();
  size_t start = fixed_start ? *fixed_start % count : random.below(count);
  size_t shift = fixed_start ? *fixed_start % count : random.below(count);
  std::vector<std::vector<BrokerId>> assignment;
  for (int32_t i = 0; i < partitions; ++i) {
    auto partition = static_cast<size_t>(first_partition + i);
    if (partition > 0 && partition % count == 0) ++shift;
    size_t first = (partition + start) % count;
    std::vector<BrokerId> replicas{brokers[first].id};
    if (!racks_known) {
      for (size_t n = 0; n + 1 < static_cast<size_t>(replication_factor); ++n) replicas.push_back(brokers[replica_index(first, shift, n, count)].id);
    } else {
      std::set<std::string> racks_used{*brokers[first].rack};
      std::set<BrokerId> brokers_used{brokers[first].id};
      // Racks in turn: the shift moves the followers on by whole racks.
      for (size_t n = 0, tried = 0; replicas.size() < static_cast<size_t>(replication_factor); ++n) {
        size_t step = count == 1 ? 0 : 1 + (shift * racks.size() + n) % (count - 1);
        const BrokerRack& candidate = brokers[(first + step) % count];
        // A rack that has a replica comes again only when every rack has one; a broker when every broker has one (never: checked).
        bool rack_free = !racks_used.contains(*candidate.rack) || racks_used.size() == racks.size();
        if (rack_free && !brokers_used.contains(candidate.id)) {
          replicas.push_back(candidate.id);
          racks_used.insert(*candidate.rack);
          brokers_used.insert(candidate.id);
          tried = 0;
        } else if (++tried > 2 * count) {
          // Every free broker stands in a used rack.
          racks_used.clear();
          for (const std::string& rack : racks) racks_used.insert(rack);
          tried = 0;
        }
      }
    }
    assignment.push_back(std::move(replicas));
  }
  return assignment;
}

}  // namespace odradek::controller
