#include "api/table.h"

#include <algorithm>
#include <array>

#include "api/cluster/handlers.h"
#include "api/configs/handlers.h"
#include "api/data/handlers.h"
#include "api/groups/handlers.h"
#include "api/topics/handlers.h"

namespace odradek::api {

namespace {

using protocol::ApiKey;

constexpr std::array kServed = {
    Api{ApiKey::kProduce, 0, 11, handle_produce},
    Api{ApiKey::kFetch, 0, 17, handle_fetch},
    Api{ApiKey::kListOffsets, 0, 9, handle_list_offsets},
    Api{ApiKey::kMetadata, 0, 12, handle_metadata},
    Api{ApiKey::kLeaderAndIsr, 0, 7, handle_leader_and_isr},
    Api{ApiKey::kStopReplica, 0, 4, handle_stop_replica},
    Api{ApiKey::kUpdateMetadata, 0, 8, handle_update_metadata},
    Api{ApiKey::kControlledShutdown, 0, 3, handle_controlled_shutdown},
    Api{ApiKey::kOffsetCommit, 0, 9, handle_offset_commit},
    Api{ApiKey::kOffsetFetch, 0, 9, handle_offset_fetch},
    Api{ApiKey::kFindCoordinator, 0, 6, handle_find_coordinator},
    Api{ApiKey::kJoinGroup, 0, 9, handle_join_group},
    Api{ApiKey::kHeartbeat, 0, 4, handle_heartbeat},
    Api{ApiKey::kLeaveGroup, 0, 5, handle_leave_group},
    Api{ApiKey::kSyncGroup, 0, 5, handle_sync_group},
    Api{ApiKey::kDescribeGroups, 0, 5, handle_describe_groups},
    Api{ApiKey::kListGroups, 0, 5, handle_list_groups},
    Api{ApiKey::kSaslHandshake, 0, 1, handle_sasl_handshake},
    Api{ApiKey::kApiVersions, 0, 4, handle_api_versions},
    Api{ApiKey::kCreateTopics, 0, 7, handle_create_topics},
    Api{ApiKey::kDeleteTopics, 0, 6, handle_delete_topics},
    Api{ApiKey::kDeleteRecords, 0, 2, handle_delete_records},
    Api{ApiKey::kInitProducerId, 0, 5, handle_init_producer_id},
    Api{ApiKey::kOffsetForLeaderEpoch, 0, 4, handle_offset_for_leader_epoch},
    Api{ApiKey::kDescribeAcls, 0, 3, handle_describe_acls},
    Api{ApiKey::kCreateAcls, 0, 3, handle_create_acls},
    Api{ApiKey::kDeleteAcls, 0, 3, handle_delete_acls},
    Api{ApiKey::kDescribeConfigs, 0, 4, handle_describe_configs},
    Api{ApiKey::kAlterConfigs, 0, 2, handle_alter_configs},
    Api{ApiKey::kAlterReplicaLogDirs, 0, 2, handle_alter_replica_log_dirs},
    Api{ApiKey::kDescribeLogDirs, 0, 4, handle_describe_log_dirs},
    Api{ApiKey::kSaslAuthenticate, 0, 2, handle_sasl_authenticate},
    Api{ApiKey::kCreatePartitions, 0, 3, handle_create_partitions},
    Api{ApiKey::kDeleteGroups, 0, 2, handle_delete_groups},
    Api{ApiKey::kElectLeaders, 0, 2, handle_elect_leaders},
    Api{ApiKey::kIncrementalAlterConfigs, 0, 1, handle_incremental_alter_configs},
    Api{ApiKey::kAlterPartitionReassignments, 0, 0, handle_alter_partition_reassignments},
    Api{ApiKey::kListPartitionReassignments, 0, 0, handle_list_partition_reassignments},
    Api{ApiKey::kOffsetDelete, 0, 0, handle_offset_delete},
    Api{ApiKey::kAlterPartition, 0, 3, handle_alter_partition},
    Api{ApiKey::kDescribeCluster, 0, 1, handle_describe_cluster},
    Api{ApiKey::kDescribeProducers, 0, 0, handle_describe_producers},
    Api{ApiKey::kAllocateProducerIds, 0, 0, handle_allocate_producer_ids},
};

constexpr size_t kKeys = 128;

// Places in kServed by key; 0xff: none.
constexpr std::array<uint8_t, kKeys> kPlaces = [] {
  std::array<uint8_t, kKeys> places{};
  places.fill(0xff);
  for (size_t i = 0; i < kServed.size(); ++i) places[static_cast<size_t>(kServed[i].key)] = static_cast<uint8_t>(i);
  return places;
}();

static_assert(std::is_sorted(kServed.begin(), kServed.end(), [](const Api& a, const Api& b) { return a.key < b.key; }));

}  // namespace

std::span<const Api> served_apis() { return kServed; }

const Api* find_served(protocol::ApiKey key) {
  const auto index = static_cast<size_t>(static_cast<uint16_t>(key));
  return index < kKeys && kPlaces[index] != 0xff ? &kServed[kPlaces[index]] : nullptr;
}

}  // namespace odradek::api
