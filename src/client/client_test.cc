// Connection and Cluster against brokers in memory; time is driven by hand.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "base/manual_runtime.h"
#include "client/cluster.h"
#include "client/fetcher.h"
#include "client/offsets.h"
#include "client/producer.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/init_producer_id.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/messages/produce.h"

namespace odradek::client {
namespace {

using protocol::ApiKey;
using protocol::RequestHeader;

// Answers with a whole frame without its size; nullopt: says nothing.
using Handler = std::function<std::optional<Bytes>(const RequestHeader&, MutableByteView body)>;

struct FakeBroker {
  std::map<ApiKey, std::pair<int16_t, int16_t>> versions{{ApiKey::kApiVersions, {0, 3}}, {ApiKey::kMetadata, {0, 12}}};
  std::map<ApiKey, Handler> handlers;
  std::vector<RequestHeader> seen;
  bool old_api_versions = false;  // knows version 0 only
  bool down = false;
};

class FakeNetwork final : public net::Dialer {
 public:
  base::ManualRuntime runtime;
  std::map<std::string, FakeBroker> brokers;
  std::set<std::string> dialled;
  int pauses = 0;

  base::Clock& clock() override { return runtime.clock(); }
  void pause_until(int64_t moment_ns) override {
    ++pauses;
    runtime.advance(std::max<int64_t>(1, (moment_ns - clock().monotonic_ns()) / 1'000'000));
  }
  Result<std::unique_ptr<net::Stream>> dial(const net::Endpoint& address, int64_t) override {
    dialled.insert(address.to_string());
    auto found = brokers.find(address.to_string());
    if (found == brokers.end() || found->second.down) return fail(ErrorCode::kNetworkException, address.to_string() + ": refused");
    return std::make_unique<FakeStream>(*this, found->second);
  }

 private:
  class FakeStream final : public net::Stream {
   public:
    FakeStream(FakeNetwork& network, FakeBroker& broker) : network_(network), broker_(broker) {}
    Result<void> send(std::span<const ByteView> parts, int64_t) override {
      if (broker_.down) return fail(ErrorCode::kNetworkException, "reset");
      Bytes frame;
      for (ByteView part : parts.subspan(1)) frame.insert(frame.end(), part.begin(), part.end());
      EXPECT_EQ(base::load_be<int32_t>(parts[0].data()), static_cast<int32_t>(frame.size()));
      size_t used = 0;
      auto header = protocol::decode_request_header(frame, used);
      EXPECT_TRUE(header);
      broker_.seen.push_back(*header);
      auto answer = reply(*header, MutableByteView(frame).subspan(used));
      if (answer) {
        base::append_be<int32_t>(out_, static_cast<int32_t>(answer->size()));
        out_.insert(out_.end(), answer->begin(), answer->end());
      }
      return {};
    }
    Result<size_t> receive(MutableByteView into, int64_t deadline_ns) override {
      if (broker_.down) return fail(ErrorCode::kNetworkException, "reset");
      if (out_.empty()) {
        network_.runtime.advance((deadline_ns - network_.clock().monotonic_ns()) / 1'000'000);
        return fail(ErrorCode::kRequestTimedOut, "no answer in time");
      }
      size_t size = std::min<size_t>({into.size(), out_.size(), 3});  // in small pieces
      std::copy_n(out_.begin(), size, into.begin());
      out_.erase(out_.begin(), out_.begin() + static_cast<ptrdiff_t>(size));
      return size;
    }

   private:
    std::optional<Bytes> reply(const RequestHeader& header, MutableByteView body) {
      auto key = static_cast<ApiKey>(header.request_api_key);
      if (auto found = broker_.handlers.find(key); found != broker_.handlers.end()) return found->second(header, body);
      EXPECT_EQ(key, ApiKey::kApiVersions);
      protocol::ApiVersionsResponse response;
      if (broker_.old_api_versions && header.request_api_version > 0) {
        response.error_code = static_cast<int16_t>(ErrorCode::kUnsupportedVersion);
        return protocol::encode_response(header.correlation_id, 0, response).bytes;
      }
      for (auto [api, range] : broker_.versions) {
        response.api_keys.push_back({.api_key = static_cast<int16_t>(api), .min_version = range.first, .max_version = range.second});
      }
      return protocol::encode_response(header.correlation_id, header.request_api_version, response).bytes;
    }

