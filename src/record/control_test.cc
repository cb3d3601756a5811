#include "record/control.h"

#include <gtest/gtest.h>

#include "record/test_support.h"

namespace odradek::record {
namespace {

using namespace testing;

// Written by Apache Kafka 3.9.2.
const char* const kCommit =
    "00000000000000010000004200000000024c9079d4003000000000000001a2015ab803000001a2015ab80300000000000000030000ffffffff000000012000000008000000010c"
    "00000000000000";
const char* const kAbort =
    "00000000000000030000004200000000025ac9ecb4003000000000000001a2015ab8a5000001a2015ab8a500000000000000030000ffffffff000000012000000008000000000c"
    "00000000000000";

TEST(Control, ReadsTheMarkersThatApacheKafkaWrote) {
  for (auto [hex, type] : {std::pair{kCommit, ControlType::kCommit}, std::pair{kAbort, ControlType::kAbort}}) {
    Bytes bytes = from_hex(hex);
    BatchView batch(bytes);
    EXPECT_TRUE(batch.crc_matches());
    EXPECT_TRUE(batch.is_control());
    EXPECT_TRUE(batch.is_transactional());
    EXPECT_EQ(batch.base_sequence(), kNoSequence);
    EXPECT_EQ(batch.last_sequence(), kNoSequence);
    auto marker = parse_end_txn_marker(batch);
    ASSERT_TRUE(marker) << marker.error().what;
    EXPECT_EQ(marker->type, type);
    EXPECT_EQ(marker->coordinator_epoch, 0);
  }
}

TEST(Control, WritesTheSameBytesAsApacheKafka) {
  Bytes expected = from_hex(kCommit);
  BatchView view(expected);
  Bytes built = build_end_txn_marker({ControlType::kCommit, 0}, view.base_timestamp(), {3}, 0, {0});
  set_base_offset(built, {1});
  EXPECT_EQ(built, expected);
}

TEST(Control, RefusesWhatIsNoMarker) {
  auto parse = [](std::string_view key, std::optional<std::string> value) {
    RecordView record;
    Bytes key_bytes = from_hex(key);
    Bytes value_bytes = from_hex(value.value_or(""));
    record.key = key_bytes;
    if (value) record.value = value_bytes;
    return parse_end_txn_marker(record);
  };
  EXPECT_TRUE(parse("00000001", "000000000007"));
  EXPECT_EQ(parse("00000001", "000000000007")->coordinator_epoch, 7);
  EXPECT_TRUE(parse("00050000", "00090000000700"));  // later versions are read as the first
  EXPECT_FALSE(parse("000001", "000000000007"));
  EXPECT_FALSE(parse("ffff0001", "000000000007"));
  EXPECT_FALSE(parse("00000002", "000000000007"));
  EXPECT_FALSE(parse("00000001", "0000000000"));
  EXPECT_FALSE(parse("00000001", "ffff00000007"));
  EXPECT_FALSE(parse("00000001", std::nullopt));
  EXPECT_FALSE(parse_end_txn_marker(RecordView()));
}

TEST(Control, NamesTypesAndTakesUnknownOnesAsUnknown) {
  Bytes key = from_hex("00000004");
  EXPECT_EQ(*parse_control_type(ByteView(key)), ControlType::kSnapshotFooter);
  EXPECT_EQ(name_of(ControlType::kSnapshotFooter), "SNAPSHOT_FOOTER");
  key = from_hex("00000063");
  EXPECT_EQ(*parse_control_type(ByteView(key)), ControlType::kUnknown);
}

}  // namespace
}  // namespace odradek::record
