// Syncs, sessions, leaving, commits, what was stored. Joins: group_join_test.cc, static members: group_static_test.cc.
#include "coordinator/group/group.h"

#include "coordinator/group/group_test_util.h"

namespace odradek::coordinator {
namespace {

using GroupSync = GroupFixture;
using GroupHeartbeat = GroupFixture;
using GroupTime = GroupFixture;
using GroupLeave = GroupFixture;
using GroupCommit = GroupFixture;
using GroupStored = GroupFixture;

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
