#include "mirror/groups.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/list_groups.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"

namespace odradek::mirror {

using namespace protocol;  // NOLINT: nearly all names here are messages

namespace {
constexpr int16_t kLastWithNames = 9;  // later versions of OffsetCommit and OffsetFetch name topics by id

client::Target coordinator(const std::string& group) { return client::TheCoordinator{client::CoordinatorType::kGroup, group}; }
ErrorCode code_of(int16_t code) { return static_cast<ErrorCode>(code); }

// The group may have moved: the next round looks for its coordinator again.
tl::unexpected<Error> refused(client::Cluster& cluster, const std::string& group, Error why) {
  cluster.forget_coordinator(client::CoordinatorType::kGroup, group);
  why.what += " (" + std::string(name_of(why.code)) + ")";
  return fail(std::move(why));
}
}  // namespace

GroupCommits commits_to_write(const GroupCommits& source, const GroupCommits& target, const GroupCommits& written,
                              const std::function<std::optional<Offset>(const TopicPartition&, Offset)>& translate) {
  GroupCommits result;
  for (const auto& [partition, commit] : source) {
    auto offset = translate(partition, commit.offset);
    if (!offset) continue;
    auto there = target.find(partition);
    if (there != target.end()) {
      if (there->second.offset == *offset) continue;
      auto ours = written.find(partition);
      bool untouched = ours != written.end() && ours->second.offset == there->second.offset;
      if (there->second.offset > *offset && !untouched) continue;
    }
    result[partition] = {*offset, commit.metadata};
  }
  return result;
}

Result<std::vector<std::string>> Groups::list() {
  if (auto metadata = source_.metadata(std::vector<std::string>{}); !metadata) return fail(std::move(metadata.error()));
  std::set<std::string> names;
  auto brokers = source_.brokers();
  for (const auto& [id, broker] : brokers) {
    auto answer = source_.ask<ListGroupsResponse>(client::TheBroker{id}, ListGroupsRequest{}, [](const auto& response) { return code_of(response.error_code); });
    if (!answer) return fail(std::move(answer.error()));
    if (answer->message.error_code != 0) return fail(code_of(answer->message.error_code), "groups of broker " + std::to_string(id.value));
    for (const auto& group : answer->message.groups) {
      bool consumers = group.protocol_type == "consumer" || group.protocol_type.empty();
      if (consumers && options_.groups.allows(group.group_id)) names.insert(group.group_id);
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

Result<GroupCommits> Groups::commits(client::Cluster& cluster, const std::string& group) {
  OffsetFetchRequest request;
  request.group_id = group;  // up to v7
  request.topics.reset();
  auto& asked = request.groups.emplace_back();
  asked.group_id = group;
  asked.topics.reset();
  auto connection = cluster.hold(coordinator(group));
  auto answer = connection ? (*connection)->ask<OffsetFetchResponse>(request, kLastWithNames) : Result<client::Answer<OffsetFetchResponse>>(fail(connection.error()));
  if (!answer) return refused(cluster, group, std::move(answer.error()));
  GroupCommits found;
  auto take = [&](const auto& topics) {
    for (const auto& topic : topics) {
      for (const auto& partition : topic.partitions) {
        if (partition.error_code == 0 && partition.committed_offset >= 0) {
          found[{topic.name, partition.partition_index}] = {{partition.committed_offset}, partition.metadata.value_or("")};
        }
      }
    }
  };
  int16_t code = answer->message.error_code;
  if (answer->version >= 8) {
    for (const auto& each : answer->message.groups) {
      code = each.error_code;
      take(each.topics);
    }
  } else {
    take(answer->message.topics);
  }
  if (code != 0 && code_of(code) != ErrorCode::kGroupIdNotFound) return refused(cluster, group, {code_of(code), "offsets of group " + group});
  return found;
}

Result<bool> Groups::in_use(const std::string& group) {
  DescribeGroupsRequest request;
  request.groups = {group};
  auto answer = target_.ask<DescribeGroupsResponse>(coordinator(group), request, [](const DescribeGroupsResponse& response) {
    return response.groups.empty() ? ErrorCode::kNone : code_of(response.groups[0].error_code);
  });
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.groups.size() != 1) return true;
  const auto& described = answer->message.groups[0];
  if (code_of(described.error_code) == ErrorCode::kGroupIdNotFound) return false;
  if (described.error_code != 0) return fail(code_of(described.error_code), "group " + group);
  return described.group_state != "Empty" && described.group_state != "Dead";
}

Result<void> Groups::commit(const std::string& group, const GroupCommits& commits) {
  OffsetCommitRequest request;
  request.group_id = group;
  for (const auto& [partition, commit] : commits) {
    if (request.topics.empty() || request.topics.back().name != partition.topic) request.topics.emplace_back().name = partition.topic;
    auto& to = request.topics.back().partitions.emplace_back();
    to.partition_index = partition.partition;
    to.committed_offset = commit.offset.value;
    to.committed_metadata = commit.metadata;
  }
  auto connection = target_.hold(coordinator(group));
  auto answer = connection ? (*connection)->ask<OffsetCommitResponse>(request, kLastWithNames) : Result<client::Answer<OffsetCommitResponse>>(fail(connection.error()));
  if (!answer) return refused(target_, group, std::move(answer.error()));
  for (const auto& topic : answer->message.topics) {
    for (const auto& partition : topic.partitions) {
      if (partition.error_code != 0) return refused(target_, group, {code_of(partition.error_code), "commit of group " + group + " for " + topic.name});
    }
  }
  return {};
}

Result<int64_t> Groups::sync(const Translate& translate) {
  auto names = list();
  if (!names) return fail(std::move(names.error()));
  int64_t count = 0;
  Result<void> result;
  for (const std::string& group : *names) {
    auto one = [&]() -> Result<void> {
      auto source = commits(source_, group);
      if (!source) return fail(std::move(source.error()));
      if (source->empty()) return {};
      auto used = in_use(group);
      if (!used) return fail(std::move(used.error()));
      if (*used) return {};
      auto target = commits(target_, group);
      if (!target) return fail(std::move(target.error()));
      auto wanted = commits_to_write(*source, *target, written_[group], translate);
      if (wanted.empty()) return {};
      if (auto done = commit(group, wanted); !done) return done;
      for (const auto& [partition, each] : wanted) written_[group][partition] = each;
      count += static_cast<int64_t>(wanted.size());
      return {};
    };
    if (auto done = one(); !done) {
      log::warn("mirror", "group {}: {}", group, done.error().what);
      result = std::move(done);
    }
  }
  if (!result) return fail(std::move(result.error()));
  return count;
}

}  // namespace odradek::mirror
