// What administrators see and remove, over the API.
#include "coordinator/group/group_coordinator.h"

#include <gtest/gtest.h>

#include "coordinator/group/group_coordinator_test_util.h"

namespace odradek::coordinator {
namespace {

using GroupAdmin = Coordinator;

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
  runtime.run_until_idle();
  EXPECT_EQ(value(prefix + "numgroups"), "0");
  EXPECT_EQ(value(prefix + "numoffsets"), "0");
  groups.reset();
}

}  // namespace
}  // namespace odradek::coordinator
