#include "replication/partition/in_sync_replicas.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "replication/partition/test_support.h"

namespace odradek::replication {
namespace {

using namespace testing;

constexpr BrokerId kSelf{1};
constexpr int64_t kLagMs = 10'000;

class InSyncReplicasTest : public ::testing::Test {
 protected:
  // Broker 1 is this one; its log ends at `end`.
  void lead(int32_t epoch, std::initializer_list<int32_t> isr, std::initializer_list<int32_t> replicas, bool led_before = true) {
    in_sync.lead(make_state(1, epoch, isr, replicas), led_before, Offset{end}, now_ms);
    committed.epoch_start = Offset{end};
  }
  InSyncReplicas::Recorded record(int32_t follower, FollowerState state) {
    state.log_start = Offset{0};
    return in_sync.record_fetch({follower}, state, Offset{end}, committed, now_ms);
  }
  FollowerFetchEffect fetched(int32_t follower, int64_t offset) { return record(follower, {.log_end = {offset}}).effect; }
  std::optional<IsrChange> shrink(std::string* why = nullptr) { return in_sync.shrink(Offset{end}, now_ms, why); }
  std::optional<IsrChange> expand() { return in_sync.expand(committed); }

  Brokers brokers;
  int64_t now_ms = 1'000'000;
  int64_t end = 0;
  InSyncReplicas::Committed committed;
  InSyncReplicas in_sync{kSelf, brokers, kLagMs};
};

TEST_F(InSyncReplicasTest, AFollowerJoinsOnlyFromTheHighWatermarkAndTheEpochsStartOnAndAlive) {
  lead(0, {1, 2}, {1, 2, 3});
  end = 5;
  committed.high_watermark = {5};
  EXPECT_FALSE(fetched(3, 4).change);
  brokers.dead.insert({3});
  EXPECT_FALSE(fetched(3, 5).change);
  brokers.dead.clear();
  auto change = fetched(3, 5).change;
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 2, 3}));
  EXPECT_EQ(change->leader_epoch, LeaderEpoch{0});
  EXPECT_EQ(change->partition_epoch, 0);
  committed.high_watermark = {3};
  lead(1, {1, 2}, {1, 2, 3});  // epoch 1 starts at 5
  EXPECT_FALSE(fetched(3, 4).change);
  EXPECT_TRUE(fetched(3, 5).change);
}

// All lost their power; one that had lost more than the leader was still in the ISR, and was made the leader (cluster simulation, seed 264).
TEST_F(InSyncReplicasTest, WhoLostRecordsBelowTheHighWatermarkLeavesTheIsrAtOnce) {
  lead(0, {1, 2, 3}, {1, 2, 3});
  end = 5;
  fetched(2, 5);
  fetched(3, 5);
  committed.high_watermark = {5};
  EXPECT_FALSE(fetched(3, 4).change) << "a fetch of before that came late";
  fetched(3, 5);
  lead(1, {1, 2, 3}, {1, 2, 3});
  auto change = fetched(2, 3).change;
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 3}));
  EXPECT_FALSE(fetched(3, 4).change) << "one change at a time";
  ASSERT_TRUE(in_sync.commit(change->isr, 1));
  change = shrink();
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1}));
  ASSERT_TRUE(in_sync.commit(change->isr, 2));
  EXPECT_FALSE(fetched(2, 4).change);
  EXPECT_TRUE(fetched(2, 5).change) << "it has them again";
}

TEST_F(InSyncReplicasTest, WhoStartedAgainWithFewerRecordsLeavesTheIsrAtOnce) {
  lead(0, {1, 2}, {1, 2});
  end = 5;
  auto fetched_in = [&](int64_t broker_epoch, int64_t offset) { return record(2, {.log_end = {offset}, .broker_epoch = broker_epoch}).effect; };
  EXPECT_FALSE(fetched_in(7, 0).change);
  EXPECT_FALSE(fetched_in(7, 5).change);
  committed.high_watermark = {5};
  EXPECT_FALSE(fetched_in(8, 5).change);
  auto change = fetched_in(9, 2).change;
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1}));
}

TEST_F(InSyncReplicasTest, AFollowerThatNeverTellsWhatItHasFlushedJoinsWhenItCouldHaveToldIt) {
  committed.wants_flushed = true;
  lead(0, {1}, {1, 2});
  EXPECT_FALSE(record(2, {.log_end = {0}, .flushed_is_to_come = true}).effect.change);
  EXPECT_FALSE(shrink());
  EXPECT_FALSE(expand());
  now_ms += 2'000;
  EXPECT_FALSE(shrink());
  EXPECT_TRUE(expand());
}

