// The coordinator as clients see it, over a log in memory and a runtime in the test's hand.
#include "coordinator/group/group_coordinator.h"

#include <gtest/gtest.h>

#include "base/manual_runtime.h"
#include "coordinator/group/group_records.h"
#include "coordinator/group/group_test_util.h"
#include "coordinator/runtime/fake_log.h"
#include "metrics/registry.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/list_groups.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_delete.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/sync_group.h"
#include "record/batch_builder.h"
#include "record/control.h"

namespace odradek::coordinator {
namespace {

using namespace protocol;

constexpr int16_t wire(ErrorCode error) { return static_cast<int16_t>(error); }

// One partition, so every group is here.
struct Coordinator : ::testing::Test {
  base::ManualRuntime runtime;
  FakeLog log;
  TopicPartition tp{std::string(kGroupMetadataTopic), 0};
  GroupConfig config;
  std::unique_ptr<GroupCoordinator> groups;

  void make() {
    groups = std::make_unique<GroupCoordinator>(runtime, log, [] { return 1; }, config);
    groups->start();
  }
  void SetUp() override {
    config.initial_rebalance_delay_ms = 0;
    make();
    lead();
  }
  void TearDown() override {
    if (groups) groups->stop();
    runtime.run_until_idle();
  }
  void lead() {
    groups->on_leader(tp, log.leader_epoch);
    runtime.run_until_idle();
  }
  // Leadership goes away and comes back, here: everything is loaded from the log.
  void reload(bool truncate = false) {
    log.lose_leadership(truncate);
    groups->on_follower(tp, {log.leader_epoch.value + 1});
    log.leader_epoch.value += 1;
    log.take_leadership();
    lead();
  }

  template <class Response, class Request>
  Pending<Response> call(void (GroupCoordinator::*method)(Request, const ClientInfo&, UniqueFunction<void(Response)>), Request request,
                         int16_t version) {
    Pending<Response> pending;
    ((*groups).*method)(std::move(request), ClientInfo{"client", "/127.0.0.1", version},
                        [to = pending.answers](Response response) { to->push_back(std::move(response)); });
    runtime.run_until_idle();
    return pending;
  }