    FakeNetwork& network_;
    FakeBroker& broker_;
    Bytes out_;
  };
};

template <class Response>
std::optional<Bytes> reply(const RequestHeader& header, const Response& response) {
  return protocol::encode_response(header.correlation_id, header.request_api_version, response).bytes;
}

// Two brokers, b1 the controller; topic t with partitions that `leader` leads. A broker in `gone` is not in the cluster.
void make_cluster(FakeNetwork& network, const int32_t* leader, int32_t partitions = 1, const std::set<int32_t>* gone = nullptr) {
  for (const char* name : {"b1:9092", "b2:9092"}) {
    FakeBroker& broker = network.brokers[name];
    broker.versions[ApiKey::kListOffsets] = {1, 7};
    broker.versions[ApiKey::kFindCoordinator] = {0, 4};
    broker.versions[ApiKey::kHeartbeat] = {0, 4};
    broker.handlers[ApiKey::kMetadata] = [leader, partitions, gone](const RequestHeader& header, MutableByteView body) {
      auto request = protocol::decode_body<protocol::MetadataRequest>(body, header.request_api_version);
      EXPECT_TRUE(request);
      EXPECT_FALSE(request->allow_auto_topic_creation);
      protocol::MetadataResponse response;
      response.brokers = {{.node_id = 1, .host = "b1", .port = 9092}, {.node_id = 2, .host = "b2", .port = 9092}};
      if (gone != nullptr) std::erase_if(response.brokers, [&](const auto& each) { return gone->contains(each.node_id); });
      response.controller_id = 1;
      response.cluster_id = "c";
      for (const auto& asked : request->topics.value_or(std::vector<protocol::MetadataRequest::MetadataRequestTopic>{})) {
        auto& topic = response.topics.emplace_back();
        topic.name = asked.name;
        if (asked.name != "t") {
          topic.error_code = static_cast<int16_t>(ErrorCode::kUnknownTopicOrPartition);
          continue;
        }
        for (int32_t i = 0; i < partitions; ++i) {
          auto& partition = topic.partitions.emplace_back();
          partition.partition_index = i;
          partition.leader_id = *leader;
          if (*leader < 0) partition.error_code = static_cast<int16_t>(ErrorCode::kLeaderNotAvailable);
        }
      }
      return reply(header, response);
    };
  }
}

Handler offsets_answer(ErrorCode code) {
  return [code](const RequestHeader& header, MutableByteView) {
    protocol::ListOffsetsResponse response;
    response.topics.emplace_back().partitions.emplace_back().error_code = static_cast<int16_t>(code);
    return reply(header, response);
  };
}

ErrorCode offsets_error(const protocol::ListOffsetsResponse& response) {
  return static_cast<ErrorCode>(response.topics.at(0).partitions.at(0).error_code);
}

TEST(Connection, AgreesOnTheHighestSharedVersion) {
  FakeNetwork network;
  network.brokers["b:1"].versions[ApiKey::kListOffsets] = {1, 7};
  auto connection = Connection::open(network, {"b", 1}, {});
  ASSERT_TRUE(connection) << connection.error().what;
  EXPECT_EQ((*connection)->version_for(ApiKey::kListOffsets, 0, 11), 7);
  EXPECT_EQ((*connection)->version_for(ApiKey::kListOffsets, 0, 4), 4);
  auto none = (*connection)->version_for(ApiKey::kListOffsets, 8, 11);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kUnsupportedVersion);
  EXPECT_FALSE((*connection)->version_for(ApiKey::kProduce, 0, 13));
}

TEST(Connection, AsksAnOldBrokerForItsVersionsInVersionZero) {
  FakeNetwork network;
  network.brokers["b:1"].old_api_versions = true;
  auto connection = Connection::open(network, {"b", 1}, {});
  ASSERT_TRUE(connection) << connection.error().what;
  ASSERT_EQ(network.brokers["b:1"].seen.size(), 2u);
  EXPECT_EQ(network.brokers["b:1"].seen[1].request_api_version, 0);
  EXPECT_TRUE((*connection)->version_for(ApiKey::kMetadata, 0, 13));
}

TEST(Connection, SeveralRequestsOnTheWayGiveEachItsOwnAnswer) {
  FakeNetwork network;
  FakeBroker& broker = network.brokers["b:1"];
  broker.versions[ApiKey::kHeartbeat] = {0, 4};
  broker.handlers[ApiKey::kHeartbeat] = [](const RequestHeader& header, MutableByteView body) {
    auto request = protocol::decode_body<protocol::HeartbeatRequest>(body, header.request_api_version);
    protocol::HeartbeatResponse response;
    response.throttle_time_ms = request->generation_id;
    return reply(header, response);
  };
  auto connection = Connection::open(network, {"b", 1}, {});
  ASSERT_TRUE(connection);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 5; ++i) {
    protocol::HeartbeatRequest request;
    request.generation_id = i;
    tickets.push_back(*(*connection)->send(request));
  }
  EXPECT_EQ((*connection)->in_flight(), 5u);
  for (int i : {3, 0, 4, 1, 2}) {
    auto answer = (*connection)->receive<protocol::HeartbeatResponse>(tickets[static_cast<size_t>(i)]);
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ((*answer)->throttle_time_ms, i);
  }
  EXPECT_EQ((*connection)->in_flight(), 0u);
}

