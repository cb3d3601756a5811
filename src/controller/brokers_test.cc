// Brokers come, go, shut down, lose log dirs; one request in flight to each.
#include "controller/controller.h"

#include <gtest/gtest.h>

#include "controller/controller_test_util.h"

namespace odradek::controller {
namespace {

TEST_F(ControllerTest, SendsOneRequestAtATimeAndRepeatsUntilItIsAnswered) {
  start(0);
  broker(0).undelivered = 3;
  create(assigned("a", {{0}}));
  create(assigned("b", {{0}}));
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).most_in_flight, 1);
  EXPECT_TRUE(heard(0, "LI a-0 L0 e0 pe0 isr[0] rep[0] NEW"));
  EXPECT_TRUE(heard(0, "UM b-0 L0 e0 zv0 isr[0]"));
}

TEST_F(ControllerTest, GivesPartitionsOfADeadBrokerToTheRest) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("led", {{1, 2}}));
  create(assigned("followed", {{0, 1, 2}}));
  create(assigned("alone", {{1}}));
  forget();
  kill(1);
  EXPECT_TRUE(heard(2, "LI led-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(0, "LI followed-0 L0 e1 pe1 isr[0,2] rep[0,1,2]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "UM alone-0 L-1 e1 zv1 isr[1] off[1]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "UM live[0,2]"));
  EXPECT_EQ(broker(0).image.current()->find_partition("led", 0)->leader, BrokerId{2});

  // It comes back: everything it has, the leaderless one gets its leader.
  forget();
  start(1);
  auto& told = broker(1).heard;
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told[0], "UM live[0,1,2]") << "all partitions first";
  EXPECT_TRUE(heard(1, "LI led-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI alone-0 L1 e2 pe2 isr[1] rep[1]")) << all_heard(1);
  EXPECT_TRUE(heard(2, "UM led-0 L2 e1 zv1 isr[2]"));
}

TEST_F(ControllerTest, SendsWhatWaitsToTheNewAddressOfABroker) {
  for (int32_t id : {0, 1}) start(id);
  broker(1).answers = false;
  create(assigned("a", {{1}}));  // the first request to broker 1 stays without an answer
  forget();
  broker(1).kept.clear();
  broker(1).answers = true;
  BrokerInfo moved{{1}, {{"PLAINTEXT", "127.0.0.1", 9999, SecurityProtocol::kPlaintext}}, {}, -1};
  Bytes data = metadata::encode_broker(moved, 0);
  broker(1).store->set("/brokers/ids/1", data, metadata::kAnyVersion, [](auto result) { ASSERT_TRUE(result); });
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(1, "LI a-0 L1 e0 pe0 isr[1] rep[1] NEW")) << all_heard(1);
  EXPECT_EQ(broker(1).image.current()->find_broker({1})->endpoints[0].port, 9999);
}

TEST_F(ControllerTest, LetsABrokerShutDownWithoutALeaderlessMoment) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("led", {{1, 2}}));
  create(assigned("followed", {{2, 1}}));
  create(assigned("alone", {{1}}));
  forget();
  auto response = *shut_down(1);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->error_code, 0);
  EXPECT_TRUE(response->remaining_partitions.empty()) << "a partition without other replicas stays where it is";
  EXPECT_TRUE(heard(1, "LI led-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "SR followed-0 e0")) << all_heard(1);
  EXPECT_TRUE(heard(2, "LI followed-0 L2 e1 pe1 isr[2] rep[2,1]")) << all_heard(2);
  EXPECT_TRUE(heard(0, "UM led-0 L2 e1 zv1 isr[2] off[1]")) << all_heard(0);
  EXPECT_EQ(static_cast<ErrorCode>(alter_isr(2, "led", {2, 1}, 1, 1).error_code), ErrorCode::kIneligibleReplica);
  EXPECT_EQ(broker(0).image.current()->find_partition("alone", 0)->leader, BrokerId{1});
}

// Who is behind takes over when the leader has gone, not when it is about to go.
TEST_F(ControllerTest, AShutdownElectsNobodyWhoIsNotInSync) {
  unclean_ = true;
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{1, 2}}));
  ASSERT_EQ(alter_isr(1, "a", {1}, 0, 0).error_code, 0);
  forget();
  auto response = *shut_down(1);
  ASSERT_TRUE(response);
  ASSERT_EQ(response->remaining_partitions.size(), 1u);
  EXPECT_EQ(response->remaining_partitions[0].topic_name, "a");
  EXPECT_EQ(broker(0).image.current()->find_partition("a", 0)->leader, BrokerId{1});
  EXPECT_FALSE(heard(2, "LI a-0 L2 e1 pe2 isr[2] rep[1,2] recov")) << all_heard(2);
  kill(1);
  EXPECT_TRUE(heard(2, "LI a-0 L2 e1 pe2 isr[2] rep[1,2] recov")) << all_heard(2);
}