// A pipelined follower with nothing new to say does not fetch again, and below min.insync.replicas nothing new comes.
TEST_F(InSyncReplicasTest, AFollowerThatCatchesUpWhileItIsPutOutOfTheIsrComesBackWithoutAnotherFetch) {
  lead(0, {1, 2, 3}, {1, 2, 3});
  end = 5;
  fetched(2, 5);
  fetched(3, 3);
  committed.high_watermark = {3};
  now_ms += 2 * kLagMs;
  ASSERT_TRUE(shrink());
  EXPECT_FALSE(fetched(3, 5).change);  // the change is in flight
  EXPECT_FALSE(expand());
  ASSERT_TRUE(in_sync.commit(ids({1, 2}), 1));
  auto change = expand();
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 2, 3}));
}

TEST_F(InSyncReplicasTest, AFollowerWhoseEntryWasRefusedIsProposedAgainWithoutAnotherFetchAtTheNextLook) {
  lead(0, {1, 2}, {1, 2, 3});
  ASSERT_TRUE(fetched(3, 0).change);
  in_sync.refuse(false);
  EXPECT_FALSE(expand());  // not at once: the controller would refuse it again
  EXPECT_FALSE(shrink());
  auto change = expand();
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 2, 3}));
}

TEST_F(InSyncReplicasTest, NothingIsProposedWhileTheControllersWordIsAwaited) {
  lead(0, {1, 2}, {1, 2, 3});
  ASSERT_TRUE(fetched(3, 0).change);
  in_sync.refuse(true);
  end = 1;
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{-1}) << "2, which has not fetched, and 3 may be in the ISR";
  now_ms += 2 * kLagMs;
  EXPECT_FALSE(shrink());
  EXPECT_FALSE(fetched(3, 1).change);
  EXPECT_FALSE(expand());
  lead(1, {1, 2}, {1, 2, 3});
  EXPECT_TRUE(fetched(3, 1).change);
}

TEST_F(InSyncReplicasTest, AFollowerThatKeepsReachingTheEndOfItsFormerFetchCountsAsCaughtUp) {
  lead(0, {1, 2}, {1, 2});
  for (int i = 0; i < 20; ++i) {
    end += 10;
    fetched(2, 10 * i);  // always one fetch behind
    now_ms += kLagMs / 2;
    EXPECT_FALSE(shrink()) << i;
  }
}

TEST_F(InSyncReplicasTest, TheTimeThatTheLeaderHeldAFetchIsNotTheFollowers) {
  lead(0, {1, 2}, {1, 2});
  fetched(2, 0);
  end = 2;
  now_ms += kLagMs;
  // It came long ago and is looked at only now; then its records have to be read from the disk.
  record(2, {.log_end = {0}, .held_ms = kLagMs / 2});
  in_sync.hold({2}, now_ms);
  now_ms += kLagMs;
  EXPECT_FALSE(shrink());
  fetched(2, 0);  // the hold ends
  now_ms += kLagMs / 2;
  EXPECT_FALSE(shrink());
  now_ms += 1;
  std::string why;
  ASSERT_TRUE(shrink(&why));
  EXPECT_NE(why.find("2 ends at 0 of 2"), std::string::npos) << why;
}

// A pipelined follower need not fetch again where nothing is new to it.
TEST_F(InSyncReplicasTest, AFollowerThatSaysNothingAfterItsRecordsWereReadLeaves) {
  lead(0, {1, 2}, {1, 2});
  fetched(2, 0);
  end = 2;
  in_sync.hold({2}, now_ms);
  now_ms += 20;
  in_sync.release({2}, now_ms);
  now_ms += kLagMs;
  EXPECT_FALSE(shrink());
  now_ms += 1;
  EXPECT_TRUE(shrink());
}

// Seed 6377 of the cluster simulation: records were acknowledged without the one that was leaving, which was made the leader.
TEST_F(InSyncReplicasTest, WhoIsInSyncHoldsTheEndBackAlthoughItIsNoReplicaAnyMore) {
  lead(0, {1, 2, 3}, {1, 2, 3});
  fetched(2, 0);
  fetched(3, 0);
  end = 5;
  lead(1, {1, 2, 3}, {1, 3});
  fetched(3, 5);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{0});
  fetched(2, 5);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{5});
  lead(2, {1, 3}, {1, 3});
  end = 6;
  fetched(3, 6);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{6});
}

// Seed 3419 of the cluster simulation: under a load without a pause the high watermark ran ahead of it for ever.
TEST_F(InSyncReplicasTest, WhoIsOneFetchBehindIsWaitedForAlsoIfItBeganBelowTheHighWatermark) {
  lead(0, {1, 2}, {1, 2, 3});
  end = 12;
  committed.high_watermark = {10};
  fetched(2, 12);
  fetched(3, 5);
  end = 14;
  committed.high_watermark = {13};
  fetched(2, 14);
  EXPECT_FALSE(fetched(3, 12).change) << "below the high watermark";
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{12});
}

