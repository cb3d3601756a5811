#include "replication/sessions/fetch_session.h"

#include <gtest/gtest.h>

#include "base/manual_runtime.h"

namespace odradek::replication {
namespace {

using protocol::FetchRequest;

constexpr int16_t kByName = 12, kById = 17;

struct Asked {
  std::string topic;
  int32_t partition;
  int64_t offset;
};

FetchRequest make_request(int32_t session_id, int32_t epoch, const std::vector<Asked>& asked, const std::vector<Asked>& forgotten = {}) {
  FetchRequest request;
  request.session_id = session_id;
  request.session_epoch = epoch;
  for (const Asked& one : asked) {
    if (request.topics.empty() || request.topics.back().topic != one.topic) request.topics.emplace_back().topic = one.topic;
    auto& partition = request.topics.back().partitions.emplace_back();
    partition.partition = one.partition;
    partition.fetch_offset = one.offset;
    partition.partition_max_bytes = 1000;
  }
  for (const Asked& one : forgotten) {
    auto& topic = request.forgotten_topics_data.emplace_back();
    topic.topic = one.topic;
    topic.partitions.push_back(one.partition);
  }
  return request;
}

ReadResult quiet(int64_t high_watermark = 10) {
  ReadResult result;
  result.high_watermark = {high_watermark};
  result.log_start_offset = {0};
  return result;
}
ReadResult with_records(int64_t high_watermark = 10) {
  ReadResult result = quiet(high_watermark);
  result.records.size = 100;
  return result;
}
ReadResult failed(ErrorCode error) {
  ReadResult result;
  result.error = error;
  return result;
}

class FetchSessions : public testing::Test {
 protected:
  FetchContext open(FetchRequest request, int16_t version = kByName) { return cache.open(request, version); }
  static std::vector<std::string> names(FetchContext& context) {
    std::vector<std::string> all;
    context.for_each([&](SessionTopic& topic, SessionPartition& partition) {
      all.push_back(topic.name + "-" + std::to_string(partition.partition) + "@" + std::to_string(partition.fetch_offset.value));
    });
    return all;
  }
  static std::vector<std::string> answer(FetchContext& context, const std::vector<ReadResult>& results) {
    std::vector<std::string> told;
    EXPECT_EQ(context.answer(results,
                             [&](uint32_t, const SessionTopic& topic, const SessionPartition& partition, const ReadResult&) {
                               told.push_back(topic.name + "-" + std::to_string(partition.partition));
                             }),
              ErrorCode::kNone);
    return told;
  }
  int32_t new_session(const std::vector<Asked>& asked, int16_t version = kByName, int32_t replica = -1) {
    FetchRequest request = make_request(0, 0, asked);
    request.replica_id = replica;
    request.replica_state.replica_id = replica;
    FetchContext context = open(std::move(request), version);
    answer(context, std::vector<ReadResult>(context.size(), quiet()));
    return context.session_id();
  }

