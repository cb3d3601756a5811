// Who leads a partition, as pure functions: a record and who is online in, the new leader and ISR out. Source: interbroker.md §5, §9,
// §11, §12; zookeeper.md §5.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "controller/state.h"

namespace odradek::controller {

struct Leadership {
  BrokerId leader = kNoBroker;
  std::vector<BrokerId> isr;
  bool recovering = false;
  friend bool operator==(const Leadership&, const Leadership&) = default;
};
using Online = std::function<bool(BrokerId)>;

Leadership leadership_of(const PartitionRecord& partition);

// Whether its leader is one of its replicas, and online.
bool is_led(const PartitionRecord& partition, const Online& online);
// What is wrong with a state as no controller of today writes it, but an operator or an older program may have; nullopt: nothing. Such
// states are mended by elect_among_online() (Kafka 3.9 obeys them: a partition with a leader that is none of its replicas is led by nobody).
std::optional<std::string> flaw_of(const PartitionRecord& partition);
// A partition without a state: the first live replica leads, all live ones are in sync. Nullopt: none is live.
std::optional<Leadership> elect_first(const PartitionRecord& partition, const Online& online);
// What holds when only `online` replicas count: offline ones leave the ISR (its last member stays), a leader that is not online is
// replaced by the first replica in assignment order that is online and in sync; else, if `unclean`, by the first one online, which
// then recovers; else by nobody. Equal to leadership_of(): nothing to do.
// A broker that is none of the replicas counts neither as leader nor in the ISR. If nobody else is in the ISR, the leader is, for it has what
// it has acknowledged, and so is a replica that is the only one; else no replica is known to have everything.
Leadership elect_among_online(const PartitionRecord& partition, const Online& online, bool unclean);
// Whether `next` has a new leader that was not in sync: what it did not have is lost.
bool is_unclean(const PartitionRecord& before, const Leadership& next);
// The first replica, if it is online and in sync and does not lead already.
std::optional<Leadership> elect_preferred(const PartitionRecord& partition, const Online& online);
// The first of `targets` that is online and in sync. The ISR stays.
std::optional<Leadership> elect_for_reassignment(const PartitionRecord& partition, const std::vector<BrokerId>& targets, const Online& online);

// What an administrator reads about a refused election or reassignment.
std::string explain(ErrorCode error);
// `targets` nullopt: the running one was to be given up. `replicas`: of the partition now.
std::string explain_reassignment(ErrorCode error, const TopicPartition& tp, const std::optional<std::vector<BrokerId>>& targets,
                                 const std::vector<BrokerId>& replicas, const std::vector<BrokerId>& live);

}  // namespace odradek::controller
