// What is answered when, and what stands after a change of leaders.
#include "coordinator/group/shard_log.h"

#include <gtest/gtest.h>

#include "coordinator/group/group_coordinator_test_util.h"

namespace odradek::coordinator {
namespace {

using GroupDurability = Coordinator;

TEST_F(GroupDurability, CommitIsAnsweredWhenTheHighWatermarkHasPassedIt) {
  log.commit_at_once = false;
  auto committed = commit("t", 5);
  EXPECT_FALSE(committed.answered());
  auto fetched = fetch({{"t"}});
  EXPECT_FALSE(fetched.answered()) << "it has seen what may still be lost";
  auto other = fetch({{"t"}}, 7, false, "other");
  EXPECT_TRUE(other.answered());
  log.commit_all();
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), 0);
  EXPECT_EQ(fetched->topics.at(0).partitions.at(0).committed_offset, 5);
}

TEST_F(GroupDurability, ThatAGroupIsGoneIsToldWhenItsRemovalIsSafe) {
  commit("t", 5);
  log.commit_at_once = false;
  DeleteGroupsRequest request;
  request.groups_names = {"g"};
  auto removed = call(&GroupCoordinator::delete_groups, std::move(request), int16_t{2});
  auto fetched = fetch({{"t"}});
  DescribeGroupsRequest describe_request;
  describe_request.groups = {"g"};
  auto described = call(&GroupCoordinator::describe_groups, std::move(describe_request), int16_t{5});
  EXPECT_FALSE(removed.answered() || fetched.answered() || described.answered());
  log.commit_all();
  runtime.run_until_idle();
  EXPECT_EQ(removed->results.at(0).error_code, 0);
  EXPECT_EQ(fetched->topics.at(0).partitions.at(0).committed_offset, -1);
  EXPECT_EQ(described->groups.at(0).group_state, "Dead");
}

