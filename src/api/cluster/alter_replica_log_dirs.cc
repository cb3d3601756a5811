// AlterReplicaLogDirs: replicas of this broker move to other log dirs, or are to be created there.
#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "base/string_map.h"
#include "protocol/messages/alter_replica_log_dirs.h"
#include "replication/replica_manager.h"

namespace odradek::api {

namespace {

using protocol::AlterReplicaLogDirsRequest;
using protocol::AlterReplicaLogDirsResponse;

AlterReplicaLogDirsResponse alter(Services& services, const AlterReplicaLogDirsRequest& asked) {
  AlterReplicaLogDirsResponse response;
  base::StringMap<size_t> places;  // of the topics in the answer
  for (const auto& dir : asked.dirs) {
    for (const auto& topic : dir.topics) {
      const auto [place, is_new] = places.try_emplace(topic.name, response.results.size());
      if (is_new) response.results.emplace_back().topic_name = topic.name;
      auto& entry = response.results[place->second];
      for (int32_t partition : topic.partitions) {
        auto& result = entry.partitions.emplace_back();
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
