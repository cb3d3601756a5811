#include "adopt/metadata_log.h"

#include <gtest/gtest.h>

#include "adopt/log_files.h"
#include "base/memory_files.h"
#include "protocol/codec.h"
#include "protocol/messages/abort_transaction_record.h"
#include "protocol/messages/begin_transaction_record.h"
#include "protocol/messages/clear_elr_record.h"
#include "protocol/messages/config_record.h"
#include "protocol/messages/end_transaction_record.h"
#include "protocol/messages/partition_change_record.h"
#include "protocol/messages/partition_record.h"
#include "protocol/messages/remove_topic_record.h"
#include "protocol/messages/topic_record.h"
#include "record/batch_builder.h"

namespace odradek::adopt {
namespace {

Uuid make_id(uint8_t last) {
  Uuid id;
  id.bytes[15] = last;
  return id;
}

class MetadataReplayTest : public ::testing::Test {
 protected:
  template <class M>
  static Bytes framed(const M& record, uint8_t version = 0) {
    Bytes bytes{1, static_cast<uint8_t>(M::kRecordType), version};
    Bytes body = protocol::encode_body(record, version);
    bytes.insert(bytes.end(), body.begin(), body.end());
    return bytes;
  }
  template <class M>
  Result<void> apply(const M& record) {
    return replay_.apply(framed(record));
  }
  void topic(const std::string& name, uint8_t id) {
    protocol::TopicRecord record;
    record.name = name;
    record.topic_id = make_id(id);
    ASSERT_TRUE(apply(record));
    protocol::PartitionRecord partition;
    partition.topic_id = record.topic_id;
    partition.partition_id = 0;
    partition.replicas = partition.isr = {1};
    partition.leader = 1;
    partition.leader_epoch = partition.partition_epoch = 0;
    ASSERT_TRUE(apply(partition));
  }
  void config(const std::string& name, std::optional<std::string> value) {
    protocol::ConfigRecord record;
    record.resource_type = kTopicResource;
    record.resource_name = "t";
    record.name = name;
    record.value = std::move(value);
    ASSERT_TRUE(apply(record));
  }

  MetadataReplay replay_;
  MetadataImage& image_ = replay_.image();
};

TEST_F(MetadataReplayTest, ANewLeaderRaisesItsEpochAndOtherChangesOnlyThatOfThePartition) {
  topic("t", 5);
  protocol::PartitionChangeRecord change;
  change.topic_id = make_id(5);
  change.partition_id = 0;
  change.leader = 2;
  ASSERT_TRUE(apply(change));
  change.leader = -2;
  change.isr = std::vector<int32_t>{1, 2};
  ASSERT_TRUE(apply(change));
  const auto& partition = image_.topics[make_id(5)].partitions[0];
  EXPECT_EQ(partition.leader, 2);
  EXPECT_EQ(partition.leader_epoch, 1);
  EXPECT_EQ(partition.partition_epoch, 2);
  EXPECT_EQ(partition.isr.size(), 2u);
}

TEST_F(MetadataReplayTest, AReplicaThatLeftTheIsrInOrderIsEligibleUntilThatIsTakenBack) {
  topic("t", 5);
  protocol::PartitionChangeRecord change;
  change.topic_id = make_id(5);
  change.partition_id = 0;
  change.leader = -1;
  change.isr.emplace();
  change.eligible_leader_replicas = std::vector<int32_t>{1};
  ASSERT_TRUE(replay_.apply(framed(change, 2)));
  const auto& partition = image_.topics[make_id(5)].partitions[0];
  EXPECT_TRUE(partition.isr.empty());
  EXPECT_EQ(partition.elr, std::vector<int32_t>{1});
  protocol::ClearElrRecord cleared;
  cleared.topic_name = "another";
  ASSERT_TRUE(apply(cleared));
  EXPECT_EQ(partition.elr.size(), 1u);
  cleared.topic_name = "";
  ASSERT_TRUE(apply(cleared));
  EXPECT_TRUE(partition.elr.empty());
}

TEST_F(MetadataReplayTest, ALogIsReadToATornEndAndRefusedWhereItIsDamagedBeforeThat) {
  base::MemoryFiles files;
  ASSERT_TRUE(files.create_directories("log"));
  auto segment = [&](int64_t base) {
    record::BatchBuilder builder({.base_offset = Offset{base}, .leader_epoch = LeaderEpoch{1}});
    protocol::TopicRecord record;
    record.name = "t" + std::to_string(base);
    record.topic_id = make_id(static_cast<uint8_t>(base));
    Bytes value = framed(record);
    builder.append(1000, std::nullopt, ByteView(value));
    return builder.build();
  };
  auto write = [&](int64_t base, const Bytes& bytes) { ASSERT_TRUE(base::write_file_atomically(files, "log/" + segment_file(base, ".log"), bytes)); };
  Bytes torn = segment(1);
  torn.pop_back();
  write(0, segment(0));
  write(1, torn);
  auto read = read_metadata_log(files, "log");
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->topics.size(), 1u);
  write(2, segment(2));
  read = read_metadata_log(files, "log");
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().what.find("damaged at offset 1"), std::string::npos) << read.error().what;
}

TEST_F(MetadataReplayTest, ARemovedTopicTakesItsConfigsAlong) {
  topic("t", 5);
  config("retention.ms", "1");
  protocol::RemoveTopicRecord removed;
  removed.topic_id = make_id(5);
  ASSERT_TRUE(apply(removed));
  EXPECT_TRUE(image_.topics.empty());
  EXPECT_TRUE(image_.configs.empty());
  EXPECT_FALSE(apply(removed));
}

TEST_F(MetadataReplayTest, AConfigWithoutAValueIsDeleted) {
  config("a", "1");
  config("b", "2");
  config("a", std::nullopt);
  EXPECT_EQ((image_.configs[{kTopicResource, "t"}]), (std::map<std::string, std::string, std::less<>>{{"b", "2"}}));
}

TEST_F(MetadataReplayTest, RecordsOfATransactionCountWhenItEnds) {
  ASSERT_TRUE(apply(protocol::BeginTransactionRecord()));
  config("a", "1");
  EXPECT_TRUE(image_.configs.empty());
  ASSERT_TRUE(apply(protocol::AbortTransactionRecord()));
  EXPECT_TRUE(image_.configs.empty());
  ASSERT_TRUE(apply(protocol::BeginTransactionRecord()));
  config("b", "1");
  ASSERT_TRUE(apply(protocol::EndTransactionRecord()));
  EXPECT_EQ(image_.configs.size(), 1u);
  EXPECT_FALSE(apply(protocol::EndTransactionRecord()));
}

TEST_F(MetadataReplayTest, WhatIsNotKnownIsCountedAndWhatIsNoRecordIsAnError) {
  ASSERT_TRUE(replay_.apply(Bytes{1, 0x7f, 0}));
  EXPECT_EQ(image_.unknown["metadata record type 127"], 1);
  EXPECT_FALSE(replay_.apply(Bytes{}));
  EXPECT_FALSE(replay_.apply(Bytes{9, 2, 0}));
  EXPECT_FALSE(replay_.apply(Bytes{1, 2, 99}));
  Bytes cut = framed(protocol::TopicRecord());
  cut.pop_back();
  EXPECT_FALSE(replay_.apply(cut));
}

}  // namespace
}  // namespace odradek::adopt