  Pending<JoinGroupResponse> join(const std::string& member = "", int16_t version = 9, std::optional<std::string> instance = std::nullopt,
                                  const std::string& group = "g", int32_t session_ms = 10'000) {
    JoinGroupRequest request;
    request.group_id = group;
    request.member_id = member;
    request.group_instance_id = std::move(instance);
    request.session_timeout_ms = session_ms;
    if (version > 0) request.rebalance_timeout_ms = 60'000;
    request.protocol_type = "consumer";
    auto& protocol = request.protocols.emplace_back();
    protocol.name = "range";
    protocol.metadata = subscription({"topic"});
    return call(&GroupCoordinator::join_group, std::move(request), version);
  }
  Pending<SyncGroupResponse> sync(const std::string& member, int32_t generation, std::vector<std::pair<std::string, Bytes>> assignments = {},
                                  const std::string& group = "g") {
    SyncGroupRequest request;
    request.group_id = group;
    request.member_id = member;
    request.generation_id = generation;
    request.protocol_type = "consumer";
    request.protocol_name = "range";
    for (auto& [id, bytes] : assignments) {
      auto& to = request.assignments.emplace_back();
      to.member_id = id;
      to.assignment = bytes;
    }
    return call(&GroupCoordinator::sync_group, std::move(request), int16_t{5});
  }
  int16_t heartbeat(const std::string& member, int32_t generation, const std::string& group = "g") {
    HeartbeatRequest request;
    request.group_id = group;
    request.member_id = member;
    request.generation_id = generation;
    return call(&GroupCoordinator::heartbeat, std::move(request), int16_t{4})->error_code;
  }
  Pending<LeaveGroupResponse> leave(std::vector<std::string> members, int16_t version = 5) {
    LeaveGroupRequest request;
    request.group_id = "g";
    if (version < 3) {
      request.member_id = members.at(0);
    } else {
      for (auto& id : members) request.members.emplace_back().member_id = id;
    }
    return call(&GroupCoordinator::leave_group, std::move(request), version);
  }
  Pending<OffsetCommitResponse> commit(const std::string& topic, int64_t offset, const std::string& member = "", int32_t generation = -1,
                                       const std::string& metadata = "", int64_t retention_ms = -1, const std::string& group = "g") {
    OffsetCommitRequest request;
    request.group_id = group;
    request.member_id = member;
    request.generation_id_or_member_epoch = generation;
    request.retention_time_ms = retention_ms;
    auto& to = request.topics.emplace_back();
    to.name = topic;
    auto& partition = to.partitions.emplace_back();
    partition.partition_index = 0;
    partition.committed_offset = offset;
    partition.committed_leader_epoch = 3;
    partition.committed_metadata = metadata;
    return call(&GroupCoordinator::commit_offsets, std::move(request), int16_t{9});
  }
  static int16_t error_of(const Pending<OffsetCommitResponse>& answer) { return answer->topics.at(0).partitions.at(0).error_code; }
  Pending<OffsetFetchResponse> fetch(std::optional<std::vector<std::string>> topics, int16_t version = 7, bool stable = false,
                                     const std::string& group = "g") {
    OffsetFetchRequest request;
    request.group_id = group;
    request.require_stable = stable;
    if (topics) {
      for (auto& name : *topics) {
        auto& to = request.topics->emplace_back();
        to.name = name;
        to.partition_indexes = {0};
      }
    } else {
      request.topics.reset();
    }
    return call(&GroupCoordinator::fetch_offsets, std::move(request), version);
  }
  int64_t offset_of(const std::string& topic, const std::string& group = "g") {
    return fetch({{topic}}, 7, false, group)->topics.at(0).partitions.at(0).committed_offset;
  }
  DescribeGroupsResponse::DescribedGroup describe(const std::string& group = "g", int16_t version = 5) {
    DescribeGroupsRequest request;
    request.groups = {group};
    return call(&GroupCoordinator::describe_groups, std::move(request), version)->groups.at(0);
  }
  Pending<ListGroupsResponse> list(std::vector<std::string> states = {}, std::vector<std::string> types = {}) {
    ListGroupsRequest request;
    request.states_filter = std::move(states);
    request.types_filter = std::move(types);
    return call(&GroupCoordinator::list_groups, std::move(request), int16_t{5});
  }
  int16_t remove_group(const std::string& group = "g") {
    DeleteGroupsRequest request;
    request.groups_names = {group};
    return call(&GroupCoordinator::delete_groups, std::move(request), int16_t{2})->results.at(0).error_code;
  }
  Pending<OffsetDeleteResponse> remove_offset(const std::string& topic, const std::string& group = "g") {
    OffsetDeleteRequest request;
    request.group_id = group;
    auto& to = request.topics.emplace_back();
    to.name = topic;
    to.partitions.emplace_back();
    return call(&GroupCoordinator::delete_offsets, std::move(request), int16_t{0});
  }

  // One member, stable in generation 1; its id.
  std::string stable_member(const std::string& group = "g", int32_t session_ms = 10'000) {
    auto first = join("", 3, std::nullopt, group, session_ms);
    runtime.advance(1);
    EXPECT_EQ(first->error_code, 0);
    auto synced = sync(first->member_id, first->generation_id, {{first->member_id, text("all")}}, group);
    EXPECT_EQ(synced->error_code, 0);
    return first->member_id;
  }
};

using GroupLife = Coordinator;
using GroupOffsetsApi = Coordinator;
using GroupDurability = Coordinator;
using GroupLoading = Coordinator;
using GroupAdmin = Coordinator;
using GroupExpiry = Coordinator;

// --- membership over the API ---------------------------------------------------------------------------------------------------

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

// --- what stands when --------------------------------------------------------------------------------------------------------

TEST_F(GroupDurability, CommitIsAnsweredWhenTheHighWatermarkHasPassedIt) {
  log.commit_at_once = false;
  auto committed = commit("t", 5);
  EXPECT_FALSE(committed.answered());
  auto fetched = fetch({{"t"}});
  EXPECT_FALSE(fetched.answered()) << "it has seen what may still be lost";
  auto other = fetch({{"t"}}, 7, false, "other");
  EXPECT_TRUE(other.answered());
  log.commit_all();
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), 0);
  EXPECT_EQ(fetched->topics.at(0).partitions.at(0).committed_offset, 5);
}

