// DescribeLogDirs: the log dirs of this broker, their space, and the size of each replica in them.
#include <map>
#include <set>

#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "protocol/messages/describe_log_dirs.h"
#include "replication/replica_manager.h"
#include "storage/log_manager.h"

namespace odradek::api {

namespace {

using protocol::DescribeLogDirsRequest;
using protocol::DescribeLogDirsResponse;

DescribeLogDirsResponse describe(Services& services, const DescribeLogDirsRequest& asked) {
  std::map<std::string_view, std::set<int32_t>> wanted;
  if (asked.topics) {
    for (const auto& topic : *asked.topics) wanted[topic.topic].insert(topic.partitions.begin(), topic.partitions.end());
  }
  DescribeLogDirsResponse response;
  for (const storage::LogDirDescription& dir : services.logs.describe_dirs()) {
    auto& entry = response.results.emplace_back();
    entry.error_code = wire(dir.error);
    entry.log_dir = dir.path;
    entry.total_bytes = dir.total_bytes;
    entry.usable_bytes = dir.usable_bytes;
    std::map<std::string_view, size_t> places;
    for (const auto& replica : dir.replicas) {
      const TopicPartition& tp = replica.partition;
      if (asked.topics) {
        auto found = wanted.find(tp.topic);
        if (found == wanted.end() || !found->second.contains(tp.partition)) continue;
      }
      auto [place, added] = places.try_emplace(tp.topic, entry.topics.size());
      if (added) entry.topics.emplace_back().name = tp.topic;
      auto& listed = entry.topics[place->second].partitions.emplace_back();
      listed.partition_index = tp.partition;
      listed.partition_size = replica.size_bytes;
      // How far the replica's end is behind the high watermark.
      auto partition = services.replicas.find(tp);
      auto log = partition != nullptr ? partition->log() : nullptr;
      listed.offset_lag = log == nullptr        ? -1
                          : replica.is_future ? log->log_end_offset() - replica.log_end
                                              : std::max<int64_t>(0, partition->high_watermark() - log->log_end_offset());
      listed.is_future_key = replica.is_future;
    }
  }
  return response;
}

}  // namespace

void handle_describe_log_dirs(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<DescribeLogDirsRequest>(request);
  if (!asked) return;
  // It asks the file systems: not on a handler thread.
  services.replicas.control_executor().post([&services, request = std::move(request), asked = std::move(*asked)]() mutable {
    request->finish(describe(services, asked));
  });
}

}  // namespace odradek::api
