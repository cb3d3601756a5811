#include "coordinator/group/group_records.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "coordinator/group/group_loader.h"
#include "coordinator/group/group_test_util.h"
#include "coordinator/runtime/fake_log.h"
#include "protocol/codec.h"
#include "protocol/messages/group_metadata_value.h"
#include "protocol/messages/offset_commit_value.h"
#include "record/batch_builder.h"
#include "record/control.h"
#include "record/message.h"

namespace odradek::coordinator {
namespace {

std::string hex(ByteView bytes) {
  std::string out;
  for (uint8_t byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

TEST(GroupRecords, OffsetIsWrittenAsKafkaWritesIt) {
  CommittedOffset offset{.offset = {2}, .leader_epoch = {0}, .metadata = "m", .commit_timestamp_ms = 0x1a2015abb62};
  EXPECT_EQ(hex(offset_value(offset)), "0003000000000000000200000000" "00016d" "000001a2015abb62");
  EXPECT_EQ(hex(offset_key("gtx", "t2", 0)), "0001" "0003677478" "00027432" "00000000");
}

TEST(GroupRecords, OffsetWithItsOwnExpiryIsVersion1) {
  CommittedOffset offset{.offset = {2}, .leader_epoch = {5}, .metadata = "m", .commit_timestamp_ms = 3, .expire_timestamp_ms = 4};
  EXPECT_EQ(hex(offset_value(offset)), "0001" "0000000000000002" "00016d" "0000000000000003" "0000000000000004");
}

TEST(GroupRecords, GroupIsWrittenAsKafkaWritesIt) {
  GroupConfig config;
  Group::Stored stored;
  stored.protocol_type = "consumer";
  stored.generation = 1;
  stored.protocol_name = "range";
  stored.leader = "inst-1";
  stored.state_timestamp_ms = 0x1a2015acf4d;
  Group::Member& member = stored.members.emplace_back();
  member.id = "inst-1";
  member.instance_id = "inst";
  member.client_id = "cl";
  member.client_host = "/127.0.0.1";
  member.rebalance_timeout_ms = 300'000;
  member.session_timeout_ms = 45'000;
  member.protocols = {{"range", {1, 2}}};
  member.assignment = {3};
  Group group("g", config, std::move(stored));
  EXPECT_EQ(hex(group_key("g")), "0002" "000167");
  EXPECT_EQ(hex(group_value(group)),
            "0003" "0008636f6e73756d6572" "00000001" "000572616e6765" "0006696e73742d31" "000001a2015acf4d" "00000001"
            "0006696e73742d31" "0004696e7374" "0002636c" "000a2f3132372e302e302e31" "000493e0" "0000afc8" "000000020102" "0000000103");
}

TEST(GroupRecords, GroupGoesThroughItsBytesUnchanged) {
  GroupConfig config;
  Group empty("g", config, Now{0, 77});
  auto parsed = parse_record(group_key("g"), group_value(empty));
  ASSERT_TRUE(parsed);
  auto& record = std::get<GroupRecord>(*parsed);
  ASSERT_TRUE(record.stored);
  EXPECT_EQ(record.stored->protocol_type, "");
  EXPECT_FALSE(record.stored->protocol_name);
  EXPECT_FALSE(record.stored->leader);
  EXPECT_EQ(record.stored->state_timestamp_ms, 77);
}

TEST(GroupRecords, EveryVersionOfAnOffsetIsRead) {
  for (int16_t version = 0; version <= 4; ++version) {
    protocol::OffsetCommitValue value;
    value.offset = 10;
    value.leader_epoch = version >= 3 ? 4 : -1;
    value.metadata = "meta";
    value.commit_timestamp = 11;
    value.expire_timestamp = version == 1 ? 12 : -1;
    auto parsed = parse_record(offset_key("g", "t", 3), protocol::encode_versioned(value, version));
    ASSERT_TRUE(parsed) << version << parsed.error().what;
    auto& record = std::get<OffsetRecord>(*parsed);
    EXPECT_EQ(record.group, "g");
    EXPECT_EQ(record.topic, "t");
    EXPECT_EQ(record.partition, 3);
    EXPECT_EQ(record.offset->offset.value, 10);
    EXPECT_EQ(record.offset->leader_epoch.value, version >= 3 ? 4 : -1);
    EXPECT_EQ(record.offset->expire_timestamp_ms, version == 1 ? 12 : -1);
  }
}

TEST(GroupRecords, EveryVersionOfAGroupIsRead) {
  for (int16_t version = 0; version <= 4; ++version) {
    protocol::GroupMetadataValue value;
    value.protocol_type = "consumer";
    value.generation = 9;
    value.protocol = "range";
    value.leader = "m";
    value.current_state_timestamp = version >= 2 ? 5 : -1;
    auto& member = value.members.emplace_back();
    member.member_id = "m";
    member.session_timeout = 10;
    member.rebalance_timeout = version >= 1 ? 20 : -1;
    member.subscription = {1};
    auto parsed = parse_record(group_key("g"), protocol::encode_versioned(value, version));
    ASSERT_TRUE(parsed) << version << parsed.error().what;
    auto& stored = *std::get<GroupRecord>(*parsed).stored;
    EXPECT_EQ(stored.generation, 9);
    EXPECT_EQ(stored.members.at(0).rebalance_timeout_ms, version >= 1 ? 20 : 10) << "version 0 has none: the session timeout";
    EXPECT_EQ(stored.state_timestamp_ms, version >= 2 ? 5 : -1);
    EXPECT_EQ(stored.members[0].protocols.at(0).name, "range");
  }
}

TEST(GroupRecords, OtherKindsOfKeysAreLeftAlone) {
  Bytes key;
  base::append_be<int16_t>(key, 5);
  EXPECT_TRUE(std::holds_alternative<OtherRecord>(*parse_record(key, Bytes{1, 2, 3})));
  EXPECT_EQ(parse_record(Bytes{1}, std::nullopt).error().code, ErrorCode::kInvalidRequest);
}

// --- loading -----------------------------------------------------------------------------------------------------------------

struct Loading : ::testing::Test {
  FakeLog log;
  TopicPartition tp{std::string(kGroupMetadataTopic), 0};

  void put_offset(const std::string& group, const std::string& topic, int64_t offset, ProducerId producer = kNoProducer) {
    record::BuilderOptions options;
    options.producer_id = producer;
    options.producer_epoch = producer == kNoProducer ? -1 : 0;
    options.transactional = producer != kNoProducer;
    record::BatchBuilder builder(options);
    builder.append(1, offset_key(group, topic, 0), offset_value({.offset = {offset}, .commit_timestamp_ms = 1}));
    log.put(builder.build());
  }
  void put_removal(Bytes key) {
    record::BatchBuilder builder({});
    builder.append(1, key, std::nullopt);
    log.put(builder.build());
  }
  void put_marker(ProducerId producer, record::ControlType type) { log.put(record::build_end_txn_marker({type, 0}, 1, producer, 0)); }
  LoadedState load(int32_t buffer = 5 << 20) {
    auto state = load_groups(log, tp, log.leader_epoch, buffer, [] { return true; });
    EXPECT_TRUE(state) << state.error().what;
    return state ? std::move(*state) : LoadedState{};
  }
  static int64_t offset_of(LoadedState& state, const std::string& group, const std::string& topic) {
    auto found = state.groups.find(group);
    if (found == state.groups.end()) return -2;
    const CommittedOffset* offset = found->second.offsets.find(topic, 0);
    return offset ? offset->offset.value : -1;
  }
};

TEST_F(Loading, LaterRecordsWin) {
  put_offset("g", "t", 1);
  put_offset("g", "t", 7);
  put_offset("g", "u", 3);
  put_removal(offset_key("g", "u", 0));
  put_offset("gone", "t", 1);
  put_removal(offset_key("gone", "t", 0));
  auto state = load();
  EXPECT_EQ(offset_of(state, "g", "t"), 7);
  EXPECT_EQ(offset_of(state, "g", "u"), -1);
  EXPECT_EQ(offset_of(state, "gone", "t"), -2) << "nothing is left of it";
  EXPECT_EQ(state.end, log.end());
  EXPECT_EQ(state.records, 6);
}

TEST_F(Loading, SmallBufferReadsTheSame) {
  for (int i = 0; i < 100; ++i) put_offset("g" + std::to_string(i % 10), "t", i);
  auto state = load(100);
  EXPECT_EQ(state.groups.size(), 10u);
  EXPECT_EQ(offset_of(state, "g9", "t"), 99);
}

TEST_F(Loading, OffsetsOfATransactionCountFromItsCommitMarkerOn) {
  put_offset("g", "t", 1);
  put_offset("g", "t", 5, {77});
  put_offset("h", "t", 6, {77});
  put_offset("g", "u", 9, {88});
  put_marker({77}, record::ControlType::kCommit);
  put_marker({88}, record::ControlType::kAbort);
  put_offset("g", "open", 4, {99});
  auto state = load();
  EXPECT_EQ(offset_of(state, "g", "t"), 5);
  EXPECT_EQ(offset_of(state, "h", "t"), 6);
  EXPECT_EQ(offset_of(state, "g", "u"), -1);
  EXPECT_EQ(offset_of(state, "g", "open"), -1);
  EXPECT_TRUE(state.groups.at("g").offsets.has_pending("open", 0));
  EXPECT_FALSE(state.groups.at("g").offsets.has_pending("u", 0));
}

TEST_F(Loading, CommitOutsideTheTransactionThatCameLaterStays) {
  put_offset("g", "t", 5, {77});
  put_offset("g", "t", 8);
  put_marker({77}, record::ControlType::kCommit);
  auto state = load();
  EXPECT_EQ(offset_of(state, "g", "t"), 8);
}

TEST_F(Loading, GroupThatWasRemovedIsNotThere) {
  GroupConfig config;
  Group group("g", config, Now{});
  record::BatchBuilder builder({});
  builder.append(1, group_key("g"), group_value(group));
  log.put(builder.build());
  EXPECT_EQ(load().groups.size(), 1u);
  put_removal(group_key("g"));
  EXPECT_EQ(load().groups.size(), 0u);
}

TEST_F(Loading, UnreadableRecordCostsOnlyItself) {
  record::BatchBuilder builder({});
  builder.append(1, offset_key("g", "t", 0), Bytes{0, 3, 9});
  builder.append(1, Bytes{0, 1, 0}, Bytes{0, 3, 9});
  builder.append(1, std::nullopt, Bytes{1});
  builder.append(1, offset_key("g", "t", 1), offset_value({.offset = {4}}));
  log.put(builder.build());
  auto state = load();
  EXPECT_EQ(state.unreadable, 3);
  EXPECT_NE(state.groups.at("g").offsets.find("t", 1), nullptr);
}

TEST_F(Loading, ValueOfANewerVersionStopsTheLoad) {
  record::BatchBuilder builder({});
  builder.append(1, offset_key("g", "t", 0), Bytes{0, 99, 9});
  log.put(builder.build());
  auto state = load_groups(log, tp, log.leader_epoch, 1'000, [] { return true; });
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code, ErrorCode::kUnsupportedVersion);
}

TEST_F(Loading, CompressedBatchesAreRead) {
  record::BuilderOptions options;
  options.codec = record::Codec::kGzip;
  record::BatchBuilder builder(options);
  for (int i = 0; i < 50; ++i) builder.append(1, offset_key("g", "t", i), offset_value({.offset = {i}}));
  log.put(builder.build());
  auto state = load();
  EXPECT_EQ(state.groups.at("g").offsets.size(), 50u);
}

TEST_F(Loading, MessagesOfOldFormatsAreRead) {
  Bytes plain, inner, all;
  auto put = [](Bytes& to, int8_t magic, int64_t at, int32_t partition) {
    Bytes key = offset_key("g", "t", partition), value = offset_value({.offset = {100 + partition}});
    record::put_message(to, magic, {at}, 1, 0, ByteView(key), ByteView(value));
  };
  put(all, record::kMagicV0, 0, 0);
  put(all, record::kMagicV1, 1, 1);
  put(inner, record::kMagicV1, 0, 2);
  put(inner, record::kMagicV1, 1, 0);
  Bytes value = *record::compress(record::Codec::kGzip, record::kDefaultGzipLevel, inner, record::kMagicV1);
  record::put_message(all, record::kMagicV1, {3}, 1, static_cast<uint8_t>(record::Codec::kGzip), std::nullopt, ByteView(value));
  GroupLoader loader(tp);
  auto added = loader.add(all);
  ASSERT_TRUE(added) << added.error().what;
  EXPECT_EQ(loader.next_offset().value, 4);
  LoadedState state = std::move(loader).finish();
  EXPECT_EQ(state.groups.at("g").offsets.size(), 3u);
  EXPECT_EQ(state.groups.at("g").offsets.find("t", 0)->record.value, 3);
  EXPECT_EQ(state.groups.at("g").offsets.find("t", 2)->offset.value, 102);
}

// Written by Apache Kafka 3.9.2 (ZooKeeper mode): a static member, a group of two, simple commits with and without a retention time,
// a deleted group, deleted offsets, a group that lost its member, and three transactions: committed, aborted, open.
TEST_F(Loading, LogOfAKafkaBrokerIsReadAsKafkaReadsIt) {
  auto bytes = base::read_file(base::posix_files(), std::string(ODRADEK_SOURCE_DIR) + "/src/coordinator/group/testdata/consumer-offsets-3.9.2.log", 1 << 20);
  ASSERT_TRUE(bytes) << bytes.error().what;
  GroupLoader loader(tp);
  ASSERT_TRUE(loader.add(*bytes));
  LoadedState state = std::move(loader).finish();
  EXPECT_EQ(state.end.value, 22);
  EXPECT_EQ(state.unreadable, 0);
  ASSERT_EQ(state.groups.size(), 5u);

  auto& fixed = state.groups.at("static-group");
  ASSERT_TRUE(fixed.stored);
  ASSERT_EQ(fixed.stored->members.size(), 1u);
  EXPECT_EQ(fixed.stored->members[0].id, "inst0-c81b4c21-6058-46a2-ac13-7f33a7fc8ddf");
  EXPECT_EQ(fixed.stored->members[0].instance_id, "inst0");
  EXPECT_EQ(fixed.stored->members[0].client_host, "/127.0.0.1");
  EXPECT_EQ(fixed.stored->members[0].session_timeout_ms, 300'000);
  EXPECT_EQ(fixed.stored->members[0].rebalance_timeout_ms, 8'000);
  EXPECT_EQ(fixed.stored->members[0].assignment, text("to 0"));
  EXPECT_EQ(fixed.offsets.find("orders", 0)->metadata, "m");
  EXPECT_EQ(fixed.offsets.find("orders", 0)->leader_epoch.value, 7);

  EXPECT_EQ(state.groups.at("two-members").stored->members.size(), 2u);
  EXPECT_EQ(state.groups.at("two-members").offsets.find("orders", 1)->offset.value, 7);

  auto& simple = state.groups.at("simple");
  EXPECT_FALSE(simple.stored);
  EXPECT_EQ(simple.offsets.size(), 2u);
  EXPECT_EQ(simple.offsets.find("orders", 0)->offset.value, 12);
  EXPECT_EQ(simple.offsets.find("orders", 1)->offset.value, 13);
  EXPECT_EQ(simple.offsets.find("orders", 1)->expire_timestamp_ms, 1797989496827);

  EXPECT_TRUE(state.groups.at("emptied").stored->members.empty());
  EXPECT_EQ(state.groups.at("emptied").stored->generation, 2);

  auto& transactional = state.groups.at("txn-group");
  EXPECT_EQ(transactional.offsets.find("orders", 0)->offset.value, 100);
  EXPECT_EQ(transactional.offsets.find("orders", 1)->offset.value, 101);
  EXPECT_EQ(transactional.offsets.find("orders", 2), nullptr);
  EXPECT_TRUE(transactional.offsets.has_pending("orders", 2));
}

TEST_F(Loading, WhatKafkaWroteIsWrittenAgainByteForByte) {
  auto bytes = base::read_file(base::posix_files(), std::string(ODRADEK_SOURCE_DIR) + "/src/coordinator/group/testdata/consumer-offsets-3.9.2.log", 1 << 20);
  ASSERT_TRUE(bytes);
  GroupConfig config;
  ByteView rest = *bytes;
  record::Decompressor decompressor;
  int groups = 0, offsets = 0;
  for (auto batch = record::next_batch(rest); batch && *batch; batch = record::next_batch(rest)) {
    if (batch->is_control()) continue;
    auto reader = record::RecordReader::open(*batch, decompressor);
    record::RecordView view;
    while (*reader->next(view)) {
      auto parsed = parse_record(*view.key, view.value);
      ASSERT_TRUE(parsed);
      if (auto* offset = std::get_if<OffsetRecord>(&*parsed)) {
        EXPECT_EQ(hex(*view.key), hex(offset_key(offset->group, offset->topic, offset->partition)));
        ASSERT_EQ(view.value.has_value(), offset->offset.has_value());
        if (offset->offset) {
          EXPECT_EQ(hex(*view.value), hex(offset_value(*offset->offset)));
        }
        ++offsets;
      } else if (auto* group = std::get_if<GroupRecord>(&*parsed)) {
        EXPECT_EQ(hex(*view.key), hex(group_key(group->group)));
        if (group->stored) {
          EXPECT_EQ(hex(*view.value), hex(group_value(Group(group->group, config, std::move(*group->stored)))));
        }
        ++groups;
      }
    }
  }
  EXPECT_EQ(groups, 4);
  EXPECT_EQ(offsets, 15);
}

TEST_F(Loading, StopsWhenItIsNoLongerWanted) {
  put_offset("g", "t", 1);
  auto state = load_groups(log, tp, log.leader_epoch, 1'000, [] { return false; });
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code, ErrorCode::kNotCoordinator);
}

}  // namespace
}  // namespace odradek::coordinator
