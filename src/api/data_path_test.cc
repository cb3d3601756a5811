// The requests of the data path, from their bytes to the bytes of the answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "api/data/old_fetch.h"
#include "api/dispatcher.h"
#include "api/table.h"
#include "base/check.h"
#include "config/config.h"
#include "metadata/cluster_config.h"
#include "metadata/image/image.h"
#include "metadata/registration.h"
#include "metadata/store/embedded_store.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/delete_records.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/describe_log_dirs.h"
#include "protocol/messages/describe_producers.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leader_and_isr.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/offset_for_leader_epoch.h"
#include "protocol/messages/produce.h"
#include "protocol/messages/sasl_authenticate.h"
#include "protocol/messages/sasl_handshake.h"
#include "protocol/messages/update_metadata.h"
#include "record/control.h"
#include "record/frame.h"
#include "replication/partition/test_support.h"
#include "replication/replica_manager.h"
#include "replication/sessions/fetch_pipeline.h"
#include "replication/sessions/fetch_session.h"

namespace odradek::api {
namespace {

using namespace protocol;
using replication::testing::make_batch;

// What became of a request.
struct Outcome {
  enum class End { kNone, kAnswer, kNoAnswer, kClosed } end = End::kNone;
  bool settled = false;
  base::Output output;
  int16_t version = 0;
};

class FakeRequest final : public request::RequestContext {
 public:
  FakeRequest(RequestHeader header, std::shared_ptr<Bytes> body, Outcome& outcome)
      : RequestContext(std::move(header), *body, connection_info(), times_), body_(std::move(body)), outcome_(outcome) {}

 private:
  static const request::ConnectionInfo& connection_info() {
    static const request::ConnectionInfo info{.id = 1, .listener = "PLAINTEXT", .peer_host = "127.0.0.1", .local_host = "10.1.2.3"};
    return info;
  }
  void on_settle() override { outcome_.settled = true; }
  void on_throttle(int32_t) override {}
  void on_release_body() override { body_->assign(body_->size(), 0xdd); }  // who still looks at it is found out
  void on_finish(Completion completion) override {
    CHECK(outcome_.end == Outcome::End::kNone);
    outcome_.end = completion.kind == Completion::Kind::kAnswer     ? Outcome::End::kAnswer
                   : completion.kind == Completion::Kind::kNoAnswer ? Outcome::End::kNoAnswer
                                                                    : Outcome::End::kClosed;
    outcome_.output = std::move(completion.output);
  }

  std::shared_ptr<Bytes> body_;
  request::Times times_;
  Outcome& outcome_;
};

Bytes flat(const base::Output& output) {
  Bytes all;
  size_t from = 0;
  for (const auto& insert : output.inserts) {
    all.insert(all.end(), output.bytes.begin() + static_cast<ptrdiff_t>(from), output.bytes.begin() + static_cast<ptrdiff_t>(insert.at));
    from = insert.at;
    Bytes slice(static_cast<size_t>(insert.slice.size));
    EXPECT_EQ(insert.slice.file->file().pread(insert.slice.position, slice).value_or(0), slice.size());
    all.insert(all.end(), slice.begin(), slice.end());
  }
  all.insert(all.end(), output.bytes.begin() + static_cast<ptrdiff_t>(from), output.bytes.end());
  return all;
}

// Rooms that the data path does not touch: their memory is never looked at.
template <class T>
T& unused() {
  alignas(64) static unsigned char nothing[64];
  return reinterpret_cast<T&>(nothing);
}

constexpr int32_t kCorrelation = 77;

int16_t wire_code(ErrorCode code) { return static_cast<int16_t>(code); }

class DataPath : public testing::Test {
 protected:
  DataPath() {
    tree->open(nullptr);
    disk.runtime.run_until_idle();
    metadata::create_base_paths({disk.runtime, *metadata_executor, *tree}, [](Result<void> made) { ASSERT_TRUE(made); });
    disk.runtime.run_until_idle();
    config_store.load([](Result<void> loaded) { ASSERT_TRUE(loaded); });
    disk.runtime.run_until_idle();
    replicas.start();
    UpdateMetadataRequest update;
    update.controller_epoch = 1;
    update.controller_id = 1;
    for (int32_t id : {1, 2}) {
      auto& broker = update.live_brokers.emplace_back();
      broker.id = id;
      auto& endpoint = broker.endpoints.emplace_back();
      endpoint.listener = "PLAINTEXT";
      endpoint.host = "host" + std::to_string(id);
      endpoint.port = 9092;
    }
    for (const auto& [name, leader] : {std::pair("t", 1), std::pair("far", 2), std::pair("__consumer_offsets", 1)}) {
      auto& topic = update.topic_states.emplace_back();
      topic.topic_name = name;
      topic.topic_id = id_of(name);
      for (int32_t i = 0; i < 2; ++i) {
        auto& partition = topic.partition_states.emplace_back();
        partition.partition_index = i;
        partition.leader = leader;
        partition.leader_epoch = 5;
        partition.isr = partition.replicas = {leader};
      }
    }
    replicas.apply(update);
    lead("t", 0);
    lead("t", 1);
    lead("__consumer_offsets", 0);
  }
  static Uuid id_of(std::string_view topic) {
    Uuid id;
    id.bytes[0] = 1;
    for (char c : topic) id.bytes[15] = static_cast<uint8_t>(id.bytes[15] * 31 + c);
    return id;
  }
  void lead(const std::string& topic, int32_t partition, int32_t epoch = 5, std::vector<int32_t> replicas_of = {1}) {
    LeaderAndIsrRequest request;
    request.controller_epoch = 1;
    auto& states = request.topic_states.emplace_back();
    states.topic_name = topic;
    states.topic_id = id_of(topic);
    auto& state = states.partition_states.emplace_back();
    state.partition_index = partition;
    state.leader = 1;
    state.leader_epoch = epoch;
    state.isr = state.replicas = replicas_of;
    state.is_new = true;
    auto response = replicas.apply(request);
    ASSERT_EQ(response.topics.at(0).partition_errors.at(0).error_code, 0);
  }

