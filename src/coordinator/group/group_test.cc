#include "coordinator/group/group.h"

#include "coordinator/group/group_test_util.h"

namespace odradek::coordinator {
namespace {

using GroupJoin = GroupFixture;
using GroupSync = GroupFixture;
using GroupHeartbeat = GroupFixture;
using GroupLeave = GroupFixture;
using GroupStatic = GroupFixture;
using GroupCommit = GroupFixture;
using GroupTime = GroupFixture;
using GroupStored = GroupFixture;

// --- join --------------------------------------------------------------------------------------------------------------------

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

// --- sync --------------------------------------------------------------------------------------------------------------------

TEST_F(GroupSync, FollowersWaitForTheLeadersAssignments) {
  auto joined = completing(3);
  auto second = sync(joined.members[1], 1);
  EXPECT_FALSE(second.answered());
  auto leader = sync(joined.leader, 1, {{joined.leader, text("A")}, {joined.members[1], text("B")}, {"nobody", text("X")}});
  EXPECT_EQ(group->state(), GroupState::kStable);
  EXPECT_EQ(leader->assignment, text("A"));
  EXPECT_EQ(leader->protocol_type, "consumer");
  EXPECT_EQ(leader->protocol_name, "range");
  EXPECT_EQ(second->assignment, text("B"));
  auto third = sync(joined.members[2], 1);
  EXPECT_EQ(third->error, ErrorCode::kNone);
  EXPECT_TRUE(third->assignment.empty()) << "the leader forgot it";
}

TEST_F(GroupSync, StateIsWrittenWithTheAssignmentsBeforeTheGroupIsStable) {
  auto joined = stable(2);
  ASSERT_EQ(journal.written.size(), 1u);
  EXPECT_EQ(journal.written[0].state, GroupState::kCompletingRebalance);
  EXPECT_EQ(journal.written[0].generation, 1);
  EXPECT_EQ(journal.written[0].assignments.at(joined.members[1]), text("a:" + joined.members[1]));
}

TEST_F(GroupSync, WhenTheStateCannotBeWrittenAllGetTheErrorAndJoinAgain) {
  auto joined = completing(2);
  auto second = sync(joined.members[1], 1);
  journal.refuse = ErrorCode::kUnknownServerError;
  auto leader = sync(joined.leader, 1, {{joined.leader, text("A")}});
  EXPECT_EQ(leader->error, ErrorCode::kUnknownServerError);
  EXPECT_EQ(second->error, ErrorCode::kUnknownServerError);
  EXPECT_FALSE(second->protocol_name);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  for (const auto& member : group->members()) EXPECT_TRUE(member->assignment.empty());
}

TEST_F(GroupSync, WrongMemberGenerationOrProtocolIsRefused) {
  auto joined = completing(1);
  EXPECT_EQ(sync("stranger", 1)->error, ErrorCode::kUnknownMemberId);
  EXPECT_EQ(sync(joined.leader, 2)->error, ErrorCode::kIllegalGeneration);
  EXPECT_EQ(sync(joined.leader, 1, {}, std::nullopt, "connect", "range")->error, ErrorCode::kInconsistentGroupProtocol);
  EXPECT_EQ(sync(joined.leader, 1, {}, std::nullopt, "consumer", "sticky")->error, ErrorCode::kInconsistentGroupProtocol);
  EXPECT_EQ(sync(joined.leader, 1, {}, std::nullopt, "consumer", "range")->error, ErrorCode::kNone);
}

TEST_F(GroupSync, DuringPreparingRebalanceMembersAreSentBackToJoin) {
  auto joined = stable(2);
  join();
  EXPECT_EQ(sync(joined.members[1], 1)->error, ErrorCode::kRebalanceInProgress);
}

TEST_F(GroupSync, SecondSyncOfAMemberTakesThePlaceOfTheFirst) {
  auto joined = completing(2);
  auto first = sync(joined.members[1], 1);
  auto second = sync(joined.members[1], 1);
  EXPECT_EQ(first->error, ErrorCode::kRebalanceInProgress);
  sync(joined.leader, 1, {{joined.members[1], text("B")}});
  EXPECT_EQ(second->assignment, text("B"));
}

TEST_F(GroupSync, MembersThatDoNotSyncWithinTheRebalanceTimeoutAreRemoved) {
  auto joined = completing(3, {.session_timeout_ms = 300'000, .rebalance_timeout_ms = 20'000});
  auto second = sync(joined.members[1], 1);
  pass(19'999);
  EXPECT_FALSE(second.answered());
  pass(1);
  EXPECT_EQ(second->error, ErrorCode::kRebalanceInProgress) << "the leader has failed";
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  ASSERT_EQ(group->members().size(), 1u);
  auto again = join({.member_id = joined.members[1]});
  EXPECT_EQ(again->leader, joined.members[1]);
  EXPECT_EQ(again->generation, 2);
}

TEST_F(GroupSync, WhoseRebalanceTimeoutIsNothingHasTimeForItsSync) {
  auto joined = completing(1, {.session_timeout_ms = 6'000, .rebalance_timeout_ms = 0});
  pass(999);
  EXPECT_EQ(sync(joined.leader, 1, {{joined.leader, text("A")}})->assignment, text("A"));
  join({.member_id = joined.leader, .session_timeout_ms = 6'000, .rebalance_timeout_ms = 0});
  pass(1'000);
  EXPECT_EQ(sync(joined.leader, 2)->error, ErrorCode::kUnknownMemberId);
}

TEST_F(GroupSync, InStableToOneThatNeverSyncsIsRemovedAndTheOthersRebalance) {
  auto joined = completing(2, {.session_timeout_ms = 300'000, .rebalance_timeout_ms = 20'000});
  sync(joined.leader, 1, {});
  EXPECT_EQ(group->state(), GroupState::kStable);
  pass(20'000);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  EXPECT_EQ(group->find(joined.members[1]), nullptr);
}

// --- heartbeat ---------------------------------------------------------------------------------------------------------------

TEST_F(GroupHeartbeat, TellsOfTheRebalanceOnlyWhileMembersShouldJoin) {
  auto joined = completing(2);
  EXPECT_EQ(heartbeat(joined.leader, 1), ErrorCode::kNone);
  sync(joined.leader, 1, {});
  sync(joined.members[1], 1);
  EXPECT_EQ(heartbeat(joined.leader, 1), ErrorCode::kNone);
  join();
  EXPECT_EQ(heartbeat(joined.leader, 1), ErrorCode::kRebalanceInProgress);
}

TEST_F(GroupHeartbeat, WrongMemberOrGenerationIsRefused) {
  auto joined = stable(1);
  EXPECT_EQ(heartbeat("stranger", 1), ErrorCode::kUnknownMemberId);
  EXPECT_EQ(heartbeat(joined.leader, 0), ErrorCode::kIllegalGeneration);
  EXPECT_EQ(heartbeat(joined.leader, 2), ErrorCode::kIllegalGeneration);
}

TEST_F(GroupHeartbeat, KeepsTheSessionAlive) {
  auto joined = stable(1, {.session_timeout_ms = 10'000});
  for (int i = 0; i < 10; ++i) {
    pass(9'999);
    ASSERT_EQ(heartbeat(joined.leader, 1), ErrorCode::kNone);
  }
  pass(10'000);
  EXPECT_EQ(group->state(), GroupState::kEmpty);
  EXPECT_EQ(heartbeat(joined.leader, 1), ErrorCode::kUnknownMemberId);
}

TEST_F(GroupHeartbeat, CommitAndSyncKeepTheSessionAliveToo) {
  auto joined = stable(1, {.session_timeout_ms = 10'000});
  pass(9'000);
  EXPECT_EQ(commit(joined.leader, 1), ErrorCode::kNone);
  pass(9'000);
  EXPECT_EQ(sync(joined.leader, 1)->error, ErrorCode::kNone);
  pass(9'000);
  EXPECT_EQ(group->state(), GroupState::kStable);
}

// --- time --------------------------------------------------------------------------------------------------------------------

TEST_F(GroupTime, ExpiredMemberIsRemovedAndTheOthersRebalance) {
  auto joined = stable(2, {.session_timeout_ms = 10'000});
  pass(5'000);
  heartbeat(joined.leader, 1);
  pass(5'000);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  EXPECT_EQ(group->find(joined.members[1]), nullptr);
  auto again = join({.member_id = joined.leader});
  EXPECT_EQ(again->generation, 2);
}

TEST_F(GroupTime, MemberThatWaitsForTheRebalanceDoesNotExpire) {
  auto joined = stable(2, {.session_timeout_ms = 10'000, .rebalance_timeout_ms = 100'000});
  auto waiting = join({.member_id = joined.leader, .session_timeout_ms = 10'000, .rebalance_timeout_ms = 100'000});
  for (int i = 0; i < 5; ++i) {
    pass(9'000);
    EXPECT_EQ(heartbeat(joined.members[1], 1), ErrorCode::kRebalanceInProgress);
  }
  EXPECT_FALSE(waiting.answered());
  EXPECT_NE(group->find(joined.leader), nullptr);
  pass(10'000);
  EXPECT_EQ(waiting->error, ErrorCode::kNone) << "the other one has expired";
}

TEST_F(GroupTime, NewMemberWhoseFirstJoinIsNotAnsweredIsDroppedAfterFiveMinutes) {
  auto joined = stable(2, {.session_timeout_ms = 1'000'000, .rebalance_timeout_ms = 1'000'000});
  auto fresh = join();
  pass(299'999);
  EXPECT_FALSE(fresh.answered());
  pass(1);
  EXPECT_EQ(fresh->error, ErrorCode::kUnknownMemberId);
  EXPECT_EQ(fresh->member_id, "");
  EXPECT_EQ(group->members().size(), 2u);
}

TEST_F(GroupTime, WhenTheLastMemberGoesTheGroupIsEmptyAndTheNextGenerationIsWritten) {
  auto joined = stable(1, {.session_timeout_ms = 10'000});
  pass(10'000);
  EXPECT_EQ(group->state(), GroupState::kEmpty);
  EXPECT_EQ(group->generation(), 2);
  EXPECT_FALSE(group->protocol_name());
  EXPECT_FALSE(group->leader());
  EXPECT_EQ(group->protocol_type(), "consumer");
  ASSERT_EQ(journal.written.size(), 2u);
  EXPECT_EQ(journal.written[1].state, GroupState::kEmpty);
  EXPECT_EQ(journal.written[1].generation, 2);
  EXPECT_FALSE(group->deadline()) << "an empty group costs nothing";
}

TEST_F(GroupTime, IdleGroupWakesUpOnlyForSessions) {
  auto joined = stable(2, {.session_timeout_ms = 45'000});
  int wakeups = 0;
  for (int second = 0; second < 600; ++second) {
    now.monotonic_ms += 1'000;
    if (second % 3 == 0) {
      for (const auto& id : joined.members) ASSERT_EQ(heartbeat(id, 1), ErrorCode::kNone);
    }
    if (*group->deadline() <= now.monotonic_ms) {
      ++wakeups;
      Answers out;
      group->on_time(now, journal, out);
    }
  }
  EXPECT_EQ(group->state(), GroupState::kStable);
  EXPECT_LE(wakeups, 20);
}

TEST_F(GroupTime, SessionsThatEndCloseTogetherCostOneLook) {
  for (int i = 0; i < 200; ++i) join({.session_timeout_ms = 10'000 + i, .require_known_member_id = true});
  ASSERT_EQ(group->pending_members(), 200u);
  int looks = 0;
  while (auto deadline = group->deadline()) {
    ++looks;
    now.monotonic_ms = *deadline;
    Answers out;
    group->on_time(now, journal, out);
  }
  EXPECT_LE(looks, 3);
  EXPECT_EQ(group->pending_members(), 0u);
}

TEST_F(GroupTime, MembersThatExpireTogetherAreOutBeforeTheOthersGoOn) {
  auto joined = stable(4, {.session_timeout_ms = 10'000});
  pass(5'000);
  heartbeat(joined.members[2], 1);
  pass(5'000);
  ASSERT_EQ(group->members().size(), 1u);
  EXPECT_EQ(group->leader(), joined.members[2]);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  auto again = join({.member_id = joined.members[2]});
  EXPECT_EQ(again->generation, 2);
  EXPECT_EQ(again->members.size(), 1u);
}

// --- leave -------------------------------------------------------------------------------------------------------------------

TEST_F(GroupLeave, OthersRebalanceWithoutTheLeaver) {
  auto joined = stable(2);
  EXPECT_EQ(leave(joined.leader), ErrorCode::kNone);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
  auto again = join({.member_id = joined.members[1]});
  EXPECT_EQ(again->leader, joined.members[1]);
  EXPECT_EQ(again->members.size(), 1u);
}

TEST_F(GroupLeave, UnknownMemberIsAnError) {
  stable(1);
  EXPECT_EQ(leave("stranger"), ErrorCode::kUnknownMemberId);
  EXPECT_EQ(leave(""), ErrorCode::kUnknownMemberId);
  EXPECT_EQ(leave("", "instance"), ErrorCode::kUnknownMemberId);
}

TEST_F(GroupLeave, IdThatWasOnlyGivenOutMayLeaveToo) {
  auto joined = stable(1, {.session_timeout_ms = 60'000});
  auto asked = join({.require_known_member_id = true});
  auto again = join({.member_id = joined.leader, .session_timeout_ms = 60'000});
  EXPECT_FALSE(again.answered());
  EXPECT_EQ(leave(asked->member_id), ErrorCode::kNone);
  EXPECT_TRUE(again.answered());
}

TEST_F(GroupLeave, WaitingAnswersOfTheLeaverAreSent) {
  auto joined = completing(2);
  auto waiting = sync(joined.members[1], 1);
  EXPECT_EQ(leave(joined.members[1]), ErrorCode::kNone);
  EXPECT_EQ(waiting->error, ErrorCode::kUnknownMemberId);
  auto rejoining = join({.member_id = joined.leader});
  ASSERT_TRUE(rejoining.answered());
  auto third = join();
  EXPECT_EQ(leave(third.answered() ? "" : group->members().back()->id), ErrorCode::kNone);
  EXPECT_EQ(third->error, ErrorCode::kUnknownMemberId);
}

// --- static members ----------------------------------------------------------------------------------------------------------

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

// --- commit identity -----------------------------------------------------------------------------------------------------------

TEST_F(GroupCommit, WithoutMembershipOnlyWhileTheGroupIsEmpty) {
  EXPECT_EQ(commit("", -1), ErrorCode::kNone);
  stable(1);
  EXPECT_EQ(commit("", -1), ErrorCode::kUnknownMemberId);
  EXPECT_EQ(commit("", -1, std::nullopt, true), ErrorCode::kNone) << "old transactional clients name no member";
}

TEST_F(GroupCommit, MembersNeedTheCurrentGeneration) {
  EXPECT_EQ(commit("m", 1), ErrorCode::kUnknownMemberId);
  auto joined = stable(1);
  EXPECT_EQ(commit(joined.leader, 1), ErrorCode::kNone);
  EXPECT_EQ(commit(joined.leader, 0), ErrorCode::kIllegalGeneration);
  EXPECT_EQ(commit("stranger", 1), ErrorCode::kUnknownMemberId);
  EXPECT_EQ(commit("stranger", -1), ErrorCode::kUnknownMemberId);
}

TEST_F(GroupCommit, AllowedWhileARebalanceIsPreparedButNotWhileItCompletes) {
  auto joined = stable(2);
  auto leader = join({.member_id = joined.leader});
  EXPECT_EQ(commit(joined.members[1], 1), ErrorCode::kNone);
  join({.member_id = joined.members[1]});
  ASSERT_EQ(leader->generation, 2);
  EXPECT_EQ(commit(joined.members[1], 2), ErrorCode::kRebalanceInProgress);
}

// --- subscribed topics, restore --------------------------------------------------------------------------------------------------

TEST_F(GroupStored, SubscribedTopicsAreThoseOfAllMembers) {
  join({.protocols = {{"range", subscription({"a", "b"})}}});
  join({.protocols = {{"range", subscription({"b", "c"})}}});
  pass(6'000);
  EXPECT_TRUE(group->is_subscribed_to("a"));
  EXPECT_TRUE(group->is_subscribed_to("c"));
  EXPECT_FALSE(group->is_subscribed_to("d"));
}

TEST_F(GroupStored, UnreadableSubscriptionMeansAnyTopic) {
  completing(1, {.protocols = {{"range", text("?")}}});
  EXPECT_FALSE(group->subscribed_topics());
  EXPECT_TRUE(group->is_subscribed_to("anything"));
}

TEST_F(GroupStored, SubscriptionToMoreTopicsThanAnyoneReadsMeansAnyTopic) {
  std::vector<std::string> topics;
  for (int i = 0; i < 50'001; ++i) topics.push_back("t" + std::to_string(i));
  completing(1, {.protocols = {{"range", subscription(topics)}}});
  EXPECT_FALSE(group->subscribed_topics());
  EXPECT_TRUE(group->is_subscribed_to("anything"));
}

TEST_F(GroupStored, WhatMembersBringIsCountedAndGivenBack) {
  EXPECT_EQ(group->held_bytes(), 0u);
  auto asked = join({.require_known_member_id = true});
  const size_t pending = group->held_bytes();
  EXPECT_GT(pending, 0u);
  leave(asked->member_id);
  EXPECT_EQ(group->held_bytes(), 0u);
  auto joined = stable(2, {.protocols = {{"range", Bytes(100'000)}, {"sticky", Bytes(50'000)}}});
  EXPECT_GT(group->held_bytes(), 300'000u);
  EXPECT_LT(group->held_bytes(), 310'000u);
  JoinRequest request;
  request.member_id = joined.leader;
  request.client_id = "client";
  request.protocols = {{"range", Bytes(100'000)}, {"sticky", Bytes(50'000)}};
  EXPECT_EQ(group->bytes_freed_by(request), Group::bytes_of(request)) << "who joins again with the same needs no room";
  join({.member_id = joined.leader, .protocols = {{"range", Bytes(10)}}});
  EXPECT_LT(group->held_bytes(), 160'000u);
  leave(joined.leader);
  leave(joined.members[1]);
  EXPECT_EQ(group->held_bytes(), 0u);
}

TEST_F(GroupStored, RestoredGroupIsStableAndItsSessionsRun) {
  Group::Stored stored;
  stored.protocol_type = "consumer";
  stored.generation = 7;
  stored.protocol_name = "range";
  stored.leader = "a";
  stored.state_timestamp_ms = 5;
  for (std::string id : {"a", "b"}) {
    Group::Member member;
    member.id = id;
    member.session_timeout_ms = 10'000;
    member.rebalance_timeout_ms = 20'000;
    member.protocols = {{"range", subscription({"topic"})}};
    member.assignment = text("for " + id);
    stored.members.push_back(std::move(member));
  }
  group = std::make_unique<Group>("g", config, std::move(stored));
  EXPECT_EQ(group->state(), GroupState::kStable);
  Answers out;
  group->on_loaded(now, journal, out);
  EXPECT_EQ(heartbeat("a", 7), ErrorCode::kNone);
  EXPECT_EQ(sync("b", 7)->assignment, text("for b"));
  EXPECT_TRUE(group->is_subscribed_to("topic"));
  EXPECT_EQ(group->state_timestamp_ms(), 5);
  pass(10'000);
  EXPECT_EQ(group->state(), GroupState::kEmpty);
  EXPECT_EQ(group->generation(), 8);
}

TEST_F(GroupStored, RestoredGroupAboveItsLimitIsRebalanced) {
  config.max_size = 1;
  Group::Stored stored;
  stored.protocol_type = "consumer";
  stored.generation = 3;
  stored.protocol_name = "range";
  for (std::string id : {"a", "b"}) {
    Group::Member member;
    member.id = id;
    member.session_timeout_ms = 10'000;
    member.rebalance_timeout_ms = 20'000;
    member.protocols = {{"range", {}}};
    stored.members.push_back(std::move(member));
  }
  group = std::make_unique<Group>("g", config, std::move(stored));
  Answers out;
  group->on_loaded(now, journal, out);
  EXPECT_EQ(group->state(), GroupState::kPreparingRebalance);
}

}  // namespace
}  // namespace odradek::coordinator
