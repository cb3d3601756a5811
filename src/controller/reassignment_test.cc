// Replicas move.
#include "controller/controller.h"

#include <gtest/gtest.h>

#include "controller/controller_test_util.h"

namespace odradek::controller {
namespace {

TEST_F(ControllerTest, MovesReplicasOnceTheTargetsAreInSync) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  forget();
  protocol::AlterPartitionReassignmentsRequest request;
  auto& topic = request.topics.emplace_back();
  topic.name = "b";
  topic.partitions.emplace_back().replicas = std::vector<int32_t>{0, 2};
  ErrorCode error = ErrorCode::kUnknownServerError;
  auto note = [&](protocol::AlterPartitionReassignmentsResponse response) {
    error = static_cast<ErrorCode>(response.responses.at(0).partitions.at(0).error_code);
  };
  active().alter_partition_reassignments(request, note);
  runtime_.run_until_idle();
  EXPECT_EQ(error, ErrorCode::kNone);
  EXPECT_TRUE(heard(0, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,2,1] add[0] rem[1] NEW")) << all_heard(0);
  EXPECT_TRUE(heard(1, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,2,1] add[0] rem[1]")) << all_heard(1);
  std::optional<protocol::ListPartitionReassignmentsResponse> list;
  active().list_partition_reassignments({}, [&](protocol::ListPartitionReassignmentsResponse answer) { list = std::move(answer); });
  runtime_.run_until_idle();
  EXPECT_EQ(list->topics.at(0).partitions.at(0).adding_replicas, std::vector<int32_t>{0});
  EXPECT_EQ(enlarge("b", 2).error, ErrorCode::kReassignmentInProgress);

  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 1).error_code, 0);
  EXPECT_TRUE(heard(0, "LI b-0 L0 e2 pe3 isr[1,2,0] rep[0,2]")) << all_heard(0);
  EXPECT_TRUE(heard(2, "LI b-0 L0 e3 pe4 isr[2,0] rep[0,2]")) << all_heard(2);
  EXPECT_TRUE(heard(1, "SR b-0 e3 DELETE")) << all_heard(1);
  auto node = metadata::decode_topic(as_bytes(data_of("/brokers/topics/b")));
  EXPECT_EQ(node->partitions.at(0), (std::vector<BrokerId>{{0}, {2}}));
  EXPECT_TRUE(node->adding.empty() && node->removing.empty());

  request.topics[0].partitions[0].replicas.reset();
  active().alter_partition_reassignments(request, note);
  runtime_.run_until_idle();
  EXPECT_EQ(error, ErrorCode::kNoReassignmentInProgress);
  request.topics[0].partitions[0].replicas = std::vector<int32_t>{9};
  active().alter_partition_reassignments(request, note);
  runtime_.run_until_idle();
  EXPECT_EQ(error, ErrorCode::kInvalidReplicaAssignment);
}

TEST_F(ControllerTest, NeitherNewPartitionsNorAMoveUndoTheOther) {
  wrap_ = [&](auto store) { return std::make_unique<MeddlingStore>(std::move(store), *executor_, "/brokers/topics/b", meddling_, armed_); };
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  metadata::TopicNode larger;
  larger.id = id_of("b");
  larger.partitions = {{0, {{1}, {2}}}};
  larger.adding = {{0, {{0}}}};
  meddling_ = metadata::encode_topic(larger);
  armed_ = true;
  EXPECT_EQ(enlarge("b", 2).error, ErrorCode::kReassignmentInProgress);
  EXPECT_EQ(data_of("/brokers/topics/b"), std::string(as_text(meddling_)));

  larger.partitions = {{0, {{1}, {2}}}, {1, {{1}, {2}}}};
  meddling_ = metadata::encode_topic(larger);
  armed_ = true;
  EXPECT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  EXPECT_FALSE(armed_);
  auto node = metadata::decode_topic(as_bytes(data_of("/brokers/topics/b")));
  EXPECT_EQ(node->partitions.size(), 2u);
  EXPECT_EQ(node->adding.at(0), std::vector<BrokerId>{{0}});
  EXPECT_TRUE(heard(1, "LI b-1 L1 e0 pe0 isr[1,2] rep[1,2] NEW")) << all_heard(1);
}

// Neither when replicas take over nor when a plan is given up: who leaves may be the leader still, or the one that has everything.
TEST_F(ControllerTest, NobodyDeletesAReplicaBeforeTheStateSaysThatItHasLeft) {
  wrap_ = [&](auto store) { return std::make_unique<RefusingStore>(std::move(store), *executor_, refuse_); };
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  ASSERT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  auto stopped = [&](int32_t id) {
    return std::any_of(broker(id).heard.begin(), broker(id).heard.end(), [](const std::string& line) { return line.starts_with("SR "); });
  };
  auto is_moving = [&] { return !metadata::decode_topic(as_bytes(data_of("/brokers/topics/b")))->adding.empty(); };
  auto refuse_epoch = [&](int32_t epoch) {
    refuse_ = [epoch](const metadata::StoreOp& op) {
      if (!op.path.ends_with("/state")) return false;
      auto node = metadata::decode_partition_state(op.data);
      return node && node->leader_epoch == LeaderEpoch{epoch};
    };
  };
  refuse_epoch(2);  // another leader
  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 1).error_code, 0);
  EXPECT_FALSE(stopped(1)) << all_heard(1);
  EXPECT_TRUE(is_moving());
  refuse_epoch(3);  // a smaller ISR
  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 2).error_code, 0);
  EXPECT_FALSE(stopped(1)) << all_heard(1);
  EXPECT_TRUE(is_moving());
  refuse_ = nullptr;
  EXPECT_EQ(alter_isr(0, "b", {1, 2, 0}, 2, 3).error_code, 0);
  EXPECT_TRUE(stopped(1));
  EXPECT_FALSE(is_moving());

  create(assigned("c", {{1, 2}}));
  ASSERT_EQ(reassign("c", {0, 2}), ErrorCode::kNone);
  forget();
  refuse_epoch(2);
  reassign("c", {1, 2});
  EXPECT_FALSE(stopped(0)) << all_heard(0);
}

