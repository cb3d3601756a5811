#include "record/batch.h"

#include <gtest/gtest.h>

#include "record/test_support.h"

namespace odradek::record {
namespace {

using namespace testing;

// Written by Apache Kafka 3.9.2; the last column is what they say.
struct Vector {
  const char* name;
  const char* hex;
  int64_t base_offset;
  int16_t attributes;
  int32_t count;
  int64_t producer_id;
  std::vector<std::string> keys, values;
};
const std::vector<Vector> kVectors = {
    {"transactional data",
     "00000000000000000000003a0000000002b579a683001000000000000001a2015ab65c000001a2015ab65c000000000000000300000000000000000001100000000261023100",
     0, 0x10, 1, 3, {"a"}, {"1"}},
    {"lz4",
     "00000000000000000000006300000000026642be0c000300000002000001a2015aae11000001a2015ab03f00000000000000010000000000000000000304224d18604082230000"
     "8014000000046b30047630001600dc0802046b31047631001600dc0804046b320476320000000000",
     0, 3, 3, 1, {"k0", "k1", "k2"}, {"v0", "v1", "v2"}},
    {"snappy",
     "00000000000000000000006a0000000002c2871988000200000002000001a2015ab128000001a2015ab175000000000000000200000000000000000003"
     "82534e4150505900000000010000000100000025238814000000046b300476300016009a0102046b310476310016009a0104046b3204763200",
     0, 2, 3, 2, {"k0", "k1", "k2"}, {"v0", "v1", "v2"}},
};

TEST(Batch, ReadsWhatApacheKafkaWrote) {
  for (const Vector& vector : kVectors) {
    SCOPED_TRACE(vector.name);
    Bytes bytes = from_hex(vector.hex);
    ByteView rest = bytes;
    auto batch = next_batch(rest);
    ASSERT_TRUE(batch);
    ASSERT_TRUE(*batch);
    EXPECT_TRUE(rest.empty());
    EXPECT_TRUE(batch->crc_matches());
    EXPECT_EQ(batch->magic(), 2);
    EXPECT_EQ(batch->base_offset().value, vector.base_offset);
    EXPECT_EQ(batch->attributes(), vector.attributes);
    EXPECT_EQ(batch->count(), vector.count);
    EXPECT_EQ(batch->last_offset_delta(), vector.count - 1);
    EXPECT_EQ(batch->leader_epoch().value, 0);
    EXPECT_EQ(batch->producer_id().value, vector.producer_id);
    EXPECT_EQ(batch->producer_epoch(), 0);
    EXPECT_EQ(batch->base_sequence(), 0);
    EXPECT_EQ(batch->last_sequence(), vector.count - 1);
    auto records = read_all(*batch);
    ASSERT_TRUE(records) << records.error().what;
    ASSERT_EQ(records->size(), vector.keys.size());
    for (size_t i = 0; i < vector.keys.size(); ++i) {
      EXPECT_EQ((*records)[i].key, vector.keys[i]);
      EXPECT_EQ((*records)[i].value, vector.values[i]);
    }
    EXPECT_EQ(batch->max_timestamp(), records->back().timestamp);
  }
}

TEST(Batch, RecognisesMessagesOfTheOldFormats) {
  Bytes v0 = from_hex("00000000000000000000001559197dc40000000000026b30000000057676767630");
  Bytes v1 = from_hex("00000000000000000000001da3837a1f0100000001a1ee565e00000000026b30000000057676767630");
  for (const Bytes& bytes : {v0, v1}) {
    auto frame = peek_frame(bytes);
    ASSERT_TRUE(frame && *frame);
    EXPECT_EQ((*frame)->total_size, bytes.size());
    EXPECT_EQ((*frame)->magic, &bytes == &v0 ? 0 : (*frame)->magic);
    ByteView rest = bytes;
    auto batch = next_batch(rest);
    ASSERT_FALSE(batch);
    EXPECT_EQ(batch.error().code, ErrorCode::kUnsupportedForMessageFormat);
    EXPECT_EQ(rest.size(), bytes.size());
  }
}

TEST(Batch, WalksFramesOneAfterTheOther) {
  Bytes log;
  for (int i = 0; i < 5; ++i) {
    Bytes one = batch_of(simple_records(i + 1), {.base_offset = {i * 10}});
    log.insert(log.end(), one.begin(), one.end());
  }
  ByteView rest = log;
  for (int i = 0; i < 5; ++i) {
    auto batch = next_batch(rest);
    ASSERT_TRUE(batch && *batch);
    EXPECT_EQ(batch->base_offset().value, i * 10);
    EXPECT_EQ(batch->last_offset().value, i * 10 + i);
  }
  auto end = next_batch(rest);
  ASSERT_TRUE(end);
  EXPECT_FALSE(*end);
}

TEST(Batch, EndsTheWalkAtACutOffBatchAndLeavesItInPlace) {
  Bytes whole = batch_of(simple_records(3));
  for (size_t size = 0; size < whole.size(); ++size) {
    Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));  // its own memory: a read beyond it is seen
    ByteView rest = cut;
    auto batch = next_batch(rest);
    ASSERT_TRUE(batch) << size;
    EXPECT_FALSE(*batch) << size;
    EXPECT_EQ(rest.size(), size);
  }
}

