// Topics: creation, enlargement, deletion.
#include "controller/topic_admin.h"

#include <gtest/gtest.h>

#include "controller/controller_test_util.h"

namespace odradek::controller {
namespace {

TEST_F(ControllerTest, CreatesATopicInTheOrderAndFormOfKafka) {
  start(0);
  forget();
  auto made = create(assigned("a", {{0}, {0}}));
  ASSERT_EQ(made.error, ErrorCode::kNone) << made.message;
  EXPECT_EQ(data_of("/config/topics/a"), R"({"config":{},"version":1})");
  auto node = metadata::decode_topic(as_bytes(data_of("/brokers/topics/a")));
  ASSERT_TRUE(node);
  EXPECT_EQ(node->id, made.id);
  EXPECT_EQ(data_of("/brokers/topics/a/partitions/1/state"), R"({"controller_epoch":1,"isr":[0],"leader":0,"leader_epoch":0,"version":1})");
  EXPECT_EQ(all_heard(0),
            "LI a-0 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "LI a-1 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "UM live[0]\n"
            "UM a-0 L0 e0 zv0 isr[0]\n"
            "UM a-1 L0 e0 zv0 isr[0]\n");
  EXPECT_EQ(broker(0).image.current()->find_topic("a")->id, made.id);
}

TEST_F(ControllerTest, RefusesTopicsAsKafkaDoes) {
  start(0);
  ASSERT_EQ(create(assigned("a.b", {{0}})).error, ErrorCode::kNone);
  EXPECT_EQ(create(assigned("a.b", {{0}})).error, ErrorCode::kTopicAlreadyExists);
  EXPECT_EQ(create(assigned("a_b", {{0}})).error, ErrorCode::kInvalidTopicException);
  EXPECT_EQ(create(assigned("no way", {{0}})).error, ErrorCode::kInvalidTopicException);
  EXPECT_EQ(create(assigned("x", {{0, 0}})).error, ErrorCode::kInvalidReplicaAssignment);
  EXPECT_EQ(create(assigned("x", {{0}, {}})).error, ErrorCode::kInvalidReplicaAssignment);
  auto gap = assigned("x", {{0}, {0}});
  gap.assignment[1].first = 2;
  EXPECT_EQ(create(gap).error, ErrorCode::kInvalidReplicaAssignment);
  auto both = assigned("x", {{0}});
  both.partitions = 1;
  EXPECT_EQ(create(both).error, ErrorCode::kInvalidRequest);
  NewTopic counts;
  counts.name = "x";
  counts.partitions = 0;
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidPartitions);
  counts.partitions = 1;
  counts.replication_factor = 2;
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidReplicationFactor);
  counts.replication_factor = 1;
  counts.configs["retention.ms"] = "abc";
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidConfig);
  counts.configs["retention.ms"] = std::nullopt;
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidConfig);
  auto twice = create_all({assigned("y", {{0}}), assigned("y", {{0}}), assigned("z", {{0}})});
  EXPECT_EQ(twice[0].error, ErrorCode::kInvalidRequest);
  EXPECT_EQ(twice[1].error, ErrorCode::kInvalidRequest);
  EXPECT_EQ(twice[2].error, ErrorCode::kNone);
  counts.configs = {{"retention.ms", "5"}};
  auto only_checked = create(counts, true);
  EXPECT_EQ(only_checked.error, ErrorCode::kNone);
  EXPECT_EQ(only_checked.partitions, 1);
  EXPECT_EQ(data_of("/brokers/topics/x"), "NO_NODE");
  EXPECT_EQ(data_of("/config/topics/x"), "NO_NODE");
}

