// Static members: instances that come back under a new id.
#include "coordinator/group/group.h"

#include "coordinator/group/group_test_util.h"

namespace odradek::coordinator {
namespace {

using GroupStatic = GroupFixture;

TEST_F(GroupStatic, IdIsMadeFromTheInstanceAndNotRequiredFirst) {
  auto first = join({.instance_id = "one", .require_known_member_id = true});
  pass(3'000);
  EXPECT_EQ(first->error, ErrorCode::kNone);
  EXPECT_EQ(first->member_id, "one-uuid1");
  EXPECT_EQ(first->members.at(0).instance_id, "one");
}

TEST_F(GroupStatic, ReturningInstanceInStableGetsANewIdWithoutARebalance) {
  auto joined = stable(2, {.instance_id = "x"});
  size_t written = journal.written.size();
  auto back = join({.instance_id = "instance1"});
  EXPECT_EQ(back->error, ErrorCode::kNone);
  EXPECT_NE(back->member_id, joined.members[1]);
  EXPECT_EQ(back->generation, 1);
  EXPECT_EQ(back->leader, joined.leader);
  EXPECT_TRUE(back->members.empty());
  EXPECT_EQ(group->state(), GroupState::kStable);
  EXPECT_EQ(journal.written.size(), written + 1) << "the new id is kept";
  EXPECT_EQ(journal.written.back().assignments.at(back->member_id), text("a:" + joined.members[1]));
  EXPECT_EQ(sync(back->member_id, 1, {}, "instance1")->assignment, text("a:" + joined.members[1]));
  EXPECT_EQ(heartbeat(joined.members[1], 1, "instance1"), ErrorCode::kFencedInstanceId);
  EXPECT_EQ(sync(joined.members[1], 1, {}, "instance1")->error, ErrorCode::kFencedInstanceId);
  EXPECT_EQ(commit(joined.members[1], 1, "instance1"), ErrorCode::kFencedInstanceId);
  EXPECT_EQ(leave(joined.members[1], "instance1"), ErrorCode::kFencedInstanceId);
  EXPECT_EQ(join({.member_id = joined.members[1], .instance_id = "instance1"})->error, ErrorCode::kFencedInstanceId);
  EXPECT_EQ(heartbeat(joined.members[1], 1), ErrorCode::kUnknownMemberId);
}

TEST_F(GroupStatic, ReturningLeaderIsToldToSkipTheAssignmentFromVersion9) {
  auto joined = stable(2, {.instance_id = "x"});
  auto back = join({.instance_id = "instance0", .supports_skip_assignment = true});
  EXPECT_EQ(back->leader, back->member_id);
  EXPECT_TRUE(back->skip_assignment);
  EXPECT_EQ(back->members.size(), 2u);
  auto follower = join({.instance_id = "instance1", .supports_skip_assignment = true});
  EXPECT_EQ(follower->leader, back->member_id);
  EXPECT_FALSE(follower->skip_assignment);
  EXPECT_TRUE(follower->members.empty());
}

TEST_F(GroupStatic, ReturningLeaderBeforeVersion9SeesItsOldIdAsLeader) {
  auto joined = stable(2, {.instance_id = "x"});
  auto back = join({.instance_id = "instance0"});
  EXPECT_EQ(back->leader, joined.leader);
  EXPECT_NE(back->member_id, joined.leader);
  EXPECT_TRUE(back->members.empty());
  EXPECT_FALSE(back->skip_assignment);
  EXPECT_EQ(group->leader(), back->member_id);
}

TEST_F(GroupStatic, ReturningInstanceThatChangesTheVoteStartsARebalance) {
  JoinOptions options{.instance_id = "x", .protocols = {{"range", {}}, {"sticky", {}}}};
  stable(1, options);
  auto back = join({.instance_id = "instance0", .protocols = {{"sticky", {}}, {"range", {}}}});
  EXPECT_EQ(back->generation, 2) << "alone in the group, so complete at once";
  EXPECT_EQ(back->protocol_name, "sticky");
  EXPECT_EQ(group->state(), GroupState::kCompletingRebalance);
}

TEST_F(GroupStatic, WhenTheNewIdCannotBeWrittenTheOldOneStays) {
  auto joined = stable(2, {.instance_id = "x"});
  journal.refuse = ErrorCode::kNotCoordinator;
  auto back = join({.instance_id = "instance0", .protocols = {{"range", subscription({"other"})}}});
  EXPECT_EQ(back->error, ErrorCode::kNotCoordinator);
  EXPECT_EQ(back->member_id, "");
  EXPECT_EQ(group->leader(), joined.leader);
  EXPECT_EQ(heartbeat(joined.leader, 1, "instance0"), ErrorCode::kNone);
  EXPECT_EQ(group->find(joined.leader)->protocols[0].metadata, subscription({"topic"}));
}

TEST_F(GroupStatic, DuplicateInstanceFencesTheOneThatWaits) {
  auto first = join({.instance_id = "one"});
  auto second = join({.instance_id = "one"});
  EXPECT_EQ(first->error, ErrorCode::kFencedInstanceId);
  pass(6'000);
  EXPECT_EQ(second->error, ErrorCode::kNone);
  EXPECT_EQ(group->members().size(), 1u);
}

TEST_F(GroupStatic, ReturningInstanceInCompletingRebalanceStartsOver) {
  auto joined = completing(2, {.instance_id = "x"});
  auto waiting = sync(joined.members[1], 1, {}, "instance1");
  auto other = sync(joined.leader, 2, {}, "instance0");
  EXPECT_EQ(other->error, ErrorCode::kIllegalGeneration);
  auto back = join({.instance_id = "instance1"});
  EXPECT_EQ(waiting->error, ErrorCode::kFencedInstanceId);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  EXPECT_FALSE(back.answered());
  join({.member_id = joined.leader, .instance_id = "instance0"});
  EXPECT_EQ(back->generation, 2);
}

TEST_F(GroupStatic, AbsentInstanceIsNotRemovedByARebalanceButByItsSession) {
  auto joined = stable(2, {.instance_id = "x", .session_timeout_ms = 100'000, .rebalance_timeout_ms = 10'000});
  auto again = join({.member_id = joined.leader, .instance_id = "instance0", .session_timeout_ms = 100'000, .rebalance_timeout_ms = 10'000});
  pass(10'000);
  EXPECT_EQ(again->members.size(), 2u);
  EXPECT_NE(group->find(joined.members[1]), nullptr);
}

TEST_F(GroupStatic, WhenNobodyComesBackTheRebalanceIsPutOffUntilSessionsEnd) {
  auto joined = stable(2, {.instance_id = "x", .session_timeout_ms = 25'000, .rebalance_timeout_ms = 10'000});
  join({.instance_id = "third", .session_timeout_ms = 25'000, .rebalance_timeout_ms = 10'000});
  leave("", "third");
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  pass(10'000);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  EXPECT_EQ(group->generation(), 1);
  pass(15'000);
  EXPECT_EQ(group->state(), GroupState::kEmpty);
}

TEST_F(GroupStatic, WhileNobodyComesBackAGroupWithoutRebalanceTimeoutIsLookedAtOnceASecond) {
  stable(2, {.instance_id = "x", .session_timeout_ms = 25'000, .rebalance_timeout_ms = 0});
  join({.instance_id = "third", .session_timeout_ms = 25'000, .rebalance_timeout_ms = 0});
  leave("", "third");
  int looks = 0;
  while (group->state() == GroupState::kPreparingRebalance) {
    ++looks;
    now.monotonic_ms = *group->deadline();
    Answers out;
    group->on_time(now, journal, out);
    run(out);
  }
  EXPECT_LE(looks, 40);
  EXPECT_EQ(group->state(), GroupState::kEmpty);
}

TEST_F(GroupStatic, AdministratorRemovesByInstanceAlone) {
  stable(2, {.instance_id = "x"});
  EXPECT_EQ(leave("", "instance1"), ErrorCode::kNone);
  EXPECT_EQ(group->members().size(), 1u);
  EXPECT_EQ(leave("", "instance1"), ErrorCode::kUnknownMemberId);
}

TEST_F(GroupStatic, UnknownInstanceIsAnUnknownMember) {
  auto joined = stable(1);
  EXPECT_EQ(heartbeat(joined.leader, 1, "nobody"), ErrorCode::kUnknownMemberId);
}

}  // namespace
}  // namespace odradek::coordinator
