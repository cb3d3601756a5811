// AlterReplicaLogDirs: replicas of this broker move to other log dirs, or are to be created there.
#include <algorithm>
#include <iterator>

#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "protocol/messages/alter_replica_log_dirs.h"
#include "replication/replica_manager.h"

namespace odradek::api {

namespace {

using protocol::AlterReplicaLogDirsRequest;
using protocol::AlterReplicaLogDirsResponse;

AlterReplicaLogDirsResponse alter(Services& services, const AlterReplicaLogDirsRequest& asked) {
  AlterReplicaLogDirsResponse response;
  for (const auto& dir : asked.dirs) {
    for (const auto& topic : dir.topics) {
      auto entry = std::find_if(response.results.begin(), response.results.end(), [&](const auto& known) { return known.topic_name == topic.name; });
      if (entry == response.results.end()) {
        response.results.emplace_back().topic_name = topic.name;
        entry = std::prev(response.results.end());
      }
      for (int32_t partition : topic.partitions) {
        auto& result = entry->partitions.emplace_back();
        result.partition_index = partition;
        result.error_code = wire(services.replicas.alter_log_dir({std::string(topic.name), partition}, std::string(dir.path)));
      }
    }
  }
  return response;
}

}  // namespace

void handle_alter_replica_log_dirs(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<AlterReplicaLogDirsRequest>(request);
  if (!asked) return;
  // It makes folders: not on a handler thread.
  services.replicas.control_executor().post([&services, request = std::move(request), asked = std::move(*asked)]() mutable {
    request->finish(alter(services, asked));
  });
}

}  // namespace odradek::api
