// Fetch: sessions decide what is asked and what must be answered, the partitions give slices of their files, the network thread
// sends them; below v4 they are converted first (old_fetch.h). A request that finds too little is settled and waits in the purgatory.
#include <algorithm>
#include <list>

#include "api/data/handlers.h"
#include "api/data/leader_hint.h"
#include "api/data/old_fetch.h"
#include "api/handler/answer.h"
#include "base/clock.h"
#include "base/executor.h"
#include "config/config.h"
#include "metadata/image/image.h"
#include "protocol/messages/fetch.h"
#include "replication/replica_manager.h"
#include "replication/replica_metrics.h"
#include "replication/sessions/fetch_pipeline.h"
#include "replication/sessions/fetch_session.h"

namespace odradek::api {

namespace {

using protocol::FetchRequest;
using protocol::FetchResponse;
using replication::FetchPartition;
using replication::ReadResult;
using replication::SessionPartition;
using replication::SessionTopic;
using replication::TopicCounters;

struct Pending {
  request::RequestPtr request;
  replication::FetchContext context;
  replication::FetchParams params;
  std::vector<FetchPartition> partitions;
};

// Finds the replica of a session's partition; the one found last time is used again while it serves.
ErrorCode resolve(Services& services, const metadata::ClusterImage& image, int16_t version, bool follower, SessionTopic& topic, SessionPartition& partition) {
  if (partition.replica != nullptr && partition.replica->role() != replication::Role::kNone) return ErrorCode::kNone;
  partition.replica = nullptr;
  if (version >= 13 && topic.name.empty()) {
    if (const auto* known = image.find_topic(topic.id)) {
      topic.name = known->name;
    } else if (follower && (partition.replica = services.replicas.find_leader(topic.id, partition.partition)) != nullptr) {
      topic.name = partition.replica->name().topic;
      return ErrorCode::kNone;
    } else {
      return ErrorCode::kUnknownTopicId;
    }
  }
  if (ErrorCode error = services.replicas.look_up(topic.name, partition.partition, partition.replica); error != ErrorCode::kNone) {
    if (version >= 13 && image.find_topic(topic.id) == nullptr) {
      topic.name.clear();  // deleted: a topic of this id may be known again later
      return ErrorCode::kUnknownTopicId;
    }
    return error;
  }
  if (version >= 13) {
    auto log = partition.replica->log();
    if (log != nullptr && log->topic_id() != topic.id) {
      partition.replica = nullptr;
      return ErrorCode::kInconsistentTopicId;
    }
  }
  return ErrorCode::kNone;
}

constexpr int16_t kFirstWithZstd = 10;
constexpr int16_t kFirstWithPreferredReplica = 11;
constexpr std::string_view kRackAware = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

// What a client of an old version may not have, or has to have in another format. `converted`: filled in place of the slice.
// What it may not have counts more than any other error, as in Kafka.
ErrorCode suit_old_client(OldFetchAnswer& old, int16_t version, bool follower, const SessionPartition& partition, const ReadResult& result,
                          Bytes& converted) {
  auto log = partition.replica != nullptr ? partition.replica->log() : nullptr;
  if (log == nullptr) return ErrorCode::kNone;
  const auto config = log->config();
  if (config->compression == record::Codec::kZstd && !follower) return ErrorCode::kUnsupportedCompressionType;
  if (version > OldFetchAnswer::kLastVersion) return ErrorCode::kNone;
  if (!config->message_downconversion && !follower) return ErrorCode::kUnsupportedVersion;
  if (result.error != ErrorCode::kNone) return ErrorCode::kNone;
  const int64_t before = old.records();
  auto bytes = old.convert(*log, partition.fetch_offset, partition.max_bytes, result);
  if (TopicCounters* counters = partition.replica->counters(); counters != nullptr && old.records() > before) {
    counters->owner->converted(counters, old.records() - before);
  }
  if (!bytes) {
    log::debug("request", "fetch v{} of offset {}: {}", version, partition.fetch_offset.value, bytes.error().what);
    return bytes.error().code;
  }
  converted = std::move(*bytes);
  return ErrorCode::kNone;
}

void answer(Services& services, Pending pending, std::vector<ReadResult> results) {
  request::RequestContext& request = *pending.request;
  const int16_t version = request.version();
  FetchResponse response;
  OldFetchAnswer old(version);
  std::list<Bytes> converted;  // what the response refers to
  int64_t last_topic = -1;
  int64_t throttled_bytes = 0;
  const ErrorCode error = pending.context.answer(results, [&](uint32_t topic_index, const SessionTopic& topic, const SessionPartition& partition,
                                                              const ReadResult& result) {
    if (topic_index != last_topic) {
      auto& entry = response.responses.emplace_back();
      if (version < 13) entry.topic = topic.name;
      entry.topic_id = topic.id;
      last_topic = topic_index;
    }
    auto& entry = response.responses.back().partitions.emplace_back();
    entry.partition_index = partition.partition;
    ErrorCode code = result.error;
    if (version <= 5 && code == ErrorCode::kKafkaStorageError) code = ErrorCode::kNotLeaderOrFollower;
    entry.error_code = wire(code);
    entry.high_watermark = result.high_watermark.value;
    entry.last_stable_offset = result.last_stable_offset.value;
    entry.log_start_offset = result.log_start_offset.value;
    entry.preferred_read_replica = result.preferred_replica.value;
    if (result.diverging) {
      entry.diverging_epoch.epoch = result.diverging->epoch.value;
      entry.diverging_epoch.end_offset = result.diverging->end.value;
    }
    if (version < kFirstWithZstd) {
      Bytes bytes;
      const ErrorCode unsuited = suit_old_client(old, version, pending.params.replica_id.value >= 0, partition, result, bytes);
      if (unsuited != ErrorCode::kNone) {
        entry = {};
        entry.partition_index = partition.partition;
        entry.error_code = wire(unsuited);
        entry.high_watermark = -1;
        entry.aborted_transactions.reset();
        return;
      }
      if (!bytes.empty()) entry.records.bytes = converted.emplace_back(std::move(bytes));
    }
    // Null, as Kafka answers who did not ask for committed records; what it does not know has none.
    if (partition.replica != nullptr) entry.aborted_transactions.reset();
    bool may_send = true;
    if (pending.params.isolation == IsolationLevel::kReadCommitted && code != ErrorCode::kOffsetOutOfRange) {
      auto& aborted = entry.aborted_transactions.emplace();
      if (result.records.size > 0 && partition.replica != nullptr) {
        auto transactions = partition.replica->log()->aborted_transactions(partition.fetch_offset, result.next_offset);
        if (!transactions) {  // the consumer could not tell aborted records from others
          may_send = false;
          entry.error_code = wire(transactions.error().code);
          transactions.emplace();
        }
        for (const auto& transaction : *transactions) {
          auto& listed = aborted.emplace_back();
          listed.producer_id = transaction.producer_id.value;
          listed.first_offset = transaction.first_offset.value;
        }
      }
    }
    if (may_send && version > OldFetchAnswer::kLastVersion && result.records.size > 0) entry.records.slices.push_back(result.records);
    if (pending.params.replica_id.value >= 0 && partition.replica != nullptr && partition.replica->leader_throttled()) throttled_bytes += result.records.size;
    if (version >= 12 && (code == ErrorCode::kNotLeaderOrFollower || code == ErrorCode::kFencedLeaderEpoch)) {
      add_leader_hint(services, request.connection(), topic.name, partition.partition, entry.current_leader, response.node_endpoints);
    }
  });
  if (error == ErrorCode::kNone) services.replicas.quotas().leader.record(throttled_bytes);
  response.error_code = wire(error);
  if (error == ErrorCode::kNone) {
    response.session_id = pending.context.session_id();
  } else {
    response.responses.clear();
    response.node_endpoints.clear();
  }
  request.finish(response);
}

// On a handler thread, and once more where the disk may be waited for.
void read_or_wait(Services& services, Pending pending, bool may_wait_for_disk) {
  replication::FetchOutcome outcome = services.replicas.read(pending.params, pending.partitions, may_wait_for_disk);
  if (outcome.satisfied) return answer(services, std::move(pending), std::move(outcome.results));

  pending.request->settle();
  auto waiting = std::make_unique<Pending>(std::move(pending));
  if (!outcome.cold.empty()) {
    waiting->params.received_ms = 0;  // counted up to here
    services.replicas.load(outcome.cold, [&services, waiting = std::move(waiting)] { read_or_wait(services, std::move(*waiting), true); });
    return;
  }
  // Where they stand now, before `waiting` moves.
  const replication::FetchParams params = waiting->params;
  std::vector<FetchPartition> partitions = std::move(waiting->partitions);
  services.replicas.wait_for_data(params, std::move(partitions), [&services, waiting = std::move(waiting)](std::vector<ReadResult> results) {
    answer(services, std::move(*waiting), std::move(results));
  });
}

// An isolation level that there is not: an error for all that is named, as Kafka answers where it knows no better.
void refuse_all(request::RequestPtr request, const FetchRequest& asked) {
  FetchResponse response;
  response.error_code = wire(ErrorCode::kUnknownServerError);
  if (request->version() < 13) {
    for (const auto& topic : asked.topics) {
      auto& answered = response.responses.emplace_back();
      answered.topic = topic.topic;
      for (const auto& partition : topic.partitions) {
        auto& entry = answered.partitions.emplace_back();
        entry.partition_index = partition.partition;
        entry.error_code = wire(ErrorCode::kUnknownServerError);
        entry.high_watermark = -1;
      }
    }
  }
  request->finish(response);
}

}  // namespace

void handle_fetch(Services& services, request::RequestPtr request) {
  auto decoded = decode_or_close<FetchRequest>(request);
  if (!decoded) return;
  FetchRequest& asked = *decoded;
  const int16_t version = request->version();

  const int64_t received_ms = (request->times().received_ns > 0 ? request->times().received_ns : services.runtime.clock().monotonic_ns()) / 1'000'000;
  if (replication::FetchPipelines::takes(asked, version)) {
    // Its place in line is taken, so the connection's next request may start.
    request->settle();
    request->release_body();
    asked.max_bytes = std::max(0, std::min(asked.max_bytes, services.fetch_max_bytes));
    services.fetch_pipelines.fetch(std::move(asked), received_ms, [request = std::move(request)](FetchResponse response) { request->finish(response); });
    return;
  }

  Pending pending;
  replication::FetchParams& params = pending.params;
  params.replica_id = {version >= 15 ? asked.replica_state.replica_id : asked.replica_id};
  params.replica_epoch = asked.replica_state.replica_epoch;
  params.max_wait_ms = asked.max_wait_ms;
  params.max_bytes = std::max(0, std::min(asked.max_bytes, services.fetch_max_bytes));
  if (version <= OldFetchAnswer::kLastVersion) {
    params.max_bytes = std::min(params.max_bytes, static_cast<int32_t>(OldFetchAnswer::kMaxConvertedBytes));
  }
  params.min_bytes = std::min(asked.min_bytes, params.max_bytes);
  params.isolation = static_cast<IsolationLevel>(asked.isolation_level == 1 ? 1 : 0);
  const bool follower = params.replica_id.value >= 0;
  if (follower) params.received_ms = received_ms;
  if (asked.isolation_level < 0 || asked.isolation_level > 1) return refuse_all(std::move(request), asked);
  // Consumers that can be told of a nearer replica may also ask one (KIP-392).
  params.leader_only = follower || version < kFirstWithPreferredReplica;
  if (!params.leader_only && !asked.rack_id.empty() && services.config.current()->get_string("replica.selector.class") == kRackAware) {
    params.rack = asked.rack_id;
  }

  pending.request = std::move(request);
  pending.context = services.fetch_sessions.open(asked, version);
  if (pending.context.error() != ErrorCode::kNone) return answer(services, std::move(pending), {});
  pending.request->release_body();

  pending.partitions.reserve(pending.context.size());
  const auto image = services.image.current();
  pending.context.for_each([&](SessionTopic& topic, SessionPartition& partition) {
    FetchPartition& read = pending.partitions.emplace_back();
    read.error = resolve(services, *image, version, follower, topic, partition);
    if (read.error == ErrorCode::kNone) read.partition = partition.replica;
    read.fetch_offset = partition.fetch_offset;
    read.log_start_offset = partition.log_start_offset;
    read.max_bytes = partition.max_bytes;
    read.current_leader_epoch = partition.current_leader_epoch;
    read.last_fetched_epoch = partition.last_fetched_epoch;
    if (follower) read.told_high_watermark = partition.told_high_watermark;
  });
  read_or_wait(services, std::move(pending), false);
}

}  // namespace odradek::api