// A client that asked another broker just after the stop was told of a leader that was not there any more.
TEST_F(ControllerTest, ABrokerShutsDownWhenTheOthersHaveHeardOfIt) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("led", {{1, 2}}));
  broker(2).answers = false;
  auto answer = shut_down(1);
  EXPECT_FALSE(*answer);
  broker(2).answers = true;
  for (Task& kept : std::exchange(broker(2).kept, {})) kept();
  runtime_.run_until_idle();
  ASSERT_TRUE(*answer);
  EXPECT_EQ((*answer)->error_code, 0);

  // One that hears nothing.
  create(assigned("more", {{2, 0}}));
  broker(0).answers = false;
  answer = shut_down(2);
  EXPECT_FALSE(*answer);
  runtime_.advance(1'000);
  ASSERT_TRUE(*answer);
  EXPECT_EQ((*answer)->error_code, 0);
}

TEST_F(ControllerTest, MovesLeadersAwayFromAFailedLogDir) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("d", {{1, 2}}));
  forget();
  broker(1).partition_error = ErrorCode::kKafkaStorageError;
  broker(1).store->create(paths::kLogDirEventPrefix, metadata::encode_log_dir_event({1}), metadata::CreateMode::kPersistentSequential, [](auto) {});
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(2, "LI d-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(0, "UM d-0 L2 e1 zv1 isr[2] off[1]")) << all_heard(0);
  brokers_.clear();  // their stores look at `losses`
  runtime_.run_until_idle();
}

TEST_F(ControllerTest, HearsOfAFailedLogDirAlthoughTheConnectionIsLostMeanwhile) {
  start(0);
  int losses = 0;
  wrap_ = [&](auto store) { return std::make_unique<LosingStore>(std::move(store), *executor_, paths::kLogDirEventPrefix, losses); };
  for (int32_t id : {1, 2}) start(id);
  create(assigned("d", {{1, 2}}));
  broker(1).partition_error = ErrorCode::kKafkaStorageError;
  metadata::report_log_dir_event({runtime_, *executor_, *broker(1).store}, {1});
  runtime_.advance(1000);
  EXPECT_EQ(losses, 2);
  EXPECT_TRUE(heard(2, "LI d-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, DoesNotBringBackWhatIsDeletedWhenALogDirHasRoomAgain) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{1, 2}}));
  create(assigned("b", {{1, 2}}));
  kill(2);
  erase("a");
  EXPECT_TRUE(heard(1, "SR a-0 e-2 DELETE")) << all_heard(1);
  ASSERT_NE(data_of("/brokers/topics/a"), "NO_NODE") << "it waits for broker 2";
  forget();
  metadata::report_log_dir_event({runtime_, *executor_, *broker(1).store}, {1});
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(1, "LI b-0 L1 e1 pe1 isr[1] rep[1,2]")) << all_heard(1);
  for (const std::string& line : broker(1).heard) EXPECT_FALSE(line.starts_with("LI a-0")) << line;
}

// Else the topic would wait for the broker's next start.
TEST_F(ControllerTest, TakesNoAnswerOfABrokersFormerLifeForOneOfItsPresent) {
  wrap_ = [&](auto store) { return std::make_unique<HoldingNodeStore>(std::move(store), *executor_, "/brokers/ids/0", armed_, held_); };
  start(0);
  wrap_ = [](auto store) { return store; };
  start(1);
  create(assigned("a", {{1}}));
  broker(1).answers = false;
  broker(1).partition_error = ErrorCode::kUnknownServerError;
  erase("a");
  while (!heard(1, "SR a-0 e-2 DELETE")) {
    ASSERT_EQ(broker(1).kept.size(), 1u);
    for (Task& answer : std::exchange(broker(1).kept, {})) answer();
    runtime_.run_until_idle();
  }
  ASSERT_EQ(broker(1).kept.size(), 1u);
  broker(1).answers = true;
  broker(1).partition_error = ErrorCode::kNone;
  armed_ = true;
  expire_session(*broker(1).store);
  runtime_.run_until_idle();
  ASSERT_EQ(held_.size(), 1u);
  for (Task& answer : std::exchange(broker(1).kept, {})) answer();
  runtime_.run_until_idle();
  armed_ = false;
  for (Task& read : std::exchange(held_, {})) read();
  runtime_.run_until_idle();
  EXPECT_EQ(data_of("/brokers/topics/a"), "NO_NODE");
}

}  // namespace
}  // namespace odradek::controller