TEST(Connection, AnswerOfAnotherRequestBreaksIt) {
  FakeNetwork network;
  FakeBroker& broker = network.brokers["b:1"];
  broker.versions[ApiKey::kHeartbeat] = {0, 4};
  broker.handlers[ApiKey::kHeartbeat] = [](RequestHeader header, MutableByteView) {
    header.correlation_id += 7;
    return reply(header, protocol::HeartbeatResponse{});
  };
  auto connection = Connection::open(network, {"b", 1}, {});
  ASSERT_TRUE(connection);
  auto answer = (*connection)->ask<protocol::HeartbeatResponse>(protocol::HeartbeatRequest{});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kCorruptMessage);
  EXPECT_TRUE((*connection)->broken());
  EXPECT_FALSE((*connection)->ask<protocol::HeartbeatResponse>(protocol::HeartbeatRequest{}));
}

TEST(Connection, HugeAnswerIsRefusedBeforeMemoryIsTaken) {
  FakeNetwork network;
  FakeBroker& broker = network.brokers["b:1"];
  broker.handlers[ApiKey::kApiVersions] = [](const RequestHeader&, MutableByteView) { return Bytes(2000, 0); };
  auto connection = Connection::open(network, {"b", 1}, {.max_answer_bytes = 1000});
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code, ErrorCode::kCorruptMessage);
}

TEST(Connection, SilentBrokerIsGivenUpAtTheDeadline) {
  FakeNetwork network;
  FakeBroker& broker = network.brokers["b:1"];
  broker.versions[ApiKey::kHeartbeat] = {0, 4};
  broker.handlers[ApiKey::kHeartbeat] = [](const RequestHeader&, MutableByteView) { return std::nullopt; };
  auto connection = Connection::open(network, {"b", 1}, {.request_timeout = std::chrono::milliseconds(700)});
  ASSERT_TRUE(connection);
  int64_t start = network.clock().monotonic_ms();
  auto answer = (*connection)->ask<protocol::HeartbeatResponse>(protocol::HeartbeatRequest{});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kRequestTimedOut);
  EXPECT_EQ(network.clock().monotonic_ms() - start, 700);
  EXPECT_TRUE((*connection)->broken());
}

