// Committed offsets, in the form of each version.
#include <utility>

#include "coordinator/group/gather.h"
#include "coordinator/group/group_coordinator.h"
#include "coordinator/group/group_partitions.h"
#include "coordinator/group/repeat_room.h"
#include "model/repeats.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_delete.h"
#include "protocol/messages/offset_fetch.h"

namespace odradek::coordinator {
namespace {

int16_t code(ErrorCode error) { return static_cast<int16_t>(error); }

}  // namespace

void GroupCoordinator::commit_offsets(protocol::OffsetCommitRequest request, const ClientInfo&, Reply<protocol::OffsetCommitResponse> reply) {
  std::string group_id = request.group_id;
  partitions_->on_shard(group_id, true, [request = std::move(request), reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
    if (shard != nullptr) return shard->commit(std::move(request), std::move(reply));
    protocol::OffsetCommitResponse response;
    for (auto& topic : request.topics) {
      auto& to = response.topics.emplace_back();
      to.name = std::move(topic.name);
      to.topic_id = topic.topic_id;
      for (auto& partition : topic.partitions) {
        auto& result = to.partitions.emplace_back();
        result.partition_index = partition.partition_index;
        result.error_code = code(why);
      }
    }
    reply(std::move(response));
  });
}

void GroupCoordinator::fetch_offsets(protocol::OffsetFetchRequest request, const ClientInfo& client, Reply<protocol::OffsetFetchResponse> reply) {
  using Group = protocol::OffsetFetchResponse::OffsetFetchResponseGroup;
  const int16_t version = client.version;
  if (version < 8) {
    auto& group = request.groups.emplace_back();
    group.group_id = std::move(request.group_id);
    if (request.topics) {
      for (auto& topic : *request.topics) {
        auto& to = group.topics->emplace_back();
        to.name = std::move(topic.name);
        to.partition_indexes = std::move(topic.partition_indexes);
      }
    } else {
      group.topics.reset();
    }
  }
  auto refused = [](std::string group_id, ErrorCode why) {
    Group group;
    group.group_id = std::move(group_id);
    group.error_code = code(why);
    return group;
  };
  auto gather = Gather<Group>::make(request.groups.size(), [version, reply = std::move(reply)](std::vector<Group> groups) mutable {
    protocol::OffsetFetchResponse response;
    if (version >= 8) {
      response.groups = std::move(groups);
      return reply(std::move(response));
    }
    Group& group = groups.front();
    response.error_code = group.error_code;
    for (auto& topic : group.topics) {
      auto& to = response.topics.emplace_back();
      to.name = std::move(topic.name);
      for (auto& partition : topic.partitions) {
        auto& out = to.partitions.emplace_back();
        out.partition_index = partition.partition_index;
        out.committed_offset = partition.committed_offset;
        out.committed_leader_epoch = partition.committed_leader_epoch;
        out.metadata = std::move(partition.metadata);
        out.error_code = partition.error_code;
      }
    }
    reply(std::move(response));
  });
  Repeats<std::string> repeats;
  auto room = std::make_shared<RepeatRoom>();  // shared: by the shards that still have to answer
  for (size_t i = 0; i < request.groups.size(); ++i) {
    // v0, v1 have no place for an error of the whole group: each partition carries it.
    std::vector<std::pair<std::string, std::vector<int32_t>>> asked;
    if (version < 2 && request.groups[i].topics) {
      for (const auto& topic : *request.groups[i].topics) asked.emplace_back(topic.name, topic.partition_indexes);
    }
    auto answer = [gather, i, version, asked = std::move(asked)](Group group) mutable {
      if (version < 2 && group.error_code != 0) {
        group.topics.clear();
        for (auto& [topic, partitions] : asked) {
          auto& to = group.topics.emplace_back();
          to.name = std::move(topic);
          for (int32_t partition : partitions) {
            auto& out = to.partitions.emplace_back();
            out.partition_index = partition;
            out.committed_offset = -1;
            out.error_code = group.error_code;
          }
        }
      }
      gather->set(i, std::move(group));
    };
    std::string group_id = request.groups[i].group_id;
    const size_t times = repeats.count(group_id);
    if (times > repeats.kMost) {
      answer(refused(std::move(group_id), ErrorCode::kInvalidRequest));
      continue;
    }
    partitions_->on_shard(group_id, true,
                    [group = std::move(request.groups[i]), stable = request.require_stable, again = times > 1, room, answer = std::move(answer),
                     refused](GroupShard* shard, ErrorCode why) mutable {
                      if (shard != nullptr) return shard->fetch(std::move(group), stable, again, *room, std::move(answer));
                      answer(refused(std::move(group.group_id), why));
                    });
  }
}

void GroupCoordinator::delete_offsets(protocol::OffsetDeleteRequest request, const ClientInfo&, Reply<protocol::OffsetDeleteResponse> reply) {
  std::string group_id = request.group_id;
  partitions_->on_shard(group_id, false, [request = std::move(request), reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
    if (shard != nullptr) return shard->remove_offsets(std::move(request), std::move(reply));
    protocol::OffsetDeleteResponse response;
    response.error_code = code(why);
    reply(std::move(response));
  });
}

}  // namespace odradek::coordinator