  Outcome& send_bytes(ApiKey key, int16_t version, Bytes body, const std::string& client_id = "test") {
    Outcome& outcome = outcomes.emplace_back();
    outcome.version = version;
    RequestHeader header{static_cast<int16_t>(key), version, kCorrelation, client_id};
    dispatcher.handle(std::make_unique<FakeRequest>(header, std::make_shared<Bytes>(std::move(body)), outcome));
    return outcome;
  }
  template <class M>
  Outcome& send(const M& message, int16_t version, const std::string& client_id = "test") {
    Writer writer;
    message.encode(writer, version);
    return send_bytes(M::kKey, version, std::move(writer).finish().bytes, client_id);
  }
  template <class M>
  M answer_to(const Outcome& outcome) {
    EXPECT_EQ(outcome.end, Outcome::End::kAnswer);
    Bytes& frame = frames.emplace_back(flat(outcome.output));
    size_t used = 0;
    EXPECT_EQ(decode_response_header(frame, M::kKey, outcome.version, used).value_or(-1), kCorrelation);
    auto decoded = decode_body<M>(MutableByteView(frame).subspan(used), outcome.version);
    EXPECT_TRUE(decoded) << decoded.error().what;
    return decoded ? *decoded : M{};
  }
  template <class Response, class M>
  Response ask(const M& message, int16_t version, const std::string& client_id = "test") {
    Outcome& outcome = send(message, version, client_id);
    disk.runtime.run_until_idle();
    return answer_to<Response>(outcome);
  }

  ProduceRequest produce_request(const std::string& topic, int32_t partition, Bytes batch, int16_t acks = -1) {
    ProduceRequest request;
    request.acks = acks;
    request.timeout_ms = 1000;
    auto& data = request.topic_data.emplace_back();
    data.name = topic;
    auto& one = data.partition_data.emplace_back();
    one.index = partition;
    one.records.bytes = frames.emplace_back(std::move(batch));
    return request;
  }
  ErrorCode produce(const std::string& topic, int32_t partition, Bytes batch, int16_t version = 11, const std::string& client_id = "test") {
    auto response = ask<ProduceResponse>(produce_request(topic, partition, std::move(batch)), version, client_id);
    return static_cast<ErrorCode>(response.responses.at(0).partition_responses.at(0).error_code);
  }
  static FetchRequest fetch_request(int64_t offset, int16_t version, int32_t max_wait_ms = 0) {
    FetchRequest request;
    request.max_wait_ms = max_wait_ms;
    request.min_bytes = 1;
    request.max_bytes = 1 << 20;
    auto& topic = request.topics.emplace_back();
    if (version < 13) topic.topic = "t";
    if (version >= 13) topic.topic_id = id_of("t");
    auto& partition = topic.partitions.emplace_back();
    partition.fetch_offset = offset;
    partition.partition_max_bytes = 1 << 20;
    return request;
  }

