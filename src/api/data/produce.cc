// Produce: appends to leaders; the records are read where the frame holds them. acks=1 and acks=all with a high watermark that is
// already there are answered at once; the rest is settled and waits in the purgatory.
#include <absl/container/inlined_vector.h>

#include "api/data/handlers.h"
#include "api/data/leader_hint.h"
#include "api/handler/answer.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/executor.h"
#include "protocol/messages/produce.h"
#include "record/batch.h"
#include "replication/replica_manager.h"

namespace odradek::api {

namespace {

using protocol::ProduceRequest;
using protocol::ProduceResponse;
using replication::ProducePartition;
using replication::ProduceResult;

constexpr std::string_view kAdminClient = "__admin_client";

// Of the one batch that a request of v3 or above may carry per partition; a header that is not whole is refused later.
bool is_transactional(ByteView records) {
  return records.size() >= record::kBatchHeaderSize && records[record::kMagicAt] == record::kMagicV2 &&
         (base::load_be<int16_t>(records.data() + record::kAttributesAt) & record::kTransactionalBit) != 0;
}

bool is_storage_or_unknown(ErrorCode error) { return error == ErrorCode::kKafkaStorageError || error == ErrorCode::kUnknownServerError; }

// `partitions` of the results: in the order of the request.
ProduceResponse make_response(Services& services, const request::RequestContext& request, ProduceRequest& asked, std::vector<ProduceResult>& results) {
  ProduceResponse response;
  response.responses.reserve(asked.topic_data.size());
  size_t next = 0;
  for (auto& topic : asked.topic_data) {
    auto& answered = response.responses.emplace_back();
    answered.partition_responses.reserve(topic.partition_data.size());
    for (const auto& data : topic.partition_data) {
      ProduceResult& result = results[next++];
      auto& entry = answered.partition_responses.emplace_back();
      entry.index = data.index;
      entry.error_code = wire(result.error);
      entry.base_offset = result.info.first_offset.value;
      // As in Kafka also of what was appended but is not acknowledged: replicas are missing, or the time is over.
      if (result.error == ErrorCode::kNone || entry.base_offset >= 0) {
        entry.log_append_time_ms = result.info.log_append_time_ms;
        entry.log_start_offset = result.info.log_start_offset.value;
      }
      if (result.error == ErrorCode::kNone) continue;
      if (!result.message.empty()) entry.error_message = std::move(result.message);
      for (auto& record : result.record_errors) {
        auto& listed = entry.record_errors.emplace_back();
        listed.batch_index = record.batch_index;
        listed.batch_index_error_message = std::move(record.message);
      }
      if (result.error == ErrorCode::kNotLeaderOrFollower && request.version() >= 10) {
        add_leader_hint(services, request.connection(), topic.name, data.index, entry.current_leader, response.node_endpoints);
      }
      if (is_storage_or_unknown(result.error)) log::warn("request", "produce to {}-{}: {}", topic.name, data.index, name_of(result.error));
    }
    answered.name = std::move(topic.name);
  }
  return response;
}

void answer(Services& services, request::RequestPtr request, ProduceRequest& asked, std::vector<ProduceResult>& results) {
  if (asked.acks == 0) {
    for (const ProduceResult& result : results) {
      if (result.error == ErrorCode::kNone) continue;
      // The client reads nothing; a closed connection makes it look for the leader again.
      log::info("request", "closing the connection of a producer with acks=0 (client '{}'): {}", request->client_id(), name_of(result.error));
      request->finish_and_close();
      return;
    }
    request->finish_without_answer();
    return;
  }
  ProduceResponse response = make_response(services, *request, asked, results);
  request->finish(response);
}

}  // namespace

void handle_produce(Services& services, request::RequestPtr request) {
  auto decoded = decode_or_close<ProduceRequest>(request);
  if (!decoded) return;
  ProduceRequest& asked = *decoded;

  size_t count = 0;
  bool transactional = false;
  for (const auto& topic : asked.topic_data) {
    count += topic.partition_data.size();
    for (const auto& data : topic.partition_data) transactional = transactional || is_transactional(data.records.bytes);
  }
  auto refuse_all = [&](ErrorCode error) {
    std::vector<ProduceResult> results(count);
    for (ProduceResult& result : results) result.error = error;
    answer(services, std::move(request), asked, results);
  };
  if (asked.acks < -1 || asked.acks > 1) return refuse_all(ErrorCode::kInvalidRequiredAcks);
  // No transaction is known here: a batch that claims one would hold back every reader of committed records for ever.
  if (transactional) return refuse_all(asked.transactional_id ? ErrorCode::kInvalidTxnState : ErrorCode::kTransactionalIdAuthorizationFailed);

  absl::InlinedVector<ProducePartition, 4> partitions(count);
  size_t next = 0;
  for (auto& topic : asked.topic_data) {
    const bool refused = is_internal_topic(topic.name) && request->client_id() != kAdminClient;
    for (auto& data : topic.partition_data) {
      ProducePartition& partition = partitions[next++];
      partition.records = data.records.bytes;
      partition.error = refused ? ErrorCode::kInvalidTopicException : services.replicas.look_up(topic.name, data.index, partition.partition);
    }
  }
  replication::ProduceParams params;
  params.acks = asked.acks;
  params.timeout_ms = asked.timeout_ms;
  params.append.origin = record::AppendOrigin::kClient;
  params.append.produce_version = request->version();

  // Wakes who waits for the records when it goes out of scope: after the answer.
  replication::ProduceOutcome outcome = services.replicas.append(params, {partitions.data(), partitions.size()});
  if (!outcome.must_wait) return answer(services, std::move(request), asked, outcome.results);

  request->release_body();
  request->settle();
  struct Waiting {
    request::RequestPtr request;
    ProduceRequest asked;
  };
  auto waiting = std::make_unique<Waiting>(std::move(request), std::move(asked));
  services.replicas.wait_for_acks(params, {partitions.data(), partitions.size()}, std::move(outcome.results),
                                  [&services, waiting = std::move(waiting)](std::vector<ProduceResult> results) {
                                    answer(services, std::move(waiting->request), waiting->asked, results);
                                  });
}

}  // namespace odradek::api
