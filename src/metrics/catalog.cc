#include "metrics/catalog.h"

#include <fmt/format.h>

#include <array>

#include "metrics/registry.h"

namespace odradek::metrics {
namespace {

constexpr std::array kCatalog = {
    // topics
    &kMessagesIn, &kBytesIn, &kBytesOut, &kBytesRejected, &kTotalProduceRequests, &kFailedProduceRequests, &kTotalFetchRequests,
    &kFailedFetchRequests, &kProduceMessageConversions, &kFetchMessageConversions, &kReplicationBytesOut, &kReplicationBytesIn, &kInvalidCrcRecords,
    &kInvalidOffsetOrSequenceRecords,
    // replication
    &kLeaderCount, &kPartitionCount, &kOfflineReplicaCount, &kUnderReplicatedPartitions, &kUnderMinIsrPartitionCount,
    &kAtMinIsrPartitionCount, &kIsrShrinks, &kIsrExpands, &kPurgatorySize, &kFetcherMaxLag, &kFetcherMinFetchRate, &kFetcherFailedPartitions, &kFetcherDeadThreads, &kFetcherLag, &kFetcherState,
    &kLeaderReplicationRate, &kFollowerReplicationRate, &kAlterLogDirsReplicationRate,
    &kFetchSessions, &kFetchSessionPartitions,
    &kFetchSessionEvictions, &kPartitionUnderReplicated,
    // controller
    &kActiveControllerCount, &kOfflinePartitionsCount, &kPreferredReplicaImbalanceCount, &kGlobalTopicCount, &kGlobalPartitionCount,
    &kTopicsToDeleteCount, &kActiveBrokerCount, &kControllerState, &kControllerEventQueueSize, &kControllerEventQueueTime,
    &kControllerTotalQueueSize, &kControllerQueueSize, &kLeaderElectionTime, &kControllerChangeTime, &kTopicChangeTime, &kTopicDeletionTime, &kAlterPartitionReassignmentTime, &kAutoLeaderBalanceTime, &kManualLeaderBalanceTime, &kControlledShutdownTime, &kIsrChangeTime, &kLeaderAndIsrResponseReceivedTime, &kLogDirChangeTime, &kControllerShutdownTime, &kUncleanLeaderElections,
    // requests
    &kRequests, &kRequestTotalTime, &kRequestQueueTime, &kRequestLocalTime, &kRequestRemoteTime, &kRequestThrottleTime,
    &kResponseQueueTime, &kResponseSendTime, &kRequestBytes, &kRequestQueueSize, &kResponseQueueSize, &kHandlerIdle,
    // network
    &kNetworkIdle, &kMemoryPoolAvailable, &kMemoryPoolUsed, &kConnectionCount, &kConnectionsCreated,
    &kConnectionsRefused, &kAcceptorBlocked,
    // log
    &kLogSize, &kLogEndOffset, &kLogStartOffset, &kLogSegments, &kLogFlushTime, &kLogFlushes, &kLogUnflushedMessages, &kLogFlushDebt,
    &kLogDirFlushTime, &kHeldProduces, &kLogDirectoryFull, &kLogDirectoryReserve, &kColdReadBytes, &kColdReadDroppedBytes, &kScrubbedBytes, &kScrubCorruptSegments, &kOfflineLogDirectoryCount, &kLogDirectoryOffline, &kRemainingLogsToRecover,
    &kUncleanablePartitions, &kUncleanableBytes, &kCleanerMaxDirtyPercent, &kCleanerTimeSinceLastRun, &kCleanerBufferUtilization,
    &kCleanerRecopyPercent, &kCleanerMaxTime, &kCleanerMaxCompactionDelay, &kCleanerDeadThreads, &kCleanerFailures, &kCleanerBytesRead,
    &kCleanerBytesWritten, &kCleanerRecordsRemoved,
    // groups
    &kNumGroups, &kNumGroupsPreparingRebalance, &kNumGroupsCompletingRebalance, &kNumGroupsStable, &kNumGroupsEmpty, &kNumGroupsDead,
    &kNumOffsets, &kOffsetCommits, &kOffsetExpirations, &kGroupRebalances,
    // broker and process
    &kBrokerState, &kSessionState, &kSessionConnects, &kSessionDisconnects, &kSessionExpires, &kBuildInfo, &kProcessCpu, &kProcessResidentMemory, &kProcessVirtualMemory, &kProcessThreads, &kProcessOpenFds,
    &kProcessMaxFds, &kProcessStartTime,
    // odradek mirror
    &kMirrorActive, &kMirrorTopics, &kMirrorRecords, &kMirrorBytes, &kMirrorRebuilt, &kMirrorLag, &kMirrorRuns, &kMirrorPartitionState,
    &kMirrorDelay, &kMirrorFetchedBytes, &kMirrorBufferedBytes, &kMirrorMissedRecords, &kMirrorSourceCuts, &kMirrorGroupOffsets,
};

std::string_view word_for(Kind kind) {
  switch (kind) {
    case Kind::kCounter: return "counter";
    case Kind::kGauge:
    case Kind::kUntyped: return "gauge";
    case Kind::kHistogram: return "summary";
  }
  return "";
}

}  // namespace

std::span<const MetricDef* const> catalog() { return kCatalog; }

std::string reference_markdown() {
  std::string out =
      "# Metrics\n\n"
      "Printed from `src/metrics/catalog.h` by `odradek-server --print-metrics-reference`; a test compares.\n\n"
      "`http://<metrics.listener>/metrics` (default 127.0.0.1:9644) answers in Prometheus' text format. A metric that Kafka has too is named as by the usual "
      "rules of the JMX exporter, so that dashboards made for Kafka show it. Metrics with the label `topic` have one more sample without it, for all topics, "
      "as there; in sums, leave one of the two out with `topic=\"\"` or `topic!=\"\"`. A summary has the quantiles 0.50, 0.75, 0.95, 0.98, 0.99 and 0.999 of the last one "
      "to two minutes (NaN: nothing happened), and `_sum` and `_count` since the start. A metric appears once something has been counted.\n\n"
      "| metric | labels | kind | unit | what it is | Kafka's MBean |\n| --- | --- | --- | --- | --- | --- |\n";
  for (const MetricDef* def : kCatalog) {
    std::string labels;
    for (char c : def->labels) labels += c == ',' ? std::string(", ") : std::string(1, c);
    out += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", def->name, labels, word_for(def->kind), def->unit, def->help,
                       def->mbean.empty() ? std::string() : fmt::format("`{}`", def->mbean));
  }
  return out;
}

}  // namespace odradek::metrics
