// States of partitions: how they are written, elections, ISR changes; producer ids.
#include "controller/controller.h"

#include <gtest/gtest.h>

#include "controller/controller_test_util.h"

namespace odradek::controller {
namespace {

TEST_F(ControllerTest, WritesManyStatesInFewMultis) {
  std::vector<size_t> sizes;
  wrap_ = [&](auto store) { return std::make_unique<CountingStore>(std::move(store), *executor_, sizes); };
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("many", std::vector<std::vector<int32_t>>(600, {1, 2})));
  sizes.clear();
  kill(1);
  EXPECT_EQ(sizes, (std::vector<size_t>{251, 251, 101}));
  const auto* topic = broker(0).image.current()->find_topic("many");
  ASSERT_NE(topic, nullptr);
  EXPECT_EQ(std::count_if(topic->partitions.begin(), topic->partitions.end(), [](const auto& p) { return p.leader == BrokerId{2}; }), 600);
  EXPECT_EQ(data_of("/brokers/topics/many/partitions/599/state"), R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":1,"version":1})");
}

TEST_F(ControllerTest, WritesTheOtherStatesWhenOneIsRefused) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{1, 2}, {1, 2}, {1, 2}}));
  // What the controller has not heard of, as after a connection that was lost with an answer.
  metadata::PartitionStateNode other;
  other.controller_epoch = 1;
  other.leader = {2};
  other.leader_epoch = {7};
  other.isr = {{2}};
  broker(0).store->set("/brokers/topics/a/partitions/1/state", metadata::encode_partition_state(other), metadata::kAnyVersion, [](auto) {});
  runtime_.run_until_idle();
  kill(1);
  EXPECT_TRUE(heard(2, "LI a-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(2, "LI a-1 L2 e7 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(2, "LI a-2 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, AnElectionOfAllLeavesOutWhatNeverHadALeader) {
  start(0);
  start(1);
  kill(1);
  create(assigned("never", {{1}}));
  create(assigned("led", {{0}}));
  protocol::ElectLeadersRequest all;
  all.topic_partitions.reset();
  std::optional<protocol::ElectLeadersResponse> answer;
  active().elect_leaders(all, [&](protocol::ElectLeadersResponse response) { answer = std::move(response); });
  runtime_.run_until_idle();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error_code, 0);
  EXPECT_TRUE(answer->replica_election_results.empty()) << answer->replica_election_results.front().topic;
  EXPECT_EQ(elect(0, "never"), ErrorCode::kPreferredLeaderNotAvailable) << "who names it is told";
}

TEST_F(ControllerTest, ElectsOutsideTheIsrOnlyIfAllowed) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("u", {{1, 2}}));
  ASSERT_EQ(alter_isr(1, "u", {1}, 0, 0).error_code, 0);
  kill(1);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, kNoBroker);
  EXPECT_EQ(elect(0, "u"), ErrorCode::kPreferredLeaderNotAvailable);
  unclean_ = true;
  forget();
  active().on_unclean_election_enabled("u");
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(2, "LI u-0 L2 e2 pe3 isr[2] rep[1,2] recov")) << all_heard(2);
  EXPECT_EQ(data_of("/brokers/topics/u/partitions/0/state"),
            R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":2,"leader_recovery_state":1,"version":1})");
  // The new leader says that it has recovered.
  EXPECT_EQ(alter_isr(2, "u", {2}, 2, 3).error_code, 0);
  EXPECT_EQ(data_of("/brokers/topics/u/partitions/0/state"), R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":2,"version":1})");
  EXPECT_EQ(elect(1, "u"), ErrorCode::kElectionNotNeeded);
}

TEST_F(ControllerTest, CountsEachElectionOutsideTheIsr) {
  for (int32_t id : {0, 1, 2, 3}) start(id);
  create(assigned("u", {{1, 2, 3}}));
  ASSERT_EQ(alter_isr(1, "u", {1}, 0, 0).error_code, 0);
  unclean_ = true;
  kill(1);
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, BrokerId{2});
  EXPECT_EQ(active().counts().unclean_elections, 1);
  kill(2);  // before it has recovered
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, BrokerId{3});
  EXPECT_EQ(active().counts().unclean_elections, 2);
}

