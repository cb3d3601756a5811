// Loading.
#include "coordinator/group/group_partitions.h"

#include <gtest/gtest.h>

#include "base/log_listener.h"
#include "coordinator/group/group_coordinator_test_util.h"

namespace odradek::coordinator {
namespace {

class GroupLoading : public Coordinator {
 protected:
  // Leadership in the log, in epoch 2, with nothing below the high watermark; the coordinator has not heard of it yet.
  void lose_and_win() {
    log.lose_leadership(false);
    groups->on_follower(tp, {1});
    log.leader_epoch = {2};
    log.leads = true;
    log.commit_to({0});
  }
};

TEST_F(GroupLoading, MeanwhileEachApiSaysSoInItsOwnWay) {
  std::string member = stable_member();
  log.lose_leadership(false);
  groups->on_follower(tp, {1});
  log.leader_epoch = {1};
  log.take_leadership();
  groups->on_loading(tp, log.leader_epoch);
  runtime.run_until_idle();

  auto unrun = [&](auto method, auto request, auto&& check) {
    bool answered = false;
    ((*groups).*method)(std::move(request), ClientInfo{"c", "/h", 7}, [&](auto response) {
      answered = true;
      check(response);
    });
    EXPECT_TRUE(answered);
  };
  const int16_t loading = wire(ErrorCode::kCoordinatorLoadInProgress);
  JoinGroupRequest join_request;
  join_request.group_id = "g";
  unrun(&GroupCoordinator::join_group, join_request, [&](JoinGroupResponse r) { EXPECT_EQ(r.error_code, loading); });
  SyncGroupRequest sync_request;
  sync_request.group_id = "g";
  sync_request.protocol_type = sync_request.protocol_name = "x";
  unrun(&GroupCoordinator::sync_group, sync_request, [&](SyncGroupResponse r) { EXPECT_EQ(r.error_code, wire(ErrorCode::kRebalanceInProgress)); });
  HeartbeatRequest heartbeat_request;
  heartbeat_request.group_id = "g";
  unrun(&GroupCoordinator::heartbeat, heartbeat_request, [&](HeartbeatResponse r) { EXPECT_EQ(r.error_code, 0); });
  LeaveGroupRequest leave_request;
  leave_request.group_id = "g";
  unrun(&GroupCoordinator::leave_group, leave_request, [&](LeaveGroupResponse r) { EXPECT_EQ(r.error_code, loading); });
  OffsetFetchRequest fetch_request;
  fetch_request.group_id = "g";
  unrun(&GroupCoordinator::fetch_offsets, fetch_request, [&](OffsetFetchResponse r) { EXPECT_EQ(r.error_code, loading); });
  DescribeGroupsRequest describe_request;
  describe_request.groups = {"g"};
  unrun(&GroupCoordinator::describe_groups, describe_request, [&](DescribeGroupsResponse r) { EXPECT_EQ(r.groups.at(0).error_code, loading); });
  unrun(&GroupCoordinator::list_groups, ListGroupsRequest{}, [&](ListGroupsResponse r) { EXPECT_EQ(r.error_code, loading); });

  groups->on_leader(tp, log.leader_epoch);
  runtime.run_until_idle();
  EXPECT_EQ(heartbeat(member, 1), 0);
  EXPECT_EQ(list()->error_code, 0);
}

// Who brings the news holds the lock of all partitions: neither a load begins nor an answer leaves on its thread.
TEST_F(GroupLoading, NewsOfLeadershipLeavesTheWorkToOthers) {
  stable_member();
  auto waits = join("", 3);
  ASSERT_FALSE(waits.answered());
  groups->on_follower(tp, {7});
  EXPECT_FALSE(waits.answered());
  bool answered = false;
  OffsetFetchRequest request;
  request.group_id = "g";
  groups->fetch_offsets(std::move(request), ClientInfo{"c", "/h", 7}, [&](OffsetFetchResponse response) {
    answered = true;
    EXPECT_EQ(response.error_code, wire(ErrorCode::kNotCoordinator)) << "but who comes after the news finds it done";
  });
  runtime.run_until_idle();
  EXPECT_TRUE(answered);
  EXPECT_EQ(waits->error_code, wire(ErrorCode::kNotCoordinator));
}

TEST_F(GroupLoading, OldFetchVersionsCarryTheErrorInEachPartition) {
  groups->on_follower(tp, {1});
  auto answer = fetch({{"t"}}, 1);
  EXPECT_EQ(answer->topics.at(0).partitions.at(0).error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(answer->topics[0].partitions[0].committed_offset, -1);
}

TEST_F(GroupLoading, EndsWhenTheHighWatermarkHasPassedWhatWasRead) {
  commit("t", 1);
  lose_and_win();
  groups->on_leader(tp, log.leader_epoch);
  runtime.run_until_idle();
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kCoordinatorLoadInProgress));
  runtime.advance(50);
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kCoordinatorLoadInProgress));
  log.commit_all();
  runtime.advance(10);
  EXPECT_EQ(offset_of("t"), 1);
}

