#include "record/record.h"

#include <gtest/gtest.h>

#include "record/test_support.h"

namespace odradek::record {
namespace {

using namespace testing;

TEST(RecordReader, ReadsWhatTheBuilderWroteInEveryCodec) {
  for (Codec codec : kAllCodecs) {
    for (uint64_t seed = 0; seed < 60; ++seed) {
      std::mt19937_64 random(seed);
      auto records = random_records(random);
      Bytes bytes = batch_of(records, {.codec = codec, .base_offset = {1000}});
      BatchView batch(bytes);
      EXPECT_EQ(batch.codec(), codec);
      EXPECT_EQ(batch.count(), static_cast<int32_t>(records.size()));
      std::vector<Offset> offsets;
      auto read = read_all(batch, &offsets);
      ASSERT_TRUE(read) << name_of(codec) << " seed " << seed << ": " << read.error().what;
      ASSERT_EQ(*read, records) << name_of(codec) << " seed " << seed;
      for (size_t i = 0; i < offsets.size(); ++i) ASSERT_EQ(offsets[i].value, 1000 + static_cast<int64_t>(i));
    }
  }
}

// The same three records as Apache Kafka 3.9.2 compressed them for topics of each compression.type.
TEST(RecordReader, ReadsWhatApacheKafkaCompressed) {
  const std::string head = "00000002000001a206051bd4000001a206051bdbffffffffffffffffffffffffffff00000003";
  const std::pair<Codec, std::string> batches[] = {
      {Codec::kGzip, "00000000000000000000006c0000000002385af4ca0001" + head +
                         "1f8b08000000000000ff3363606060c936502b4bcc294d5540260d182c18b89818b1c818323165300a30f0b1b0641b31320000212f12f342000000"},
      {Codec::kSnappy, "00000000000000000000007200000000028bafbe780002" + head +
                           "82534e415050590000000001000000010000002d423436000000046b302676616c7565202e060018300038000a02014a1a0034310202680110000e04046b3201"
                           "00"},
      {Codec::kLz4, "00000000000000000000006b0000000002314c76380003" + head +
                        "04224d186040822b000000e836000000046b302676616c75652006007f300038000a02011a0000e0310202680110000e04046b32010000000000"},
      {Codec::kZstd, "00000000000000000000006a00000000029fdee86c0004" + head +
                         "28b52ffd00586c0100340236000000046b302676616c756520300038000a0201310202680110000e04046b32010002003d13235c5102010000"},
  };
  const std::vector<OwnedRecord> expected = {{1795397327828, "k0", "value value value 0", {}},
                                             {1795397327833, {}, "value value value 1", {{"h", std::nullopt}}},
                                             {1795397327835, "k2", {}, {}}};
  for (const auto& [codec, hex] : batches) {
    Bytes bytes = from_hex(hex);
    BatchView batch(bytes);
    EXPECT_EQ(batch.size_in_bytes(), BatchHeader(bytes.data()).size_in_bytes());
    EXPECT_EQ(batch.codec(), codec);
    EXPECT_TRUE(batch.crc_matches());
    auto read = read_all(batch);
    ASSERT_TRUE(read) << name_of(codec) << ": " << read.error().what;
    EXPECT_EQ(*read, expected) << name_of(codec);
  }
}

TEST(RecordReader, KeepsExtremeTimestamps) {
  std::vector<OwnedRecord> records = {{INT64_MIN, "a", "b", {}}, {INT64_MAX, {}, {}, {}}, {0, "", "", {}}, {-1, "x", {}, {}}};
  Bytes bytes = batch_of(records);
  auto read = read_all(BatchView(bytes));
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, records);
}

TEST(RecordReader, ReadsAnEmptyBatchThatTheCleanerLeft) {
  BatchBuilder builder({.codec = Codec::kZstd, .base_offset = {10}, .producer_id = {5}, .producer_epoch = 2, .base_sequence = 7});
  builder.set_last_offset({14});
  Bytes bytes = builder.build();
  BatchView batch(bytes);
  EXPECT_EQ(batch.count(), 0);
  EXPECT_EQ(batch.last_offset().value, 14);
  EXPECT_EQ(batch.last_sequence(), 11);
  auto read = read_all(batch);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->empty());
}

TEST(RecordReader, KeepsTheGapsThatTheCleanerLeft) {
  BatchBuilder builder({.codec = Codec::kLz4, .base_offset = {100}, .base_sequence = 50});
  builder.append_at({103}, 1, as_bytes("a"), as_bytes("1"));
  builder.append_at({107}, 2, as_bytes("b"), std::nullopt);
  builder.set_last_offset({109});
  Bytes bytes = builder.build();
  Decompressor decompressor;
  auto reader = RecordReader::open(BatchView(bytes), decompressor);
  ASSERT_TRUE(reader);
  RecordView record;
  ASSERT_TRUE(*reader->next(record));
  EXPECT_EQ(record.offset.value, 103);
  EXPECT_EQ(record.sequence, 53);
  ASSERT_TRUE(*reader->next(record));
  EXPECT_EQ(record.offset.value, 107);
  EXPECT_FALSE(record.value);
  EXPECT_FALSE(*reader->next(record));
  EXPECT_EQ(BatchView(bytes).last_offset().value, 109);
}

TEST(RecordReader, BaseTimestampIsTheDeleteHorizonWhereOneIsSet) {
  BatchBuilder builder({.delete_horizon_ms = 999'999});
  builder.append(5, as_bytes("a"), std::nullopt);
  Bytes bytes = builder.build();
  BatchView batch(bytes);
  EXPECT_TRUE(batch.has_delete_horizon());
  EXPECT_EQ(batch.base_timestamp(), 999'999);
  auto read = read_all(batch);
  ASSERT_TRUE(read);
  EXPECT_EQ((*read)[0].timestamp, 5);
}

TEST(RecordReader, RefusesARecordCutAnywhere) {
  std::mt19937_64 random(3);
  Bytes whole = batch_of({{5, "key", "value", {{"h", "v"}, {"null", std::nullopt}}}, {6, {}, "w", {}}});
  for (size_t size = kBatchHeaderSize; size < whole.size(); ++size) {
    Bytes cut = changed(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)), [](Bytes&) {});
    auto read = read_all(BatchView(cut));
    ASSERT_FALSE(read) << size;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidRecord);
  }
}

TEST(RecordReader, NeverReadsOutsideWhateverTheBytesSay) {
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    std::mt19937_64 random(seed);
    Bytes batch = batch_of({{5, "key", "value", {{"h", "v"}}}, {6, {}, "w", {}}});
    for (int i = 0; i < 3; ++i) batch[kBatchHeaderSize + random() % (batch.size() - kBatchHeaderSize)] = static_cast<uint8_t>(random());
    (void)read_all(BatchView(batch));  // a legal answer or an error; the sanitizers watch
  }
}

}  // namespace
}  // namespace odradek::record
