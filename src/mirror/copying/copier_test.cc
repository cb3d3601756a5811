#include "mirror/copying/copier.h"

#include <gtest/gtest.h>

#include "record/control.h"

namespace odradek::mirror {
namespace {

struct Seen {
  Offset source;
  int64_t timestamp;
  std::string key, value;
  friend bool operator==(const Seen&, const Seen&) = default;
};

// The records of the copied batches with the source offsets that the pieces tell.
std::vector<Seen> records_of(const Copied& copied) {
  std::vector<Seen> seen;
  record::Decompressor decompressor;
  for (const CopiedBatch& batch : copied.batches) {
    std::vector<int64_t> sources;
    for (const Piece& piece : batch.pieces) {
      for (int64_t i = 0; i < piece.count; ++i) sources.push_back(piece.source.value + i);
    }
    EXPECT_EQ(sources.size(), static_cast<size_t>(batch.count));
    record::BatchView view{ByteView(batch.bytes)};
    EXPECT_EQ(view.count(), batch.count);
    EXPECT_EQ(view.last_offset_delta(), batch.count - 1);
    auto reader = record::RecordReader::open(view, decompressor);
    record::RecordView record;
    for (size_t i = 0; *reader->next(record); ++i) {
      EXPECT_EQ(record.offset_delta, static_cast<int32_t>(i));
      seen.push_back({{sources.at(i)}, record.timestamp, std::string(as_text(record.key.value_or(ByteView{}))), std::string(as_text(record.value.value_or(ByteView{})))});
    }
  }
  return seen;
}

Bytes batch_of(record::BuilderOptions options, std::vector<int64_t> offsets) {
  options.base_offset = Offset{offsets.front()};
  record::BatchBuilder builder(options);
  for (int64_t offset : offsets) {
    std::string key = "k" + std::to_string(offset), value = "value " + std::to_string(offset);
    builder.append_at(Offset{offset}, 1000 + offset, as_bytes(key), as_bytes(value));
  }
  return builder.build();
}

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<int64_t> sources_of(const Copied& copied) {
  std::vector<int64_t> sources;
  for (const Seen& seen : records_of(copied)) {
    EXPECT_EQ(seen.key, "k" + std::to_string(seen.source.value));
    EXPECT_EQ(seen.value, "value " + std::to_string(seen.source.value));
    sources.push_back(seen.source.value);
  }
  return sources;
}

constexpr record::Codec kCodecs[] = {record::Codec::kNone, record::Codec::kGzip, record::Codec::kSnappy, record::Codec::kLz4, record::Codec::kZstd};

TEST(Copier, LeavesTheRecordsOfAWholeBatchAsTheyAre) {
  for (record::Codec codec : kCodecs) {
    Bytes log = batch_of({.codec = codec, .producer_id = {77}, .producer_epoch = 3, .base_sequence = 9, .transactional = true}, {5, 6, 7});
    Bytes before = log;
    auto copied = Copier().copy(log, Offset{5}, {});
    ASSERT_TRUE(copied);
    ASSERT_EQ(copied->batches.size(), 1u);
    EXPECT_EQ(copied->batches[0].bytes.data(), log.data());
    EXPECT_EQ(copied->rebuilt, 0);
    seal(copied->batches[0].bytes, {4711}, 0, 123);
    record::BatchView sealed{ByteView(log)}, old{ByteView(before)};
    EXPECT_TRUE(sealed.crc_matches());
    EXPECT_EQ(sealed.base_offset(), Offset{0});
    EXPECT_EQ(sealed.producer_id(), ProducerId{4711});
    EXPECT_EQ(sealed.base_sequence(), 123);
    EXPECT_FALSE(sealed.is_transactional());
    EXPECT_EQ(sealed.codec(), codec);
    EXPECT_TRUE(std::equal(sealed.records().begin(), sealed.records().end(), old.records().begin(), old.records().end()));
    EXPECT_EQ(copied->next, Offset{8});
    EXPECT_EQ(sources_of(*copied), (std::vector<int64_t>{5, 6, 7}));
  }
}

TEST(Copier, ClosesTheHolesOfCompactionAndKnowsWhereEachRecordWas) {
  for (record::Codec codec : kCodecs) {
    Bytes log = batch_of({.codec = codec}, {10, 12, 13, 17});
    auto copied = Copier().copy(log, Offset{0}, {});
    ASSERT_TRUE(copied);
    EXPECT_EQ(sources_of(*copied), (std::vector<int64_t>{10, 12, 13, 17}));
    ASSERT_EQ(copied->batches[0].pieces.size(), 3u);
    EXPECT_EQ(record::BatchView(ByteView(copied->batches[0].bytes)).codec(), codec);
    EXPECT_EQ(records_of(*copied)[1].timestamp, 1012);
  }
}

TEST(Copier, LeavesOutRecordsBeforeTheFirstOne) {
  Bytes log = joined({batch_of({}, {0, 1, 2}), batch_of({.codec = record::Codec::kZstd}, {3, 4, 5})});
  auto copied = Copier().copy(log, Offset{4}, {});
  ASSERT_TRUE(copied);
  EXPECT_EQ(sources_of(*copied), (std::vector<int64_t>{4, 5}));
}

TEST(Copier, LeavesOutMarkersAndAbortedTransactions) {
  record::BuilderOptions first{.producer_id = {1}, .producer_epoch = 0, .base_sequence = 0, .transactional = true};
  record::BuilderOptions second = first;
  second.producer_id = {2};
  auto marker = [](record::ControlType type, int64_t producer, int64_t offset) {
    Bytes bytes = record::build_end_txn_marker({.type = type, .coordinator_epoch = 0}, 1, {producer}, 0);
    record::set_base_offset(bytes, Offset{offset});
    return bytes;
  };
  Bytes log = joined({batch_of(first, {0, 1}), batch_of(second, {2}), batch_of({}, {3}), marker(record::ControlType::kAbort, 1, 4), batch_of(first, {5}),
                      marker(record::ControlType::kCommit, 2, 6), marker(record::ControlType::kCommit, 1, 7)});
  Bytes again = log;
  auto committed = Copier().copy(log, Offset{0}, std::vector<Aborted>{{1, Offset{0}}});
  ASSERT_TRUE(committed);
  EXPECT_EQ(sources_of(*committed), (std::vector<int64_t>{2, 3, 5}));
  EXPECT_EQ(committed->next, Offset{8});
  auto all = Copier().copy(again, Offset{0}, {});
  ASSERT_TRUE(all);
  EXPECT_EQ(sources_of(*all), (std::vector<int64_t>{0, 1, 2, 3, 5}));
}

TEST(Copier, GivesRecordsOfALogAppendTimeBatchTheTimeThatReadersSee) {
  Bytes log = batch_of({.timestamp_type = record::TimestampType::kLogAppendTime, .log_append_time_ms = 99'000}, {0, 1});
  auto copied = Copier().copy(log, Offset{0}, {});
  ASSERT_TRUE(copied);
  auto seen = records_of(*copied);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].timestamp, 99'000);
  EXPECT_EQ(record::BatchView(ByteView(copied->batches[0].bytes)).timestamp_type(), record::TimestampType::kCreateTime);
}

TEST(Copier, MakesBatchesOfOldMessages) {
  Bytes log;
  for (int64_t offset : {3, 4, 9}) {
    std::string key = "k" + std::to_string(offset), value = "value " + std::to_string(offset);
    record::put_message(log, 1, Offset{offset}, 1000 + offset, 0, as_bytes(key), as_bytes(value));
  }
  Bytes newer = batch_of({}, {10});
  log.insert(log.end(), newer.begin(), newer.end());
  auto copied = Copier().copy(log, Offset{4}, {});
  ASSERT_TRUE(copied);
  EXPECT_EQ(copied->batches.size(), 2u);
  EXPECT_EQ(sources_of(*copied), (std::vector<int64_t>{4, 9, 10}));
  EXPECT_EQ(records_of(*copied)[1].timestamp, 1009);
  EXPECT_EQ(copied->next, Offset{11});
}

TEST(Copier, RefusesAFlippedBitInsteadOfGivingItANewCrc) {
  Bytes log = batch_of({}, {0, 1});
  log.back() ^= 1;
  auto copied = Copier().copy(log, Offset{0}, {});
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, ErrorCode::kCorruptMessage);
}

}  // namespace
}  // namespace odradek::mirror
