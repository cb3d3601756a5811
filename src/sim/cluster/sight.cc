// What is seen of the cluster in its log lines. A line that is worded anew is not counted any more, and the test says that its event never happened.
#include <utility>

#include "sim/cluster/events.h"

namespace odradek::sim {

void count_log_line(Events& events, std::string_view logger, std::string_view line) {
  struct Sign {
    std::string_view logger, text;
    Event event;
  };
  static constexpr Sign kSigns[] = {
      {"replication", ": fetching, was starting", Event::kStartingFetching},
      {"replication", ": delayed, was fetching", Event::kFetchingDelayed},
      {"replication", ": asking, was fetching", Event::kFetchingAsking},
      {"replication", ": throttled, was fetching", Event::kFetchingThrottled},
      {"replication", ": failed, was fetching", Event::kFetchingFailed},
      {"replication", ": fetching, was delayed", Event::kDelayedFetching},
      {"replication", ": fetching, was asking", Event::kAskingFetching},
      {"replication", ": fetching, was throttled", Event::kThrottledFetching},
      {"replication", "fetches are pipelined", Event::kLanePipelined},
      {"replication", "one at a time, its leader", Event::kLaneOrdinary},
      {"replication", "one at a time, as replica.fetch", Event::kLaneOneByOne},
      {"replication", "diverges from its leader", Event::kLaneCut},
      {"replication", "everything is dropped", Event::kLaneRestarted},
      {"controller", " came, epoch ", Event::kBrokerCame},
      {"controller", " is gone", Event::kBrokerWent},
      {"controller", " replicas are offline", Event::kReplicasOffline},
      {"controller", " replicas are online again", Event::kReplicasOnline},
      {"controller", " is to be deleted", Event::kDeletionBegun},
      {"controller", " could not delete ", Event::kDeletionRefused},
      {"controller", " is deleted", Event::kDeletionDone},
      {"controller", " go back to their preferred leaders", Event::kLeadersGoHome},
      {"storage", " goes offline: ", Event::kDirOffline},
      {"storage", " is full, records of clients are refused", Event::kDirFull},
      {"storage", " has room again", Event::kDirHasRoom},
  };
  if (logger == "replication" && line.ends_with("; trying again") && line.starts_with("fetcher ") && line.find(" at offset ") == std::string_view::npos) {
    return events.count(Event::kLanePaused);
  }
  for (const Sign& sign : kSigns) {
    if (logger == sign.logger && line.find(sign.text) != std::string_view::npos) return events.count(sign.event);
  }
}

}  // namespace odradek::sim