TEST(Connection, ProduceWithoutAcksWaitsForNothing) {
  FakeNetwork network;
  FakeBroker& broker = network.brokers["b:1"];
  broker.versions[ApiKey::kProduce] = {3, 9};
  broker.handlers[ApiKey::kProduce] = [](const RequestHeader&, MutableByteView) { return std::nullopt; };
  auto connection = Connection::open(network, {"b", 1}, {});
  ASSERT_TRUE(connection);
  ASSERT_TRUE((*connection)->send_without_answer(protocol::ProduceRequest{}));
  EXPECT_EQ((*connection)->in_flight(), 0u);
  EXPECT_EQ(broker.seen.back().request_api_version, 9);
}

TEST(Cluster, RequestFollowsAPartitionToItsNewLeader) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  network.brokers["b1:9092"].handlers[ApiKey::kListOffsets] = [&](const RequestHeader& header, MutableByteView body) {
    leader = 2;  // seen by the next Metadata
    return offsets_answer(ErrorCode::kNotLeaderOrFollower)(header, body);
  };
  network.brokers["b2:9092"].handlers[ApiKey::kListOffsets] = offsets_answer(ErrorCode::kNone);
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b1:9092"});
  ASSERT_TRUE(cluster);
  auto answer = (*cluster)->ask<protocol::ListOffsetsResponse>(TheLeader{{"t", 0}}, protocol::ListOffsetsRequest{}, offsets_error);
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(offsets_error(answer->message), ErrorCode::kNone);
  EXPECT_EQ(network.brokers["b2:9092"].seen.back().request_api_key, 2);
  EXPECT_EQ((*cluster)->cluster_id(), "c");
  EXPECT_EQ((*cluster)->controller(), BrokerId{1});
  EXPECT_EQ((*cluster)->brokers().size(), 2u);
}

TEST(Cluster, WaitsForALeaderUntilPatienceEnds) {
  FakeNetwork network;
  int32_t leader = -1;
  make_cluster(network, &leader);
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b1:9092", .patience = std::chrono::milliseconds(5000)});
  ASSERT_TRUE(cluster);
  int64_t start = network.clock().monotonic_ms();
  auto found = (*cluster)->leader({"t", 0});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kLeaderNotAvailable);
  EXPECT_GT(network.clock().monotonic_ms() - start, 3500);
  EXPECT_LE(network.clock().monotonic_ms() - start, 5000);
  EXPECT_GT(network.pauses, 4);
}

TEST(Cluster, UnknownTopicIsGivenUpSooner) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b1:9092"});
  ASSERT_TRUE(cluster);
  int64_t start = network.clock().monotonic_ms();
  auto found = (*cluster)->leader({"nowhere", 0});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_LE(network.clock().monotonic_ms() - start, 3000);
}

TEST(Cluster, DeadBootstrapAddressIsPassedOver) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "dead:1,b2:9092"});
  ASSERT_TRUE(cluster);
  ASSERT_TRUE((*cluster)->metadata(std::nullopt));
  EXPECT_TRUE(network.dialled.contains("dead:1"));
}

TEST(Cluster, LostConnectionIsOpenedAgain) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  network.brokers["b1:9092"].handlers[ApiKey::kListOffsets] = offsets_answer(ErrorCode::kNone);
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b2:9092"});
  ASSERT_TRUE(cluster);
  auto ask = [&](Resend resend) {
    return (*cluster)->ask<protocol::ListOffsetsResponse>(TheLeader{{"t", 0}}, protocol::ListOffsetsRequest{}, offsets_error, resend);
  };
  ASSERT_TRUE(ask(Resend::kYes));
  network.brokers["b1:9092"].down = true;
  EXPECT_FALSE(ask(Resend::kNo));
  int pauses = network.pauses;
  network.brokers["b1:9092"].down = false;
  ASSERT_TRUE(ask(Resend::kNo));
  EXPECT_EQ(network.pauses, pauses);
}