// Seed 5832 of the cluster simulation: the target of a move was alone in the ISR when the move was given up; it was told to delete its log
// and led on, with nobody in sync.
TEST_F(ControllerTest, DoesNotGiveUpAMoveWhoseTargetAloneIsInSync) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  ASSERT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  ASSERT_EQ(alter_isr(1, "b", {1, 0}, 1, 1).error_code, 0);
  kill(1);
  ASSERT_TRUE(heard(0, "LI b-0 L0 e2 pe3 isr[0] rep[0,2,1] add[0] rem[1]")) << all_heard(0);
  forget();
  std::string why;
  auto cancel = [&](std::optional<std::vector<int32_t>> targets) {
    protocol::AlterPartitionReassignmentsRequest request;
    auto& topic = request.topics.emplace_back();
    topic.name = "b";
    topic.partitions.emplace_back().replicas = std::move(targets);
    ErrorCode error = ErrorCode::kUnknownServerError;
    active().alter_partition_reassignments(request, [&](protocol::AlterPartitionReassignmentsResponse response) {
      error = static_cast<ErrorCode>(response.responses.at(0).partitions.at(0).error_code);
      why = response.responses.at(0).partitions.at(0).error_message.value_or("");
    });
    runtime_.run_until_idle();
    return error;
  };
  EXPECT_EQ(cancel(std::nullopt), ErrorCode::kInvalidReplicaAssignment);
  EXPECT_EQ(why, "Unable to revert partition assignment for b-0 because it would require an unclean leader election.");
  EXPECT_EQ(cancel(std::vector<int32_t>{2, 1}), ErrorCode::kInvalidReplicaAssignment);
  EXPECT_EQ(why, "Unable to revert partition assignment for b-0 because it would require an unclean leader election.");
  EXPECT_EQ(all_heard(0) + all_heard(2), "");
  unclean_ = true;
  EXPECT_EQ(cancel(std::nullopt), ErrorCode::kNone);
  EXPECT_TRUE(heard(2, "LI b-0 L2 e3 pe4 isr[2] rep[2,1] recov")) << all_heard(2);
  EXPECT_TRUE(heard(0, "SR b-0 e3 DELETE")) << all_heard(0);
}

