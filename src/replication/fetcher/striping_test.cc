#include "replication/fetcher/striping.h"

#include <gtest/gtest.h>

#include <set>

namespace odradek::replication {
namespace {

using std::chrono::milliseconds;

Striping with(int least, int most, int64_t window_bytes = Striping::kWindowBytes) {
  return Striping({.least = least, .most = most, .window_bytes = window_bytes});
}

// What a lane does with its first answer: it learns the round trip.
void know(Striping& striping, std::chrono::microseconds round_trip) {
  if (striping.received(0, 0)) striping.measure(0, round_trip);
}

// That much comes in a second.
void carry(Striping& striping, int64_t bytes, std::chrono::microseconds round_trip) {
  know(striping, round_trip);
  EXPECT_FALSE(striping.received(1, 1000));
  EXPECT_TRUE(striping.received(bytes - 1, 2000));
  striping.measure(2000, round_trip);
}

// Answers that are full, until the connection is asked for several at a time.
void learn(Striping& striping, int64_t now_ms = 0) {
  for (size_t i = 0; i < 2 * striping.connections(); ++i) {
    const size_t connection = striping.take(now_ms);
    striping.answered(connection, striping.answer_bytes(connection), now_ms);
  }
}

TEST(Striping, TheNextRequestGoesWhereTheFewestAreOnTheWay) {
  Striping striping = with(3, 3);
  EXPECT_EQ((std::set{striping.take(0), striping.take(0), striping.take(0)}), (std::set<size_t>{0, 1, 2}));
  striping.answered(1, 0, 0);
  EXPECT_EQ(striping.take(0), 1u);
  striping.answered(2, 0, 0);
  striping.answered(0, 0, 0);
  EXPECT_EQ((std::set{striping.take(0), striping.take(0)}), (std::set<size_t>{0, 2}));
}

TEST(Striping, ConnectionsOfEqualLoadAreUsedInTurnSoThatNoneIdles) {
  Striping striping = with(4, 4);
  std::set<size_t> used;
  for (int i = 0; i < 4; ++i) {
    const size_t connection = striping.take(0);
    striping.answered(connection, 0, 0);
    used.insert(connection);
  }
  EXPECT_EQ(used.size(), 4u);
}

// 7.2 MB in 100 ms: three quarters of four windows of 2.36 MB. No more come: the slowest of four holds up the others.
TEST(Striping, ALongWayAtAHighRateGetsMoreConnections) {
  Striping striping = with(4, 16);
  carry(striping, 72'000'000, milliseconds(100));
  EXPECT_EQ(striping.connections(), 6u);
  carry(striping, 72'000'000, milliseconds(100));
  EXPECT_EQ(striping.connections(), 6u) << "they have room";
}

TEST(Striping, AShortWayKeepsItsFew) {
  Striping striping = with(4, 16);
  carry(striping, 2'000'000'000, std::chrono::microseconds(100));
  EXPECT_EQ(striping.connections(), 4u);
}

TEST(Striping, AnUnknownWayKeepsItsFew) {
  Striping striping = with(4, 16);
  carry(striping, 2'000'000'000, milliseconds(0));
  EXPECT_EQ(striping.connections(), 4u);
}

TEST(Striping, ThereIsAnEndToIt) {
  Striping striping = with(4, 6);
  carry(striping, 2'000'000'000, milliseconds(500));
  EXPECT_EQ(striping.connections(), 6u);
  carry(striping, 2'000'000'000, milliseconds(500));
  EXPECT_EQ(striping.connections(), 6u);
  EXPECT_EQ(with(0, 0).connections(), 1u);
}

TEST(Striping, SmallWindowsWantMoreConnections) {
  Striping striping = with(4, 16, 32 << 10);
  carry(striping, 2'500'000, milliseconds(100));
  EXPECT_EQ(striping.connections(), 6u);
}

// TCP begins with ten packets: what is asked for of a new connection is there in a few round trips, so that those behind it do not wait for long.
TEST(Striping, ANewConnectionIsAskedForLittle) {
  Striping striping = with(2, 2);
  EXPECT_EQ(striping.answer_bytes(0), Striping::kFirstBytes);
  EXPECT_EQ(striping.most_requests(), 2u);
  EXPECT_EQ(striping.take(0), 0u);
  striping.answered(0, Striping::kFirstBytes, 0);
  EXPECT_EQ(striping.answer_bytes(0), 2 * Striping::kFirstBytes);
  EXPECT_EQ(striping.answer_bytes(1), Striping::kFirstBytes);
  EXPECT_EQ(striping.take(0), 1u);
  striping.answered(1, 100, 0);
  EXPECT_EQ(striping.answer_bytes(1), Striping::kFirstBytes) << "the leader had no more";
  learn(striping);
  EXPECT_EQ(striping.most_requests(), 2 * Striping::kRequestsOfConnection);
  striping.restart();
  EXPECT_EQ(striping.most_requests(), 2u);
}

TEST(Striping, AConnectionIsAskedForThreeQuartersOfWhatItCarriesInARoundTrip) {
  Striping striping = with(1, 1);
  know(striping, milliseconds(100));
  learn(striping);
  int64_t now_ms = 0;
  for (size_t i = 0; i < Striping::kRequestsOfConnection; ++i) striping.take(now_ms);
  auto round_trip = [&](int64_t bytes) {
    now_ms += 50;
    striping.answered(0, bytes / 2, now_ms);
    striping.take(now_ms);
    now_ms += 50;
    striping.answered(0, bytes / 2, now_ms);
    striping.take(now_ms);
  };
  round_trip(400'000);
  EXPECT_EQ(striping.answer_bytes(0), 300'000);
  round_trip(1'200'000);
  EXPECT_EQ(striping.answer_bytes(0), 900'000);
  round_trip(800'000);
  EXPECT_EQ(striping.answer_bytes(0), 900'000) << "answers that are not full say nothing";
  round_trip(1'000'000);
  EXPECT_EQ(striping.answer_bytes(0), 750'000);
}

// As many bytes as are asked for can be here before their turn.
TEST(Striping, WhatIsAskedForStaysWithinItsMemory) {
  Striping striping({.least = 4, .most = 4, .in_flight_bytes = 1 << 20, .response_max_bytes = 1 << 20});
  learn(striping);
  EXPECT_EQ(striping.most_requests(), 16u);
  EXPECT_EQ(striping.answer_bytes(0), (1 << 20) / 32);
  EXPECT_EQ(Striping({.response_max_bytes = 1000}).answer_bytes(0), 1000);
}

TEST(Striping, NothingIsOnTheWayAfterARestart) {
  Striping striping = with(2, 2);
  EXPECT_EQ(striping.take(0), 0u);
  EXPECT_EQ(striping.take(0), 1u);
  EXPECT_EQ(striping.take(0), 0u);
  striping.restart();
  EXPECT_EQ(striping.take(0), 0u);
  EXPECT_EQ(striping.take(0), 1u);
  striping.answered(1, 0, 0);
  EXPECT_EQ(striping.take(0), 1u);
}

}  // namespace
}  // namespace odradek::replication