TEST_F(ControllerTest, OthersHaveTheirTurnWhileManyTopicsAreChecked) {
  start(0);
  auto turns_during = [&](int topics) {
    std::vector<NewTopic> all;
    for (int i = 0; i < topics; ++i) all.push_back(assigned(fmt::format("t{}", i), {{0}}));
    bool done = false;
    int turns = 0;
    std::function<void()> turn = [&] {
      if (done) return;
      ++turns;
      executor_->post([&] { turn(); });
    };
    broker(0).admin.create_topics(std::move(all), true, [&](std::vector<TopicCreated> results) {
      done = true;
      for (const TopicCreated& result : results) EXPECT_EQ(result.error, ErrorCode::kNone) << result.message;
    });
    turn();
    runtime_.run_until_idle();
    EXPECT_TRUE(done);
    return turns;
  };
  EXPECT_GE(turns_during(1000), turns_during(1) + 5);
}

TEST_F(ControllerTest, AddsPartitionsAndTellsOnlyThoseThatAreNew) {
  start(0);
  create(assigned("a", {{0}}));
  forget();
  EXPECT_EQ(enlarge("a", 3).error, ErrorCode::kNone);
  EXPECT_EQ(all_heard(0),
            "LI a-1 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "LI a-2 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "UM live[0]\n"
            "UM a-1 L0 e0 zv0 isr[0]\n"
            "UM a-2 L0 e0 zv0 isr[0]\n");
  EXPECT_EQ(enlarge("a", 3).error, ErrorCode::kInvalidPartitions);
  EXPECT_EQ(enlarge("a", 2).error, ErrorCode::kInvalidPartitions);
  EXPECT_EQ(enlarge("none", 2).error, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(enlarge("a", INT32_MIN).error, ErrorCode::kInvalidPartitions);  // whose difference to 3 has no place in 32 bits
  EXPECT_EQ(enlarge("a", INT32_MAX).error, ErrorCode::kInvalidPartitions);
  NewTopic huge;
  huge.name = "huge";
  huge.partitions = INT32_MAX;
  huge.replication_factor = 1;
  EXPECT_EQ(create(huge).error, ErrorCode::kInvalidPartitions);
}

TEST_F(ControllerTest, DeletesATopicAfterItsReplicas) {
  start(0);
  create(assigned("a", {{0}}));
  forget();
  broker(0).answers = false;
  EXPECT_EQ(erase("a").error, ErrorCode::kNone);
  EXPECT_NE(data_of("/brokers/topics/a"), "NO_NODE") << "the replica has not answered";
  broker(0).answers = true;
  for (Task& answer : std::exchange(broker(0).kept, {})) answer();
  runtime_.run_until_idle();
  EXPECT_EQ(all_heard(0),
            "UM live[0]\n"
            "UM a-0 L-2 e0 zv0 isr[0]\n"
            "SR a-0 e-2\n"
            "SR a-0 e-2 DELETE\n");
  for (const char* path : {"/brokers/topics/a", "/config/topics/a", "/admin/delete_topics/a"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
  EXPECT_EQ(broker(0).image.current()->find_topic("a"), nullptr);
  EXPECT_EQ(erase("a").error, ErrorCode::kUnknownTopicOrPartition);
  auto again = create(assigned("a", {{0}}));
  EXPECT_EQ(again.error, ErrorCode::kNone);
  EXPECT_EQ(broker(0).image.current()->find_topic("a")->id, again.id);
}

// The names of requests are those of topics, not paths: "a/partitions" is a node below "a".
TEST_F(ControllerTest, TakesNoPathForATopic) {
  start(0);
  create(assigned("a", {{0}}));
  for (const char* name : {"a/partitions", "a/partitions/0/state", "", ".", "..", "a/"}) {
    EXPECT_EQ(erase(name).error, ErrorCode::kUnknownTopicOrPartition) << name;
    EXPECT_EQ(enlarge(name, 2).error, ErrorCode::kUnknownTopicOrPartition) << name;
  }
  EXPECT_EQ(data_of("/admin/delete_topics/a"), "NO_NODE");
  EXPECT_NE(data_of("/brokers/topics/a"), "NO_NODE");
}

// The topic's node goes first: what is created under its marker would be deleted, or lose its configs.
TEST_F(ControllerTest, CreatesNoTopicThatIsMarkedForDeletion) {
  wrap_ = [&](auto store) { return std::make_unique<RefusingStore>(std::move(store), *executor_, refuse_); };
  start(0);
  create(assigned("a", {{0}}));
  refuse_ = [](const metadata::StoreOp& op) { return op.path == "/admin/delete_topics/a"; };
  erase("a");
  ASSERT_EQ(data_of("/brokers/topics/a"), "NO_NODE");
  ASSERT_NE(data_of("/admin/delete_topics/a"), "NO_NODE");
  auto made = create(assigned("a", {{0}}));
  EXPECT_EQ(made.error, ErrorCode::kTopicAlreadyExists);
  EXPECT_EQ(made.message, "Topic 'a' is marked for deletion.");
}

// Of the removals under way some are lost with the connection and repeated after the others: a parent must not go, nor the deletion be
// forgotten, before its children are gone.
TEST_F(ControllerTest, DeletesTheWholeTopicAlthoughTheConnectionIsLostMeanwhile) {
  int losses = 0;
  wrap_ = [&](auto store) {  // each write of a controller begins with the check of its epoch
    return std::make_unique<FailingStore>(std::move(store), *executor_, "/controller_epoch", metadata::StoreError::kConnectionLoss, losses);
  };
  start(0);
  create(assigned("a", {{0}, {0}}));
  broker(0).answers = false;
  erase("a");
  losses = 2;
  broker(0).answers = true;
  for (Task& answer : std::exchange(broker(0).kept, {})) answer();
  runtime_.advance(1000);
  EXPECT_EQ(losses, 0);
  for (const char* path : {"/brokers/topics/a", "/config/topics/a", "/admin/delete_topics/a"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
  EXPECT_EQ(create(assigned("a", {{0}})).error, ErrorCode::kNone);
}

TEST_F(ControllerTest, ADeletionThatFailedIsTriedAgain) {
  wrap_ = [&](auto store) { return std::make_unique<RefusingStore>(std::move(store), *executor_, refuse_); };
  start(0);
  create(assigned("a", {{0}}));
  refuse_ = [](const metadata::StoreOp& op) { return op.path == "/brokers/topics/a"; };
  erase("a");
  ASSERT_NE(data_of("/brokers/topics/a"), "NO_NODE");
  EXPECT_NE(data_of("/admin/delete_topics/a"), "NO_NODE");
  EXPECT_NE(data_of("/config/topics/a"), "NO_NODE");
  refuse_ = nullptr;
  create(assigned("b", {{0}}));
  erase("b");
  for (const char* path : {"/brokers/topics/a", "/config/topics/a", "/admin/delete_topics/a"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
}

TEST_F(ControllerTest, CreatesInternalTopicsWithAsManyReplicasAsThereAreBrokers) {
  start(0);
  std::vector<ErrorCode> results;
  for (int i = 0; i < 2; ++i) broker(0).admin.auto_create("__consumer_offsets", [&](ErrorCode error) { results.push_back(error); });
  runtime_.run_until_idle();
  EXPECT_EQ(results, (std::vector<ErrorCode>{ErrorCode::kNone, ErrorCode::kNone}));
  EXPECT_EQ(broker(0).image.current()->find_topic("__consumer_offsets")->partitions.size(), 50u);
  EXPECT_EQ(data_of("/config/topics/__consumer_offsets"),
            R"({"config":{"cleanup.policy":"compact","compression.type":"producer","segment.bytes":"104857600"},"version":1})");
}

TEST_F(ControllerTest, FindsATopicWhoseBrokersCameLater) {
  start(0);
  create(assigned("later", {{5}}));
  EXPECT_EQ(broker(0).image.current()->find_topic("later"), nullptr) << "no replica is live";
  start(5);
  EXPECT_EQ(broker(0).image.current()->find_partition("later", 0)->leader, BrokerId{5});
}

}  // namespace
}  // namespace odradek::controller