// A 3.9 controller writes the set of replicas, then the state; this one has written the first and gone.
TEST_F(ControllerTest, AMoveWithoutItsLeaderEpochGoesOnUnderTheNextController) {
  for (int32_t id : {3, 0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  metadata::TopicNode moving;
  moving.id = id_of("b");
  moving.partitions = {{0, {{0}, {2}, {1}}}};
  moving.adding = {{0, {{0}}}};
  moving.removing = {{0, {{1}}}};
  broker(3).store->set("/brokers/topics/b", metadata::encode_topic(moving), metadata::kAnyVersion, [](auto done) { EXPECT_TRUE(done); });
  runtime_.run_until_idle();
  ASSERT_TRUE(broker(3).controller->is_active());
  forget();
  kill(3);
  EXPECT_TRUE(heard(1, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,2,1] add[0] rem[1]")) << all_heard(1);
  EXPECT_TRUE(heard(0, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,2,1] add[0] rem[1] NEW")) << all_heard(0);
  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 1).error_code, 0);
  EXPECT_TRUE(heard(0, "LI b-0 L0 e2 pe3 isr[1,2,0] rep[0,2]")) << all_heard(0);
  EXPECT_TRUE(heard(1, "SR b-0 e3 DELETE")) << all_heard(1);
}

// Neither a beginning nor a cancellation leaves a set of replicas in the tree that the leader would be told in an epoch it knows.
TEST_F(ControllerTest, AControllerThatGoesWhileItChangesAMoveLeavesAnEpochForTheNext) {
  wrap_ = [&](auto store) { return std::make_unique<RefusingStore>(std::move(store), *executor_, refuse_); };
  for (int32_t id : {3, 0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  int writes = 0;
  auto goes_at_the_second_write = [&](const metadata::StoreOp& op) {
    if (op.kind != metadata::StoreOp::Kind::kSet || !op.path.starts_with("/brokers/topics/b") || ++writes != 2) return false;
    const int32_t epoch = active().epoch();
    broker(0).store->set("/controller_epoch", metadata::encode_controller_epoch(epoch + 10), metadata::kAnyVersion, [](auto) {});
    broker(0).store->remove("/controller", metadata::kAnyVersion, [](auto) {});
    return true;
  };
  auto leader_epochs = [&] {
    std::set<std::string> epochs;
    for (const std::string& line : broker(1).heard) {
      if (line.starts_with("LI b-0 L1 ")) epochs.insert(line.substr(10, 2));
    }
    return epochs;
  };
  forget();
  refuse_ = goes_at_the_second_write;
  EXPECT_NE(reassign("b", {0, 2}), ErrorCode::kNone);
  runtime_.advance(1'000);
  EXPECT_GE(writes, 2);
  EXPECT_FALSE(leader_epochs().contains("e0")) << all_heard(1);

  refuse_ = nullptr;
  ASSERT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  const std::string known = *leader_epochs().rbegin();
  forget();
  writes = 0;
  refuse_ = goes_at_the_second_write;
  EXPECT_NE(reassign("b", {1, 2}), ErrorCode::kNone);
  runtime_.advance(1'000);
  EXPECT_GE(writes, 2);
  ASSERT_FALSE(leader_epochs().empty());
  EXPECT_FALSE(leader_epochs().contains(known)) << all_heard(1);
}

// Seed 187 of the cluster simulation: it made the log anew, for the dir that held it was offline, and led with nothing in it.
TEST_F(ControllerTest, WhoJoinedByAFormerPlanAndIsInSyncIsNotNewInTheNextOne) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1}}));
  ASSERT_EQ(reassign("b", {1, 0, 2}), ErrorCode::kNone);
  ASSERT_EQ(alter_isr(1, "b", {1, 0}, 1, 1).error_code, 0);
  forget();
  ASSERT_EQ(reassign("b", {1, 2, 0}), ErrorCode::kNone);
  EXPECT_NE(all_heard(0).find("LI b-0 L1 e2"), std::string::npos) << all_heard(0);
  EXPECT_EQ(all_heard(0).find("NEW"), std::string::npos) << all_heard(0);
  EXPECT_NE(all_heard(2).find("NEW"), std::string::npos) << all_heard(2);
}

TEST_F(ControllerTest, ListsAMoveOnceHoweverOftenItIsAskedFor) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}, {1, 2}}));
  ASSERT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  protocol::ListPartitionReassignmentsRequest request;
  auto& topics = request.topics.emplace();
  for (int i = 0; i < 3; ++i) {
    auto& topic = topics.emplace_back();
    topic.name = i == 1 ? "none" : "b";
    topic.partition_indexes = {1, 0, 0, 7, 0};
  }
  std::optional<protocol::ListPartitionReassignmentsResponse> list;
  active().list_partition_reassignments(request, [&](protocol::ListPartitionReassignmentsResponse answer) { list = std::move(answer); });
  runtime_.run_until_idle();
  ASSERT_TRUE(list);
  ASSERT_EQ(list->topics.size(), 1u);
  EXPECT_EQ(list->topics[0].partitions.size(), 1u);
}