TEST_F(GroupDurability, WaitingIsLimitedByTheCommitTimeout) {
  log.commit_at_once = false;
  auto committed = commit("t", 5);
  auto fetched = fetch({{"t"}});
  runtime.advance(4'999);
  EXPECT_FALSE(committed.answered());
  runtime.advance(1);
  EXPECT_EQ(error_of(committed), wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(fetched->error_code, wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_TRUE(fetched->topics.empty());
  log.commit_all();
  EXPECT_EQ(offset_of("t"), 5) << "it was in the log all the time";
}

TEST_F(GroupDurability, AssignmentsAreHandedOutWhenTheirRecordIsSafe) {
  auto first = join("", 3);
  runtime.advance(1);
  log.commit_at_once = false;
  auto synced = sync(first->member_id, 1, {{first->member_id, text("x")}});
  EXPECT_FALSE(synced.answered());
  EXPECT_EQ(heartbeat(first->member_id, 1), 0) << "tells nothing of it";
  log.commit_all();
  runtime.run_until_idle();
  EXPECT_EQ(synced->assignment, text("x"));
}

TEST_F(GroupDurability, LostLeadershipAnswersAllWhoWait) {
  std::string member = stable_member();
  auto rebalancing = join("", 3);
  EXPECT_FALSE(rebalancing.answered());
  log.commit_at_once = false;
  auto committed = commit("t", 5, member, 1);
  log.lose_leadership(true);
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), wire(ErrorCode::kNotCoordinator));
  groups->on_follower(tp, {1});
  runtime.run_until_idle();
  EXPECT_EQ(rebalancing->error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(error_of(commit("t", 6)), wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(join()->error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(heartbeat(member, 1), wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(describe().error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(remove_group(), wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(remove_offset("t")->error_code, wire(ErrorCode::kNotCoordinator));
}

TEST_F(GroupDurability, WhatWasNotCommittedIsGoneWithTheOldLeader) {
  commit("t", 1);
  log.commit_at_once = false;
  commit("t", 2);
  commit("u", 3);
  reload(true);
  log.commit_at_once = true;
  EXPECT_EQ(offset_of("t"), 1);
  EXPECT_EQ(offset_of("u"), -1);
}

TEST_F(GroupDurability, GroupsAndOffsetsAreBackAfterAMove) {
  std::string member = stable_member();
  commit("t", 7, member, 1, "note");
  reload();
  EXPECT_EQ(offset_of("t"), 7);
  EXPECT_EQ(describe().group_state, "Stable");
  EXPECT_EQ(heartbeat(member, 1), 0);
  EXPECT_EQ(sync(member, 1)->assignment, text("all"));
  EXPECT_EQ(error_of(commit("t", 8, member, 1)), 0);
  runtime.advance(10'001);
  EXPECT_EQ(describe().group_state, "Empty") << "sessions run from the load on";
}

// A follower that goes away is put out of the ISR in a new epoch of the same leader.
TEST_F(GroupDurability, GroupsGoOnWhenTheirLeaderGoesOnInANewEpoch) {
  std::string member = stable_member();
  auto rebalancing = join("", 3);
  log.commit_at_once = false;
  auto committed = commit("t", 1, member, 1);
  log.go_on_leading();
  groups->on_leader(tp, log.leader_epoch);
  EXPECT_EQ(heartbeat(member, 1), wire(ErrorCode::kRebalanceInProgress));
  EXPECT_FALSE(rebalancing.answered() || committed.answered());
  log.commit_all();
  log.commit_at_once = true;
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), 0);
  EXPECT_EQ(error_of(commit("t", 2, member, 1)), 0);
  auto again = join(member, 3);
  EXPECT_EQ(again->generation_id, 2);
  EXPECT_EQ(rebalancing->generation_id, 2);
  groups->on_follower(tp, {log.leader_epoch.value - 1});
  EXPECT_EQ(offset_of("t"), 2) << "news of an older epoch";
  reload();
  EXPECT_EQ(offset_of("t"), 2);
}

TEST_F(GroupDurability, StaticMemberKeepsItsPlaceOverAMove) {
  auto first = join("", 9, "instance");
  runtime.advance(1);
  sync(first->member_id, 1, {{first->member_id, text("x")}});
  auto back = join("", 9, "instance");
  ASSERT_EQ(back->error_code, 0);
  EXPECT_TRUE(back->skip_assignment);
  reload();
  EXPECT_EQ(heartbeat(back->member_id, 1), 0);
  EXPECT_EQ(describe().members.at(0).group_instance_id, "instance");
  auto third = join("", 9, "instance");
  EXPECT_EQ(third->generation_id, 1);
}

TEST_F(GroupDurability, TooFewReplicasAfterTheAppendIsAnErrorButStands) {
  struct Shrinking : FakeLog {
    UniqueFunction<void(ErrorCode)> held;
    Result<Offset> append(const TopicPartition&, LeaderEpoch, Bytes batch, UniqueFunction<void(ErrorCode)> committed) override {
      held = std::move(committed);
      return put(std::move(batch));
    }
  } shrinking;
  groups = std::make_unique<GroupCoordinator>(runtime, shrinking, [] { return 1; }, config);
  groups->on_leader(tp, {0});
  runtime.run_until_idle();
  auto committed = commit("t", 3);
  EXPECT_FALSE(committed.answered());
  shrinking.held(ErrorCode::kNotEnoughReplicasAfterAppend);
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(offset_of("t"), 3);
  groups.reset();
}

TEST_F(GroupDurability, StopAnswersAllWhoWaitAndEveryoneAfterwards) {
  stable_member();
  auto rebalancing = join("", 3);
  groups->stop();
  EXPECT_EQ(rebalancing->error_code, wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(error_of(commit("t", 1)), wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(list()->error_code, wire(ErrorCode::kCoordinatorNotAvailable));
}

}  // namespace
}  // namespace odradek::coordinator