TEST_F(ControllerTest, ChangesTheIsrForTheLeaderAlone) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{1, 2}}));
  forget();
  auto shrunk = alter_isr(1, "a", {1}, 0, 0);
  EXPECT_EQ(shrunk.error_code, 0);
  EXPECT_EQ(shrunk.partition_epoch, 1);
  EXPECT_EQ(shrunk.leader_epoch, 0);
  EXPECT_EQ(shrunk.isr, std::vector<int32_t>{1});
  EXPECT_EQ(all_heard(2), "UM live[0,1,2]\nUM a-0 L1 e0 zv1 isr[1]\n") << "no LeaderAndIsr, no new leader epoch";

  auto error = [&](int32_t from, std::vector<int32_t> isr, int32_t epoch, int32_t version, int8_t recovery = 0) {
    return static_cast<ErrorCode>(alter_isr(from, "a", std::move(isr), epoch, version, recovery).error_code);
  };
  EXPECT_EQ(error(1, {1}, 0, 0), ErrorCode::kNone) << "what holds already is success without a write";
  EXPECT_EQ(error(1, {1, 2}, 0, 0), ErrorCode::kInvalidUpdateVersion);
  EXPECT_EQ(error(1, {1, 2}, 0, 9), ErrorCode::kNotController);
  EXPECT_EQ(error(1, {1, 2}, 1, 1), ErrorCode::kNotController);
  EXPECT_EQ(error(1, {1, 7}, 0, 1), ErrorCode::kIneligibleReplica);
  EXPECT_EQ(error(1, {1, 2}, 0, 1, 1), ErrorCode::kInvalidRequest);
  EXPECT_EQ(error(1, {1}, 0, 1, 1), ErrorCode::kInvalidRequest) << "nobody goes back to recovering";
  EXPECT_EQ(error(2, {2}, 0, 1), ErrorCode::kInvalidRequest) << "only the leader asks";
  int64_t epoch = std::exchange(broker(1).epoch, 1);
  EXPECT_EQ(error(1, {1, 2}, 0, 1), ErrorCode::kStaleBrokerEpoch);
  broker(1).epoch = epoch;
  EXPECT_EQ(error(1, {1, 2}, 0, 1), ErrorCode::kNone);
  EXPECT_EQ(alter_isr(1, "a", {1, 2}, 0, 2).partition_epoch, 2);
}

TEST_F(ControllerTest, GivesPartitionsBackToPreferredLeaders) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  kill(1);
  start(1);
  ASSERT_EQ(alter_isr(2, "b", {2, 1}, 1, 1).error_code, 0);
  runtime_.advance(301'000);
  EXPECT_EQ(broker(0).image.current()->find_partition("b", 0)->leader, BrokerId{1});
  EXPECT_EQ(elect(0, "b"), ErrorCode::kElectionNotNeeded);
}

TEST_F(ControllerTest, GivesBlocksOfProducerIdsThatNeverMeet) {
  start(0);
  start(1);
  auto ask = [&](int32_t id) {
    protocol::AllocateProducerIdsRequest request;
    request.broker_id = id;
    request.broker_epoch = broker(id).epoch;
    protocol::AllocateProducerIdsResponse response;
    active().allocate_producer_ids(request, [&](protocol::AllocateProducerIdsResponse answer) { response = std::move(answer); });
    runtime_.run_until_idle();
    return response;
  };
  EXPECT_EQ(ask(0).producer_id_start, 0);
  EXPECT_EQ(ask(1).producer_id_start, 1000);
  EXPECT_EQ(ask(1).producer_id_len, 1000);
  EXPECT_EQ(data_of("/latest_producer_id_block"), R"({"block_end":"2999","block_start":"2000","broker":1,"version":1})");
  int64_t epoch = std::exchange(broker(0).epoch, 1);
  EXPECT_EQ(ask(0).error_code, static_cast<int16_t>(ErrorCode::kStaleBrokerEpoch));
  broker(0).epoch = epoch;
}

}  // namespace
}  // namespace odradek::controller