  base::ManualRuntime runtime;
  FetchSessionCache cache{runtime.clock(), runtime.random(), 3};
  using Names = std::vector<std::string>;
};

TEST_F(FetchSessions, ARequestWithoutSessionIsAnsweredInFullAndRemembersNothing) {
  FetchContext context = open(make_request(0, -1, {{"a", 0, 5}, {"a", 1, 6}, {"b", 0, 7}}));
  EXPECT_EQ(names(context), (Names{"a-0@5", "a-1@6", "b-0@7"}));
  EXPECT_EQ(answer(context, {quiet(), with_records(), failed(ErrorCode::kUnknownTopicOrPartition)}), (Names{"a-0", "a-1", "b-0"}));
  EXPECT_EQ(context.session_id(), 0);
  EXPECT_EQ(cache.sessions(), 0u);
}

TEST_F(FetchSessions, AnIncrementalAnswerHoldsOnlyPartitionsWithNews) {
  const int32_t id = new_session({{"a", 0, 0}, {"a", 1, 0}, {"b", 0, 0}});
  ASSERT_NE(id, 0);
  FetchContext nothing = open(make_request(id, 1, {}));
  EXPECT_EQ(answer(nothing, {quiet(), quiet(), quiet()}), Names{});
  EXPECT_EQ(nothing.session_id(), id);
  FetchContext records = open(make_request(id, 2, {}));
  EXPECT_EQ(answer(records, {quiet(), with_records(), quiet()}), Names{"a-1"});
  // a-1 gave records: it is read last from now on.
  FetchContext moved = open(make_request(id, 3, {{"a", 1, 3}}));
  EXPECT_EQ(names(moved), (Names{"a-0@0", "b-0@0", "a-1@3"}));
  EXPECT_EQ(answer(moved, {quiet(11), quiet(), quiet()}), Names{"a-0"});
  ReadResult start = quiet();
  start.log_start_offset = {2};
  FetchContext log_start = open(make_request(id, 4, {}));
  EXPECT_EQ(answer(log_start, {quiet(11), start, quiet()}), Names{"b-0"});
  ReadResult diverging = quiet();
  diverging.diverging = EpochEnd{{1}, {2}};
  FetchContext diverged = open(make_request(id, 5, {}));
  EXPECT_EQ(answer(diverged, {quiet(11), start, diverging}), Names{"a-1"});
}

TEST_F(FetchSessions, AnErrorIsToldAgainAndItsEndToo) {
  const int32_t id = new_session({{"a", 0, 0}});
  for (int32_t epoch = 1; epoch <= 2; ++epoch) {
    FetchContext context = open(make_request(id, epoch, {}));
    EXPECT_EQ(answer(context, {failed(ErrorCode::kNotLeaderOrFollower)}), Names{"a-0"});
  }
  FetchContext over = open(make_request(id, 3, {}));
  EXPECT_EQ(answer(over, {quiet()}), Names{"a-0"});
  FetchContext quiet_again = open(make_request(id, 4, {}));
  EXPECT_EQ(answer(quiet_again, {quiet()}), Names{});
}

// A follower takes no high watermark from an answer that says where it departed, or that overtook its new epoch.
TEST_F(FetchSessions, WhatAFollowerMayHaveSkippedIsToldAgain) {
  const int32_t id = new_session({{"a", 0, 0}}, 12, 2);
  ReadResult departed = quiet();
  departed.diverging = EpochEnd{{0}, {3}};
  FetchContext first = open(make_request(id, 1, {}), 12);
  EXPECT_EQ(answer(first, {departed}), Names{"a-0"});
  FetchContext second = open(make_request(id, 2, {{"a", 0, 0}}), 12);
  EXPECT_EQ(answer(second, {quiet()}), Names{"a-0"});
  FetchContext third = open(make_request(id, 3, {{"a", 0, 0}}), 12);
  EXPECT_EQ(answer(third, {quiet()}), Names{});
  FetchRequest in_new_epoch = make_request(id, 4, {{"a", 0, 0}});
  in_new_epoch.topics[0].partitions[0].current_leader_epoch = 5;
  FetchContext fourth = open(std::move(in_new_epoch), 12);
  EXPECT_EQ(answer(fourth, {quiet()}), Names{"a-0"});
}

TEST_F(FetchSessions, PartitionsComeChangeAndGo) {
  const int32_t id = new_session({{"a", 0, 0}, {"b", 0, 0}});
  FetchContext context = open(make_request(id, 1, {{"a", 0, 7}, {"c", 2, 1}}, {{"b", 0, 0}, {"nowhere", 0, 0}}));
  EXPECT_EQ(names(context), (Names{"a-0@7", "c-2@1"}));
  EXPECT_EQ(answer(context, {quiet(), quiet()}), Names{"c-2"});
  FetchContext back = open(make_request(id, 2, {{"b", 0, 4}}));
  EXPECT_EQ(names(back), (Names{"a-0@7", "c-2@1", "b-0@4"}));
  EXPECT_EQ(cache.cached_partitions(), 3u);
}

TEST_F(FetchSessions, ASessionWhoseLastPartitionIsForgottenEnds) {
  const int32_t id = new_session({{"a", 0, 0}});
  FetchContext context = open(make_request(id, 1, {}, {{"a", 0, 0}}));
  EXPECT_EQ(context.size(), 0u);
  answer(context, {});
  EXPECT_EQ(context.session_id(), 0);
  EXPECT_EQ(open(make_request(id, 2, {})).error(), ErrorCode::kFetchSessionIdNotFound);
}

TEST_F(FetchSessions, WrongEpochAndUnknownSessionAreRefused) {
  const int32_t id = new_session({{"a", 0, 0}});
  EXPECT_EQ(open(make_request(id, 2, {})).error(), ErrorCode::kInvalidFetchSessionEpoch);
  EXPECT_EQ(open(make_request(id ^ 1, 1, {})).error(), ErrorCode::kFetchSessionIdNotFound);
  EXPECT_EQ(open(make_request(id, 1, {})).error(), ErrorCode::kNone);
}

TEST_F(FetchSessions, ASessionKeepsToNamesOrIds) {
  const int32_t by_name = new_session({{"a", 0, 0}}, kByName);
  EXPECT_EQ(open(make_request(by_name, 1, {}), kById).error(), ErrorCode::kFetchSessionTopicIdError);
  const int32_t by_id = new_session({{"", 0, 0}}, kById);
  EXPECT_EQ(open(make_request(by_id, 1, {}), kByName).error(), ErrorCode::kFetchSessionTopicIdError);
}

TEST_F(FetchSessions, AFullRequestEndsTheSessionItNames) {
  const int32_t id = new_session({{"a", 0, 0}});
  FetchContext replaced = open(make_request(id, 0, {{"a", 0, 0}}));
  answer(replaced, {quiet()});
  EXPECT_NE(replaced.session_id(), 0);
  EXPECT_EQ(cache.sessions(), 1u);
  FetchContext closed = open(make_request(replaced.session_id(), -1, {{"a", 0, 0}}));
  answer(closed, {quiet()});
  EXPECT_EQ(closed.session_id(), 0);
  EXPECT_EQ(cache.sessions(), 0u);
}

TEST_F(FetchSessions, AnAnswerThatASecondRequestOvertookIsRefused) {
  const int32_t id = new_session({{"a", 0, 0}});
  FetchContext first = open(make_request(id, 1, {}));
  FetchContext second = open(make_request(id, 2, {}));
  auto ignore = [](uint32_t, const SessionTopic&, const SessionPartition&, const ReadResult&) { FAIL(); };
  EXPECT_EQ(first.answer(std::vector<ReadResult>{with_records()}, ignore), ErrorCode::kInvalidFetchSessionEpoch);
  EXPECT_EQ(answer(second, {with_records()}), Names{"a-0"});
}

TEST_F(FetchSessions, APartitionNamedTwiceCountsAsNamedLast) {
  const std::vector<Asked> twice{{"a", 0, 1}, {"b", 0, 1}, {"a", 0, 5}, {"a", 0, 9}};
  FetchContext without_session = open(make_request(0, -1, twice));
  EXPECT_EQ(names(without_session), (Names{"a-0@9", "b-0@1"}));
  EXPECT_EQ(answer(without_session, std::vector<ReadResult>(2, quiet())), (Names{"a-0", "b-0"}));
  FetchContext context = open(make_request(0, 0, twice));
  EXPECT_EQ(context.size(), 2u);
  EXPECT_EQ(answer(context, std::vector<ReadResult>(2, quiet())), (Names{"a-0", "b-0"}));
  FetchContext next = open(make_request(context.session_id(), 1, {}));
  EXPECT_EQ(names(next), (Names{"a-0@9", "b-0@1"}));
}

TEST_F(FetchSessions, AFullCacheRefusesNewSessionsUntilOneIsIdle) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(new_session({{"a", 0, 0}}));
  EXPECT_EQ(new_session({{"a", 0, 0}}), 0);
  EXPECT_EQ(cache.evictions(), 0u);
  // Two are used, one is not.
  runtime.advance(119'000);
  ASSERT_EQ(open(make_request(ids[0], 1, {})).error(), ErrorCode::kNone);
  ASSERT_EQ(open(make_request(ids[2], 1, {})).error(), ErrorCode::kNone);
  runtime.advance(2'000);
  EXPECT_NE(new_session({{"a", 0, 0}}), 0);
  EXPECT_EQ(open(make_request(ids[1], 1, {})).error(), ErrorCode::kFetchSessionIdNotFound);
  EXPECT_EQ(open(make_request(ids[0], 2, {})).error(), ErrorCode::kNone);
  EXPECT_EQ(cache.evictions(), 1u);
}

TEST_F(FetchSessions, AllTogetherHoldNoMorePartitionsThanAllowed) {
  FetchSessionCache small(runtime.clock(), runtime.random(), 10, 120'000, 5);
  auto open_full = [&](const std::vector<Asked>& asked) {
    FetchRequest request = make_request(0, 0, asked);
    FetchContext context = small.open(request, kByName);
    answer(context, std::vector<ReadResult>(context.size(), quiet()));
    return context.session_id();
  };
  auto grow = [&](int32_t id, int32_t epoch, const std::vector<Asked>& asked) {
    FetchRequest request = make_request(id, epoch, asked);
    FetchContext context = small.open(request, kByName);
    if (context.error() != ErrorCode::kNone) return context.error();
    answer(context, std::vector<ReadResult>(context.size(), quiet()));
    return ErrorCode::kNone;
  };
  const int32_t first = open_full({{"a", 0, 0}, {"a", 1, 0}, {"a", 2, 0}});
  EXPECT_NE(first, 0);
  EXPECT_EQ(open_full({{"b", 0, 0}, {"b", 1, 0}, {"b", 2, 0}}), 0);
  const int32_t second = open_full({{"c", 0, 0}});
  EXPECT_NE(second, 0);
  EXPECT_EQ(grow(second, 1, {{"c", 1, 0}}), ErrorCode::kNone);
  EXPECT_EQ(small.cached_partitions(), 5u);
  EXPECT_EQ(grow(second, 2, {{"c", 1, 5}}), ErrorCode::kNone);
  // What goes beyond is answered, and then the session is gone.
  EXPECT_EQ(grow(second, 3, {{"c", 2, 0}}), ErrorCode::kNone);
  EXPECT_EQ(grow(second, 4, {}), ErrorCode::kFetchSessionIdNotFound);
  EXPECT_EQ(small.cached_partitions(), 3u);
  EXPECT_EQ(grow(first, 1, {}), ErrorCode::kNone);
}

TEST_F(FetchSessions, AFollowerTakesThePlaceOfAConsumer) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(new_session({{"a", 0, 0}}));
  EXPECT_NE(new_session({{"a", 0, 0}}, kByName, 2), 0);
  EXPECT_EQ(cache.sessions(), 3u);
  EXPECT_EQ(cache.evictions(), 1u);
}

TEST_F(FetchSessions, AnOldSmallSessionGivesWayToABiggerOne) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(new_session({{"a", 0, 0}, {"a", 1, 0}}));
  runtime.advance(100'000);
  for (int32_t id : ids) ASSERT_EQ(open(make_request(id, 1, {})).error(), ErrorCode::kNone);
  runtime.advance(30'000);
  for (int32_t id : ids) ASSERT_EQ(open(make_request(id, 2, {})).error(), ErrorCode::kNone);
  EXPECT_EQ(new_session({{"a", 0, 0}}), 0);
  EXPECT_NE(new_session({{"a", 0, 0}, {"a", 1, 0}, {"a", 2, 0}}), 0);
  EXPECT_EQ(cache.sessions(), 3u);
}

}  // namespace
}  // namespace odradek::replication