TEST(Cluster, RequestGoesToTheCoordinatorAndFollowsIt) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  int32_t coordinator = 1;
  for (auto& [name, broker] : network.brokers) {
    broker.versions[ApiKey::kFindCoordinator] = {0, static_cast<int16_t>(name == "b1:9092" ? 3 : 4)};  // both forms of the answer
    broker.handlers[ApiKey::kFindCoordinator] = [&](const RequestHeader& header, MutableByteView body) {
      auto request = protocol::decode_body<protocol::FindCoordinatorRequest>(body, header.request_api_version);
      EXPECT_TRUE(request->key == "g" || request->coordinator_keys == std::vector<std::string>{"g"});
      protocol::FindCoordinatorResponse response;
      std::string host = "b" + std::to_string(coordinator);
      response.node_id = coordinator;
      response.host = host;
      response.port = 9092;
      response.coordinators.push_back({.key = "g", .node_id = coordinator, .host = host, .port = 9092});
      return reply(header, response);
    };
  }
  auto heartbeat = [&](ErrorCode code, int32_t next) {
    return [&coordinator, code, next](const RequestHeader& header, MutableByteView) {
      coordinator = next;
      protocol::HeartbeatResponse response;
      response.error_code = static_cast<int16_t>(code);
      return reply(header, response);
    };
  };
  network.brokers["b1:9092"].handlers[ApiKey::kHeartbeat] = heartbeat(ErrorCode::kNotCoordinator, 2);
  network.brokers["b2:9092"].handlers[ApiKey::kHeartbeat] = heartbeat(ErrorCode::kRebalanceInProgress, 2);
  for (const char* bootstrap : {"b1:9092", "b2:9092"}) {
    coordinator = 1;
    auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = bootstrap});
    ASSERT_TRUE(cluster);
    auto answer = (*cluster)->ask<protocol::HeartbeatResponse>(TheCoordinator{CoordinatorType::kGroup, "g"}, protocol::HeartbeatRequest{},
                                                               [](const auto& response) { return static_cast<ErrorCode>(response.error_code); });
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ((*answer)->error_code, static_cast<int16_t>(ErrorCode::kRebalanceInProgress));  // not retriable: the caller's
  }
}

TEST(Cluster, TheSuccessorOfABrokerThatLeftTheClusterIsAsked) {
  FakeNetwork network;
  int32_t leader = 1;
  std::set<int32_t> gone;
  make_cluster(network, &leader, 1, &gone);
  for (auto& [name, broker] : network.brokers) broker.handlers[ApiKey::kListOffsets] = offsets_answer(ErrorCode::kNone);
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b2:9092"});
  ASSERT_TRUE(cluster);
  ASSERT_TRUE((*cluster)->leader({"t", 0}));
  leader = 2;
  gone.insert(1);
  ASSERT_TRUE((*cluster)->metadata(std::vector<std::string>{}));  // of other topics: who led t is still remembered
  auto answer = (*cluster)->ask<protocol::ListOffsetsResponse>(TheLeader{{"t", 0}}, protocol::ListOffsetsRequest{}, offsets_error);
  ASSERT_TRUE(answer) << answer.error().what;
  auto itself = (*cluster)->ask<protocol::ListOffsetsResponse>(TheBroker{{1}}, protocol::ListOffsetsRequest{});
  ASSERT_FALSE(itself);
  EXPECT_EQ(itself.error().code, ErrorCode::kBrokerNotAvailable);
}

