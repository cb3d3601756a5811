// Where things stand in the tree, and how names stand in its paths. Source: zookeeper.md §2.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "model/types.h"

namespace odradek::metadata {

// Percent-encoding of everything but A-Z a-z 0-9 . - _ (zookeeper.md §7).
std::string sanitise(std::string_view name);
std::string desanitise(std::string_view text);

}  // namespace odradek::metadata

namespace odradek::metadata::paths {

inline constexpr const char* kClusterId = "/cluster/id";
inline constexpr const char* kBrokerIds = "/brokers/ids";
inline constexpr const char* kBrokerSeqId = "/brokers/seqid";
inline constexpr const char* kTopics = "/brokers/topics";
inline constexpr const char* kController = "/controller";
inline constexpr const char* kControllerEpoch = "/controller_epoch";
inline constexpr const char* kConfig = "/config";
inline constexpr const char* kConfigChanges = "/config/changes";
inline constexpr const char* kConfigChangePrefix = "/config/changes/config_change_";
// Keys of our own, in the same form as /config.
inline constexpr const char* kOwnConfig = "/odradek/config";
inline constexpr const char* kDeleteTopics = "/admin/delete_topics";
inline constexpr const char* kReassignPartitions = "/admin/reassign_partitions";
inline constexpr const char* kPreferredElection = "/admin/preferred_replica_election";
inline constexpr const char* kIsrChanges = "/isr_change_notification";
inline constexpr const char* kLogDirEvents = "/log_dir_event_notification";
inline constexpr const char* kLogDirEventPrefix = "/log_dir_event_notification/log_dir_event_";
inline constexpr const char* kProducerIdBlock = "/latest_producer_id_block";
inline constexpr const char* kFeature = "/feature";

inline std::string child(std::string_view parent, std::string_view name) { return std::string(parent) + "/" + std::string(name); }
inline std::string broker(BrokerId id) { return child(kBrokerIds, std::to_string(id.value)); }
inline std::string topic(std::string_view name) { return child(kTopics, name); }
inline std::string partitions(std::string_view topic_name) { return topic(topic_name) + "/partitions"; }
inline std::string partition(std::string_view topic_name, int32_t index) { return partitions(topic_name) + "/" + std::to_string(index); }
inline std::string partition_state(std::string_view topic_name, int32_t index) { return partition(topic_name, index) + "/state"; }
inline std::string topic_config(std::string_view name) { return child("/config/topics", name); }
inline std::string own_topic_config(std::string_view name) { return child("/odradek/config/topics", name); }
inline std::string delete_topic(std::string_view name) { return child(kDeleteTopics, name); }
// The number of a sequential node; -1: it has none.
int64_t sequence_number(std::string_view name);

}  // namespace odradek::metadata::paths
