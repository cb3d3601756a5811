// How a broker enters the tree: base paths, cluster id, its own node. Source: zookeeper.md §1-§3.
// All functions run on the store's callback executor and call `done` there, once. Connection losses are repeated inside.
#pragma once

#include <string>

#include "base/function.h"
#include "base/result.h"
#include "metadata/tree/tree_client.h"
#include "metadata/tree/znode_json.h"

namespace odradek::metadata {

// Makes what is missing of the paths every broker expects.
void create_base_paths(TreeClient tree, UniqueFunction<void(Result<void>)> done);
// Reads /cluster/id; if there is none, writes `wanted` (empty: a random one). The answer is what holds.
void create_or_read_cluster_id(TreeClient tree, std::string wanted, UniqueFunction<void(Result<std::string>)> done);
// An id for a broker with broker.id=-1: reserved_max (reserved.broker.max.id) + the version of /brokers/seqid.
void generate_broker_id(TreeClient tree, int32_t reserved_max, UniqueFunction<void(Result<BrokerId>)> done);
// Writes the broker's ephemeral node; the answer is the broker epoch (czxid). `former_session`: this process's expired session, whose
// node is taken over; 0: none. Errors: kDuplicateBrokerRegistration: another process has this id.
void register_broker(TreeClient tree, BrokerInfo info, int64_t former_session, UniqueFunction<void(Result<int64_t>)> done);

// Tells the controller that log dirs of this broker have failed or have room again. When the session ends meanwhile nobody needs to be
// told: a broker that registers again is asked for everything.
void report_log_dir_event(TreeClient tree, BrokerId broker);

}  // namespace odradek::metadata