TEST_F(ControllerTest, DeletesATopicOnlyWhenItsReplicasHaveMoved) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  const Uuid id = id_of("b");
  reassign("b", {0, 2});
  forget();
  erase("b");
  EXPECT_NE(data_of("/admin/delete_topics/b"), "NO_NODE");
  EXPECT_EQ(all_heard(0) + all_heard(1) + all_heard(2), "") << "nobody is stopped as long as replicas move";
  EXPECT_EQ(reassign("b", {1, 2}), ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(elect(0, "b"), ErrorCode::kInvalidTopicException) << "the topic is being deleted";
  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 1, 0, id).error_code, 0);
  EXPECT_TRUE(heard(0, "LI b-0 L0 e2 pe3 isr[1,2,0] rep[0,2]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "UM b-0 L-2 e0 zv0 isr[1,2,0]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "SR b-0 e-2 DELETE")) << all_heard(0);
  for (const char* path : {"/brokers/topics/b", "/config/topics/b", "/admin/delete_topics/b"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
}

// Also when the controller changes and the target is away for a while: brokers are told of such a topic as of any other.
TEST_F(ControllerTest, EndsTheMovesOfATopicThatIsToBeDeleted) {
  for (int32_t id : {0, 1, 2, 3}) start(id);
  create(assigned("b", {{2, 3}}));
  const Uuid id = id_of("b");
  reassign("b", {1, 3});
  erase("b");
  kill(1);
  forget();
  kill(0);
  ASSERT_FALSE(brokers_.contains(0));
  EXPECT_TRUE(heard(2, "LI b-0 L2 e2 pe2 isr[2,3] rep[1,3,2] add[1] rem[2]")) << all_heard(2);
  EXPECT_TRUE(heard(3, "UM b-0 L-2 e0 zv0 isr[2,3] off[1]")) << "clients do not see it again: " << all_heard(3);
  EXPECT_FALSE(heard(2, "UM b-0 L2 e2 zv2 isr[2,3] off[1]")) << all_heard(2);
  start(1);
  EXPECT_TRUE(heard(1, "LI b-0 L2 e2 pe2 isr[2,3] rep[1,3,2] add[1] rem[2]")) << all_heard(1);
  // Its leader goes, too: who is to catch up needs another.
  kill(2);
  EXPECT_TRUE(heard(1, "LI b-0 L3 e3 pe3 isr[3] rep[1,3,2] add[1] rem[2]")) << all_heard(1);
  EXPECT_EQ(alter_isr(3, "b", {3, 1}, 3, 3, 0, id).error_code, 0);
  EXPECT_TRUE(heard(1, "SR b-0 e-2 DELETE")) << all_heard(1);
  for (const char* path : {"/brokers/topics/b", "/admin/delete_topics/b"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
}

TEST_F(ControllerTest, ObeysWhatOldToolsLeaveInTheTree) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  kill(1);
  start(1);
  ASSERT_EQ(alter_isr(2, "b", {2, 1}, 1, 1).error_code, 0);
  ASSERT_EQ(broker(0).image.current()->find_partition("b", 0)->leader, BrokerId{2});
  std::string_view election = R"({"version":1,"partitions":[{"topic":"b","partition":0}]})";
  write("/admin/preferred_replica_election", Bytes(election.begin(), election.end()));
  EXPECT_EQ(data_of("/admin/preferred_replica_election"), "NO_NODE");
  EXPECT_EQ(broker(0).image.current()->find_partition("b", 0)->leader, BrokerId{1});
  write("/admin/reassign_partitions", metadata::encode_reassignment({{{"b", 0}, {{0}, {1}}}}));
  EXPECT_EQ(data_of("/admin/reassign_partitions"), "NO_NODE");
  EXPECT_EQ(broker(0).image.current()->find_partition("b", 0)->replicas.size(), 3u);
}

}  // namespace
}  // namespace odradek::controller