TEST(Offsets, PartitionsWithoutALeaderCostThePatienceOnce) {
  FakeNetwork network;
  int32_t leader = -1;
  make_cluster(network, &leader, 20);
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b1:9092", .patience = std::chrono::milliseconds(5000)});
  ASSERT_TRUE(cluster);
  std::map<TopicPartition, int64_t> asked;
  for (int32_t i = 0; i < 20; ++i) asked[{"t", i}] = kLatestTimestamp;
  int64_t start = network.clock().monotonic_ms();
  auto listed = list_offsets(**cluster, asked);
  ASSERT_TRUE(listed) << listed.error().what;
  for (const auto& [name, each] : *listed) EXPECT_EQ(each.error, ErrorCode::kLeaderNotAvailable);
  EXPECT_EQ(listed->size(), 20u);
  EXPECT_LE(network.clock().monotonic_ms() - start, 6000);
}

TEST(Producer, ABatchDoesNotOvertakeThoseAtTheFormerLeader) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  std::vector<int32_t> sequences;  // as b2 sees them
  for (auto& [name, broker] : network.brokers) {
    broker.versions[ApiKey::kInitProducerId] = {0, 4};
    broker.versions[ApiKey::kProduce] = {3, 9};
    broker.handlers[ApiKey::kInitProducerId] = [](const RequestHeader& header, MutableByteView) {
      protocol::InitProducerIdResponse response;
      response.producer_id = 7;
      response.producer_epoch = 0;
      return reply(header, response);
    };
  }
  network.brokers["b1:9092"].handlers[ApiKey::kProduce] = [](const RequestHeader&, MutableByteView) { return std::nullopt; };
  network.brokers["b2:9092"].handlers[ApiKey::kProduce] = [&](const RequestHeader& header, MutableByteView body) {
    auto request = protocol::decode_body<protocol::ProduceRequest>(body, header.request_api_version);
    EXPECT_TRUE(request);
    sequences.push_back(record::BatchView(request->topic_data.at(0).partition_data.at(0).records.bytes).base_sequence());
    protocol::ProduceResponse response;
    auto& topic = response.responses.emplace_back();
    topic.name = "t";
    topic.partition_responses.emplace_back();
    return reply(header, response);
  };
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b2:9092", .connection = {.request_timeout = std::chrono::milliseconds(700)}});
  ASSERT_TRUE(cluster);
  auto producer = Producer::make(**cluster, network.runtime.random(), {.batch_bytes = 1});
  ASSERT_TRUE(producer) << producer.error().what;
  ASSERT_TRUE((*producer)->send("t", {.value = as_bytes("a")}));
  leader = 2;
  (*cluster)->forget_leader({"t", 0});
  ASSERT_TRUE((*producer)->send("t", {.value = as_bytes("b")}));
  EXPECT_TRUE(sequences.empty());
  auto flushed = (*producer)->flush();
  ASSERT_TRUE(flushed) << flushed.error().what;
  EXPECT_EQ(sequences, (std::vector<int32_t>{0, 1}));
}

// Both brokers give producer ids and take records of topic t by `produce`.
void take_records(FakeNetwork& network, const Handler& produce) {
  for (auto& [name, broker] : network.brokers) {
    broker.versions[ApiKey::kInitProducerId] = {0, 4};
    broker.versions[ApiKey::kProduce] = {3, 9};
    broker.handlers[ApiKey::kInitProducerId] = [](const RequestHeader& header, MutableByteView) { return reply(header, protocol::InitProducerIdResponse{}); };
    broker.handlers[ApiKey::kProduce] = produce;
  }
}

