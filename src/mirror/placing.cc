#include "mirror/placing.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "client/offsets.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/offset_for_leader_epoch.h"

namespace odradek::mirror {

using protocol::FetchRequest;
using protocol::FetchResponse;

namespace {
constexpr int16_t kLastWithNames = 12;  // later versions of Fetch name topics by id
// So often the source's log may seem to be cut, as after a change of its leader, before it counts as cut.
constexpr int kPatience = 8;
}  // namespace

Offset known_of_the_other(const StoredPositions& before, const TopicPartition& name, Offset source_start, Offset source_end) {
  auto map = before.maps.find(name);
  if (map == before.maps.end() || map->second.empty()) return source_start;
  Offset known = map->second.first().target;
  // Acknowledged, unless the log has lost it since: then others may have written at its offsets.
  if (auto seen = before.at.find(name); seen != before.at.end() && seen->second.target <= source_end) known = std::max(known, seen->second.target);
  return known > source_end ? source_start : std::max(known, source_start);
}

Result<void> Placing::place(const std::vector<std::shared_ptr<Partition>>& partitions) {
  int64_t now = source_.dialer().clock().monotonic_ns();
  std::vector<Partition*> lost;
  std::set<std::string> topics;
  std::map<TopicPartition, int64_t> earliest, latest;
  for (const auto& partition : partitions) {
    auto until = partition->lost_until();
    if (!until || *until > now || partition->source_leader < 0 || partition->target_leader < 0) continue;
    lost.push_back(partition.get());
    topics.insert(partition->name.topic);
    earliest[partition->name] = client::kEarliestTimestamp;
    latest[partition->name] = client::kLatestTimestamp;
  }
  if (lost.empty()) return {};
  // What was lost because its topic was deleted and made again goes on where the new one begins, not at the old one's offset.
  auto metadata = source_.metadata(std::vector<std::string>(topics.begin(), topics.end()));
  if (!metadata) return fail(ErrorCode::kNetworkException, "source: " + metadata.error().what);
  std::map<std::string, std::string> ids;
  for (const auto& topic : metadata->topics) {
    if (topic.error_code == 0 && topic.name && !topic.topic_id.is_zero()) ids[*topic.name] = topic.topic_id.to_string();
  }
  std::erase_if(lost, [&](Partition* partition) {
    if (auto id = ids.find(partition->name.topic); id != ids.end()) partition->set_topic_id(id->second);
    auto until = partition->lost_until();
    if (until && *until <= now) return false;
    earliest.erase(partition->name);
    latest.erase(partition->name);
    return true;
  });
  if (lost.empty()) return {};
  auto target_ends = client::list_offsets(target_, latest);
  auto target_starts = target_ends ? client::list_offsets(target_, earliest) : Result<std::map<TopicPartition, client::ListedOffset>>(fail(Error{}));
  if (!target_starts) return fail(ErrorCode::kNetworkException, "target: " + (target_ends ? target_starts.error() : target_ends.error()).what);
  auto source_starts = client::list_offsets(source_, earliest);
  auto source_ends = source_starts ? client::list_offsets(source_, latest, options_.isolation) : Result<std::map<TopicPartition, client::ListedOffset>>(fail(Error{}));
  if (!source_ends) return fail(ErrorCode::kNetworkException, "source: " + (source_starts ? source_ends.error() : source_starts.error()).what);
  for (Partition* partition : lost) {
    const TopicPartition& name = partition->name;
    std::string why;
    auto read = [&](const char* where, const std::map<TopicPartition, client::ListedOffset>& listed, Offset& to) {
      const auto& one = listed.at(name);
      if (one.error != ErrorCode::kNone) why = std::string(where) + ": " + std::string(name_of(one.error));
      to = one.offset;
    };
    Ends ends;
    read("source", *source_starts, ends.source_start);
    read("source", *source_ends, ends.source_end);
    read("target", *target_starts, ends.target_start);
    read("target", *target_ends, ends.target_end);
    if (why.empty()) {
      place_one(*partition, ends);
    } else {
      partition->lose(0, "offsets of the " + why);
    }
  }
  return {};
}

void Placing::place_one(Partition& partition, const Ends& ends) {
  const TopicPartition& name = partition.name;
  OffsetMap map = partition.map();
  auto known = map.source_at(ends.target_end);
  if (!known) {
    // What `start` says is of the topic that was there before.
    auto first = partition.made_anew() ? Result<Offset>(ends.source_start) : first_source(name, ends);
    if (!first) return partition.lose(0, first.error().what);
    partition.set_source_end(ends.source_end);
    partition.place(*first, ends.target_end);
    log::info("mirror", "{} begins at offset {} of the source and {} of the target", name.to_string(), first->value, ends.target_end.value);
    return;
  }
  if (ends.target_end > map.first().target) {
    auto foreign = foreign_end(name, ends.target_end);
    if (!foreign) return partition.lose(0, foreign.error().what);
    if (!foreign->empty()) return partition.end(*foreign);
  }
  Offset source = *known;
  std::string cut;
  if (source > ends.source_end) {
    cut = "it ends at " + std::to_string(ends.source_end.value);
  } else if (const LeaderEpoch epoch = map.epoch_before(source); epoch != kNoLeaderEpoch && source >= ends.source_start) {
    auto found = departed(name, source, epoch);
    if (!found) return partition.lose(0, found.error().what);
    cut = std::move(*found);
  }
  if (!cut.empty()) {
    cut = "the source's log was cut: " + cut + ", copied was up to " + std::to_string(source.value);
    if (++beyond_[name] < kPatience) return partition.lose(0, cut);
    beyond_.erase(name);
    cut_.fetch_add(1, std::memory_order_relaxed);
    return partition.end(cut + "; see docs/mirror.md, When the source lost records");
  }
  if (source < ends.source_start) {
    // Below the first run of a topic that was made anew nothing is missing, but then the map would be empty.
    log::warn("mirror", "{}: the source has dropped the records from {} to {} before they were copied", name.to_string(), source.value, ends.source_start.value);
    missed_.fetch_add(ends.source_start - source, std::memory_order_relaxed);
    source = ends.source_start;
  }
  beyond_.erase(name);
  partition.forget_below(ends.target_start);
  partition.set_source_end(ends.source_end);
  partition.place(source, ends.target_end);
}

Result<std::string> Placing::departed(const TopicPartition& name, Offset source, LeaderEpoch epoch) {
  using Response = protocol::OffsetForLeaderEpochResponse;
  protocol::OffsetForLeaderEpochRequest request;
  request.replica_id = -1;
  auto& topic = request.topics.emplace_back();
  topic.topic = name.topic;
  auto& asked = topic.partitions.emplace_back();
  asked.partition = name.partition;
  asked.leader_epoch = epoch.value;
  auto first = [](const Response& response) { return response.topics.empty() || response.topics[0].partitions.empty() ? nullptr : &response.topics[0].partitions[0]; };
  auto answer = source_.ask<Response>(client::TheLeader{name}, request, [&](const Response& response) {
    return first(response) == nullptr ? ErrorCode::kNone : static_cast<ErrorCode>(first(response)->error_code);
  });
  if (!answer) {
    if (answer.error().code == ErrorCode::kUnsupportedVersion) return std::string();
    return fail(std::move(answer.error()));
  }
  const auto* said = first(answer->message);
  auto code = said == nullptr ? ErrorCode::kUnknownServerError : static_cast<ErrorCode>(said->error_code);
  if (code == ErrorCode::kClusterAuthorizationFailed) return std::string();  // brokers before 2.3 answer this to other brokers only
  if (code != ErrorCode::kNone) return fail(code, "leader epochs of the source: " + std::string(name_of(code)));
  // Version 0 does not tell an epoch that never was from one that retention has taken.
  if (said->end_offset < 0) return answer->version == 0 ? std::string() : "its leader does not know leader epoch " + std::to_string(epoch.value);
  if (said->end_offset >= source.value && (answer->version == 0 || said->leader_epoch == epoch.value)) return std::string();
  const int32_t last = answer->version == 0 ? epoch.value : said->leader_epoch;
  return "leader epoch " + std::to_string(last) + (last == epoch.value ? "" : ", the last one of it not after epoch " + std::to_string(epoch.value) + ",") +
         " ends at " + std::to_string(said->end_offset) + " in it";
}

Result<Offset> Placing::first_source(const TopicPartition& name, const Ends& ends) {
  switch (options_.start) {
    case MirrorOptions::Start::kEarliest: return ends.source_start;
    case MirrorOptions::Start::kLatest: return ends.source_end;
    case MirrorOptions::Start::kAfter: return behind_the_other(name, ends);
  }
  return ends.source_start;
}

Result<MutableByteView> Placing::fetch(client::Cluster& cluster, const TopicPartition& name, Offset from, int32_t bytes, Bytes& keep) {
  FetchRequest request;
  request.replica_id = -1;
  request.max_wait_ms = 100;
  request.min_bytes = 1;
  request.max_bytes = bytes;
  auto& topic = request.topics.emplace_back();
  topic.topic = name.topic;
  auto& asked = topic.partitions.emplace_back();
  asked.partition = name.partition;
  asked.fetch_offset = from.value;
  asked.partition_max_bytes = bytes;
  auto connection = cluster.hold(client::TheLeader{name});
  if (!connection) return fail(std::move(connection.error()));
  auto answer = (*connection)->ask<FetchResponse>(request, kLastWithNames);
  if (!answer) return fail(std::move(answer.error()));
  keep = std::move(answer->frame);
  for (auto& each : answer->message.responses) {
    for (auto& data : each.partitions) {
      auto code = static_cast<ErrorCode>(data.error_code);
      if (code != ErrorCode::kNone) {
        cluster.forget_leader(name);
        return fail(code, "fetch of " + name.to_string() + " at " + std::to_string(from.value) + ": " + std::string(name_of(code)));
      }
      return data.records.bytes;
    }
  }
  return MutableByteView{};
}

Result<Offset> Placing::behind_the_other(const TopicPartition& name, const Ends& ends) {
  if (before_ == nullptr || !before_->producer_id) return ends.source_start;
  Offset at = known_of_the_other(*before_, name, ends.source_start, ends.source_end);
  Bytes keep;
  while (at < ends.source_end) {
    auto bytes = fetch(source_, name, at, 4 << 20, keep);
    if (!bytes) return fail(std::move(bytes.error()));
    ByteView rest = *bytes;
    bool any = false;
    for (;;) {
      auto frame = record::next_frame(rest);
      if (!frame) return fail(std::move(frame.error()));
      if (!*frame) break;
      any = true;
      if (frame->last_offset() < at) continue;
      if (!frame->is_batch() || frame->batch().producer_id() != *before_->producer_id) return std::max(at, frame->is_batch() ? frame->base_offset() : at);
      at = frame->last_offset() + 1;
    }
    if (!any) return fail(ErrorCode::kRequestTimedOut, "the source has nothing to show at " + std::to_string(at.value));
  }
  return at;
}

Result<std::string> Placing::foreign_end(const TopicPartition& name, Offset target_end) {
  Bytes keep;
  auto bytes = fetch(target_, name, target_end + -1, 1 << 20, keep);
  if (!bytes) {
    if (bytes.error().code == ErrorCode::kOffsetOutOfRange) return std::string();  // retention has taken it
    return fail(std::move(bytes.error()));
  }
  ByteView rest = *bytes;
  for (;;) {
    auto frame = record::next_frame(rest);
    if (!frame) return fail(std::move(frame.error()));
    if (!*frame) return std::string();
    if (frame->last_offset() < target_end + -1) continue;
    if (frame->is_batch()) {
      record::BatchView batch = frame->batch();
      if (batch.producer_id() == identity_.producer_id && batch.last_sequence() == sequence_at(batch.last_offset())) return std::string();
    }
    return "another producer wrote to the target: the batch at its end, offset " + std::to_string(frame->last_offset().value) + ", is not this mirror's";
  }
}

}  // namespace odradek::mirror
