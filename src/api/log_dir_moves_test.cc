// Replicas move between the log dirs of a broker: real handlers, files in memory, a clock of the test.
#include <gtest/gtest.h>

#include "api/cluster_support.h"
#include "storage/dir/log_dir.h"

namespace odradek::api {
namespace {

using namespace testing;
using replication::testing::make_batch;

const TopicPartition kTp{"t", 0};

class Moves : public ::testing::Test {
 protected:
  static TestClusterOptions options() {
    TestClusterOptions options;
    options.brokers = 2;
    options.log_dirs = {"/a", "/b"};
    options.log.segment_bytes = 300'000;
    return options;
  }
  Moves() : cluster(options()) {
    cluster.create(kTp, {1, 2});
    cluster.advance(2000);
    for (int i = 0; i < 30; ++i) cluster.produce(kTp, make_batch(3, 20'000));
    cluster.advance(2000);
  }
  std::string dir(int32_t id) { return cluster.broker(id).log(kTp)->dir().path(); }
  std::string other(int32_t id) { return dir(id) == "/a" ? "/b" : "/a"; }
  ErrorCode alter(int32_t id, const std::string& path, TopicPartition tp = kTp) { return cluster.broker(id).replicas->alter_log_dir(tp, path); }
  // Copies a chunk (1 MiB) in some seconds.
  void slow(int32_t id) { cluster.broker(id).replicas->quotas().log_dirs.set_limit(200'000); }
  bool has_folder(int32_t id, const std::string& in, const std::string& suffix) {
    auto entries = cluster.files(id).list(in);
    return std::any_of(entries->begin(), entries->end(), [&](const auto& entry) { return entry.name.starts_with("t-0") && entry.name.ends_with(suffix); });
  }
  TestCluster cluster;
};

TEST_F(Moves, LeaderAndFollowerMoveAndGoOn) {
  for (int32_t id : {1, 2}) {
    const std::string to = other(id);
    EXPECT_EQ(alter(id, to), ErrorCode::kNone);
    cluster.advance(100);
    EXPECT_EQ(dir(id), to);
    EXPECT_EQ(cluster.broker(id).partition(kTp)->log(), cluster.broker(id).log(kTp));
    auto produced = cluster.produce(kTp, 5);
    cluster.advance(1000);
    EXPECT_EQ(produced->result, ErrorCode::kNone);
  }
  cluster.expect_equal(kTp);
  EXPECT_EQ(cluster.broker(1).log(kTp)->log_end_offset(), Offset{100});
  EXPECT_TRUE(has_folder(1, other(1), "-delete"));
  cluster.advance(61'000);
  EXPECT_FALSE(has_folder(1, other(1), "-delete"));
  for (int32_t id : {1, 2}) {
    cluster.kill(id);
    cluster.down(id);
    cluster.start(id);
    cluster.up(id);
    cluster.advance(3000);
  }
  cluster.expect_equal(kTp);
}

TEST_F(Moves, ACopyFollowsWhatIsAppendedCutAndDeletedMeanwhile) {
  slow(2);
  EXPECT_EQ(alter(2, other(2)), ErrorCode::kNone);
  cluster.run();
  ASSERT_NE(cluster.broker(2).logs->find_future(kTp), nullptr);
  EXPECT_TRUE(has_folder(2, other(2), "-future"));
  EXPECT_GT(cluster.broker(2).logs->find_future(kTp)->log_end_offset(), Offset{0});
  for (int i = 0; i < 10; ++i) cluster.produce(kTp, make_batch(1, 50'000));
  cluster.run();
  cluster.broker(1).partition(kTp)->delete_records(Offset{85});
  cluster.produce(kTp, 1);
  cluster.advance(1000);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_start_offset(), Offset{85});
  EXPECT_NE(cluster.broker(2).logs->find_future(kTp), nullptr) << "too fast for this test";
  const std::string to = other(2);
  cluster.advance(60'000);
  EXPECT_EQ(dir(2), to);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_start_offset(), Offset{85});
  cluster.expect_equal(kTp);
}

TEST_F(Moves, ACutOfAFollowerCutsItsCopyToo) {
  slow(2);
  const std::string to = other(2);
  EXPECT_EQ(alter(2, to), ErrorCode::kNone);
  cluster.run();
  auto future = cluster.broker(2).logs->find_future(kTp);
  ASSERT_NE(future, nullptr);
  ASSERT_GT(future->log_end_offset(), Offset{10});
  ASSERT_TRUE(cluster.broker(2).partition(kTp)->truncate_as_follower(Offset{10}, kNoLeaderEpoch));
  EXPECT_LE(future->log_end_offset(), Offset{10});
  ASSERT_TRUE(cluster.broker(2).partition(kTp)->restart_as_follower(Offset{50}, kNoLeaderEpoch));
  EXPECT_EQ(future->log_end_offset(), Offset{50});
}

// At any moment of the move: what the process leaves is taken up by the next one.
TEST_F(Moves, ABrokerThatDiesWhileMovingGoesOnAfterwards) {
  slow(1);
  const std::string to = other(1);
  EXPECT_EQ(alter(1, to), ErrorCode::kNone);
  cluster.run();
  cluster.kill(1);
  cluster.down(1);
  EXPECT_TRUE(has_folder(1, to, "-future"));
  cluster.start(1);
  cluster.up(1);
  cluster.advance(30'000);
  EXPECT_EQ(dir(1), to);
  EXPECT_FALSE(has_folder(1, to, "-future"));
  EXPECT_EQ(cluster.broker(1).log(kTp)->log_end_offset(), Offset{90});
  cluster.expect_equal(kTp);
}

TEST_F(Moves, ADeathAtAnyCallOfTheSwapLeavesOneLog) {
  int both = 0;
  bool whole = false;
  for (int calls = 0; !whole; ++calls) {
    ASSERT_LT(calls, 1000);
    SCOPED_TRACE(calls);
    const std::string to = other(2);
    int left = calls;
    // Everything fails from that call on, as if the process had died there.
    cluster.files(2).set_fault([&](base::FileCall call, const std::string&) {
      if (call == base::FileCall::kRead || call == base::FileCall::kStatus || call == base::FileCall::kList) return 0;
      return left-- > 0 ? 0 : EIO;
    });
    (void)alter(2, to);
    cluster.run();
    whole = left > 0;
    cluster.kill(2);
    cluster.down(2);
    both += has_folder(2, "/a", "t-0") && has_folder(2, "/b", "t-0");
    cluster.start(2);
    cluster.up(2);
    cluster.advance(30'000);
    ASSERT_NE(cluster.broker(2).log(kTp), nullptr);
    ASSERT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{90});
    ASSERT_EQ(has_folder(2, "/a", "t-0") + has_folder(2, "/b", "t-0"), 1);
    cluster.expect_equal(kTp);
  }
  EXPECT_GT(both, 0) << "no death between the two renames";
}

TEST_F(Moves, AnotherWishReplacesTheFirstAndADeletedTopicTakesItsCopyAlong) {
  slow(1);
  const std::string from = dir(1), to = other(1);
  EXPECT_EQ(alter(1, to), ErrorCode::kNone);
  cluster.run();
  EXPECT_EQ(alter(1, from), ErrorCode::kNone);
  cluster.advance(100);
  EXPECT_EQ(cluster.broker(1).logs->find_future(kTp), nullptr);
  EXPECT_EQ(dir(1), from);
  EXPECT_EQ(alter(1, to), ErrorCode::kNone);
  cluster.run();
  cluster.remove(kTp);
  cluster.advance(65'000);
  EXPECT_FALSE(has_folder(1, from, "") || has_folder(1, to, ""));
}

TEST_F(Moves, RefusesAsKafka) {
  EXPECT_EQ(alter(1, "/elsewhere"), ErrorCode::kLogDirNotFound);
  EXPECT_EQ(alter(1, "/a", {"unknown", 0}), ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(alter(1, dir(1)), ErrorCode::kNone) << "it is there";
}

TEST_F(Moves, AReplicaThatDoesNotExistYetIsMadeWhereItWasAskedFor) {
  for (int32_t partition : {1, 2, 3}) {
    const TopicPartition tp{"t", partition};
    EXPECT_EQ(alter(1, "/b", tp), ErrorCode::kUnknownTopicOrPartition);
    cluster.create(tp, {1, 2});
    cluster.advance(1000);
    EXPECT_EQ(cluster.broker(1).log(tp)->dir().path(), "/b");
  }
}

}  // namespace
}  // namespace odradek::api