TEST(Producer, FullBatchesLeaveWhileRecordsCome) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  std::vector<size_t> sizes;
  int64_t arrived = 0, behind = 0;
  take_records(network, [&](const RequestHeader& header, MutableByteView body) {
    auto request = protocol::decode_body<protocol::ProduceRequest>(body, header.request_api_version);
    EXPECT_TRUE(request);
    record::BatchView batch(request->topic_data.at(0).partition_data.at(0).records.bytes);
    sizes.push_back(batch.size_in_bytes());
    arrived += batch.count();
    protocol::ProduceResponse response;
    auto& topic = response.responses.emplace_back();
    topic.name = "t";
    topic.partition_responses.emplace_back();
    return reply(header, response);
  });
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b1:9092"});
  ASSERT_TRUE(cluster);
  auto producer = Producer::make(**cluster, network.runtime.random(), {.batch_bytes = 4096});
  ASSERT_TRUE(producer) << producer.error().what;
  const std::string value(100, 'v');
  constexpr int64_t kRecords = 5000;
  for (int64_t i = 1; i <= kRecords; ++i) {
    ASSERT_TRUE((*producer)->send("t", {.value = as_bytes(value)}));
    behind = std::max(behind, i - arrived);
  }
  EXPECT_LT(behind, 2 * 4096 / 100);
  ASSERT_TRUE((*producer)->flush());
  EXPECT_EQ(arrived, kRecords);
  sizes.pop_back();
  for (size_t size : sizes) ASSERT_GT(size, 4096u - 2 * 170) << "batches fill";
}

TEST(Producer, TakesNoMoreThanItMayHoldFromABrokerThatIsSilent) {
  for (int32_t partitions : {1, 64}) {
    FakeNetwork network;
    int32_t leader = 1;
    make_cluster(network, &leader, partitions);
    take_records(network, [](const RequestHeader&, MutableByteView) { return std::nullopt; });
    auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b1:9092", .connection = {.request_timeout = std::chrono::milliseconds(700)}});
    ASSERT_TRUE(cluster);
    auto producer = Producer::make(**cluster, network.runtime.random(), {.batch_bytes = 64 << 10, .delivery_timeout_ms = 5000});
    ASSERT_TRUE(producer) << producer.error().what;
    const std::string value(8 << 10, 'v');
    int64_t taken = 0;
    while (taken < 200 << 20 && (*producer)->send("t", {.partition = static_cast<int32_t>(taken / 8192 % partitions), .value = as_bytes(value)})) taken += 8192;
    // One partition: 64 batches. More: 32 MiB, five requests with a batch of each, the open ones.
    EXPECT_LT(taken, partitions == 1 ? 75 * (64 << 10) : (32 + 20 + 4 + 1) << 20);
    EXPECT_GT(taken, 3 << 20);
  }
}

TEST(Fetcher, GoesOnWithTheNextLeaderWhenTheFormerOneIsSilent) {
  FakeNetwork network;
  int32_t leader = 1;
  make_cluster(network, &leader);
  int fetches = 0;
  for (auto& [name, broker] : network.brokers) broker.versions[ApiKey::kFetch] = {4, 12};
  network.brokers["b1:9092"].handlers[ApiKey::kFetch] = [](const RequestHeader&, MutableByteView) { return std::nullopt; };
  network.brokers["b2:9092"].handlers[ApiKey::kFetch] = [&](const RequestHeader& header, MutableByteView) {
    ++fetches;
    protocol::FetchResponse response;
    auto& topic = response.responses.emplace_back();
    topic.topic = "t";
    topic.partitions.emplace_back();
    return reply(header, response);
  };
  auto cluster = Cluster::make(network, network.runtime.random(), {.bootstrap = "b2:9092"});
  ASSERT_TRUE(cluster);
  Fetcher fetcher(**cluster, {});
  fetcher.add({"t", 0}, Offset{0});
  auto nothing = [](const TopicPartition&, const record::RecordView&) { return true; };
  ASSERT_TRUE(fetcher.poll(nothing));
  leader = 2;
  for (int i = 0; i < 100 && fetches == 0; ++i) {
    auto polled = fetcher.poll(nothing);
    ASSERT_TRUE(polled) << polled.error().what;
  }
  EXPECT_GE(fetches, 1);
}

TEST(Cluster, BadBootstrapIsRefused) {
  FakeNetwork network;
  EXPECT_FALSE(Cluster::make(network, network.runtime.random(), {.bootstrap = "nonsense"}));
}

}  // namespace
}  // namespace odradek::client