TEST(Batch, RefusesFramesThatAreTooSmallOrOfUnknownMagic) {
  Bytes batch = batch_of(simple_records(1));
  for (int32_t size : {-1, INT32_MIN, 0, 13, 48}) {
    Bytes bad = batch;
    base::store_be<int32_t>(bad.data() + kSizeAt, size);
    ByteView rest = bad;
    auto result = next_batch(rest);
    ASSERT_FALSE(result) << size;
    EXPECT_EQ(result.error().code, ErrorCode::kCorruptMessage);
  }
  for (int magic : {3, 127, -1}) {
    Bytes bad = batch;
    bad[kMagicAt] = static_cast<uint8_t>(magic);
    ByteView rest = bad;
    ASSERT_FALSE(next_batch(rest));
  }
}

TEST(Batch, SequencesGoOnAtZero) {
  EXPECT_EQ(add_sequence(0, 5), 5);
  EXPECT_EQ(add_sequence(INT32_MAX, 0), INT32_MAX);
  EXPECT_EQ(add_sequence(INT32_MAX, 1), 0);
  EXPECT_EQ(add_sequence(INT32_MAX - 1, 4), 2);
}

TEST(Batch, SettersOfOffsetAndEpochLeaveTheCrc) {
  Bytes bytes = batch_of(simple_records(2));
  set_base_offset(bytes, {77});
  set_leader_epoch(bytes, {9});
  BatchView batch(bytes);
  EXPECT_EQ(batch.base_offset().value, 77);
  EXPECT_EQ(batch.last_offset().value, 78);
  EXPECT_EQ(batch.leader_epoch().value, 9);
  EXPECT_TRUE(batch.crc_matches());
}

TEST(Batch, SetterOfMaxTimestampMakesTheCrcAgain) {
  Bytes bytes = batch_of(simple_records(2));
  set_max_timestamp(bytes, TimestampType::kLogAppendTime, 5555);
  BatchView batch(bytes);
  EXPECT_EQ(batch.timestamp_type(), TimestampType::kLogAppendTime);
  EXPECT_EQ(batch.max_timestamp(), 5555);
  EXPECT_TRUE(batch.crc_matches());
  auto records = read_all(batch);
  ASSERT_TRUE(records);
  for (const OwnedRecord& record : *records) EXPECT_EQ(record.timestamp, 5555);
  set_max_timestamp(bytes, TimestampType::kCreateTime, 1001);
  EXPECT_EQ(bytes, batch_of(simple_records(2)));
}

TEST(Batch, EveryFlippedBitIsSeenByTheCrcOrLiesOutsideIt) {
  const Bytes whole = batch_of(simple_records(2), {.producer_id = {7}, .producer_epoch = 1, .base_sequence = 3});
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Bytes bytes = whole;
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    size_t at = bit / 8;
    ByteView rest = bytes;
    auto batch = next_batch(rest);
    bool outside = at < kSizeAt || (at >= kLeaderEpochAt && at < kMagicAt);
    if (outside) {
      ASSERT_TRUE(batch && *batch);
      EXPECT_TRUE(batch->crc_matches()) << at;
    } else if (batch && *batch) {
      EXPECT_FALSE(batch->crc_matches()) << at;
    }
  }
}

}  // namespace
}  // namespace odradek::record
