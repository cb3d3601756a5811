// How members come into a group.
#include "coordinator/group/group.h"

#include "coordinator/group/group_test_util.h"

namespace odradek::coordinator {
namespace {

using GroupJoin = GroupFixture;

TEST_F(GroupJoin, FirstMemberWaitsForTheInitialDelayThenLeadsGenerationOne) {
  auto first = join();
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  pass(2'999);
  EXPECT_FALSE(first.answered());
  pass(1);
  EXPECT_EQ(first->error, ErrorCode::kNone);
  EXPECT_EQ(first->generation, 1);
  EXPECT_EQ(first->leader, first->member_id);
  EXPECT_EQ(first->member_id, "client-uuid1");
  EXPECT_EQ(first->protocol_type, "consumer");
  EXPECT_EQ(first->protocol_name, "range");
  ASSERT_EQ(first->members.size(), 1u);
  EXPECT_EQ(first->members[0].metadata, subscription({"topic"}));
  EXPECT_FALSE(first->skip_assignment);
  EXPECT_EQ(group->state(), GroupState::kCompletingRebalance);
}

TEST_F(GroupJoin, InitialDelayIsExtendedWhileMembersArrive) {
  auto first = join();
  pass(2'000);
  auto second = join();
  pass(1'000);
  EXPECT_FALSE(first.answered());
  pass(2'000);
  auto third = join();
  pass(1'000);
  EXPECT_FALSE(first.answered());
  pass(3'000);
  EXPECT_TRUE(first.answered() && second.answered() && third.answered());
  EXPECT_EQ(first->members.size(), 3u);
  EXPECT_TRUE(second->members.empty());
}

TEST_F(GroupJoin, InitialDelayIsNotExtendedBeyondTheRebalanceTimeout) {
  JoinOptions options{.rebalance_timeout_ms = 5'000};
  auto first = join(options);
  for (int i = 0; i < 4; ++i) {
    pass(1'000);
    join(options);
  }
  pass(999);
  EXPECT_FALSE(first.answered());
  pass(1);
  EXPECT_TRUE(first.answered());
}

TEST_F(GroupJoin, InitialDelayOfAGroupThatWasInUseIsNotExtended) {
  auto joined = stable(1);
  leave(joined.leader);
  ASSERT_EQ(group->state(), GroupState::kEmpty);
  auto first = join();
  pass(1'000);
  auto second = join();
  pass(2'000);
  EXPECT_TRUE(first.answered() && second.answered());
}

TEST_F(GroupJoin, ZeroInitialDelayAnswersAtTheNextTick) {
  config.initial_rebalance_delay_ms = 0;
  auto first = join();
  pass(0);
  EXPECT_EQ(first->error, ErrorCode::kNone);
}

TEST_F(GroupJoin, EmptyGroupNeedsATypeAndAProtocol) {
  EXPECT_EQ(join({.protocol_type = ""})->error, ErrorCode::kInconsistentGroupProtocol);
  EXPECT_EQ(join({.protocols = {}})->error, ErrorCode::kInconsistentGroupProtocol);
  EXPECT_TRUE(group->is_trivial());
}

TEST_F(GroupJoin, OtherProtocolTypeOrNoCommonProtocolIsInconsistent) {
  auto joined = stable(1);
  auto other_type = join({.protocol_type = "connect"});
  EXPECT_EQ(other_type->error, ErrorCode::kInconsistentGroupProtocol);
  EXPECT_EQ(other_type->member_id, "");
  EXPECT_EQ(other_type->generation, -1);
  EXPECT_EQ(join({.protocols = {{"sticky", {}}}})->error, ErrorCode::kInconsistentGroupProtocol);
  EXPECT_EQ(join({.member_id = joined.leader, .protocol_type = "connect"})->member_id, joined.leader);
  EXPECT_EQ(group->state(), GroupState::kStable);
}

TEST_F(GroupJoin, ProtocolIsTheOneWithMostVotesAmongThoseThatAllKnow) {
  auto a = join({.protocols = {{"x", text("ax")}, {"range", text("ar")}, {"sticky", text("as")}}});
  auto b = join({.protocols = {{"sticky", text("bs")}, {"range", text("br")}}});
  auto c = join({.protocols = {{"sticky", text("cs")}, {"range", text("cr")}}});
  pass(6'000);
  EXPECT_EQ(a->protocol_name, "sticky");
  ASSERT_EQ(a->members.size(), 3u);
  EXPECT_EQ(a->members[0].metadata, text("as"));
  EXPECT_EQ(a->members[2].metadata, text("cs"));
}

TEST_F(GroupJoin, AProtocolThatAMemberListsTwiceCountsOnce) {
  auto a = join({.protocols = {{"range", text("a")}, {"range", text("again")}}});
  auto b = join({.protocols = {{"range", text("b")}}});
  pass(6'000);
  EXPECT_EQ(b->protocol_name, "range");
  ASSERT_EQ(a->members.size(), 2u);
  EXPECT_EQ(a->members[0].metadata, text("a"));
  leave(a->member_id);
  EXPECT_EQ(join({.protocols = {{"range", text("c")}}}).answers->size(), 0u) << "waits for the other member";
}

TEST_F(GroupJoin, UnknownMemberIdIsRefused) {
  stable(1);
  auto stranger = join({.member_id = "stranger"});
  EXPECT_EQ(stranger->error, ErrorCode::kUnknownMemberId);
  EXPECT_EQ(stranger->member_id, "stranger");
}

TEST_F(GroupJoin, NewMemberInStableStartsARebalanceThatEndsWhenAllHaveJoined) {
  auto joined = stable(1);
  auto second = join();
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  EXPECT_FALSE(second.answered());
  auto again = join({.member_id = joined.leader});
  ASSERT_TRUE(second.answered());
  EXPECT_EQ(again->generation, 2);
  EXPECT_EQ(again->leader, joined.leader);
  EXPECT_EQ(second->leader, joined.leader);
  EXPECT_EQ(again->members.size(), 2u);
  EXPECT_TRUE(second->members.empty());
}

TEST_F(GroupJoin, MembersThatDoNotJoinWithinTheLongestRebalanceTimeoutAreRemoved) {
  auto joined = stable(2, {.session_timeout_ms = 300'000, .rebalance_timeout_ms = 20'000});
  auto third = join({.session_timeout_ms = 300'000, .rebalance_timeout_ms = 30'000});
  auto again = join({.member_id = joined.members[1], .session_timeout_ms = 300'000, .rebalance_timeout_ms = 20'000});
  pass(29'999);
  EXPECT_FALSE(third.answered());
  pass(1);
  EXPECT_EQ(third->generation, 2);
  EXPECT_EQ(third->leader, joined.members[1]) << "the first leader did not come back";
  EXPECT_EQ(again->members.size(), 2u);
  EXPECT_EQ(heartbeat(joined.members[0], 2), ErrorCode::kUnknownMemberId);
}

TEST_F(GroupJoin, KnownFollowerWithUnchangedMetadataInStableGetsTheCurrentGenerationAtOnce) {
  auto joined = stable(2);
  auto again = join({.member_id = joined.members[1]});
  EXPECT_EQ(again->error, ErrorCode::kNone);
  EXPECT_EQ(again->generation, joined.generation);
  EXPECT_EQ(again->leader, joined.leader);
  EXPECT_TRUE(again->members.empty());
  EXPECT_EQ(group->state(), GroupState::kStable);
}

TEST_F(GroupJoin, LeaderThatJoinsAgainStartsARebalance) {
  auto joined = stable(2);
  auto again = join({.member_id = joined.leader});
  EXPECT_FALSE(again.answered());
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
}

TEST_F(GroupJoin, ChangedMetadataStartsARebalance) {
  auto joined = stable(2);
  auto again = join({.member_id = joined.members[1], .protocols = {{"range", subscription({"other"})}}});
  EXPECT_FALSE(again.answered());
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
}

TEST_F(GroupJoin, RepeatedJoinInCompletingRebalanceGetsTheSameAnswer) {
  auto joined = completing(2);
  auto leader = join({.member_id = joined.leader});
  EXPECT_EQ(leader->generation, joined.generation);
  EXPECT_EQ(leader->members.size(), 2u);
  auto follower = join({.member_id = joined.members[1]});
  EXPECT_EQ(follower->generation, joined.generation);
  EXPECT_TRUE(follower->members.empty());
  EXPECT_EQ(group->state(), GroupState::kCompletingRebalance);
}

TEST_F(GroupJoin, ChangedMetadataInCompletingRebalanceSendsWaitingSyncsBack) {
  auto joined = completing(2);
  auto waiting = sync(joined.members[1], joined.generation);
  auto again = join({.member_id = joined.leader, .protocols = {{"range", subscription({"other"})}}});
  EXPECT_EQ(waiting->error, ErrorCode::kRebalanceInProgress);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  EXPECT_FALSE(again.answered());
}

TEST_F(GroupJoin, SecondJoinOfAWaitingMemberTakesThePlaceOfTheFirst) {
  auto joined = stable(2);
  auto first = join({.member_id = joined.leader});
  auto second = join({.member_id = joined.leader});
  EXPECT_EQ(first->error, ErrorCode::kRebalanceInProgress);
  EXPECT_EQ(first->member_id, joined.leader);
  EXPECT_FALSE(second.answered());
  join({.member_id = joined.members[1]});
  EXPECT_EQ(second->error, ErrorCode::kNone);
}

TEST_F(GroupJoin, FromVersion4NewMembersGetTheirIdFirst) {
  auto asked = join({.require_known_member_id = true});
  EXPECT_EQ(asked->error, ErrorCode::kMemberIdRequired);
  EXPECT_EQ(asked->member_id, "client-uuid1");
  EXPECT_EQ(group->state(), GroupState::kEmpty);
  EXPECT_EQ(group->pending_members(), 1u);
  auto real = join({.member_id = asked->member_id, .require_known_member_id = true});
  EXPECT_FALSE(real.answered());
  EXPECT_EQ(group->pending_members(), 0u);
  pass(3'000);
  EXPECT_EQ(real->member_id, asked->member_id);
}

TEST_F(GroupJoin, IdThatIsNotUsedWithinTheSessionTimeoutIsForgotten) {
  auto asked = join({.session_timeout_ms = 10'000, .require_known_member_id = true});
  pass(10'000);
  EXPECT_EQ(group->pending_members(), 0u);
  EXPECT_TRUE(group->is_trivial());
  EXPECT_EQ(join({.member_id = asked->member_id})->error, ErrorCode::kUnknownMemberId);
}

TEST_F(GroupJoin, RebalanceWaitsForIdsThatAreGivenOut) {
  auto joined = stable(1, {.session_timeout_ms = 60'000});
  auto asked = join({.require_known_member_id = true});
  auto again = join({.member_id = joined.leader, .session_timeout_ms = 60'000});
  EXPECT_FALSE(again.answered());
  pass(10'000);
  EXPECT_EQ(again->error, ErrorCode::kNone);
  EXPECT_EQ(again->members.size(), 1u);
  static_cast<void>(asked);
}

TEST_F(GroupJoin, FullGroupTakesNoOneInStable) {
  config.max_size = 2;
  auto joined = stable(2);
  auto third = join();
  EXPECT_EQ(third->error, ErrorCode::kGroupMaxSizeReached);
  EXPECT_EQ(third->member_id, "");
  EXPECT_EQ(join({.member_id = joined.members[1]})->error, ErrorCode::kNone);
}

TEST_F(GroupJoin, DuringARebalanceOnlyJoinedMembersCountForTheLimit) {
  config.max_size = 2;
  auto joined = stable(2, {.session_timeout_ms = 60'000});
  auto leader = join({.member_id = joined.leader, .session_timeout_ms = 60'000});
  auto third = join();
  EXPECT_FALSE(third.answered());
  auto late = join({.member_id = joined.members[1], .session_timeout_ms = 60'000});
  EXPECT_EQ(late->error, ErrorCode::kGroupMaxSizeReached);
  EXPECT_TRUE(leader.answered() && third.answered()) << "the late one is out, nobody is waited for any more";
}

TEST_F(GroupJoin, DeadGroupSendsClientsToLookForTheCoordinator) {
  auto waiting = join();
  Answers out;
  group->die(ErrorCode::kNotCoordinator, out);
  run(out);
  EXPECT_EQ(waiting->error, ErrorCode::kNotCoordinator);
  EXPECT_EQ(join()->error, ErrorCode::kCoordinatorNotAvailable);
  EXPECT_EQ(heartbeat("m", 1), ErrorCode::kCoordinatorNotAvailable);
  EXPECT_EQ(sync("m", 1)->error, ErrorCode::kCoordinatorNotAvailable);
  EXPECT_EQ(leave("m"), ErrorCode::kCoordinatorNotAvailable);
  EXPECT_EQ(commit("", -1), ErrorCode::kCoordinatorNotAvailable);
  EXPECT_FALSE(group->deadline());
}

TEST_F(GroupJoin, AnswerWhoseGroundIsLostCarriesTheErrorInstead) {
  JoinRequest request;
  request.protocol_type = "consumer";
  request.protocols = {{"range", {}}};
  request.session_timeout_ms = request.rebalance_timeout_ms = 10'000;
  request.client_id = "c";
  request.uuid = "u";
  std::vector<JoinResult> results;
  Answers out;
  group->join(std::move(request), [&](JoinResult result) { results.push_back(std::move(result)); }, now, journal, out);
  now.monotonic_ms += 3'000;
  group->on_time(now, journal, out);
  ASSERT_EQ(out.size(), 1u);
  out[0](ErrorCode::kNotCoordinator);
  EXPECT_EQ(results.at(0).error, ErrorCode::kNotCoordinator);
  EXPECT_EQ(results[0].member_id, "c-u");
  EXPECT_EQ(results[0].generation, -1);
  EXPECT_TRUE(results[0].members.empty());
}

}  // namespace
}  // namespace odradek::coordinator
