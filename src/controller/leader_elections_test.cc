// Elections: asked for, outside the ISR, back to preferred leaders.
#include "controller/controller.h"

#include <gtest/gtest.h>

#include "controller/controller_test_util.h"

namespace odradek::controller {
namespace {

TEST_F(ControllerTest, AnElectionOfAllLeavesOutWhatNeverHadALeader) {
  start(0);
  start(1);
  kill(1);
  create(assigned("never", {{1}}));
  create(assigned("led", {{0}}));
  protocol::ElectLeadersRequest all;
  all.topic_partitions.reset();
  std::optional<protocol::ElectLeadersResponse> answer;
  active().elect_leaders(all, [&](protocol::ElectLeadersResponse response) { answer = std::move(response); });
  runtime_.run_until_idle();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error_code, 0);
  EXPECT_TRUE(answer->replica_election_results.empty()) << answer->replica_election_results.front().topic;
  EXPECT_EQ(elect(0, "never"), ErrorCode::kPreferredLeaderNotAvailable) << "who names it is told";
}

TEST_F(ControllerTest, ElectsOutsideTheIsrOnlyIfAllowed) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("u", {{1, 2}}));
  ASSERT_EQ(alter_isr(1, "u", {1}, 0, 0).error_code, 0);
  kill(1);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, kNoBroker);
  EXPECT_EQ(elect(0, "u"), ErrorCode::kPreferredLeaderNotAvailable);
  unclean_ = true;
  forget();
  active().on_unclean_election_enabled("u");
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(2, "LI u-0 L2 e2 pe3 isr[2] rep[1,2] recov")) << all_heard(2);
  EXPECT_EQ(data_of("/brokers/topics/u/partitions/0/state"),
            R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":2,"leader_recovery_state":1,"version":1})");
  // The new leader says that it has recovered.
  EXPECT_EQ(alter_isr(2, "u", {2}, 2, 3).error_code, 0);
  EXPECT_EQ(data_of("/brokers/topics/u/partitions/0/state"), R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":2,"version":1})");
  EXPECT_EQ(elect(1, "u"), ErrorCode::kElectionNotNeeded);
}

TEST_F(ControllerTest, CountsEachElectionOutsideTheIsr) {
  for (int32_t id : {0, 1, 2, 3}) start(id);
  create(assigned("u", {{1, 2, 3}}));
  ASSERT_EQ(alter_isr(1, "u", {1}, 0, 0).error_code, 0);
  unclean_ = true;
  kill(1);
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, BrokerId{2});
  EXPECT_EQ(active().counts().unclean_elections, 1);
  kill(2);  // before it has recovered
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, BrokerId{3});
  EXPECT_EQ(active().counts().unclean_elections, 2);
}

TEST_F(ControllerTest, GivesPartitionsBackToPreferredLeaders) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  kill(1);
  start(1);
  ASSERT_EQ(alter_isr(2, "b", {2, 1}, 1, 1).error_code, 0);
  runtime_.advance(301'000);
  EXPECT_EQ(broker(0).image.current()->find_partition("b", 0)->leader, BrokerId{1});
  EXPECT_EQ(elect(0, "b"), ErrorCode::kElectionNotNeeded);
}

}  // namespace
}  // namespace odradek::controller