// Seed 1034 of the cluster simulation: the repetition of a request, for records below the high watermark of before, was acknowledged as flushed
// before a member of the ISR had said anything to the new leader.
TEST_F(InSyncReplicasTest, WhoHasNotFetchedYetHoldsBackWhatCountsAsFlushed) {
  committed.wants_flushed = true;
  lead(0, {1, 2, 3}, {1, 2, 3}, false);
  record(3, {.log_end = {5}, .flushed = Offset{5}});
  EXPECT_LT(in_sync.flushed().elsewhere, 5);
  record(2, {.log_end = {5}, .flushed_is_to_come = true});
  EXPECT_LT(in_sync.flushed().elsewhere, 5) << "a pipelined one will say";
  EXPECT_TRUE(record(2, {.log_end = {5}, .flushed = Offset{4}}).effect.flushed_moved);
  EXPECT_EQ(in_sync.flushed().elsewhere, 4);
  // Apache's brokers never say.
  lead(1, {1, 2, 3}, {1, 2, 3}, false);
  record(3, {.log_end = {5}, .flushed = Offset{5}});
  EXPECT_LT(in_sync.flushed().elsewhere, 5);
  EXPECT_TRUE(record(2, {.log_end = {5}}).effect.flushed_moved);
  EXPECT_EQ(in_sync.flushed().elsewhere, 5);
}

TEST_F(InSyncReplicasTest, WhoIsInTheLargerIsrOrAboutToJoinHoldsTheEndBack) {
  lead(0, {1, 2}, {1, 2, 3});
  end = 5;
  fetched(2, 5);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{5}) << "3 is out and has never caught up";
  ASSERT_TRUE(fetched(3, 5).change);
  end = 7;
  fetched(2, 7);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{5});
  now_ms += 2 * kLagMs;
  fetched(2, 7);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{5}) << "it may be in the ISR already";
  in_sync.refuse(false);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{7});
  ASSERT_TRUE(fetched(3, 7).change);
  in_sync.refuse(false);
  end = 8;
  fetched(2, 8);
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{7}) << "it had caught up not long ago";
  brokers.dead.insert({3});
  EXPECT_EQ(in_sync.smallest_end({end}), Offset{8});
}

TEST_F(InSyncReplicasTest, FlushedCopiesAreThoseOfTheCommittedIsrAndWhoIsAboutToJoinIsWaitedFor) {
  committed.wants_flushed = true;
  lead(0, {1, 2}, {1, 2, 3, 4});
  end = 5;
  EXPECT_EQ(in_sync.flushed().copies, 1);
  EXPECT_EQ(in_sync.flushed().elsewhere, 0) << "2 has not fetched yet";
  committed.high_watermark = {2};
  fetched(2, 3);
  record(4, {.log_end = {1}, .flushed = Offset{1}});
  EXPECT_EQ(in_sync.flushed().copies, 1);
  EXPECT_EQ(in_sync.flushed().elsewhere, INT64_MAX) << "4 is not in sync";
  record(2, {.log_end = {5}, .flushed = Offset{4}});
  EXPECT_EQ(in_sync.flushed().copies, 2);
  EXPECT_EQ(in_sync.flushed().elsewhere, 4);
  ASSERT_TRUE(record(3, {.log_end = {5}, .flushed = Offset{3}}).effect.change);
  EXPECT_EQ(in_sync.flushed().copies, 2);
  EXPECT_EQ(in_sync.flushed().elsewhere, 3);
  ASSERT_TRUE(in_sync.commit(ids({1, 2, 3}), 1));
  EXPECT_EQ(in_sync.flushed().copies, 3);
  // Whoever was away says it anew; who stayed goes on.
  lead(1, {1, 2}, {1, 2, 3, 4});
  EXPECT_EQ(in_sync.flushed().elsewhere, 4);
  lead(3, {1, 2}, {1, 2, 3, 4}, false);
  EXPECT_EQ(in_sync.flushed().copies, 1);
}

TEST_F(InSyncReplicasTest, AnOlderIsrThanTheCommittedOneIsNotTaken) {
  lead(3, {1, 2}, {1, 2, 3});
  EXPECT_FALSE(in_sync.commit(ids({1}), 2));
  EXPECT_EQ(in_sync.isr(), ids({1, 2}));
  EXPECT_TRUE(in_sync.commit(ids({1}), 4));
  EXPECT_EQ(in_sync.isr(), ids({1}));
  EXPECT_EQ(in_sync.partition_epoch(), 4);
}

TEST(LogEndHistory, KnowsWhenTheLogEndedBelowWithinTwiceTheLag) {
  LogEndHistory ends(3'200);  // one moment in 100 ms
  EXPECT_EQ(ends.last_time_below({5}), -1);
  ends.note(1'000, {5});
  ends.note(1'099, {6});  // too soon
  ends.note(1'100, {7});
  ends.note(1'200, {7});
  EXPECT_EQ(ends.last_time_below({4}), -1);
  EXPECT_EQ(ends.last_time_below({6}), 1'000);
  EXPECT_EQ(ends.last_time_below({7}), 1'200);
  ends.note(1'000 + 2 * 3'200 + 1, {9});
  EXPECT_EQ(ends.last_time_below({6}), -1) << "forgotten";
  EXPECT_EQ(ends.last_time_below({8}), 1'200);
}

}  // namespace
}  // namespace odradek::replication
