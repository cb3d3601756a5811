// The data of Kafka's nodes, both ways. Readers take every version and ignore keys they do not know; writers write what a 3.9 broker
// writes. Errors: kUnknownServerError with what is wrong. Source: zookeeper.md §2-§7. JSON is parsed in znode_json.cc alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "metadata/image/image.h"
#include "model/types.h"

namespace odradek::metadata {

// /cluster/id
Bytes encode_cluster_id(const std::string& id);
Result<std::string> decode_cluster_id(ByteView data);

// /brokers/ids/<id>, version 5: what a broker says about itself.
struct BrokerInfo {
  BrokerId id = kNoBroker;
  std::vector<Endpoint> endpoints;  // advertised
  std::optional<std::string> rack;
  int32_t jmx_port = -1;
};
Bytes encode_broker(const BrokerInfo& broker, int64_t timestamp_ms);
Result<BrokerInfo> decode_broker(BrokerId id, ByteView data);

// /controller
struct ControllerNode {
  BrokerId broker = kNoBroker;
  int64_t timestamp_ms = 0;
  int32_t kraft_epoch = -1;  // > 0: a migration to KRaft owns the cluster
};
Bytes encode_controller(const ControllerNode& node);
Result<ControllerNode> decode_controller(ByteView data);

// /controller_epoch: decimal text.
Bytes encode_controller_epoch(int32_t epoch);
Result<int32_t> decode_controller_epoch(ByteView data);

// /brokers/topics/<topic>, version 3.
struct TopicNode {
  std::optional<Uuid> id;  // nullopt: written before topics had ids
  std::map<int32_t, std::vector<BrokerId>> partitions;
  std::map<int32_t, std::vector<BrokerId>> adding;    // only partitions under reassignment
  std::map<int32_t, std::vector<BrokerId>> removing;
  friend bool operator==(const TopicNode&, const TopicNode&) = default;
};
Bytes encode_topic(const TopicNode& topic);
Result<TopicNode> decode_topic(ByteView data);

// /brokers/topics/<topic>/partitions/<n>/state. The partition epoch is the node's version and not in here.
struct PartitionStateNode {
  int32_t controller_epoch = 0;
  BrokerId leader = kNoBroker;
  LeaderEpoch leader_epoch;
  std::vector<BrokerId> isr;
  bool recovering = false;
  friend bool operator==(const PartitionStateNode&, const PartitionStateNode&) = default;
};
Bytes encode_partition_state(const PartitionStateNode& state);
Result<PartitionStateNode> decode_partition_state(ByteView data);

// /config/<entity>. Null data (the node of a user with client quotas only) is an empty set.
Bytes encode_config(const std::map<std::string, std::string, std::less<>>& properties);
Result<std::map<std::string, std::string, std::less<>>> decode_config(ByteView data);

// /config/changes/config_change_<n>: the entity's path ("topics/a").
Bytes encode_config_change(const std::string& entity_path);
Result<std::string> decode_config_change(ByteView data);

// /latest_producer_id_block; nullopt: no block was given yet.
struct ProducerIdBlock {
  BrokerId broker = kNoBroker;
  int64_t first = 0;
  int64_t last = 0;  // included
  friend bool operator==(const ProducerIdBlock&, const ProducerIdBlock&) = default;
};
Bytes encode_producer_id_block(const ProducerIdBlock& block);
Result<std::optional<ProducerIdBlock>> decode_producer_id_block(ByteView data);

// /kafka-acl/<Type>/<name>: one entry each of what is allowed or denied.
struct AclEntry {
  std::string principal, permission, host, operation;  // "User:a", "Allow", "*", "Read"
};
Bytes encode_acls(const std::vector<AclEntry>& entries);

// /delegation_token/tokens/<id>; principals as "User:a".
struct TokenNode {
  std::string id, owner, requester;
  std::vector<std::string> renewers;
  int64_t issued_ms = 0, expires_ms = 0, max_ms = 0;
};
Bytes encode_token(const TokenNode& token);

// /feature: the finalised features, none in this mode.
Bytes encode_feature();

// /log_dir_event_notification/log_dir_event_<n>: the broker whose log dir failed.
Bytes encode_log_dir_event(BrokerId broker);
Result<BrokerId> decode_log_dir_event(ByteView data);

// /admin/preferred_replica_election and /isr_change_notification/isr_change_<n>
Result<std::vector<TopicPartition>> decode_partition_list(ByteView data);

// /admin/reassign_partitions
struct WantedReplicas {
  TopicPartition tp;
  std::vector<BrokerId> replicas;
};
Bytes encode_reassignment(const std::vector<WantedReplicas>& wanted);
Result<std::vector<WantedReplicas>> decode_reassignment(ByteView data);

}  // namespace odradek::metadata
