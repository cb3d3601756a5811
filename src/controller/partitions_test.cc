// States of partitions: how they are written, ISR changes.
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

}  // namespace
}  // namespace odradek::controller
