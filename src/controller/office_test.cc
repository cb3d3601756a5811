// Office: taking it, losing it, handing it on.
#include "controller/controller.h"

#include <gtest/gtest.h>

#include "controller/controller_test_util.h"

namespace odradek::controller {
namespace {

TEST_F(ControllerTest, TakesOfficeAndGreetsItsBroker) {
  start(0);
  EXPECT_TRUE(broker(0).controller->is_active());
  EXPECT_EQ(broker(0).controller->epoch(), 1);
  EXPECT_EQ(data_of("/controller_epoch"), "1");
  EXPECT_EQ(metadata::decode_controller(as_bytes(data_of("/controller")))->broker, BrokerId{0});
  EXPECT_TRUE(heard(0, "UM live[0]"));
  EXPECT_EQ(broker(0).image.current()->controller(), BrokerId{0});
  EXPECT_EQ(data_of("/feature"), R"({"features":{},"status":1,"version":2})");
}

TEST_F(ControllerTest, AnswersNotControllerOutOfOffice) {
  start(0);
  start(1);
  create(assigned("a", {{0, 1}}));
  Controller& other = *broker(1).controller;
  ASSERT_FALSE(other.is_active());
  int answers = 0;
  other.alter_partition({}, 3, [&](protocol::AlterPartitionResponse r) { answers += r.error_code == 41; });
  other.allocate_producer_ids({}, [&](protocol::AllocateProducerIdsResponse r) { answers += r.error_code == 41; });
  other.elect_leaders({}, [&](protocol::ElectLeadersResponse r) { answers += r.error_code == 41; });
  other.controlled_shutdown({}, [&](protocol::ControlledShutdownResponse r) { answers += r.error_code == 41; });
  other.list_partition_reassignments({}, [&](protocol::ListPartitionReassignmentsResponse r) { answers += r.error_code == 41; });
  other.alter_partition_reassignments({}, [&](protocol::AlterPartitionReassignmentsResponse r) { answers += r.error_code == 41; });
  runtime_.run_until_idle();
  EXPECT_EQ(answers, 6);
}

TEST_F(ControllerTest, HandsTheOfficeOnWhenTheControllerDies) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{0, 1}, {1, 0}}));
  forget();
  kill(0);
  EXPECT_TRUE(active().is_active());
  EXPECT_EQ(active().epoch(), 2);
  EXPECT_EQ(data_of("/controller_epoch"), "2");
  EXPECT_TRUE(heard(1, "LI a-0 L1 e1 pe1 isr[1] rep[0,1]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-1 L1 e1 pe1 isr[1] rep[1,0]")) << all_heard(1);
  EXPECT_EQ(std::count(broker(1).heard.begin(), broker(1).heard.end(), "LI a-0 L1 e1 pe1 isr[1] rep[0,1]"), 1) << "once is enough";
  EXPECT_EQ(broker(2).image.current()->find_partition("a", 0)->leader, BrokerId{1});
  EXPECT_EQ(create(assigned("b", {{1, 2}})).error, ErrorCode::kNone);
  EXPECT_EQ(broker(2).image.current()->find_partition("b", 0)->leader, BrokerId{1});
}

