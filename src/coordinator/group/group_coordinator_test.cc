// Membership over the API.
#include "coordinator/group/group_coordinator.h"

#include <gtest/gtest.h>

#include "coordinator/group/group_coordinator_test_util.h"

namespace odradek::coordinator {
namespace {

using GroupLife = Coordinator;

TEST_F(GroupLife, MemberJoinsSyncsBeatsAndLeaves) {
  auto asked = join("", 9);
  EXPECT_EQ(asked->error_code, wire(ErrorCode::kMemberIdRequired));
  EXPECT_EQ(asked->member_id.substr(0, 7), "client-");
  EXPECT_EQ(asked->member_id.size(), 7u + 36u);
  auto joined = join(asked->member_id);
  EXPECT_FALSE(joined.answered());
  runtime.advance(1);
  EXPECT_EQ(joined->error_code, 0);
  EXPECT_EQ(joined->generation_id, 1);
  EXPECT_EQ(joined->protocol_type, "consumer");
  EXPECT_EQ(joined->protocol_name, "range");
  auto synced = sync(asked->member_id, 1, {{asked->member_id, text("all")}});
  EXPECT_EQ(synced->assignment, text("all"));
  EXPECT_EQ(heartbeat(asked->member_id, 1), 0);
  auto left = leave({asked->member_id});
  EXPECT_EQ(left->error_code, 0);
  EXPECT_EQ(left->members.at(0).error_code, 0);
  EXPECT_EQ(left->members[0].member_id, asked->member_id);
  EXPECT_EQ(describe().group_state, "Empty");
}

TEST_F(GroupLife, SessionEndsByItself) {
  std::string member = stable_member();
  runtime.advance(9'000);
  EXPECT_EQ(heartbeat(member, 1), 0);
  runtime.advance(9'999);
  EXPECT_EQ(describe().group_state, "Stable");
  runtime.advance(2);
  EXPECT_EQ(describe().group_state, "Empty");
  EXPECT_EQ(heartbeat(member, 1), wire(ErrorCode::kUnknownMemberId));
}

TEST_F(GroupLife, ErrorsThatNeedNoGroup) {
  auto empty_id = join("", 9, std::nullopt, "");
  EXPECT_EQ(empty_id->error_code, wire(ErrorCode::kInvalidGroupId));
  EXPECT_EQ(join("", 9, std::nullopt, "g", 5'999)->error_code, wire(ErrorCode::kInvalidSessionTimeout));
  EXPECT_EQ(join("", 9, std::nullopt, "g", 1'800'001)->error_code, wire(ErrorCode::kInvalidSessionTimeout));
  EXPECT_EQ(join("stranger")->error_code, wire(ErrorCode::kUnknownMemberId));
  EXPECT_EQ(join("stranger")->member_id, "stranger");
  EXPECT_EQ(heartbeat("m", 1), wire(ErrorCode::kUnknownMemberId));
  EXPECT_EQ(heartbeat("m", 1, ""), wire(ErrorCode::kInvalidGroupId));
  EXPECT_EQ(sync("m", 1)->error_code, wire(ErrorCode::kUnknownMemberId));
  EXPECT_EQ(leave({"m"})->members.at(0).error_code, wire(ErrorCode::kUnknownMemberId));
  EXPECT_EQ(leave({"m"}, 1)->error_code, wire(ErrorCode::kUnknownMemberId)) << "before v3 the member's error is the answer's";
  EXPECT_TRUE(list()->groups.empty()) << "none of this makes a group";
}

TEST_F(GroupLife, JoinThatIsRefusedLeavesNoGroupBehind) {
  JoinGroupRequest request;
  request.group_id = "g";
  request.session_timeout_ms = 10'000;
  EXPECT_EQ(call(&GroupCoordinator::join_group, std::move(request), int16_t{3})->error_code, wire(ErrorCode::kInconsistentGroupProtocol));
  EXPECT_TRUE(list()->groups.empty());
  join("", 9);
  EXPECT_EQ(list()->groups.size(), 1u);
  runtime.advance(10'001);
  EXPECT_TRUE(list()->groups.empty()) << "the id was not used";
}

TEST_F(GroupLife, BeforeVersion7AMissingProtocolNameIsEmptyNotNull) {
  EXPECT_EQ(join("stranger", 6)->protocol_name, "");
  EXPECT_EQ(join("stranger", 7)->protocol_name, std::nullopt);
}

TEST_F(GroupLife, Version0HasNoRebalanceTimeoutAndTakesTheSessionTimeout) {
  auto first = join("", 0);
  runtime.advance(1);
  sync(first->member_id, 1, {});
  auto second = join("", 0);
  runtime.advance(5'000);
  EXPECT_EQ(heartbeat(first->member_id, 1), wire(ErrorCode::kRebalanceInProgress));
  runtime.advance(5'000);
  EXPECT_EQ(second->error_code, 0) << "the first has not come back within its session timeout";
  EXPECT_EQ(second->leader, second->member_id);
}

TEST_F(GroupLife, SyncFromVersion5MustNameTypeAndProtocol) {
  std::string member = stable_member();
  SyncGroupRequest request;
  request.group_id = "g";
  request.member_id = member;
  request.generation_id = 1;
  EXPECT_EQ(call(&GroupCoordinator::sync_group, request, int16_t{5})->error_code, wire(ErrorCode::kInconsistentGroupProtocol));
  EXPECT_EQ(call(&GroupCoordinator::sync_group, request, int16_t{4})->error_code, 0);
}

TEST_F(GroupLife, StateThatTheLogDoesNotTakeSendsTheMembersBack) {
  auto first = join("", 3);
  runtime.advance(1);
  log.refuse_append = ErrorCode::kMessageTooLarge;
  EXPECT_EQ(sync(first->member_id, 1, {{first->member_id, text("x")}})->error_code, wire(ErrorCode::kUnknownServerError));
  EXPECT_EQ(describe().group_state, "PreparingRebalance");
  log.refuse_append.reset();
  auto again = join(first->member_id, 3);
  EXPECT_EQ(again->generation_id, 2);
  EXPECT_EQ(sync(first->member_id, 2, {{first->member_id, text("x")}})->error_code, 0);
}

TEST_F(GroupLife, WhatMembersTakeInMemoryIsBounded) {
  config.membership_max_bytes = 40'000;
  config.group_max_bytes = 20'000;
  groups.reset();
  make();
  lead();
  std::string member = stable_member("first", 60'000);
  // Ids for new members of one group, then of many: none is ever used.
  auto flood = [&](auto&& group_of) {
    for (int i = 0; i < 1'000; ++i) {
      auto asked = join("", 9, std::nullopt, group_of(i));
      if (asked->error_code != wire(ErrorCode::kMemberIdRequired)) return static_cast<ErrorCode>(asked->error_code);
    }
    return ErrorCode::kNone;
  };
  EXPECT_EQ(flood([](int) { return std::string("one"); }), ErrorCode::kGroupMaxSizeReached);
  EXPECT_EQ(flood([](int i) { return "many" + std::to_string(i); }), ErrorCode::kCoordinatorNotAvailable);
  EXPECT_EQ(join("", 3, std::nullopt, "other")->error_code, wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_LT(list()->groups.size(), 40u) << "who is refused leaves no group behind";
  // Who is in stays in, and may join again.
  EXPECT_EQ(heartbeat(member, 1, "first"), 0);
  EXPECT_EQ(join(member, 3, std::nullopt, "first", 60'000)->generation_id, 2);
  EXPECT_EQ(sync(member, 2, {{member, text("all")}}, "first")->error_code, 0);
  runtime.advance(10'200);
  EXPECT_EQ(list()->groups.size(), 1u);
  EXPECT_EQ(flood([](int) { return std::string("one"); }), ErrorCode::kGroupMaxSizeReached) << "there is room again";
}

// Its state is one record: what no batch of its log has room for can never be stored, and its leader would be told it all the same.
TEST_F(GroupLife, AGroupHoldsNoMoreThanItsLogCouldTake) {
  auto flood = [&] {
    int taken = 0;
    while (taken < 1'000 && join("", 9)->error_code == wire(ErrorCode::kMemberIdRequired)) ++taken;
    return taken;
  };
  log.batch_limit = 2'000;
  EXPECT_LT(flood(), 40);
  EXPECT_EQ(join("", 9)->error_code, wire(ErrorCode::kGroupMaxSizeReached));
  log.batch_limit = 10'000;  // the topic's config changes
  const int more = flood();
  EXPECT_GT(more, 80);
  EXPECT_LT(more, 160);
  groups.reset();
  config.offsets_codec = 4;
  make();
  lead();
  EXPECT_GT(flood(), 2 * more) << "compressed";
  log.batch_limit = INT32_MAX;
  EXPECT_EQ(flood(), 1'000);
}

}  // namespace
}  // namespace odradek::coordinator