TEST_F(GroupDurability, ThatAGroupIsGoneIsToldWhenItsRemovalIsSafe) {
  commit("t", 5);
  log.commit_at_once = false;
  DeleteGroupsRequest request;
  request.groups_names = {"g"};
  auto removed = call(&GroupCoordinator::delete_groups, std::move(request), int16_t{2});
  auto fetched = fetch({{"t"}});
  DescribeGroupsRequest describe_request;
  describe_request.groups = {"g"};
  auto described = call(&GroupCoordinator::describe_groups, std::move(describe_request), int16_t{5});
  EXPECT_FALSE(removed.answered() || fetched.answered() || described.answered());
  log.commit_all();
  runtime.run_until_idle();
  EXPECT_EQ(removed->results.at(0).error_code, 0);
  EXPECT_EQ(fetched->topics.at(0).partitions.at(0).committed_offset, -1);
  EXPECT_EQ(described->groups.at(0).group_state, "Dead");
}

TEST_F(GroupDurability, WaitingIsLimitedByTheCommitTimeout) {
  log.commit_at_once = false;
  auto committed = commit("t", 5);
  auto fetched = fetch({{"t"}});
  runtime.advance(4'999);
  EXPECT_FALSE(committed.answered());
  runtime.advance(1);
  EXPECT_EQ(error_of(committed), wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(fetched->error_code, wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_TRUE(fetched->topics.empty());
  log.commit_all();
  EXPECT_EQ(offset_of("t"), 5) << "it was in the log all the time";
}

TEST_F(GroupDurability, AssignmentsAreHandedOutWhenTheirRecordIsSafe) {
  auto first = join("", 3);
  runtime.advance(1);
  log.commit_at_once = false;
  auto synced = sync(first->member_id, 1, {{first->member_id, text("x")}});
  EXPECT_FALSE(synced.answered());
  EXPECT_EQ(heartbeat(first->member_id, 1), 0) << "tells nothing of it";
  log.commit_all();
  runtime.run_until_idle();
  EXPECT_EQ(synced->assignment, text("x"));
}

TEST_F(GroupDurability, LostLeadershipAnswersAllWhoWait) {
  std::string member = stable_member();
  auto rebalancing = join("", 3);
  EXPECT_FALSE(rebalancing.answered());
  log.commit_at_once = false;
  auto committed = commit("t", 5, member, 1);
  log.lose_leadership(true);
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), wire(ErrorCode::kNotCoordinator));
  groups->on_follower(tp, {1});
  EXPECT_EQ(rebalancing->error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(error_of(commit("t", 6)), wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(join()->error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(heartbeat(member, 1), wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(describe().error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(remove_group(), wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(remove_offset("t")->error_code, wire(ErrorCode::kNotCoordinator));
}

TEST_F(GroupDurability, WhatWasNotCommittedIsGoneWithTheOldLeader) {
  commit("t", 1);
  log.commit_at_once = false;
  commit("t", 2);
  commit("u", 3);
  reload(true);
  log.commit_at_once = true;
  EXPECT_EQ(offset_of("t"), 1);
  EXPECT_EQ(offset_of("u"), -1);
}

TEST_F(GroupDurability, GroupsAndOffsetsAreBackAfterAMove) {
  std::string member = stable_member();
  commit("t", 7, member, 1, "note");
  reload();
  EXPECT_EQ(offset_of("t"), 7);
  EXPECT_EQ(describe().group_state, "Stable");
  EXPECT_EQ(heartbeat(member, 1), 0);
  EXPECT_EQ(sync(member, 1)->assignment, text("all"));
  EXPECT_EQ(error_of(commit("t", 8, member, 1)), 0);
  runtime.advance(10'001);
  EXPECT_EQ(describe().group_state, "Empty") << "sessions run from the load on";
}

// A follower that goes away is put out of the ISR in a new epoch of the same leader.
TEST_F(GroupDurability, GroupsGoOnWhenTheirLeaderGoesOnInANewEpoch) {
  std::string member = stable_member();
  auto rebalancing = join("", 3);
  log.commit_at_once = false;
  auto committed = commit("t", 1, member, 1);
  log.go_on_leading();
  groups->on_leader(tp, log.leader_epoch);
  EXPECT_EQ(heartbeat(member, 1), wire(ErrorCode::kRebalanceInProgress));
  EXPECT_FALSE(rebalancing.answered() || committed.answered());
  log.commit_all();
  log.commit_at_once = true;
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), 0);
  EXPECT_EQ(error_of(commit("t", 2, member, 1)), 0);
  auto again = join(member, 3);
  EXPECT_EQ(again->generation_id, 2);
  EXPECT_EQ(rebalancing->generation_id, 2);
  groups->on_follower(tp, {log.leader_epoch.value - 1});
  EXPECT_EQ(offset_of("t"), 2) << "news of an older epoch";
  reload();
  EXPECT_EQ(offset_of("t"), 2);
}

TEST_F(GroupDurability, StaticMemberKeepsItsPlaceOverAMove) {
  auto first = join("", 9, "instance");
  runtime.advance(1);
  sync(first->member_id, 1, {{first->member_id, text("x")}});
  auto back = join("", 9, "instance");
  ASSERT_EQ(back->error_code, 0);
  EXPECT_TRUE(back->skip_assignment);
  reload();
  EXPECT_EQ(heartbeat(back->member_id, 1), 0);
  EXPECT_EQ(describe().members.at(0).group_instance_id, "instance");
  auto third = join("", 9, "instance");
  EXPECT_EQ(third->generation_id, 1);
}

TEST_F(GroupDurability, TooFewReplicasAfterTheAppendIsAnErrorButStands) {
  struct Shrinking : FakeLog {
    UniqueFunction<void(ErrorCode)> held;
    Result<Offset> append(const TopicPartition&, LeaderEpoch, Bytes batch, UniqueFunction<void(ErrorCode)> committed) override {
      held = std::move(committed);
      return put(std::move(batch));
    }
  } shrinking;
  groups = std::make_unique<GroupCoordinator>(runtime, shrinking, [] { return 1; }, config);
  groups->on_leader(tp, {0});
  runtime.run_until_idle();
  auto committed = commit("t", 3);
  EXPECT_FALSE(committed.answered());
  shrinking.held(ErrorCode::kNotEnoughReplicasAfterAppend);
  runtime.run_until_idle();
  EXPECT_EQ(error_of(committed), wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(offset_of("t"), 3);
  groups.reset();
}

TEST_F(GroupDurability, StopAnswersAllWhoWaitAndEveryoneAfterwards) {
  stable_member();
  auto rebalancing = join("", 3);
  groups->stop();
  EXPECT_EQ(rebalancing->error_code, wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(error_of(commit("t", 1)), wire(ErrorCode::kCoordinatorNotAvailable));
  EXPECT_EQ(list()->error_code, wire(ErrorCode::kCoordinatorNotAvailable));
}

// --- loading -------------------------------------------------------------------------------------------------------------------

TEST_F(GroupLoading, MeanwhileEachApiSaysSoInItsOwnWay) {
  std::string member = stable_member();
  log.lose_leadership(false);
  groups->on_follower(tp, {1});
  log.leader_epoch = {1};
  log.take_leadership();
  groups->on_leader(tp, log.leader_epoch);  // nothing has run yet

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

  runtime.run_until_idle();
  EXPECT_EQ(heartbeat(member, 1), 0);
  EXPECT_EQ(list()->error_code, 0);
}

TEST_F(GroupLoading, OldFetchVersionsCarryTheErrorInEachPartition) {
  groups->on_follower(tp, {1});
  auto answer = fetch({{"t"}}, 1);
  EXPECT_EQ(answer->topics.at(0).partitions.at(0).error_code, wire(ErrorCode::kNotCoordinator));
  EXPECT_EQ(answer->topics[0].partitions[0].committed_offset, -1);
}

TEST_F(GroupLoading, EndsWhenTheHighWatermarkHasPassedWhatWasRead) {
  commit("t", 1);
  log.lose_leadership(false);
  groups->on_follower(tp, {1});
  log.leader_epoch = {2};
  log.leads = true;
  log.commit_to({0});
  groups->on_leader(tp, log.leader_epoch);
  runtime.run_until_idle();
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kCoordinatorLoadInProgress));
  runtime.advance(50);
  EXPECT_EQ(fetch({{"t"}})->error_code, wire(ErrorCode::kCoordinatorLoadInProgress));
  log.commit_all();
  runtime.advance(10);
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

// --- administration --------------------------------------------------------------------------------------------------------------

TEST_F(GroupAdmin, DescribeShowsMembersAndTheirAssignmentOnlyInStable) {
  std::string member = stable_member();
  auto described = describe();
  EXPECT_EQ(described.error_code, 0);
  EXPECT_EQ(described.group_state, "Stable");
  EXPECT_EQ(described.protocol_type, "consumer");
  EXPECT_EQ(described.protocol_data, "range");
  ASSERT_EQ(described.members.size(), 1u);
  EXPECT_EQ(described.members[0].member_id, member);
  EXPECT_EQ(described.members[0].client_id, "client");
  EXPECT_EQ(described.members[0].client_host, "/127.0.0.1");
  EXPECT_EQ(described.members[0].member_metadata, subscription({"topic"}));
  EXPECT_EQ(described.members[0].member_assignment, text("all"));
  join("", 3);
  described = describe();
  EXPECT_EQ(described.group_state, "PreparingRebalance");
  EXPECT_EQ(described.protocol_data, "");
  EXPECT_EQ(described.members.size(), 2u);
  EXPECT_TRUE(described.members[0].member_assignment.empty());
  EXPECT_TRUE(described.members[0].member_metadata.empty());
}

TEST_F(GroupAdmin, UnknownGroupIsDescribedAsDead) {
  EXPECT_EQ(describe("nobody").group_state, "Dead");
  EXPECT_EQ(describe("nobody").error_code, 0);
  EXPECT_EQ(describe("nobody", 6).error_code, wire(ErrorCode::kGroupIdNotFound));
  EXPECT_EQ(describe("nobody", 6).error_message, "Group nobody not found.");
}

TEST_F(GroupAdmin, AGroupThatIsNamedTooOftenIsNotToldEachTime) {
  commit("t", 1);
  DescribeGroupsRequest describe;
  describe.groups.assign(103, "g");
  describe.groups.push_back("other");
  auto described = call(&GroupCoordinator::describe_groups, std::move(describe), int16_t{5});
  OffsetFetchRequest fetch;
  for (int i = 0; i < 103; ++i) {
    auto& group = fetch.groups.emplace_back();
    group.group_id = "g";
    group.topics.reset();
  }
  auto fetched = call(&GroupCoordinator::fetch_offsets, std::move(fetch), int16_t{8});
  ASSERT_EQ(described->groups.size(), 104u);
  ASSERT_EQ(fetched->groups.size(), 103u);
  for (size_t i = 0; i < 103; ++i) {
    EXPECT_EQ(described->groups[i].error_code, i < 100 ? 0 : wire(ErrorCode::kInvalidRequest)) << i;
    EXPECT_EQ(fetched->groups[i].error_code, i < 100 ? 0 : wire(ErrorCode::kInvalidRequest)) << i;
    EXPECT_EQ(fetched->groups[i].topics.size(), i < 100 ? 1u : 0u);
  }
  EXPECT_EQ(described->groups[103].error_code, 0);
}

TEST_F(GroupAdmin, ListFiltersByStateAndType) {
  stable_member("stable");
  commit("t", 1, "", -1, "", -1, "offsets");
  auto all = list();
  ASSERT_EQ(all->groups.size(), 2u);
  for (const auto& group : all->groups) {
    EXPECT_EQ(group.group_type, "classic");
    EXPECT_EQ(group.protocol_type, group.group_id == "stable" ? "consumer" : "");
    EXPECT_EQ(group.group_state, group.group_id == "stable" ? "Stable" : "Empty");
  }
  ASSERT_EQ(list({"Stable", "Dead"})->groups.size(), 1u);
  EXPECT_EQ(list({"Stable"})->groups[0].group_id, "stable");
  EXPECT_EQ(list({}, {"classic"})->groups.size(), 2u);
  EXPECT_TRUE(list({}, {"consumer"})->groups.empty());
}

TEST_F(GroupAdmin, DeletedGroupIsGoneFromTheLogToo) {
  std::string member = stable_member();
  commit("t", 1, member, 1);
  EXPECT_EQ(remove_group(), wire(ErrorCode::kNonEmptyGroup));
  leave({member});
  EXPECT_EQ(remove_group(), 0);
  EXPECT_EQ(remove_group(), wire(ErrorCode::kGroupIdNotFound));
  EXPECT_EQ(describe().group_state, "Dead");
  auto records = log.records();
  EXPECT_EQ(records[records.size() - 2].first, offset_key("g", "t", 0));
  EXPECT_FALSE(records[records.size() - 2].second);
  EXPECT_EQ(records.back().first, group_key("g"));
  EXPECT_FALSE(records.back().second);
  reload();
  EXPECT_TRUE(list()->groups.empty());
}

TEST_F(GroupAdmin, LargeGroupIsDeletedInSeveralBatches) {
  OffsetCommitRequest request;
  request.group_id = "g";
  auto& topic = request.topics.emplace_back();
  topic.name = std::string(200, 't');
  for (int i = 0; i < 5'000; ++i) topic.partitions.emplace_back().partition_index = i;
  call(&GroupCoordinator::commit_offsets, std::move(request), int16_t{9});
  size_t before = log.batches.size();
  EXPECT_EQ(remove_group(), 0);
  EXPECT_GT(log.batches.size(), before + 2);
  for (size_t i = before; i < log.batches.size(); ++i) EXPECT_LT(log.batches[i].size(), 300'000u);
  reload();
  EXPECT_TRUE(list()->groups.empty());
}

TEST_F(GroupAdmin, GroupThatCannotBeRemovedStays) {
  commit("t", 1);
  log.refuse_append = ErrorCode::kNotEnoughReplicas;
  EXPECT_EQ(remove_group(), wire(ErrorCode::kCoordinatorNotAvailable));
  log.refuse_append.reset();
  EXPECT_EQ(offset_of("t"), 1);
}

TEST_F(GroupAdmin, OffsetsOfSubscribedTopicsCannotBeDeleted) {
  EXPECT_EQ(remove_offset("t")->error_code, wire(ErrorCode::kGroupIdNotFound));
  std::string member = stable_member();
  commit("topic", 1, member, 1);
  commit("other", 2, member, 1);
  EXPECT_EQ(remove_offset("topic")->topics.at(0).partitions.at(0).error_code, wire(ErrorCode::kGroupSubscribedToTopic));
  EXPECT_EQ(remove_offset("other")->topics.at(0).partitions.at(0).error_code, 0);
  EXPECT_EQ(offset_of("topic"), 1);
  EXPECT_EQ(offset_of("other"), -1);
  leave({member});
  EXPECT_EQ(remove_offset("never")->topics.at(0).partitions.at(0).error_code, 0);
  EXPECT_EQ(remove_offset("topic")->topics.at(0).partitions.at(0).error_code, 0);
  reload();
  EXPECT_EQ(offset_of("topic"), -1);
}

TEST_F(GroupAdmin, GroupWithoutMembersGoesWithItsLastOffset) {
  std::string member = stable_member();
  commit("topic", 1, member, 1);
  commit("u", 2, member, 1);
  leave({member});
  EXPECT_EQ(remove_offset("u")->topics.at(0).partitions.at(0).error_code, 0);
  EXPECT_EQ(describe().group_state, "Empty");
  EXPECT_EQ(remove_offset("topic")->topics.at(0).partitions.at(0).error_code, 0);
  EXPECT_EQ(describe().group_state, "Dead");
  EXPECT_EQ(log.records().back(), (std::pair<Bytes, std::optional<Bytes>>(group_key("g"), std::nullopt)));
  member = stable_member();
  commit("topic", 1, member, 1);
  leave({member});
  groups->on_partitions_deleted({{"topic", 0}});
  runtime.run_until_idle();
  EXPECT_EQ(describe().group_state, "Dead");
  reload();
  EXPECT_TRUE(list()->groups.empty());
}

TEST_F(GroupAdmin, OffsetsOfDeletedTopicsGoFromEveryGroup) {
  commit("t", 1, "", -1, "", -1, "g1");
  commit("t", 2, "", -1, "", -1, "g2");
  commit("u", 3, "", -1, "", -1, "g2");
  groups->on_partitions_deleted({{"t", 0}, {"t", 1}});
  runtime.run_until_idle();
  EXPECT_EQ(offset_of("t", "g1"), -1);
  EXPECT_EQ(offset_of("t", "g2"), -1);
  EXPECT_EQ(offset_of("u", "g2"), 3);
  reload();
  EXPECT_EQ(offset_of("t", "g2"), -1);
}

TEST_F(GroupAdmin, MetricsCountGroupsByStateAndOffsets) {
  metrics::Registry registry(runtime.clock());
  groups->register_metrics(registry);
  auto value = [&](const std::string& name) {
    std::string text = registry.prometheus_text();
    size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? std::string("none") : text.substr(at + name.size() + 2, text.find('\n', at + 1) - at - name.size() - 2);
  };
  const std::string prefix = "kafka_coordinator_group_groupmetadatamanager_";
  EXPECT_EQ(value(prefix + "numgroups"), "0");
  std::string member = stable_member();
  commit("topic", 1, member, 1);
  commit("t", 1, "", -1, "", -1, "simple");
  commit("t", 2, "", -1, "", -1, "simple");
  EXPECT_EQ(value(prefix + "numgroups"), "2");
  EXPECT_EQ(value(prefix + "numgroupsstable"), "1");
  EXPECT_EQ(value(prefix + "numgroupsempty"), "1");
  EXPECT_EQ(value(prefix + "numoffsets"), "2");
  EXPECT_EQ(value("kafka_server_group_coordinator_metrics_offset_commit_total"), "3");
  EXPECT_EQ(value("kafka_server_group_coordinator_metrics_group_completed_rebalance_total"), "1");
  remove_group("simple");
  EXPECT_EQ(value(prefix + "numgroups"), "1");
  EXPECT_EQ(value(prefix + "numoffsets"), "1");
  reload();
  EXPECT_EQ(value(prefix + "numgroupsstable"), "1");
  EXPECT_EQ(value(prefix + "numoffsets"), "1");
  groups->on_follower(tp, {9});
  EXPECT_EQ(value(prefix + "numgroups"), "0");
  EXPECT_EQ(value(prefix + "numoffsets"), "0");
  groups.reset();
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
