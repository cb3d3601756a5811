// Offsets over the API, and their retention.
#include "coordinator/group/group_coordinator.h"

#include <gtest/gtest.h>

#include "coordinator/group/group_coordinator_test_util.h"
#include "coordinator/group/repeat_room.h"
#include "record/batch_builder.h"

namespace odradek::coordinator {
namespace {

using GroupOffsetsApi = Coordinator;
using GroupExpiry = Coordinator;

// --- offsets -----------------------------------------------------------------------------------------------------------------

TEST_F(GroupOffsetsApi, CommittedOffsetIsFetched) {
  EXPECT_EQ(error_of(commit("t", 42, "", -1, "note")), 0);
  auto fetched = fetch({{"t", "never"}});
  EXPECT_EQ(fetched->error_code, 0);
  auto& known = fetched->topics.at(0).partitions.at(0);
  EXPECT_EQ(known.committed_offset, 42);
  EXPECT_EQ(known.committed_leader_epoch, 3);
  EXPECT_EQ(known.metadata, "note");
  auto& missing = fetched->topics.at(1).partitions.at(0);
  EXPECT_EQ(missing.committed_offset, -1);
  EXPECT_EQ(missing.committed_leader_epoch, -1);
  EXPECT_EQ(missing.metadata, "");
  EXPECT_EQ(missing.error_code, 0);
}

TEST_F(GroupOffsetsApi, NullTopicsMeansAllOfTheGroup) {
  commit("a", 1);
  commit("b", 2);
  EXPECT_EQ(fetch(std::nullopt)->topics.size(), 2u);
  EXPECT_TRUE(fetch(std::nullopt, 7, false, "unknown")->topics.empty());
}

TEST_F(GroupOffsetsApi, SeveralGroupsInOneRequest) {
  commit("t", 1, "", -1, "", -1, "g1");
  commit("t", 2, "", -1, "", -1, "g2");
  OffsetFetchRequest request;
  for (std::string id : {"g2", "g1", "g3"}) {
    auto& group = request.groups.emplace_back();
    group.group_id = id;
    auto& topic = group.topics->emplace_back();
    topic.name = "t";
    topic.partition_indexes = {0};
  }
  auto answer = call(&GroupCoordinator::fetch_offsets, std::move(request), int16_t{9});
  ASSERT_EQ(answer->groups.size(), 3u);
  EXPECT_EQ(answer->groups[0].group_id, "g2");
  EXPECT_EQ(answer->groups[0].topics.at(0).partitions.at(0).committed_offset, 2);
  EXPECT_EQ(answer->groups[1].topics.at(0).partitions.at(0).committed_offset, 1);
  EXPECT_EQ(answer->groups[2].topics.at(0).partitions.at(0).committed_offset, -1);
}

TEST_F(GroupOffsetsApi, MetadataThatIsTooLongIsRefusedForItsPartitionOnly) {
  OffsetCommitRequest request;
  request.group_id = "g";
  auto& topic = request.topics.emplace_back();
  topic.name = "t";
  for (int i = 0; i < 3; ++i) {
    auto& partition = topic.partitions.emplace_back();
    partition.partition_index = i;
    partition.committed_offset = 10 + i;
  }
  topic.partitions[1].committed_metadata = std::string(4'097, 'x');
  std::string two_bytes_each;
  for (int i = 0; i < 4'096; ++i) two_bytes_each += "\xc3\xa9";
  topic.partitions[2].committed_metadata = two_bytes_each;
  auto answer = call(&GroupCoordinator::commit_offsets, std::move(request), int16_t{9});
  EXPECT_EQ(answer->topics.at(0).partitions.at(0).error_code, 0);
  EXPECT_EQ(answer->topics[0].partitions.at(1).error_code, wire(ErrorCode::kOffsetMetadataTooLarge));
  EXPECT_EQ(answer->topics[0].partitions.at(2).error_code, 0) << "characters are counted, not bytes";
  EXPECT_EQ(log.records().size(), 2u);
}

TEST_F(GroupOffsetsApi, MetadataThatARecordHasNoRoomForIsTooLongWhateverTheLimit) {
  config.offset_metadata_max_bytes = 100'000;
  groups.reset();
  make();
  lead();
  EXPECT_EQ(error_of(commit("t", 1, "", -1, std::string(32'767, 'x'))), 0);
  EXPECT_EQ(error_of(commit("t", 2, "", -1, std::string(32'768, 'x'))), wire(ErrorCode::kOffsetMetadataTooLarge));
  EXPECT_EQ(offset_of("t"), 1);
}

// A megabyte of partitions, each with the group's name in its record, would be a batch of gigabytes.
TEST_F(GroupOffsetsApi, ACommitThatNoLogWouldTakeIsRefusedBeforeItIsMade) {
  OffsetCommitRequest request;
  request.group_id = std::string(30'000, 'g');
  auto& topic = request.topics.emplace_back();
  topic.name = "t";
  topic.partitions.resize(2'500);
  auto answer = call(&GroupCoordinator::commit_offsets, std::move(request), int16_t{9});
  ASSERT_EQ(answer->topics.at(0).partitions.size(), 2'500u);
  for (const auto& partition : answer->topics[0].partitions) ASSERT_EQ(partition.error_code, wire(ErrorCode::kInvalidCommitOffsetSize));
  EXPECT_TRUE(log.batches.empty());
  EXPECT_TRUE(list()->groups.empty());
}

TEST_F(GroupOffsetsApi, APartitionThatIsNamedTooOftenIsNotToldEachTimeAndRemovedOnce) {
  commit("t", 5, "", -1, "note");
  OffsetFetchRequest request;
  request.group_id = "g";
  for (int i = 0; i < 2; ++i) {
    auto& topic = request.topics->emplace_back();
    topic.name = "t";
    topic.partition_indexes.assign(60, 0);
    topic.partition_indexes.push_back(7);
  }
  auto fetched = call(&GroupCoordinator::fetch_offsets, std::move(request), int16_t{7});
  int told = 0;
  for (const auto& topic : fetched->topics) {
    for (const auto& partition : topic.partitions) {
      told += partition.metadata == "note";
      EXPECT_EQ(partition.error_code, partition.metadata == "note" || partition.partition_index == 7 ? 0 : wire(ErrorCode::kInvalidRequest));
    }
  }
  EXPECT_EQ(told, 100);
  OffsetDeleteRequest removal;
  removal.group_id = "g";
  auto& topic = removal.topics.emplace_back();
  topic.name = "t";
  topic.partitions.resize(1'000);
  EXPECT_EQ(call(&GroupCoordinator::delete_offsets, std::move(removal), int16_t{0})->topics.at(0).partitions.size(), 1'000u);
  EXPECT_EQ(log.records().size(), 2u);
}

// Each name brings a whole group: a request of a few kilobytes could ask for gigabytes.
TEST_F(GroupOffsetsApi, WhatIsToldAgainInOneAnswerIsBounded) {
  config.offset_metadata_max_bytes = 20'000;
  groups.reset();
  make();
  lead();
  const std::string note(20'000, 'n');
  for (int i = 0; i < 20; ++i) ASSERT_EQ(error_of(commit("t" + std::to_string(i), i, "", -1, note, -1, "large")), 0);
  ASSERT_EQ(error_of(commit("t", 7, "", -1, "note", -1, "small")), 0);
  auto told = [&](const std::vector<std::string>& names, bool whole) {
    OffsetFetchRequest request;
    for (const std::string& name : names) {
      auto& group = request.groups.emplace_back();
      group.group_id = name;
      if (whole) {
        group.topics.reset();
        continue;
      }
      for (int i = 0; i < 20; ++i) {
        auto& topic = group.topics->emplace_back();
        topic.name = "t" + std::to_string(i);
        topic.partition_indexes = {0};
      }
    }
    return call(&GroupCoordinator::fetch_offsets, std::move(request), int16_t{9});
  };
  auto bytes_of = [](const Pending<OffsetFetchResponse>& answer) {
    size_t bytes = 0;
    for (const auto& group : answer->groups) {
      for (const auto& topic : group.topics) {
        for (const auto& partition : topic.partitions) bytes += partition.metadata ? partition.metadata->size() : 0;
      }
    }
    return bytes;
  };
  const size_t once = 20 * note.size();
  // As in Kafka, as long as it is small.
  auto twice = told({"small", "large", "small", "large"}, true);
  ASSERT_EQ(twice->groups.size(), 4u);
  for (const auto& group : twice->groups) EXPECT_EQ(group.error_code, 0);
  EXPECT_EQ(twice->groups[2].topics.at(0).partitions.at(0).committed_offset, 7);
  EXPECT_EQ(bytes_of(twice), 2 * once + 8);
  // The whole of a group, or none of it.
  auto often = told(std::vector<std::string>(90, "large"), true);
  ASSERT_EQ(often->groups.size(), 90u);
  for (const auto& group : often->groups) {
    EXPECT_EQ(group.group_id, "large");
    EXPECT_EQ(group.topics.size(), group.error_code == 0 ? 20u : 0u);
    EXPECT_TRUE(group.error_code == 0 || group.error_code == wire(ErrorCode::kInvalidRequest));
  }
  EXPECT_EQ(often->groups[0].error_code, 0);
  EXPECT_EQ(often->groups[89].error_code, wire(ErrorCode::kInvalidRequest));
  EXPECT_LE(bytes_of(often), once + RepeatRoom::kBytes);
  // Partition by partition.
  auto named = told(std::vector<std::string>(90, "large"), false);
  for (const auto& topic : named->groups[0].topics) EXPECT_EQ(topic.partitions.at(0).error_code, 0);
  ASSERT_EQ(named->groups[89].topics.size(), 20u);
  for (const auto& topic : named->groups[89].topics) EXPECT_EQ(topic.partitions.at(0).error_code, wire(ErrorCode::kInvalidRequest));
  EXPECT_LE(bytes_of(named), once + RepeatRoom::kBytes);
  // One partition, again and again.
  OffsetFetchRequest one;
  auto& group = one.groups.emplace_back();
  group.group_id = "large";
  auto& topic = group.topics->emplace_back();
  topic.name = "t0";
  topic.partition_indexes.assign(90, 0);
  EXPECT_LE(bytes_of(call(&GroupCoordinator::fetch_offsets, std::move(one), int16_t{9})), note.size() + RepeatRoom::kBytes);
}

TEST_F(GroupOffsetsApi, OnlyMembersOfTheGenerationCommitWhileThereAreMembers) {
  EXPECT_EQ(error_of(commit("t", 1, "m", 4)), wire(ErrorCode::kIllegalGeneration)) << "no such group";
  std::string member = stable_member();
  EXPECT_EQ(error_of(commit("t", 1)), wire(ErrorCode::kUnknownMemberId));
  EXPECT_EQ(error_of(commit("t", 1, member, 0)), wire(ErrorCode::kIllegalGeneration));
  EXPECT_EQ(error_of(commit("t", 1, "stranger", 1)), wire(ErrorCode::kUnknownMemberId));
  EXPECT_EQ(error_of(commit("t", 1, member, 1)), 0);
  EXPECT_EQ(offset_of("t"), 1);
}

TEST_F(GroupOffsetsApi, RefusedAppendChangesNothing) {
  commit("t", 1);
  for (auto [log_error, client_error] : {std::pair{ErrorCode::kNotEnoughReplicas, ErrorCode::kCoordinatorNotAvailable},
                                         {ErrorCode::kNotLeaderOrFollower, ErrorCode::kNotCoordinator},
                                         {ErrorCode::kKafkaStorageError, ErrorCode::kNotCoordinator},
                                         {ErrorCode::kMessageTooLarge, ErrorCode::kInvalidCommitOffsetSize},
                                         {ErrorCode::kRecordListTooLarge, ErrorCode::kInvalidCommitOffsetSize}}) {
    log.refuse_append = log_error;
    EXPECT_EQ(error_of(commit("t", 2)), wire(client_error));
  }
  log.refuse_append = ErrorCode::kNotEnoughReplicas;
  EXPECT_EQ(error_of(commit("t", 2, "", -1, "", -1, "fresh")), wire(ErrorCode::kCoordinatorNotAvailable));
  log.refuse_append.reset();
  EXPECT_EQ(offset_of("t"), 1);
  EXPECT_EQ(list()->groups.size(), 1u);
}

TEST_F(GroupOffsetsApi, RetentionTimeOfTheRequestIsStoredAsAnExpiry) {
  commit("t", 1, "", -1, "", 60'000);
  auto records = log.records();
  ASSERT_EQ(records.size(), 1u);
  auto parsed = parse_record(records[0].first, *records[0].second);
  EXPECT_EQ(base::load_be<int16_t>(records[0].second->data()), 1);
  EXPECT_EQ(std::get<OffsetRecord>(*parsed).offset->expire_timestamp_ms, runtime.clock().wall_ms() + 60'000);
}

TEST_F(GroupOffsetsApi, RetentionTimeMayBeAnyNumber) {
  for (int64_t retention_ms : {INT64_MAX, INT64_MAX - 1, INT64_MIN}) {
    commit("t", 1, "", -1, "", retention_ms);
    auto record = log.records().back();
    EXPECT_EQ(std::get<OffsetRecord>(*parse_record(record.first, *record.second)).offset->expire_timestamp_ms, retention_ms > 0 ? INT64_MAX : -1);
  }
  EXPECT_EQ(offset_of("t"), 1);
}

TEST_F(GroupOffsetsApi, RequireStableHoldsBackPartitionsWithAnOpenTransaction) {
  commit("t", 1);
  record::BuilderOptions options;
  options.producer_id = {5};
  options.producer_epoch = 0;
  options.transactional = true;
  record::BatchBuilder builder(options);
  builder.append(1, offset_key("g", "t", 0), offset_value({.offset = {9}}));
  log.put(builder.build());
  reload();
  EXPECT_EQ(fetch({{"t"}}, 7, true)->topics.at(0).partitions.at(0).error_code, wire(ErrorCode::kUnstableOffsetCommit));
  EXPECT_EQ(fetch({{"t"}}, 7, true)->topics.at(0).partitions.at(0).committed_offset, -1);
  EXPECT_EQ(fetch({{"t"}}, 7, false)->topics.at(0).partitions.at(0).committed_offset, 1);
  EXPECT_EQ(fetch({{"u"}}, 7, true)->topics.at(0).partitions.at(0).error_code, 0);
}

// --- retention -------------------------------------------------------------------------------------------------------------------

constexpr int64_t kDay = 86'400'000;

TEST_F(GroupExpiry, OffsetsOfASimpleGroupGoAfterTheirCommit) {
  commit("old", 1);
  runtime.advance(4 * kDay);
  commit("young", 2);
  runtime.advance(3 * kDay);
  EXPECT_EQ(offset_of("old"), -1);
  EXPECT_EQ(offset_of("young"), 2);
  runtime.advance(4 * kDay + 600'000);
  EXPECT_TRUE(list()->groups.empty());
  reload();
  EXPECT_TRUE(list()->groups.empty());
}

TEST_F(GroupExpiry, OffsetsOfAGroupWithMembersStayUntilItHasBeenEmptyForLong) {
  std::string member = stable_member("g", 1'800'000);
  commit("topic", 1, member, 1);
  for (int i = 0; i < 3 * 24 * 10; ++i) {
    runtime.advance(1'200'000);
    ASSERT_EQ(heartbeat(member, 1), 0);
  }
  EXPECT_EQ(offset_of("topic"), 1);
  leave({member});
  runtime.advance(7 * kDay - 600'000);
  EXPECT_EQ(offset_of("topic"), 1);
  runtime.advance(1'200'000);
  EXPECT_EQ(offset_of("topic"), -1);
  EXPECT_EQ(describe().group_state, "Dead");
  auto records = log.records();
  EXPECT_EQ(records.back().first, group_key("g")) << "the group has its own removal";
}

TEST_F(GroupExpiry, StableGroupLosesOnlyOffsetsOfTopicsItDoesNotRead) {
  std::string member = stable_member("g", 1'800'000);
  commit("topic", 1, member, 1);
  commit("left", 2, member, 1);
  for (int i = 0; i < 3 * 24 * 8; ++i) {
    runtime.advance(1'200'000);
    heartbeat(member, 1);
  }
  EXPECT_EQ(offset_of("topic"), 1);
  EXPECT_EQ(offset_of("left"), -1);
}

TEST_F(GroupExpiry, ExplicitExpiryIsTakenAtItsWord) {
  commit("short", 1, "", -1, "", 3'600'000);
  commit("long", 2, "", -1, "", 30 * kDay);
  runtime.advance(3'600'000 + 600'000);
  EXPECT_EQ(offset_of("short"), -1);
  runtime.advance(10 * kDay);
  EXPECT_EQ(offset_of("long"), 2);
}

TEST_F(GroupExpiry, TheTimeOfACommitMayBeAnyNumber) {
  record::BatchBuilder builder{record::BuilderOptions{}};
  for (auto [topic, ms] : {std::pair("first", INT64_MIN), {"last", INT64_MAX}}) {
    builder.append(1, offset_key("g", topic, 0), offset_value({.offset = {1}, .commit_timestamp_ms = ms}));
  }
  log.put(builder.build());
  reload();
  EXPECT_EQ(offset_of("first"), 1);
  runtime.advance(600'000);
  EXPECT_EQ(offset_of("first"), -1);
  runtime.advance(8 * kDay);
  EXPECT_EQ(offset_of("last"), 1);
}

TEST_F(GroupExpiry, GroupsBeyondOneStepAreLookedAtToo) {
  for (int i = 0; i < 600; ++i) commit("t", 1, "", -1, "", -1, "g" + std::to_string(i));
  EXPECT_EQ(list()->groups.size(), 600u);
  runtime.advance(8 * kDay);
  EXPECT_TRUE(list()->groups.empty());
}

}  // namespace
}  // namespace odradek::coordinator