// Too few replicas are in sync, and it may stay so for hours.
TEST_F(GroupLoading, ALongWaitForTheHighWatermarkIsSaidOnceAndLooksSeldom) {
  commit("t", 1);
  lose_and_win();
  int said = 0;
  std::string line;
  log::set_listener([&](std::string_view logger, log::Level level, std::string_view text) {
    if (logger != "group" || level != log::Level::kWarn) return;
    ++said;
    line = text;
  });
  groups->on_leader(tp, log.leader_epoch);
  runtime.advance(2'000);
  EXPECT_EQ(said, 0) << "as after every change of leader";
  const int before = log.asked_for_bounds;
  runtime.advance(60'000);
  EXPECT_EQ(said, 1);
  for (const char* part : {"__consumer_offsets-0", "offset 1", "at or below 0", "min.insync.replicas"}) {
    EXPECT_NE(line.find(part), std::string::npos) << line;
  }
  EXPECT_LT(log.asked_for_bounds - before, 100);
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kCoordinatorLoadInProgress));
  // The next epoch begins anew.
  log.leader_epoch = {3};
  groups->on_leader(tp, log.leader_epoch);
  runtime.advance(10'000);
  EXPECT_EQ(said, 2);
  log::set_listener(nullptr);
  log.commit_all();
  runtime.advance(1'300);
  EXPECT_EQ(offset_of("t"), 1);
}

TEST_F(GroupLoading, IsTriedAgainAfterAFailure) {
  commit("t", 1);
  log.refuse_read = ErrorCode::kKafkaStorageError;
  reload();
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kCoordinatorLoadInProgress));
  log.refuse_read.reset();
  runtime.advance(1'000);
  EXPECT_EQ(offset_of("t"), 1);
}

// The log of the partition is not even opened: there is nothing to read yet, and nothing to look for elsewhere.
TEST_F(GroupLoading, BeginsWhenTheLogIsThere) {
  ASSERT_EQ(error_of(commit("t", 5)), 0);
  log.lose_leadership(false);
  groups->on_stopped(tp);
  log.leader_epoch = {1};
  groups->on_loading(tp, {2});
  runtime.run_until_idle();
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kCoordinatorLoadInProgress));
  groups->on_loading(tp, {2});
  log.take_leadership();
  groups->on_leader(tp, {2});
  runtime.run_until_idle();
  EXPECT_EQ(offset_of("t"), 5);
  EXPECT_EQ(error_of(commit("t", 6)), 0);
  // It goes elsewhere before it was there.
  groups->on_loading(tp, {3});
  groups->on_follower(tp, {4});
  groups->on_leader(tp, {3});
  runtime.run_until_idle();
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kNotCoordinator));
}

TEST_F(GroupLoading, LoadOfAnOldEpochIsDropped) {
  commit("t", 1);
  log.lose_leadership(false);
  groups->on_follower(tp, {1});
  log.leader_epoch = {2};
  log.take_leadership();
  groups->on_leader(tp, log.leader_epoch);
  groups->on_follower(tp, {4});
  runtime.run_until_idle();
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kNotCoordinator));
  groups->on_leader(tp, {3});
  runtime.run_until_idle();
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kNotCoordinator)) << "news of an older epoch";
}

TEST_F(GroupLoading, SameEpochAgainChangesNothing) {
  std::string member = stable_member();
  auto rebalancing = join("", 3);
  lead();
  EXPECT_FALSE(rebalancing.answered());
  EXPECT_EQ(heartbeat(member, 1), wire(ErrorCode::kRebalanceInProgress));
}

TEST_F(GroupLoading, TopicThatWasMadeAgainStartsWithItsFirstEpoch) {
  commit("t", 1);
  groups->on_stopped(tp);
  log = FakeLog{};
  lead();
  EXPECT_EQ(offset_of("t"), -1);
  EXPECT_EQ(error_of(commit("t", 2)), 0);
}

}  // namespace
}  // namespace odradek::coordinator
