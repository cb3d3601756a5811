#include "replication/fetcher/striping.h"

#include <gtest/gtest.h>

#include <set>

namespace odradek::replication {
namespace {

using std::chrono::milliseconds;

// That much comes in a second.
void carry(Striping& striping, int64_t bytes, std::chrono::microseconds round_trip) {
  EXPECT_FALSE(striping.received(1, 1000));
  EXPECT_TRUE(striping.received(bytes - 1, 2000));
  striping.measure(2000, round_trip);
}

TEST(Striping, TheNextRequestGoesWhereTheFewestAreOnTheWay) {
  Striping striping(3, 3);
  EXPECT_EQ((std::set{striping.take(), striping.take(), striping.take()}), (std::set<size_t>{0, 1, 2}));
  striping.answered(1);
  EXPECT_EQ(striping.take(), 1u);
  striping.answered(2);
  striping.answered(0);
  EXPECT_EQ((std::set{striping.take(), striping.take()}), (std::set<size_t>{0, 2}));
}

TEST(Striping, ConnectionsOfEqualLoadAreUsedInTurnSoThatNoneIdles) {
  Striping striping(4, 4);
  std::set<size_t> used;
  for (int i = 0; i < 4; ++i) {
    const size_t connection = striping.take();
    striping.answered(connection);
    used.insert(connection);
  }
  EXPECT_EQ(used.size(), 4u);
}

// 10 MB in 100 ms: four windows of 2.36 MB are full.
TEST(Striping, ALongWayAtAHighRateGetsMoreConnections) {
  Striping striping(4, 16);
  carry(striping, 100'000'000, milliseconds(100));
  EXPECT_EQ(striping.connections(), 6u);
  EXPECT_EQ(striping.most_requests(), 24u);
  carry(striping, 100'000'000, milliseconds(100));
  EXPECT_EQ(striping.connections(), 6u) << "they have room";
}

TEST(Striping, AShortWayKeepsItsFew) {
  Striping striping(4, 16);
  carry(striping, 2'000'000'000, std::chrono::microseconds(100));
  EXPECT_EQ(striping.connections(), 4u);
}

TEST(Striping, AnUnknownWayKeepsItsFew) {
  Striping striping(4, 16);
  carry(striping, 2'000'000'000, milliseconds(0));
  EXPECT_EQ(striping.connections(), 4u);
}

TEST(Striping, ThereIsAnEndToIt) {
  Striping striping(4, 6);
  carry(striping, 2'000'000'000, milliseconds(500));
  EXPECT_EQ(striping.connections(), 6u);
  carry(striping, 2'000'000'000, milliseconds(500));
  EXPECT_EQ(striping.connections(), 6u);
  EXPECT_EQ(Striping(0, 0).connections(), 1u);
}

TEST(Striping, SmallWindowsWantMoreConnections) {
  Striping striping(4, 16, 32 << 10);
  carry(striping, 2'500'000, milliseconds(100));
  EXPECT_EQ(striping.connections(), 6u);
}

TEST(Striping, NothingIsOnTheWayAfterARestart) {
  Striping striping(2, 2);
  EXPECT_EQ(striping.take(), 0u);
  striping.restart();
  EXPECT_EQ(striping.take(), 1u);
  striping.answered(1);
  EXPECT_EQ(striping.take(), 0u);
}

}  // namespace
}  // namespace odradek::replication