  replication::testing::Disk disk;
  std::unique_ptr<base::Executor> metadata_executor = disk.runtime.make_executor("metadata", 1);
  std::unique_ptr<metadata::Store> tree = *metadata::make_embedded_store(disk.runtime, *metadata_executor, "");
  metadata::ConfigStore config_store{disk.runtime, *metadata_executor, *tree, [](metadata::EntityType, std::string_view) { return false; }};
  metadata::ImageHolder image;
  replication::ReplicaManager replicas{
      disk.runtime, *disk.logs, image, {.self = {1}, .log_config = [](const std::string&) { return std::make_shared<const storage::LogConfig>(); }}, disk.metrics};
  replication::FetchSessionCache sessions{disk.runtime.clock(), disk.runtime.random(), 100};
  replication::FetchPipelines pipelines{disk.runtime, replicas};
  config::ConfigHolder config{config::BrokerConfig::defaults()};
  Services services{.runtime = disk.runtime,
                    .logs = *disk.logs,
                    .replicas = replicas,
                    .fetch_sessions = sessions,
                    .fetch_pipelines = pipelines,
                    .groups = unused<coordinator::GroupCoordinator>(),
                    .image = image,
                    .config_store = config_store,
                    .store = *tree,
                    .image_waits = unused<metadata::ImageWaits>(),
                    .producer_ids = unused<metadata::ProducerIds>(),
                    .controller = unused<controller::Controller>(),
                    .topic_admin = unused<controller::TopicAdmin>(),
                    .config = config,
                    .metrics = disk.metrics,
                    .self = {1},
                    .cluster_id = "test-cluster"};
  Dispatcher dispatcher{services};
  std::deque<Outcome> outcomes;
  std::deque<Bytes> frames;
};

// --- dispatcher, ApiVersions ----------------------------------------------------------------------------------------------------

TEST_F(DataPath, WhatIsNotServedOrCannotBeReadClosesTheConnection) {
  EXPECT_EQ(send_bytes(static_cast<ApiKey>(9999), 0, {}).end, Outcome::End::kClosed);
  EXPECT_EQ(send_bytes(ApiKey::kFetch, 3, {}).end, Outcome::End::kClosed);
  EXPECT_EQ(send_bytes(ApiKey::kFetch, 18, {}).end, Outcome::End::kClosed);
  EXPECT_EQ(send_bytes(ApiKey::kProduce, 9, {1, 2, 3}).end, Outcome::End::kClosed);
  Bytes too_long = encode_body(ListOffsetsRequest{}, 5);
  too_long.push_back(0);
  EXPECT_EQ(send_bytes(ApiKey::kListOffsets, 5, too_long).end, Outcome::End::kAnswer);  // what is behind is ignored, as in Kafka
}

TEST_F(DataPath, RequestsThatNameMoreGroupsOrPartitionsThanThereAreAnywhereAreRefused) {
  OffsetFetchRequest fetch;
  fetch.group_id = "g";
  auto& topic = fetch.topics->emplace_back();
  topic.name = "t";
  topic.partition_indexes.resize(1'000'001);
  EXPECT_EQ(send(fetch, 0).end, Outcome::End::kClosed);
  EXPECT_EQ(send(fetch, 5).end, Outcome::End::kClosed);
  OffsetFetchRequest grouped;
  auto& group = grouped.groups.emplace_back();
  group.group_id = "g";
  group.topics->emplace_back().partition_indexes.resize(1'000'001);
  EXPECT_EQ(send(grouped, 8).end, Outcome::End::kClosed);
  DescribeGroupsRequest describe;
  describe.groups.resize(1'000'001);
  EXPECT_EQ(send(describe, 5).end, Outcome::End::kClosed);
  DeleteGroupsRequest remove;
  remove.groups_names.resize(1'000'001);
  EXPECT_EQ(send(remove, 2).end, Outcome::End::kClosed);
  FindCoordinatorRequest find;
  find.coordinator_keys.resize(1'000'001);
  EXPECT_EQ(send(find, 4).end, Outcome::End::kClosed);
}

// A record would keep the first 32,767 bytes: of two groups that have these in common one had the other's offsets after a restart.
TEST_F(DataPath, NamesOfGroupsAndMembersThatNoRecordHasRoomForAreRefused) {
  const std::string too_long(32'731, 'n');
  JoinGroupRequest join;
  join.group_id = too_long;
  EXPECT_EQ(send(join, 9).end, Outcome::End::kClosed);
  join.group_id = "g";
  join.group_instance_id = too_long;
  EXPECT_EQ(send(join, 9).end, Outcome::End::kClosed);
  join.group_instance_id.reset();
  join.protocols.emplace_back().name = too_long;
  EXPECT_EQ(send(join, 9).end, Outcome::End::kClosed);
  join.protocols.clear();
  EXPECT_EQ(send(join, 9, too_long).end, Outcome::End::kClosed);
  OffsetCommitRequest commit;
  commit.group_id = too_long;
  EXPECT_EQ(send(commit, 8).end, Outcome::End::kClosed);
}

TEST_F(DataPath, OffsetsInTheTreeAreWrittenAndReadAHundredTimesARequestAtMost) {
  OffsetCommitRequest commit;
  commit.group_id = "g";
  auto& committed = commit.topics.emplace_back();
  committed.name = "t";
  committed.partitions.resize(103);
  for (auto& partition : committed.partitions) partition.committed_offset = 7;
  auto written = ask<OffsetCommitResponse>(commit, 0);
  OffsetFetchRequest fetch;
  fetch.group_id = "g";
  auto& topic = fetch.topics->emplace_back();
  topic.name = "t";
  topic.partition_indexes.assign(103, 0);
  auto read = ask<OffsetFetchResponse>(fetch, 0);
  ASSERT_EQ(written.topics.at(0).partitions.size(), 103u);
  ASSERT_EQ(read.topics.at(0).partitions.size(), 103u);
  for (size_t i = 0; i < 103; ++i) {
    EXPECT_EQ(written.topics[0].partitions[i].error_code, i < 100 ? 0 : wire_code(ErrorCode::kInvalidRequest)) << i;
    EXPECT_EQ(read.topics[0].partitions[i].committed_offset, i < 100 ? 7 : -1) << i;
  }
}

TEST_F(DataPath, WhileClientsWaitForTheClusterItsControllerIsHeard) {
  dispatcher.hold_clients();
  Outcome& waiting = send(produce_request("t", 0, make_batch(1)), 11);
  UpdateMetadataRequest update;
  update.controller_epoch = 2;
  update.controller_id = 1;
  EXPECT_EQ(ask<UpdateMetadataResponse>(update, 8).error_code, 0);
  EXPECT_EQ(ask<ApiVersionsResponse>(ApiVersionsRequest{}, 0).error_code, 0);
  EXPECT_EQ(waiting.end, Outcome::End::kNone);
  dispatcher.serve_clients();
  disk.runtime.run_until_idle();
  EXPECT_EQ(answer_to<ProduceResponse>(waiting).responses.at(0).partition_responses.at(0).error_code, 0);
  EXPECT_EQ(produce("t", 0, make_batch(1)), ErrorCode::kNone) << "nobody waits any more";
}

TEST_F(DataPath, ClientsThatWaitedInVainAreClosed) {
  dispatcher.hold_clients();
  Outcome& waiting = send(produce_request("t", 0, make_batch(1)), 11);
  dispatcher.refuse_held();
  EXPECT_EQ(waiting.end, Outcome::End::kClosed);
}

TEST_F(DataPath, ApiVersionsListsExactlyWhatIsServed) {
  for (int16_t version = 0; version <= 4; ++version) {
    ApiVersionsRequest request;
    request.client_software_name = "kcat";
    request.client_software_version = "1.7.1";
    auto response = ask<ApiVersionsResponse>(request, version);
    EXPECT_EQ(response.error_code, 0);
    ASSERT_EQ(response.api_keys.size(), served_apis().size());
    for (const auto& key : response.api_keys) {
      const Api* api = find_served(static_cast<ApiKey>(key.api_key));
      ASSERT_NE(api, nullptr);
      EXPECT_EQ(key.min_version, api->min_version);
      EXPECT_EQ(key.max_version, api->max_version);
    }
    if (version >= 3) {
      EXPECT_EQ(response.finalized_features_epoch, 0);
    }
  }
}

TEST_F(DataPath, ApiVersionsInAVersionTooHighIsAnsweredInVersionZero) {
  Outcome& outcome = send_bytes(ApiKey::kApiVersions, 9, {0xff, 0xff});
  EXPECT_EQ(flat(outcome.output), (Bytes{0, 0, 0, kCorrelation, 0, 0x23, 0, 0, 0, 1, 0, 0x12, 0, 0, 0, 4}));
}

TEST_F(DataPath, ApiVersionsRefusesNamesThatAreNone) {
  ApiVersionsRequest request;
  request.client_software_name = "-kcat";
  request.client_software_version = "1";
  auto response = ask<ApiVersionsResponse>(request, 3);
  EXPECT_EQ(response.error_code, wire_code(ErrorCode::kInvalidRequest));
  EXPECT_TRUE(response.api_keys.empty());
}

TEST_F(DataPath, WhoWantsToAuthenticateWhereNobodyHasToIsToldSo) {
  for (int16_t version : {0, 1}) {
    SaslHandshakeRequest handshake;
    handshake.mechanism = "PLAIN";
    auto response = ask<SaslHandshakeResponse>(handshake, version);
    EXPECT_EQ(response.error_code, wire_code(ErrorCode::kIllegalSaslState));
    EXPECT_TRUE(response.mechanisms.empty());
  }
  for (int16_t version : {0, 1, 2}) {
    auto response = ask<SaslAuthenticateResponse>(SaslAuthenticateRequest{}, version);
    EXPECT_EQ(response.error_code, wire_code(ErrorCode::kIllegalSaslState));
    EXPECT_EQ(response.error_message, "SaslAuthenticate request received after successful authentication");
  }
}

TEST_F(DataPath, TheCoordinatorOfATransactionIsRefusedForGood) {
  for (int16_t version = 1; version <= 6; ++version) {
    FindCoordinatorRequest request;
    request.key_type = 1;
    request.key = "tx";
    request.coordinator_keys = {"tx"};
    auto response = ask<FindCoordinatorResponse>(request, version);
    // librdkafka asks in v2 at most.
    const ErrorCode expected = version <= 2 ? ErrorCode::kTransactionalIdAuthorizationFailed : ErrorCode::kUnsupportedVersion;
    EXPECT_EQ(version < 4 ? response.error_code : response.coordinators.at(0).error_code, wire_code(expected));
    EXPECT_THAT(version < 4 ? response.error_message.value_or("") : response.coordinators.at(0).error_message.value_or(""),
                testing::HasSubstr("Transactions are not served"));
  }
}

// --- Produce ----------------------------------------------------------------------------------------------------------------------

TEST_F(DataPath, ProducedRecordsAreAnsweredWithTheirOffsetInEveryVersion) {
  int64_t expected = 0;
  for (int16_t version = 3; version <= 11; ++version) {
    for (int16_t acks : {int16_t{1}, int16_t{-1}}) {
      auto response = ask<ProduceResponse>(produce_request("t", 0, make_batch(2), acks), version);
      ASSERT_EQ(response.responses.size(), 1u);
      EXPECT_EQ(response.responses[0].name, "t");
      const auto& partition = response.responses[0].partition_responses.at(0);
      EXPECT_EQ(partition.error_code, 0);
      EXPECT_EQ(partition.base_offset, expected);
      EXPECT_EQ(partition.log_append_time_ms, -1);
      if (version >= 5) {
        EXPECT_EQ(partition.log_start_offset, 0);
      }
      expected += 2;
    }
  }
}

// A set of messages of the old formats: keys are null, values "0", "1"...
Bytes message_set(int8_t magic, int count, size_t value_size = 1) {
  Bytes set;
  for (int i = 0; i < count; ++i) {
    const std::string value(value_size, static_cast<char>('0' + i % 10));
    record::put_message(set, magic, {i}, base::ManualRuntime::kStartMs + i, 0, std::nullopt, as_bytes(value));
  }
  return set;
}

TEST_F(DataPath, OldProduceVersionsTakeMessagesOfAnyFormat) {
  int64_t expected = 0;
  for (int16_t version = 0; version < 3; ++version) {
    for (const Bytes& set : {message_set(0, 2), message_set(1, 2), make_batch(2)}) {
      auto response = ask<ProduceResponse>(produce_request("t", 0, set), version);
      const auto& partition = response.responses.at(0).partition_responses.at(0);
      EXPECT_EQ(partition.error_code, 0);
      EXPECT_EQ(partition.base_offset, expected);
      expected += 2;
    }
    auto response = ask<ProduceResponse>(produce_request("t", 0, {}), version);
    EXPECT_EQ(response.responses.at(0).partition_responses.at(0).error_code, 0);
    EXPECT_EQ(response.responses.at(0).partition_responses.at(0).base_offset, -1);
    EXPECT_EQ(produce("t", 0, [] {
      Bytes wrong = message_set(1, 2);
      wrong.back() ^= 1;
      return wrong;
    }(), version), ErrorCode::kCorruptMessage);
  }
  EXPECT_EQ(produce("t", 0, message_set(1, 1), 3), ErrorCode::kInvalidRecord);
  EXPECT_EQ(disk.logs->find({"t", 0})->log_end_offset().value, expected);
}

TEST_F(DataPath, EveryPartitionOfAProduceRequestIsAnsweredOnItsOwn) {
  ProduceRequest request = produce_request("t", 0, make_batch(1));
  request.topic_data.push_back(produce_request("nowhere", 3, make_batch(1)).topic_data[0]);
  request.topic_data.push_back(produce_request("t", 1, make_batch(1)).topic_data[0]);
  Bytes corrupt = make_batch(1);
  corrupt.back() ^= 1;
  request.topic_data.push_back(produce_request("t", 1, corrupt).topic_data[0]);
  auto response = ask<ProduceResponse>(request, 9);
  std::vector<std::pair<std::string, int16_t>> got;
  for (const auto& topic : response.responses) got.emplace_back(topic.name, topic.partition_responses.at(0).error_code);
  EXPECT_EQ(got, (std::vector<std::pair<std::string, int16_t>>{{"t", 0},
                                                               {"nowhere", wire_code(ErrorCode::kUnknownTopicOrPartition)},
                                                               {"t", 0},
                                                               {"t", wire_code(ErrorCode::kCorruptMessage)}}));
  EXPECT_EQ(response.responses[3].partition_responses[0].base_offset, -1);
  EXPECT_EQ(response.responses[3].partition_responses[0].log_start_offset, -1);
}

TEST_F(DataPath, ProduceChecksAcksInternalTopicsAndTransactions) {
  auto wrong_acks = ask<ProduceResponse>(produce_request("t", 0, make_batch(1), 2), 9);
  EXPECT_EQ(wrong_acks.responses.at(0).partition_responses.at(0).error_code, wire_code(ErrorCode::kInvalidRequiredAcks));
  EXPECT_EQ(produce("__consumer_offsets", 0, make_batch(1)), ErrorCode::kInvalidTopicException);
  EXPECT_EQ(produce("__consumer_offsets", 0, make_batch(1), 11, "__admin_client"), ErrorCode::kNone);
  Bytes transactional = make_batch(1, 10, {.producer_id = {5}, .producer_epoch = 0, .base_sequence = 0, .transactional = true});
  EXPECT_EQ(produce("t", 0, transactional), ErrorCode::kTransactionalIdAuthorizationFailed);
  ProduceRequest request = produce_request("t", 0, transactional);
  request.transactional_id = "tx";
  EXPECT_EQ(ask<ProduceResponse>(request, 9).responses.at(0).partition_responses.at(0).error_code, wire_code(ErrorCode::kInvalidTxnState));
}

TEST_F(DataPath, AProducerAtTheWrongBrokerIsToldWhereTheLeaderIs) {
  auto response = ask<ProduceResponse>(produce_request("far", 0, make_batch(1)), 10);
  const auto& partition = response.responses.at(0).partition_responses.at(0);
  EXPECT_EQ(partition.error_code, wire_code(ErrorCode::kNotLeaderOrFollower));
  EXPECT_EQ(partition.current_leader.leader_id, 2);
  EXPECT_EQ(partition.current_leader.leader_epoch, 5);
  ASSERT_EQ(response.node_endpoints.size(), 1u);
  EXPECT_EQ(response.node_endpoints[0].host, "host2");
  auto older = ask<ProduceResponse>(produce_request("far", 0, make_batch(1)), 9);
  EXPECT_EQ(older.responses.at(0).partition_responses.at(0).error_code, wire_code(ErrorCode::kNotLeaderOrFollower));
}

TEST_F(DataPath, ALeaderThatAdvertisesNoHostIsReachedWhereTheClientDialled) {
  UpdateMetadataRequest update;
  update.controller_epoch = 1;
  update.controller_id = 1;
  auto& broker = update.live_brokers.emplace_back();
  broker.id = 2;
  auto& endpoint = broker.endpoints.emplace_back();
  endpoint.listener = "PLAINTEXT";
  endpoint.port = 9092;
  replicas.apply(update);
  auto produced = ask<ProduceResponse>(produce_request("far", 0, make_batch(1)), 10);
  ASSERT_EQ(produced.node_endpoints.size(), 1u);
  EXPECT_EQ(produced.node_endpoints[0].host, "10.1.2.3");
  EXPECT_EQ(produced.node_endpoints[0].port, 9092);
  FetchRequest fetch = fetch_request(0, 16);
  fetch.topics[0].topic_id = id_of("far");
  auto fetched = ask<FetchResponse>(fetch, 16);
  ASSERT_EQ(fetched.node_endpoints.size(), 1u);
  EXPECT_EQ(fetched.node_endpoints[0].host, "10.1.2.3");
}

TEST_F(DataPath, AcksZeroIsNotAnsweredAndAnErrorClosesTheConnection) {
  EXPECT_EQ(send(produce_request("t", 0, make_batch(1), 0), 9).end, Outcome::End::kNoAnswer);
  EXPECT_EQ(send(produce_request("nowhere", 0, make_batch(1), 0), 9).end, Outcome::End::kClosed);
}

TEST_F(DataPath, AcksAllIsSettledWhileItWaitsForFollowers) {
  lead("t", 0, 6, {1, 2});
  Outcome& outcome = send(produce_request("t", 0, make_batch(1)), 9);
  EXPECT_TRUE(outcome.settled);
  EXPECT_EQ(outcome.end, Outcome::End::kNone);
  FetchRequest follower = fetch_request(1, 17);
  follower.replica_state.replica_id = 2;
  send(follower, 17);
  auto response = answer_to<ProduceResponse>(outcome);
  EXPECT_EQ(response.responses.at(0).partition_responses.at(0).error_code, 0);
  Outcome& late = send(produce_request("t", 0, make_batch(1)), 9);
  disk.runtime.advance(1000);
  auto timed_out = answer_to<ProduceResponse>(late);
  const auto& partition = timed_out.responses.at(0).partition_responses.at(0);
  EXPECT_EQ(partition.error_code, wire_code(ErrorCode::kRequestTimedOut));
  EXPECT_EQ(partition.base_offset, 1);  // it was appended
  EXPECT_EQ(partition.log_start_offset, 0);
}

TEST_F(DataPath, BadRecordsAreListedFromVersionEight) {
  replicas.update_log_config({"t", 1}, std::make_shared<const storage::LogConfig>(storage::LogConfig{.compact_policy = true}));
  auto response = ask<ProduceResponse>(produce_request("t", 1, make_batch(3)), 8);
  const auto& partition = response.responses.at(0).partition_responses.at(0);
  EXPECT_EQ(partition.error_code, wire_code(ErrorCode::kInvalidRecord));
  EXPECT_EQ(partition.record_errors.size(), 3u);
  EXPECT_TRUE(partition.error_message);
}

// --- Fetch ------------------------------------------------------------------------------------------------------------------------

TEST_F(DataPath, FetchedBytesAreTheProducedOnesInEveryVersion) {
  Bytes batch = make_batch(3, 200);
  ASSERT_EQ(produce("t", 0, batch), ErrorCode::kNone);
  base::store_be<int32_t>(batch.data() + record::kLeaderEpochAt, 5);
  for (int16_t version = 4; version <= 17; ++version) {
    auto response = ask<FetchResponse>(fetch_request(0, version), version);
    ASSERT_EQ(response.responses.size(), 1u) << version;
    if (version < 13) {
      EXPECT_EQ(response.responses[0].topic, "t");
    }
    if (version >= 13) {
      EXPECT_EQ(response.responses[0].topic_id, id_of("t"));
    }
    const auto& partition = response.responses[0].partitions.at(0);
    EXPECT_EQ(partition.error_code, 0);
    EXPECT_EQ(partition.high_watermark, 3);
    EXPECT_EQ(partition.last_stable_offset, 3);
    EXPECT_FALSE(partition.aborted_transactions);
    EXPECT_EQ(Bytes(partition.records.bytes.begin(), partition.records.bytes.end()), batch) << version;
  }
}

// "offset=value" of the messages in a records field; a cut-off last one is "...".
std::vector<std::string> messages_of(ByteView bytes, int8_t magic) {
  std::vector<std::string> lines;
  record::Decompressor decompressor;
  for (;;) {
    auto frame = record::next_frame(bytes);
    EXPECT_TRUE(frame);
    if (!frame || !*frame) break;
    EXPECT_EQ(frame->magic(), magic);
    EXPECT_TRUE(frame->crc_matches());
    auto reader = record::MessageReader::open(frame->message(), decompressor);
    EXPECT_TRUE(reader) << reader.error().what;
    record::MessageRecord record;
    while (reader && reader->next(record).value_or(false)) {
      lines.push_back(std::to_string(record.offset.value) + "=" + std::string(as_text(*record.value)));
    }
  }
  if (!bytes.empty()) lines.push_back("...");
  return lines;
}

TEST_F(DataPath, OldFetchVersionsGetMessagesOfTheirFormat) {
  ASSERT_EQ(produce("t", 0, make_batch(2, 3)), ErrorCode::kNone);
  ASSERT_EQ(produce("t", 0, make_batch(2, 3, {.codec = record::Codec::kGzip})), ErrorCode::kNone);
  for (int16_t version = 0; version <= 3; ++version) {
    const auto magic = static_cast<int8_t>(version <= 1 ? 0 : 1);
    auto response = ask<FetchResponse>(fetch_request(0, version), version);
    const auto& partition = response.responses.at(0).partitions.at(0);
    EXPECT_EQ(partition.error_code, 0);
    EXPECT_EQ(partition.high_watermark, 4);
    EXPECT_EQ(messages_of(partition.records.bytes, magic), (std::vector<std::string>{"0=vvv", "1=vvv", "2=vvv", "3=vvv"})) << version;
    response = ask<FetchResponse>(fetch_request(1, version), version);
    EXPECT_EQ(messages_of(response.responses.at(0).partitions.at(0).records.bytes, magic), (std::vector<std::string>{"1=vvv", "2=vvv", "3=vvv"}));
    response = ask<FetchResponse>(fetch_request(4, version), version);
    EXPECT_EQ(response.responses.at(0).partitions.at(0).records.size(), 0u);
    response = ask<FetchResponse>(fetch_request(5, version), version);
    EXPECT_EQ(response.responses.at(0).partitions.at(0).error_code, wire_code(ErrorCode::kOffsetOutOfRange));
  }
}

TEST_F(DataPath, AnOldFetchIsCutAtItsLimitAndGoesOnBehindIt) {
  ASSERT_EQ(produce("t", 0, make_batch(5, 100)), ErrorCode::kNone);
  ASSERT_EQ(produce("t", 1, make_batch(5, 100)), ErrorCode::kNone);
  for (int16_t version = 0; version <= 3; ++version) {
    const auto magic = static_cast<int8_t>(version <= 1 ? 0 : 1);
    FetchRequest request = fetch_request(1, version);
    request.topics[0].partitions[0].partition_max_bytes = 300;
    request.topics[0].partitions.emplace_back(request.topics[0].partitions[0]).partition = 1;
    auto response = ask<FetchResponse>(request, version);
    const std::string value = "=" + std::string(100, 'v');
    for (const auto& partition : response.responses.at(0).partitions) {
      if (version == 3 && partition.partition_index == 1) continue;  // its first batch does not fit: only one partition's need not
      EXPECT_LE(partition.records.size(), 300u);
      EXPECT_EQ(messages_of(partition.records.bytes, magic), (std::vector<std::string>{"1" + value, "2" + value}));
    }
    request.topics[0].partitions[0].partition_max_bytes = 20;
    response = ask<FetchResponse>(request, version);
    const auto& first = response.responses.at(0).partitions.at(0);
    if (version == 3) {
      EXPECT_EQ(messages_of(first.records.bytes, magic), (std::vector<std::string>{"1" + value}));
    } else {
      EXPECT_EQ(first.records.size(), 20u);
      EXPECT_EQ(messages_of(first.records.bytes, magic), (std::vector<std::string>{"..."}));
    }
  }
}

TEST_F(DataPath, AnOldFetchIsConvertedToEightMebibytesAtMost) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(produce("t", 0, make_batch(1, 900'000)), ErrorCode::kNone);
    ASSERT_EQ(produce("t", 1, make_batch(1, 900'000)), ErrorCode::kNone);
  }
  for (int16_t version = 0; version <= 3; ++version) {
    FetchRequest request = fetch_request(0, version);
    request.max_bytes = INT32_MAX;
    request.topics[0].partitions[0].partition_max_bytes = 6'000'000;
    request.topics[0].partitions.emplace_back(request.topics[0].partitions[0]).partition = 1;
    auto response = ask<FetchResponse>(request, version);
    size_t total = 0;
    for (const auto& partition : response.responses.at(0).partitions) {
      EXPECT_FALSE(messages_of(partition.records.bytes, version <= 1 ? 0 : 1).empty());
      total += partition.records.size();
    }
    EXPECT_LE(total, size_t{8} << 20) << version;
    EXPECT_GT(total, size_t{6} << 20) << version;
  }
}

TEST_F(DataPath, AnOldFetchReadsOnBehindControlBatches) {
  auto log = disk.logs->find({"t", 0});
  const record::EndTxnMarker marker{record::ControlType::kCommit, 1};
  for (int i = 0; i < 3; ++i) {
    Bytes batch = record::build_end_txn_marker(marker, base::ManualRuntime::kStartMs, ProducerId{7}, 0);
    ASSERT_TRUE(log->append_as_leader(batch, {5}, {record::AppendOrigin::kCoordinator, 11}));
  }
  ASSERT_EQ(produce("t", 0, make_batch(1, 3)), ErrorCode::kNone);
  for (int16_t version = 0; version <= 3; ++version) {
    FetchRequest request = fetch_request(0, version);
    request.topics[0].partitions[0].partition_max_bytes = 90;
    auto response = ask<FetchResponse>(request, version);
    EXPECT_EQ(messages_of(response.responses.at(0).partitions.at(0).records.bytes, version <= 1 ? 0 : 1), (std::vector<std::string>{"3=vvv"}));
  }
}

TEST_F(DataPath, AnOldFetchSkipsNothingWhereTheLogWasCutMeanwhile) {
  auto log = disk.logs->find({"t", 0});
  for (int i = 0; i < 10; ++i) ASSERT_EQ(produce("t", 0, make_batch(1, 3)), ErrorCode::kNone);
  auto read = log->read({0}, 300, {10}, true);
  ASSERT_TRUE(read);
  replication::ReadResult found;
  found.records = read->slice;
  found.next_offset = read->next_offset;
  found.upper_bound = {10};
  ASSERT_LT(found.next_offset.value, 10);
  ASSERT_TRUE(log->truncate_to({0}));
  for (int i = 0; i < 10; ++i) ASSERT_EQ(produce("t", 0, make_batch(1, 3)), ErrorCode::kNone);
  auto converted = OldFetchAnswer(2).convert(*log, {0}, 300, found);
  ASSERT_TRUE(converted);
  EXPECT_TRUE(converted->empty());
}

TEST_F(DataPath, OldFetchesAreRefusedWhereTheTopicForbidsThemOrZstdStands) {
  ASSERT_EQ(produce("t", 0, make_batch(1)), ErrorCode::kNone);
  auto error_of = [&](int16_t version) { return static_cast<ErrorCode>(ask<FetchResponse>(fetch_request(0, version), version).responses.at(0).partitions.at(0).error_code); };
  auto log = disk.logs->find({"t", 0});
  storage::LogConfig changed;
  changed.message_downconversion = false;
  log->update_config(std::make_shared<const storage::LogConfig>(changed));
  EXPECT_EQ(error_of(0), ErrorCode::kUnsupportedVersion);
  EXPECT_EQ(error_of(3), ErrorCode::kUnsupportedVersion);
  EXPECT_EQ(error_of(4), ErrorCode::kNone);
  changed = {};
  changed.compression = record::Codec::kZstd;
  log->update_config(std::make_shared<const storage::LogConfig>(changed));
  EXPECT_EQ(error_of(0), ErrorCode::kUnsupportedCompressionType);
  EXPECT_EQ(error_of(9), ErrorCode::kUnsupportedCompressionType);
  EXPECT_EQ(error_of(10), ErrorCode::kNone);
  // The producer's codec: older readers that know v2 get it, others cannot.
  changed = {};
  log->update_config(std::make_shared<const storage::LogConfig>(changed));
  Bytes zstd = make_batch(1, 10, {.codec = record::Codec::kZstd});
  ASSERT_EQ(produce("t", 0, zstd), ErrorCode::kNone);
  auto at_one = [&](int16_t version) { return static_cast<ErrorCode>(ask<FetchResponse>(fetch_request(1, version), version).responses.at(0).partitions.at(0).error_code); };
  EXPECT_EQ(at_one(3), ErrorCode::kUnsupportedCompressionType);
  EXPECT_EQ(at_one(4), ErrorCode::kNone);
  EXPECT_EQ(error_of(3), ErrorCode::kNone);  // what stands before it
}

TEST_F(DataPath, AFetchAtTheEndIsParkedAndAnsweredWithTheNextRecords) {
  Outcome& outcome = send(fetch_request(0, 12, 500), 12);
  EXPECT_TRUE(outcome.settled);
  EXPECT_EQ(outcome.end, Outcome::End::kNone);
  ASSERT_EQ(produce("t", 0, make_batch(1)), ErrorCode::kNone);
  auto response = answer_to<FetchResponse>(outcome);
  EXPECT_GT(response.responses.at(0).partitions.at(0).records.size(), 0u);
  Outcome& empty = send(fetch_request(1, 12, 500), 12);
  disk.runtime.advance(500);
  auto nothing = answer_to<FetchResponse>(empty);
  EXPECT_EQ(nothing.responses.at(0).partitions.at(0).records.size(), 0u);
  EXPECT_FALSE(nothing.responses.at(0).partitions.at(0).records.null);
}

TEST_F(DataPath, AnIncrementalSessionAnswersOnlyNews) {
  FetchRequest full = fetch_request(0, 12);
  full.topics[0].partitions.emplace_back(full.topics[0].partitions[0]).partition = 1;
  full.session_epoch = 0;
  auto first = ask<FetchResponse>(full, 12);
  ASSERT_NE(first.session_id, 0);
  EXPECT_EQ(first.responses.at(0).partitions.size(), 2u);
  FetchRequest next;
  next.max_bytes = 1 << 20;
  next.session_id = first.session_id;
  next.session_epoch = 1;
  EXPECT_TRUE(ask<FetchResponse>(next, 12).responses.empty());
  ASSERT_EQ(produce("t", 1, make_batch(1)), ErrorCode::kNone);
  next.session_epoch = 2;
  auto news = ask<FetchResponse>(next, 12);
  EXPECT_EQ(news.session_id, first.session_id);
  ASSERT_EQ(news.responses.size(), 1u);
  ASSERT_EQ(news.responses[0].partitions.size(), 1u);
  EXPECT_EQ(news.responses[0].partitions[0].partition_index, 1);
  next.session_epoch = 9;
  auto wrong = ask<FetchResponse>(next, 12);
  EXPECT_EQ(wrong.error_code, wire_code(ErrorCode::kInvalidFetchSessionEpoch));
  EXPECT_EQ(wrong.session_id, 0);
}

TEST_F(DataPath, FetchErrorsArePerPartition) {
  auto error_of = [&](FetchRequest request, int16_t version) {
    return static_cast<ErrorCode>(ask<FetchResponse>(request, version).responses.at(0).partitions.at(0).error_code);
  };
  FetchRequest unknown_topic = fetch_request(0, 12);
  unknown_topic.topics[0].topic = "nowhere";
  EXPECT_EQ(error_of(unknown_topic, 12), ErrorCode::kUnknownTopicOrPartition);
  FetchRequest unknown_id = fetch_request(0, 13);
  unknown_id.topics[0].topic_id = id_of("nowhere");
  EXPECT_EQ(error_of(unknown_id, 13), ErrorCode::kUnknownTopicId);
  EXPECT_EQ(error_of(fetch_request(9, 12), 12), ErrorCode::kOffsetOutOfRange);
  FetchRequest fenced = fetch_request(0, 12);
  fenced.topics[0].partitions[0].current_leader_epoch = 4;
  EXPECT_EQ(error_of(fenced, 12), ErrorCode::kFencedLeaderEpoch);
  fenced.topics[0].partitions[0].current_leader_epoch = 6;
  EXPECT_EQ(error_of(fenced, 12), ErrorCode::kUnknownLeaderEpoch);
  FetchRequest far = fetch_request(0, 16);
  far.topics[0].topic_id = id_of("far");
  auto response = ask<FetchResponse>(far, 16);
  EXPECT_EQ(response.responses.at(0).partitions.at(0).error_code, wire_code(ErrorCode::kNotLeaderOrFollower));
  EXPECT_EQ(response.responses.at(0).partitions.at(0).current_leader.leader_id, 2);
  EXPECT_EQ(response.node_endpoints.at(0).host, "host2");
}

TEST_F(DataPath, ReadCommittedGetsAListOfAbortedTransactions) {
  ASSERT_EQ(produce("t", 0, make_batch(1)), ErrorCode::kNone);
  FetchRequest request = fetch_request(0, 11);
  request.isolation_level = 1;
  auto response = ask<FetchResponse>(request, 11);
  ASSERT_TRUE(response.responses.at(0).partitions.at(0).aborted_transactions);
  EXPECT_TRUE(response.responses.at(0).partitions.at(0).aborted_transactions->empty());
}

// --- the others -------------------------------------------------------------------------------------------------------------------

TEST_F(DataPath, ListOffsetsAnswersEachVersionInItsForm) {
  ASSERT_EQ(produce("t", 0, make_batch(4)), ErrorCode::kNone);
  auto list = [&](int64_t timestamp, int16_t version) {
    ListOffsetsRequest request;
    request.replica_id = -1;
    auto& topic = request.topics.emplace_back();
    topic.name = "t";
    auto& partition = topic.partitions.emplace_back();
    partition.timestamp = timestamp;
    partition.max_num_offsets = 10;
    return ask<ListOffsetsResponse>(request, version).topics.at(0).partitions.at(0);
  };
  EXPECT_EQ(list(-1, 0).old_style_offsets, (std::vector<int64_t>{4, 0}));
  EXPECT_EQ(list(-2, 0).old_style_offsets, std::vector<int64_t>{0});
  EXPECT_EQ(list(-3, 0).error_code, wire_code(ErrorCode::kUnsupportedVersion));
  for (int16_t version = 1; version <= 9; ++version) {
    EXPECT_EQ(list(-1, version).offset, 4);
    EXPECT_EQ(list(-2, version).offset, 0);
    EXPECT_EQ(list(base::ManualRuntime::kStartMs + 1, version).offset, 1);
    EXPECT_EQ(list(base::ManualRuntime::kStartMs + 1, version).timestamp, base::ManualRuntime::kStartMs + 1);
    EXPECT_EQ(list(base::ManualRuntime::kStartMs + 100, version).offset, -1);
    EXPECT_EQ(list(-3, version).error_code, version < 7 ? wire_code(ErrorCode::kUnsupportedVersion) : 0);
    EXPECT_EQ(list(-4, version).error_code, version < 8 ? wire_code(ErrorCode::kUnsupportedVersion) : 0);
    EXPECT_EQ(list(-5, version).error_code, version < 9 ? wire_code(ErrorCode::kUnsupportedVersion) : 0);
    if (version >= 4) {
      EXPECT_EQ(list(-1, version).leader_epoch, 5);
    }
  }
  EXPECT_EQ(list(-3, 7).offset, 3);
  ListOffsetsRequest twice;
  auto& topic = twice.topics.emplace_back();
  topic.name = "t";
  topic.partitions.resize(2);
  EXPECT_EQ(ask<ListOffsetsResponse>(twice, 5).topics.at(0).partitions.at(0).error_code, wire_code(ErrorCode::kInvalidRequest));
}

TEST_F(DataPath, OffsetForLeaderEpochNamesTheEndOfAnEpoch) {
  ASSERT_EQ(produce("t", 0, make_batch(4)), ErrorCode::kNone);
  lead("t", 0, 8);
  ASSERT_EQ(produce("t", 0, make_batch(1)), ErrorCode::kNone);
  auto end_of = [&](int32_t epoch, int32_t current) {
    OffsetForLeaderEpochRequest request;
    auto& topic = request.topics.emplace_back();
    topic.topic = "t";
    auto& partition = topic.partitions.emplace_back();
    partition.leader_epoch = epoch;
    partition.current_leader_epoch = current;
    return ask<OffsetForLeaderEpochResponse>(request, 4).topics.at(0).partitions.at(0);
  };
  EXPECT_EQ(end_of(5, -1).end_offset, 4);
  EXPECT_EQ(end_of(7, -1).leader_epoch, 5);
  EXPECT_EQ(end_of(8, 8).end_offset, 5);
  EXPECT_EQ(end_of(9, -1).end_offset, -1);
  EXPECT_EQ(end_of(8, 7).error_code, wire_code(ErrorCode::kFencedLeaderEpoch));
}

TEST_F(DataPath, DeleteRecordsMovesTheLogStart) {
  ASSERT_EQ(produce("t", 0, make_batch(4)), ErrorCode::kNone);
  auto remove = [&](const std::string& topic_name, int64_t offset) {
    DeleteRecordsRequest request;
    request.timeout_ms = 100;
    auto& topic = request.topics.emplace_back();
    topic.name = topic_name;
    topic.partitions.emplace_back().offset = offset;
    return ask<DeleteRecordsResponse>(request, 2).topics.at(0).partitions.at(0);
  };
  EXPECT_EQ(remove("t", 3).low_watermark, 3);
  EXPECT_EQ(remove("t", 5).error_code, wire_code(ErrorCode::kOffsetOutOfRange));
  EXPECT_EQ(remove("__consumer_offsets", -1).error_code, wire_code(ErrorCode::kInvalidTopicException));
  EXPECT_EQ(remove("far", 0).error_code, wire_code(ErrorCode::kNotLeaderOrFollower));
  EXPECT_EQ(ask<FetchResponse>(fetch_request(0, 12), 12).responses.at(0).partitions.at(0).error_code, wire_code(ErrorCode::kOffsetOutOfRange));
}

TEST_F(DataPath, DescribeProducersShowsWhoProducedIdempotently) {
  ASSERT_EQ(produce("t", 0, make_batch(2, 10, {.producer_id = {40}, .producer_epoch = 1, .base_sequence = 0})), ErrorCode::kNone);
  DescribeProducersRequest request;
  auto& topic = request.topics.emplace_back();
  topic.name = "t";
  topic.partition_indexes = {0, 7};
  auto response = ask<DescribeProducersResponse>(request, 0);
  const auto& partitions = response.topics.at(0).partitions;
  ASSERT_EQ(partitions.at(0).active_producers.size(), 1u);
  EXPECT_EQ(partitions[0].active_producers[0].producer_id, 40);
  EXPECT_EQ(partitions[0].active_producers[0].last_sequence, 1);
  EXPECT_EQ(partitions.at(1).error_code, wire_code(ErrorCode::kUnknownTopicOrPartition));
}

TEST_F(DataPath, DescribeLogDirsNamesDirsAndSizes) {
  ASSERT_EQ(produce("t", 0, make_batch(2)), ErrorCode::kNone);
  DescribeLogDirsRequest request;
  auto& topic = request.topics.emplace().emplace_back();
  topic.topic = "t";
  topic.partitions = {0};
  for (int16_t version = 0; version <= 4; ++version) {
    auto response = ask<DescribeLogDirsResponse>(request, version);
    ASSERT_EQ(response.results.size(), 1u);
    EXPECT_EQ(response.results[0].log_dir, "/data");
    ASSERT_EQ(response.results[0].topics.size(), 1u);
    EXPECT_EQ(response.results[0].topics[0].partitions.at(0).partition_size, static_cast<int64_t>(make_batch(2).size()));
  }
}

TEST_F(DataPath, TheControllersRequestsAreAnsweredInEveryVersion) {
  for (int16_t version = 0; version <= 7; ++version) {
    LeaderAndIsrRequest request;
    request.controller_epoch = 1;
    LeaderAndIsrRequest::LeaderAndIsrPartitionState state;
    state.partition_index = 5;
    state.leader = 1;
    state.leader_epoch = version;
    state.isr = state.replicas = {1};
    state.is_new = true;
    if (version < 2) {
      state.topic_name = "fresh";
      request.ungrouped_partition_states.push_back(state);
    } else {
      auto& topic = request.topic_states.emplace_back();
      topic.topic_name = "fresh";
      if (version >= 5) topic.topic_id = id_of("fresh");
      topic.partition_states.push_back(state);
    }
    auto response = ask<LeaderAndIsrResponse>(request, version);
    const auto& errors = version < 5 ? response.partition_errors : response.topics.at(0).partition_errors;
    ASSERT_EQ(errors.size(), 1u) << version;
    EXPECT_EQ(errors[0].error_code, 0) << version;
  }
  EXPECT_TRUE(replicas.find("fresh", 5)->is_leader());
}

}  // namespace
}  // namespace odradek::api
