// Groups and offsets that go: asked for, with their topics, with time.
#include <algorithm>
#include <set>

#include "base/log.h"
#include "coordinator/group/group_records.h"
#include "coordinator/group/group_shard.h"

namespace odradek::coordinator {

namespace {

constexpr size_t kRemovalBatchBytes = 256 * 1024;  // far below any sensible max.message.bytes
constexpr size_t kExpiryStep = 256;                // groups looked at in one turn of the strand

}  // namespace

void GroupShard::remove_group(std::string_view group_id, Reply<ErrorCode> reply) {
  Entry* entry = find(group_id);
  if (entry == nullptr) return reply(ErrorCode::kGroupIdNotFound);
  if (entry->group.state() != GroupState::kEmpty) return reply(ErrorCode::kNonEmptyGroup);
  std::vector<TopicPartition> all;
  for (const auto& [topic, partitions] : entry->offsets.topics()) {
    for (const auto& [partition, offset] : partitions) all.push_back({topic, partition});
  }
  auto appended = append_removals(*entry, all, true);
  if (!appended) return reply(commit_error_for_client(appended.error().code));
  forget(group_id);
  log_->send_after(*appended, [reply = std::move(reply)](ErrorCode lost) mutable { reply(lost); });
}

void GroupShard::remove_offsets(protocol::OffsetDeleteRequest request, Reply<protocol::OffsetDeleteResponse> reply) {
  protocol::OffsetDeleteResponse response;
  Entry* entry = find(request.group_id);
  if (entry == nullptr) {
    response.error_code = static_cast<int16_t>(ErrorCode::kGroupIdNotFound);
    return reply(std::move(response));
  }
  const bool empty = entry->group.state() == GroupState::kEmpty;
  if (!empty && entry->group.protocol_type() != "consumer") {
    response.error_code = static_cast<int16_t>(ErrorCode::kNonEmptyGroup);
    return reply(std::move(response));
  }
  std::set<TopicPartition> removed;  // each once, however often it is named
  bool any = false;
  for (auto& topic : request.topics) {
    auto& to = response.topics.emplace_back();
    const bool subscribed = !empty && entry->group.is_subscribed_to(topic.name);
    for (auto& partition : topic.partitions) {
      auto& result = to.partitions.emplace_back();
      result.partition_index = partition.partition_index;
      if (subscribed) {
        result.error_code = static_cast<int16_t>(ErrorCode::kGroupSubscribedToTopic);
        continue;
      }
      any = true;
      if (entry->offsets.find(topic.name, partition.partition_index) != nullptr) removed.insert({topic.name, partition.partition_index});
    }
    to.name = std::move(topic.name);
  }
  auto appended = append_removals(*entry, {removed.begin(), removed.end()}, false);
  auto fail_all = [](protocol::OffsetDeleteResponse& to, ErrorCode error) {
    to.topics.clear();
    to.error_code = static_cast<int16_t>(error);
  };
  if (!appended) {
    fail_all(response, commit_error_for_client(appended.error().code));
    return reply(std::move(response));
  }
  const uint64_t stands_on = std::max(*appended, entry->last_append);
  log_->send_after(std::max(stands_on, any ? settle_removal(*entry) : 0), [reply = std::move(reply), response = std::move(response), fail_all](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) fail_all(response, lost);
    reply(std::move(response));
  });
}

void GroupShard::remove_partitions(const std::vector<TopicPartition>& partitions) {
  std::vector<std::string> ids;
  for (const auto& [id, entry] : groups_) ids.push_back(id);
  for (const std::string& id : ids) {
    Entry& entry = *find(id);
    std::vector<TopicPartition> known;
    for (const TopicPartition& tp : partitions) {
      if (entry.offsets.find(tp.topic, tp.partition) != nullptr) known.push_back(tp);
    }
    if (known.empty()) continue;
    if (auto appended = append_removals(entry, known, false); !appended) {
      log::warn("group", "{}: offsets of deleted topics stay in group {}: {}", tp_.to_string(), id, appended.error().what);
    }
    settle_removal(entry);
  }
}

void GroupShard::expire_offsets() {
  auto ids = std::make_shared<std::vector<std::string>>();
  ids->reserve(groups_.size());
  for (const auto& [id, entry] : groups_) ids->push_back(id);
  expire_some(std::move(ids), 0);
}

void GroupShard::expire_some(std::shared_ptr<std::vector<std::string>> ids, size_t from) {
  if (dead_) return;
  const size_t end = std::min(ids->size(), from + kExpiryStep);
  for (size_t i = from; i < end; ++i) {
    Entry* entry = find((*ids)[i]);
    if (entry == nullptr) continue;
    auto expired = entry->offsets.expired(entry->group, now().wall_ms, config_.offsets_retention_ms);
    const bool whole = entry->group.has_nobody() && expired.size() == entry->offsets.size() && !entry->offsets.has_pending();
    if (expired.empty() && !whole) continue;
    auto appended = append_removals(*entry, expired, whole);
    if (!appended) {
      log::warn("group", "{}: expired offsets of group {} stay: {}", tp_.to_string(), (*ids)[i], appended.error().what);
      continue;
    }
    log::debug("group", "{}: {} offsets of group {} expired{}", tp_.to_string(), expired.size(), (*ids)[i], whole ? ", and the group" : "");
    counts_.expirations.fetch_add(expired.size(), std::memory_order_relaxed);
    count(*entry);
    if (whole) forget((*ids)[i]);
  }
  if (end == ids->size()) return;
  strand_->post([weak = weak_from_this(), ids = std::move(ids), end]() mutable {
    if (auto self = weak.lock()) self->expire_some(std::move(ids), end);
  });
}

uint64_t GroupShard::settle_removal(Entry& entry) {
  const Group& group = entry.group;
  if (group.has_nobody() && entry.offsets.empty()) {
    auto appended = append_removals(entry, {}, true);
    if (appended) {
      const uint64_t stands_on = entry.last_append;
      forget(std::string(group.id()));
      return stands_on;
    }
    // The next look for expired offsets tries again.
    log::warn("group", "{}: group {} stays, without offsets: {}", tp_.to_string(), group.id(), appended.error().what);
  }
  const uint64_t stands_on = entry.last_append;
  settle(entry, {});
  return stands_on;
}

Result<uint64_t> GroupShard::append_removals(Entry& entry, const std::vector<TopicPartition>& partitions, bool whole) {
  uint64_t last = 0;
  size_t next = 0;
  const int64_t now_ms = now().wall_ms;
  bool group_left = whole && entry.stored;
  while (next < partitions.size() || group_left) {
    record::BatchBuilder builder = log_->new_batch();
    const size_t from = next;
    while (next < partitions.size() && builder.size_in_bytes() < kRemovalBatchBytes) {
      builder.append(now_ms, offset_key(entry.group.id(), partitions[next].topic, partitions[next].partition), std::nullopt);
      ++next;
    }
    bool with_group = group_left && next == partitions.size();
    if (with_group) builder.append(now_ms, group_key(entry.group.id()), std::nullopt);
    auto appended = log_->append(builder);
    if (!appended) return appended;
    last = entry.last_append = *appended;
    for (size_t i = from; i < next; ++i) entry.offsets.remove(partitions[i].topic, partitions[i].partition);
    if (with_group) {
      group_left = false;
      entry.stored = false;
    }
  }
  return last;
}

}  // namespace odradek::coordinator