TEST_F(ControllerTest, ElectsLeadersBeforeItHasReadWhatItWasTold) {
  start(0);
  std::vector<Task> held;
  wrap_ = [&](auto store) { return std::make_unique<HoldingStore>(std::move(store), *executor_, held); };
  start(1);
  start(2);
  create(assigned("a", {{0, 1, 2}, {1, 0, 2}}));
  create(assigned("b", {{2, 1}}));
  create(assigned("alone", {{0}}));
  runtime_.advance(60'000);
  forget();
  kill(0);
  ASSERT_EQ(held.size(), 4u);
  EXPECT_TRUE(heard(1, "LI a-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(2, "LI a-1 L1 e1 pe1 isr[1,2] rep[1,0,2]")) << all_heard(2);
  EXPECT_FALSE(heard(1, "LI b-0 L2 e0 pe0 isr[2,1] rep[2,1]")) << all_heard(1);
  for (Task& read : std::exchange(held, {})) read();
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(1, "LI b-0 L2 e0 pe0 isr[2,1] rep[2,1]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "UM alone-0 L-1 e1 zv1 isr[0] off[0]")) << all_heard(1);
  EXPECT_EQ(std::count(broker(1).heard.begin(), broker(1).heard.end(), "LI a-0 L1 e1 pe1 isr[1,2] rep[0,1,2]"), 1) << "once is enough";
}

TEST_F(ControllerTest, ReadsFirstWhereABrokerCameWhileTheFormerControllerMayHaveBeenDead) {
  start(0);
  std::vector<Task> held;
  wrap_ = [&](auto store) { return std::make_unique<HoldingStore>(std::move(store), *executor_, held); };
  start(1);
  create(assigned("a", {{0, 1}}));
  runtime_.advance(60'000);
  start(2);
  create(assigned("b", {{0, 1, 2}}));
  forget();
  kill(0);
  EXPECT_FALSE(heard(2, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(2);
  for (Task& read : std::exchange(held, {})) read();
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(2, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, BelievesTheTreeMoreThanWhatItWasTold) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{0, 1, 2}, {0, 1, 2}, {0, 1, 2}}));
  // The former controller wrote this and died before it told anybody.
  metadata::PartitionStateNode newer;
  newer.controller_epoch = 1;
  newer.leader = {0};
  newer.leader_epoch = {4};
  newer.isr = {{0}, {2}};
  broker(0).store->set("/brokers/topics/a/partitions/1/state", metadata::encode_partition_state(newer), metadata::kAnyVersion, [](auto) {});
  runtime_.advance(60'000);
  forget();
  kill(0);
  EXPECT_TRUE(heard(1, "LI a-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-1 L2 e5 pe2 isr[2] rep[0,1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-2 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(1);
  for (const std::string& line : broker(1).heard) EXPECT_FALSE(line.starts_with("LI a-1 L1")) << line;
}

TEST_F(ControllerTest, StopsActingWhenItsWritesAreRefused) {
  start(0);
  start(1);
  // Another one takes the epoch without the first one hearing of it.
  broker(1).store->set("/controller_epoch", metadata::encode_controller_epoch(7), metadata::kAnyVersion, [](auto) {});
  runtime_.run_until_idle();
  ASSERT_TRUE(broker(0).controller->is_active());
  create(assigned("a", {{0}}));
  EXPECT_FALSE(broker(0).controller->is_active());
  EXPECT_EQ(data_of("/brokers/topics/a/partitions"), "NO_NODE");
}

TEST_F(ControllerTest, ComesBackAfterItsSessionExpired) {
  start(0);
  create(assigned("a", {{0}}));
  int64_t before = broker(0).epoch;
  expire_session(*broker(0).store);
  runtime_.run_until_idle();
  EXPECT_GT(broker(0).epoch, before);
  EXPECT_TRUE(broker(0).controller->is_active());
  EXPECT_EQ(broker(0).controller->epoch(), 2);
  EXPECT_EQ(create(assigned("b", {{0}})).error, ErrorCode::kNone);
  EXPECT_NE(broker(0).image.current()->find_topic("b"), nullptr);
}

// Who ran for office in a session that has ended must not win in the next one: it would hold the office and do nothing.
TEST_F(ControllerTest, RulesAlsoIfItsSessionEndedWhileItRanForOffice) {
  start(0);
  int losses = 0;
  wrap_ = [&](auto store) {
    return std::make_unique<FailingStore>(std::move(store), *executor_, "/controller", metadata::StoreError::kConnectionLoss, losses);
  };
  start(1);
  losses = 1;
  kill(0);
  ASSERT_EQ(losses, 0) << "it has run, and waits to try again";
  expire_session(dynamic_cast<FailingStore&>(*broker(1).store).inner());
  runtime_.run_until_idle();
  forget();
  runtime_.advance(10'000);
  EXPECT_TRUE(broker(1).controller->is_active());
  EXPECT_TRUE(heard(1, "UM live[1]")) << all_heard(1);
  EXPECT_EQ(create(assigned("a", {{1}})).error, ErrorCode::kNone);
  EXPECT_NE(broker(1).image.current()->find_topic("a"), nullptr);
}

TEST_F(ControllerTest, WritesAgainWhatItsStoreCouldNotWrite) {
  int refusals = 0;
  wrap_ = [&](auto store) {  // each write of a controller begins with the check of its epoch
    return std::make_unique<FailingStore>(std::move(store), *executor_, "/controller_epoch", metadata::StoreError::kStorage, refusals);
  };
  start(0);
  refusals = 5;
  EXPECT_EQ(create(assigned("a", {{0}, {0}})).error, ErrorCode::kNone);
  for (int second = 0; second < 10; ++second) {
    runtime_.advance(1000);
  }
  EXPECT_EQ(refusals, 0);
  EXPECT_TRUE(broker(0).controller->is_active());
  const auto* topic = broker(0).image.current()->find_topic("a");
  ASSERT_NE(topic, nullptr);
  EXPECT_EQ(topic->partitions.size(), 2u);
}

// They may have lost what they had not on their disks, in the very epoch that their logs end with (cluster simulation, seed 57).
TEST_F(ControllerTest, LeadersThatStartedAgainWhileNobodyWasInOfficeLeadInANewEpoch) {
  int nobody_wins = 0;
  wrap_ = [&](auto store) {
    return std::make_unique<FailingStore>(std::move(store), *executor_, paths::kController, metadata::StoreError::kConnectionLoss, nobody_wins);
  };
  for (int32_t id : {3, 1, 2}) start(id);
  ASSERT_EQ(create(assigned("a", {{1, 2}, {2, 1}})).error, ErrorCode::kNone);
  nobody_wins = 1'000'000;
  brokers_.erase(3);
  kill(1);
  start(1);
  nobody_wins = 0;
  runtime_.advance(5'000);
  EXPECT_TRUE(heard(1, "LI a-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-1 L2 e1 pe1 isr[2] rep[2,1]")) << all_heard(1);
  // Now all of them.
  nobody_wins = 1'000'000;
  brokers_.clear();
  runtime_.run_until_idle();
  start(1);
  start(2);
  nobody_wins = 0;
  runtime_.advance(5'000);
  EXPECT_TRUE(heard(2, "LI a-0 L2 e2 pe2 isr[2] rep[1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, StaysOutOfAClusterThatHasTransactions) {
  start(1);
  Broker& second = *(brokers_[0] = std::make_unique<Broker>(*this, 0));
  second.membership.connect("", [](Result<Connected> result) { ASSERT_TRUE(result); });
  runtime_.run_until_idle();
  ASSERT_EQ(broker(1).id, BrokerId{1});
  TopicCreated made;
  broker(1).admin.create_topics({assigned("__transaction_state", {{1}})}, false, [&](std::vector<TopicCreated> all) { made = std::move(all[0]); });
  runtime_.run_until_idle();
  ASSERT_EQ(made.error, ErrorCode::kNone) << made.message;
  BrokerInfo info{{0}, {{"PLAINTEXT", "127.0.0.1", 9090, SecurityProtocol::kPlaintext}}, {}, -1};
  for (bool holds : {false, true}) {  // a transactions' log of its own does not help while another broker is alive
    std::optional<Result<void>> joined;
    second.membership.join(info, *second.controller, {.refuse_transactions = true, .holds_transactions = holds}, [](int64_t) {},
                           [&](Result<void> result) { joined = std::move(result); });
    runtime_.run_until_idle();
    ASSERT_TRUE(joined && !*joined);
    EXPECT_EQ(joined->error().code, ErrorCode::kInvalidConfig);
    EXPECT_NE(joined->error().what.find("__transaction_state"), std::string::npos) << joined->error().what;
  }
  EXPECT_EQ(data_of("/brokers/ids/0"), "NO_NODE");
}

TEST_F(ControllerTest, CountsWhatItRules) {
  start(0);
  create(assigned("a", {{0}, {0}}));
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).controller->counts().partitions, 2);
  EXPECT_EQ(broker(0).controller->counts().offline_partitions, 0);
}

}  // namespace
}  // namespace odradek::controller
