// The coordinator as clients see it, over a log in memory and a runtime in the test's hand.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/manual_runtime.h"
#include "coordinator/group/group_coordinator.h"
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

namespace odradek::coordinator {

using namespace protocol;

inline constexpr int16_t wire(ErrorCode error) { return static_cast<int16_t>(error); }

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

}  // namespace odradek::coordinator
