#include "record/validate.h"

#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "base/varint.h"
#include "record/control.h"
#include "record/test_support.h"

namespace odradek::record::testing {
constinit thread_local size_t allocated_bytes = 0;
}

// noinline: g++ would warn of free() on what it sees to come from new.
[[gnu::noinline]] void* operator new(size_t size) {
  odradek::record::testing::allocated_bytes += size;
  if (void* at = std::malloc(size)) return at;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, size_t) noexcept { std::free(at); }

namespace odradek::record {
namespace {

using namespace testing;

ValidateOptions options() { return {.partition = "orders-0", .now_ms = 2000, .first_offset = {500}, .leader_epoch = {4}}; }

AppendError rejection(Bytes batch, const ValidateOptions& given) {
  Bytes before = batch;
  auto result = validate_and_assign_offsets(batch, given);
  EXPECT_EQ(batch, before) << "a rejected batch was changed";
  if (result) {
    ADD_FAILURE() << "was accepted";
    return {};
  }
  return result.error();
}

void expect_rejected(Bytes batch, const ValidateOptions& given, ErrorCode code, std::string_view text) {
  AppendError error = rejection(std::move(batch), given);
  EXPECT_EQ(error.error.code, code) << error.error.what;
  EXPECT_NE(error.error.what.find(text), std::string::npos) << error.error.what;
}

// Raw records: a varint as bytes, and one record from its fields.
void put(Bytes& to, int64_t number) {
  uint8_t buffer[10];
  size_t size = base::encode_varlong(buffer, number);
  to.insert(to.end(), buffer, buffer + size);
}
Bytes raw_record(int64_t timestamp_delta, int32_t offset_delta, int64_t key_size = -1, std::string_view key = "", int64_t value_size = -1,
                 std::string_view value = "", int64_t header_count = 0, const Bytes& headers = {}) {
  Bytes body = {0};
  put(body, timestamp_delta);
  put(body, offset_delta);
  put(body, key_size);
  body.insert(body.end(), key.begin(), key.end());
  put(body, value_size);
  body.insert(body.end(), value.begin(), value.end());
  put(body, header_count);
  body.insert(body.end(), headers.begin(), headers.end());
  Bytes record;
  put(record, static_cast<int64_t>(body.size()));
  record.insert(record.end(), body.begin(), body.end());
  return record;
}
Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Validate, AssignsOffsetsInPlaceInEveryCodec) {
  for (Codec codec : kAllCodecs) {
    auto records = simple_records(10);
    Bytes bytes = batch_of(records, {.codec = codec, .producer_id = {9}, .producer_epoch = 1, .base_sequence = 30});
    Bytes expected = bytes;
    set_base_offset(expected, {500});
    set_leader_epoch(expected, {4});
    auto valid = validate_and_assign_offsets(bytes, options());
    ASSERT_TRUE(valid) << valid.error().error.what;
    EXPECT_FALSE(valid->is_rebuilt());
    EXPECT_EQ(valid->bytes.data(), bytes.data());
    EXPECT_EQ(bytes, expected);
    EXPECT_EQ(valid->first_offset.value, 500);
    EXPECT_EQ(valid->last_offset.value, 509);
    EXPECT_EQ(valid->record_count, 10);
    EXPECT_EQ(valid->max_timestamp, 1009);
    EXPECT_EQ(valid->offset_of_max_timestamp.value, 509);
    EXPECT_EQ(valid->log_append_time_ms, kNoTimestamp);
  }
}

TEST(Validate, AcceptsWhatTheBuilderMakesAndTheReaderReadsItBack) {
  for (Codec codec : kAllCodecs) {
    for (uint64_t seed = 100; seed < 180; ++seed) {
      std::mt19937_64 random(seed);
      auto records = random_records(random);
      Bytes bytes = batch_of(records, {.codec = codec});
      auto given = options();
      given.max_message_bytes = 10'000'000;
      auto valid = validate_and_assign_offsets(bytes, given);
      ASSERT_TRUE(valid) << name_of(codec) << " seed " << seed << ": " << valid.error().error.what;
      std::vector<Offset> offsets;
      EXPECT_TRUE(valid->batch().crc_matches());
      auto read = read_all(valid->batch(), &offsets);
      ASSERT_TRUE(read);
      ASSERT_EQ(*read, records);
      int64_t highest = -1;
      for (const OwnedRecord& record : records) highest = std::max(highest, record.timestamp);
      EXPECT_EQ(valid->max_timestamp, highest);
      EXPECT_EQ(offsets.front().value, 500);
    }
  }
}

TEST(Validate, DropsACutOffTail) {
  Bytes one = batch_of(simple_records(2));
  Bytes two = one + one;
  for (size_t size = one.size(); size < two.size(); ++size) {
    Bytes bytes(two.begin(), two.begin() + static_cast<ptrdiff_t>(size));
    auto valid = validate_and_assign_offsets(bytes, options());
    ASSERT_TRUE(valid) << size;
    EXPECT_EQ(valid->bytes.size(), one.size());
  }
}

TEST(Validate, RefusesAnEmptyOrCutOffRecordSet) {
  expect_rejected({}, options(), ErrorCode::kInvalidRecord, "must have at least one record batch");
  Bytes batch = batch_of(simple_records(2));
  batch.pop_back();
  expect_rejected(batch, options(), ErrorCode::kInvalidRecord, "must have at least one record batch");
}

TEST(Validate, RefusesMoreThanOneBatch) {
  Bytes batch = batch_of(simple_records(2));
  expect_rejected(batch + batch, options(), ErrorCode::kInvalidRecord, "exactly one record batch");
}

TEST(Validate, RefusesTheOldFormats) {
  expect_rejected(from_hex("00000000000000000000001559197dc40000000000026b30000000057676767630"), options(), ErrorCode::kInvalidRecord,
                  "magic version 2");
  expect_rejected(from_hex("00000000000000000000001da3837a1f0100000001a1ee565e00000000026b30000000057676767630"), options(),
                  ErrorCode::kInvalidRecord, "magic version 2");
}

TEST(Validate, RefusesAnIllegalFrame) {
  Bytes batch = batch_of(simple_records(2));
  Bytes size = batch;
  base::store_be<int32_t>(size.data() + kSizeAt, 5);
  expect_rejected(size, options(), ErrorCode::kCorruptMessage, "Record size 5");
  Bytes magic = batch;
  magic[kMagicAt] = 3;
  expect_rejected(magic, options(), ErrorCode::kCorruptMessage, "Invalid magic");
}

TEST(Validate, RefusesZstdBelowProduceVersion7) {
  Bytes batch = batch_of(simple_records(2), {.codec = Codec::kZstd});
  auto given = options();
  given.produce_version = 6;
  expect_rejected(batch, given, ErrorCode::kUnsupportedCompressionType, "ZStandard");
  given.produce_version = 7;
  EXPECT_TRUE(validate_and_assign_offsets(batch, given));
}

TEST(Validate, RefusesAClientsBaseOffsetOtherThanZero) {
  Bytes batch = batch_of(simple_records(2), {.base_offset = {5}});
  expect_rejected(batch, options(), ErrorCode::kInvalidRecord, "should be 0, but it is 5");
  auto given = options();
  given.origin = AppendOrigin::kCoordinator;
  EXPECT_TRUE(validate_and_assign_offsets(batch, given));
}

TEST(Validate, RefusesABatchAboveMaxMessageBytes) {
  Bytes batch = batch_of(simple_records(2));
  auto given = options();
  given.max_message_bytes = static_cast<int32_t>(batch.size()) - 1;
  expect_rejected(batch, given, ErrorCode::kMessageTooLarge, "exceeds the maximum configured value");
  given.max_message_bytes = static_cast<int32_t>(batch.size());
  EXPECT_TRUE(validate_and_assign_offsets(batch, given));
}

TEST(Validate, RefusesAWrongCrc) {
  Bytes batch = batch_of(simple_records(2));
  batch.back() ^= 1;
  expect_rejected(batch, options(), ErrorCode::kCorruptMessage, "Record is corrupt");
}

TEST(Validate, RefusesEverySingleFlippedBitUnlessItIsALegalHeaderOutsideTheCrc) {
  const Bytes whole = batch_of(simple_records(2));
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    size_t at = bit / 8;
    Bytes bytes = whole;
    bytes[at] ^= static_cast<uint8_t>(1 << (bit % 8));
    auto result = validate_and_assign_offsets(bytes, options());
    bool epoch = at >= kLeaderEpochAt && at < kMagicAt;  // the broker writes its own
    EXPECT_EQ(result.has_value(), epoch) << "bit " << bit;
  }
}

TEST(Validate, RefusesAnUnknownCodec) {
  Bytes batch = changed(batch_of(simple_records(2)), [](Bytes& b) { b[kAttributesAt + 1] = 6; });
  expect_rejected(batch, options(), ErrorCode::kUnsupportedCompressionType, "Unknown compression type id: 6");
}

TEST(Validate, RefusesACountThatIsNotTheOffsetRange) {
  auto with = [](int32_t last_delta, int32_t count) {
    return changed(batch_of(simple_records(2)), [&](Bytes& b) {
      base::store_be<int32_t>(b.data() + kLastOffsetDeltaAt, last_delta);
      base::store_be<int32_t>(b.data() + kCountAt, count);
    });
  };
  expect_rejected(with(-1, 2), options(), ErrorCode::kInvalidRecord, "invalid offset range");
  expect_rejected(with(INT32_MIN, 2), options(), ErrorCode::kInvalidRecord, "invalid offset range");
  expect_rejected(with(1, 0), options(), ErrorCode::kInvalidRecord, "Invalid reported count");
  expect_rejected(with(1, -5), options(), ErrorCode::kInvalidRecord, "Invalid reported count");
  expect_rejected(with(2, 2), options(), ErrorCode::kInvalidRecord, "Inconsistent batch offset range");
  expect_rejected(with(2, 3), options(), ErrorCode::kInvalidRecord, "premature EOF");
  expect_rejected(with(0, 1), options(), ErrorCode::kInvalidRecord, "still remaining");
  expect_rejected(with(INT32_MAX, INT32_MIN), options(), ErrorCode::kInvalidRecord, "");
  expect_rejected(with(INT32_MAX - 1, INT32_MAX), options(), ErrorCode::kInvalidRecord, "premature EOF");
}

TEST(Validate, RefusesControlBatchesFromClientsOnly) {
  Bytes marker = build_end_txn_marker({ControlType::kCommit, 3}, 1000, {5}, 0);
  expect_rejected(marker, options(), ErrorCode::kInvalidRecord, "not allowed to write control records");
  auto given = options();
  given.origin = AppendOrigin::kCoordinator;
  given.compacted = true;
  given.target_codec = Codec::kZstd;  // never applied to control records
  auto valid = validate_and_assign_offsets(marker, given);
  ASSERT_TRUE(valid) << valid.error().error.what;
  EXPECT_FALSE(valid->is_rebuilt());
}

TEST(Validate, RefusesAProducerIdWithoutASequenceFromClientsOnly) {
  Bytes batch = batch_of(simple_records(2), {.producer_id = {5}, .producer_epoch = 0});
  expect_rejected(batch, options(), ErrorCode::kInvalidRecord, "Invalid sequence number -1");
  auto given = options();
  given.origin = AppendOrigin::kCoordinator;
  EXPECT_TRUE(validate_and_assign_offsets(batch, given));
}

TEST(Validate, RefusesRecordsWithoutKeyOnACompactedTopicAndNamesEach) {
  for (Codec codec : kAllCodecs) {
    auto records = simple_records(5);
    records[1].key.reset();
    records[4].key.reset();
    Bytes batch = batch_of(records, {.codec = codec});
    auto given = options();
    given.compacted = true;
    AppendError error = rejection(batch, given);
    EXPECT_EQ(error.error.code, ErrorCode::kInvalidRecord);
    ASSERT_EQ(error.records.size(), 2u);
    EXPECT_EQ(error.records[0].batch_index, 1);
    EXPECT_EQ(error.records[1].batch_index, 4);
    EXPECT_EQ(error.error.what,
              "One or more records have been rejected due to 2 record errors in total, and only showing the first three errors at most: "
              "[RecordError(batchIndex=1, message='Compacted topic cannot accept message without key in topic partition orders-0'), "
              "RecordError(batchIndex=4, message='Compacted topic cannot accept message without key in topic partition orders-0')]");
    EXPECT_EQ(error.records[0].message, "Compacted topic cannot accept message without key in topic partition orders-0");
    given.compacted = false;
    EXPECT_TRUE(validate_and_assign_offsets(batch, given));
  }
}

TEST(Validate, AnEmptyKeyIsAKey) {
  auto records = simple_records(1);
  records[0].key = "";
  Bytes batch = batch_of(records);
  auto given = options();
  given.compacted = true;
  EXPECT_TRUE(validate_and_assign_offsets(batch, given));
}

TEST(Validate, RefusesTimestampsOutOfRangeAndNamesEach) {
  for (Codec codec : kAllCodecs) {
    auto given = options();
    given.now_ms = 10'000;
    given.before_max_ms = 1000;
    given.after_max_ms = 500;
    std::vector<OwnedRecord> records = {{9000, "a", "b", {}}, {8999, "a", "b", {}}, {10'500, "a", "b", {}}, {10'501, "a", "b", {}}, {-1, "a", "b", {}}};
    AppendError error = rejection(batch_of(records, {.codec = codec}), given);
    EXPECT_EQ(error.error.code, ErrorCode::kInvalidTimestamp);
    EXPECT_EQ(error.error.what, "One or more records have been rejected due to invalid timestamp");
    ASSERT_EQ(error.records.size(), 2u);
    EXPECT_EQ(error.records[0].batch_index, 1);
    EXPECT_EQ(error.records[0].message,
              "Timestamp 8999 of message with offset 1 is out of range. The timestamp should be within [9000, 10500]");
    EXPECT_EQ(error.records[1].batch_index, 3);
    records.erase(records.begin() + 3);
    records.erase(records.begin() + 1);
    Bytes legal = batch_of(records, {.codec = codec});
    auto valid = validate_and_assign_offsets(legal, given);
    ASSERT_TRUE(valid) << valid.error().error.what;
    EXPECT_EQ(valid->max_timestamp, 10'500);
  }
}

TEST(Validate, AMixOfBadKeysAndBadTimestampsCountsAsTimestamp) {
  auto given = options();
  given.compacted = true;
  given.after_max_ms = 10;
  AppendError error = rejection(batch_of({{1000, {}, "v", {}}, {9000, "k", "v", {}}}), given);
  EXPECT_EQ(error.error.code, ErrorCode::kInvalidTimestamp);
  EXPECT_EQ(error.records.size(), 2u);
}

TEST(Validate, TimestampsAreNotCheckedOnALogAppendTimeTopic) {
  auto given = options();
  given.timestamp_type = TimestampType::kLogAppendTime;
  given.before_max_ms = 1;
  given.after_max_ms = 1;
  Bytes batch = batch_of(simple_records(3));
  auto valid = validate_and_assign_offsets(batch, given);
  ASSERT_TRUE(valid);
  EXPECT_EQ(valid->log_append_time_ms, 2000);
  EXPECT_EQ(valid->max_timestamp, 2000);
  EXPECT_EQ(valid->offset_of_max_timestamp.value, 502);
  EXPECT_EQ(valid->batch().timestamp_type(), TimestampType::kLogAppendTime);
  EXPECT_EQ(valid->batch().max_timestamp(), 2000);
  EXPECT_TRUE(valid->batch().crc_matches());
}

Bytes claiming_append_time(int64_t time) {
  return batch_of(simple_records(2), {.timestamp_type = TimestampType::kLogAppendTime, .log_append_time_ms = time});
}

TEST(Validate, RefusesAClaimOfLogAppendTimeOnALogAppendTimeTopic) {
  auto given = options();
  given.timestamp_type = TimestampType::kLogAppendTime;
  AppendError error = rejection(claiming_append_time(1500), given);
  EXPECT_EQ(error.error.code, ErrorCode::kInvalidTimestamp);
  ASSERT_EQ(error.records.size(), 2u);
  EXPECT_EQ(error.records[1].batch_index, 1);
  EXPECT_EQ(error.records[1].message,
            "Invalid timestamp type in message DefaultRecord(offset=1, timestamp=1500, key=2 bytes, value=20 bytes). Producer should not set "
            "timestamp type to LogAppendTime.");
}

TEST(Validate, OnACreateTimeTopicAClaimOfLogAppendTimeIsRefusedOnlyWithoutTimestamp) {
  EXPECT_EQ(rejection(claiming_append_time(-1), options()).error.code, ErrorCode::kInvalidTimestamp);
  Bytes batch = claiming_append_time(1500);
  auto valid = validate_and_assign_offsets(batch, options());
  ASSERT_TRUE(valid);
  EXPECT_EQ(valid->batch().timestamp_type(), TimestampType::kCreateTime);
  EXPECT_EQ(valid->max_timestamp, 1001);  // of the records, whose timestamps count now
  EXPECT_TRUE(valid->batch().crc_matches());
}

TEST(Validate, MendsAWrongMaxTimestamp) {
  for (Codec codec : kAllCodecs) {
    Bytes batch = changed(batch_of(simple_records(3), {.codec = codec}), [](Bytes& b) { base::store_be<int64_t>(b.data() + kMaxTimestampAt, 7); });
    auto valid = validate_and_assign_offsets(batch, options());
    ASSERT_TRUE(valid);
    EXPECT_EQ(valid->batch().max_timestamp(), 1002);
    EXPECT_TRUE(valid->batch().crc_matches());
    EXPECT_FALSE(valid->is_rebuilt());
  }
}

TEST(Validate, RecordsWithoutTimestampGiveNone) {
  Bytes batch = batch_of({{-1, "k", "v", {}}, {-1, "k", "v", {}}});
  auto given = options();
  given.before_max_ms = 1;
  given.after_max_ms = 1;
  auto valid = validate_and_assign_offsets(batch, given);
  ASSERT_TRUE(valid);
  EXPECT_EQ(valid->max_timestamp, -1);
  EXPECT_EQ(valid->offset_of_max_timestamp.value, -1);
}

TEST(Validate, TimestampsThatWrapAreJudgedAsTheyRead) {
  Bytes batch = raw_batch(2, raw_record(INT64_MAX, 0, 1, "k") + raw_record(0, 1, 1, "k"));
  auto valid = validate_and_assign_offsets(batch, options());
  ASSERT_TRUE(valid);
  EXPECT_EQ(valid->max_timestamp, 1000);  // the other one wrapped below zero
}

TEST(Validate, RewritesABatchInTheTopicsCodec) {
  for (Codec from : kAllCodecs) {
    for (Codec to : kAllCodecs) {
      if (from == to) continue;
      std::mt19937_64 random(11);
      auto records = random_records(random);
      Bytes bytes = batch_of(records, {.codec = from, .producer_id = {9}, .producer_epoch = 1, .base_sequence = 30, .transactional = true});
      Bytes before = bytes;
      auto given = options();
      given.target_codec = to;
      auto valid = validate_and_assign_offsets(bytes, given);
      ASSERT_TRUE(valid) << valid.error().error.what;
      EXPECT_TRUE(valid->is_rebuilt());
      EXPECT_EQ(bytes, before);
      BatchView batch = valid->batch();
      EXPECT_EQ(batch.codec(), to);
      EXPECT_TRUE(batch.crc_matches());
      EXPECT_TRUE(batch.is_transactional());
      EXPECT_EQ(batch.producer_id().value, 9);
      EXPECT_EQ(batch.base_sequence(), 30);
      EXPECT_EQ(batch.base_offset().value, 500);
      EXPECT_EQ(batch.leader_epoch().value, 4);
      ByteView rest = valid->bytes;
      ASSERT_TRUE(*next_batch(rest));
      EXPECT_TRUE(rest.empty());
      auto read = read_all(batch);
      ASSERT_TRUE(read);
      EXPECT_EQ(*read, records);
    }
  }
}

TEST(Validate, KeepsABatchThatHasTheTopicsCodec) {
  Bytes bytes = batch_of(simple_records(3), {.codec = Codec::kGzip});
  auto given = options();
  given.target_codec = Codec::kGzip;
  given.level = 9;
  auto valid = validate_and_assign_offsets(bytes, given);
  ASSERT_TRUE(valid);
  EXPECT_FALSE(valid->is_rebuilt());
}

TEST(Validate, RefusesABatchThatIsTooLargeOnceRewritten) {
  auto records = simple_records(20, 1000, 2000);
  Bytes bytes = batch_of(records, {.codec = Codec::kGzip});
  auto given = options();
  given.target_codec = Codec::kNone;
  given.max_message_bytes = 20'000;
  expect_rejected(bytes, given, ErrorCode::kMessageTooLarge, "exceeds the maximum configured size");
}

TEST(Validate, NumbersRecordsAnewWhoseOffsetsAreNotConsecutive) {
  for (Codec codec : kAllCodecs) {
    Bytes headers;
    put(headers, 1);
    headers.push_back('h');
    put(headers, -1);
    Bytes records = raw_record(0, 0, 1, "a", 1, "1") + raw_record(1, 0, 1, "b", 1, "2", 1, headers) +
                    raw_record(2, 1'000'000, -1, "", 70'000, std::string(70'000, 'z')) + raw_record(3, -5, 1, "d", -1, "");
    Bytes batch = raw_batch(4, records, codec);
    Bytes before = batch;
    auto valid = validate_and_assign_offsets(batch, options());
    ASSERT_TRUE(valid) << name_of(codec) << valid.error().error.what;
    EXPECT_TRUE(valid->is_rebuilt());
    EXPECT_EQ(batch, before);
    EXPECT_EQ(valid->batch().codec(), codec);
    EXPECT_TRUE(valid->batch().crc_matches());
    std::vector<Offset> offsets;
    auto read = read_all(valid->batch(), &offsets);
    ASSERT_TRUE(read) << read.error().what;
    ASSERT_EQ(read->size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(offsets[i].value, 500 + static_cast<int64_t>(i));
      EXPECT_EQ((*read)[i].timestamp, 1000 + static_cast<int64_t>(i));
    }
    EXPECT_EQ((*read)[1].headers.size(), 1u);
    EXPECT_EQ((*read)[2].value->size(), 70'000u);
    EXPECT_EQ((*read)[3].key, "d");
  }
}

TEST(Validate, RefusesRecordsThatAreNotLegal) {
  Bytes good = raw_record(0, 0, 1, "k", 1, "v");
  struct Case {
    const char* name;
    int32_t count;
    Bytes records;
  };
  Bytes longer = good;
  longer[0] = static_cast<uint8_t>(longer[0] + 2);
  Bytes shorter = good;
  shorter[0] = static_cast<uint8_t>(shorter[0] - 2);
  Bytes negative = good;
  negative[0] = 1;
  Bytes bad_header_key;
  put(bad_header_key, -1);
  put(bad_header_key, -1);
  Bytes long_header_value;
  put(long_header_value, 1);
  long_header_value.push_back('h');
  put(long_header_value, 100);
  std::vector<Case> cases = {
      {"no record at all", 1, {}},
      {"a record less than counted", 2, good},
      {"a record more than counted", 1, good + raw_record(0, 1)},
      {"a byte behind the records", 1, good + Bytes{0}},
      {"a length beyond the batch", 1, longer},
      {"a length below the fields", 1, shorter},
      {"a negative length", 1, negative},
      {"a length of zero", 1, Bytes{0}},
      {"a length varint without end", 1, Bytes{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
      {"a key beyond the record", 1, raw_record(0, 0, 100, "k", 1, "v")},
      {"a value beyond the record", 1, raw_record(0, 0, 1, "k", 100, "v")},
      {"a value of 2 GiB", 1, raw_record(0, 0, 1, "k", INT32_MAX, "v")},
      {"a key size of more than 32 bits", 1, raw_record(0, 0, int64_t{1} << 33, "k", 1, "v")},
      {"a negative header count", 1, raw_record(0, 0, 1, "k", 1, "v", -1)},
      {"more headers than bytes", 1, raw_record(0, 0, 1, "k", 1, "v", 50)},
      {"a negative header key", 1, raw_record(0, 0, 1, "k", 1, "v", 1, bad_header_key)},
      {"a header value beyond the record", 1, raw_record(0, 0, 1, "k", 1, "v", 1, long_header_value)},
      {"bytes behind the headers", 1, raw_record(0, 0, 1, "k", 1, "v", 0, {7})},
  };
  for (const Case& c : cases) {
    for (Codec codec : kAllCodecs) {
      SCOPED_TRACE(std::string(c.name) + ", " + std::string(name_of(codec)));
      expect_rejected(raw_batch(c.count, c.records, codec), options(), ErrorCode::kInvalidRecord, "");
    }
  }
}

TEST(Validate, NegativeKeyAndValueSizesAreNull) {
  Bytes batch = raw_batch(1, raw_record(0, 0, -7, "", -9, ""));
  EXPECT_TRUE(validate_and_assign_offsets(batch, options()));
  auto given = options();
  given.compacted = true;
  expect_rejected(raw_batch(1, raw_record(0, 0, -7, "", -9, "")), given, ErrorCode::kInvalidRecord, "without key");
}

TEST(Validate, RefusesAStreamThatIsNotItsCodecs) {
  for (Codec codec : {Codec::kGzip, Codec::kSnappy, Codec::kLz4, Codec::kZstd}) {
    Bytes batch = changed(batch_of(simple_records(5)), [&](Bytes& b) { b[kAttributesAt + 1] = static_cast<uint8_t>(codec); });
    expect_rejected(batch, options(), ErrorCode::kInvalidRecord, "");
  }
}

TEST(Validate, RecordsMayStraddleThePiecesOfADecompressor) {
  // Sizes around those of pieces and blocks, so that every field of a record meets a border somewhere.
  for (Codec codec : {Codec::kGzip, Codec::kSnappy, Codec::kLz4, Codec::kZstd}) {
    for (size_t lead = 0; lead < 40; ++lead) {
      std::vector<OwnedRecord> records;
      size_t block = codec == Codec::kSnappy ? 32'768 : codec == Codec::kLz4 ? 65'536 : 131'072;
      records.push_back({1'700'000'000'000, {}, std::string(block - 60 + lead, 'q'), {}});
      for (int i = 0; i < 20; ++i) {
        records.push_back({1'700'000'000'000 + i * 1000, "key" + std::to_string(i), "value" + std::to_string(i), {{"header", "x"}, {"y", {}}}});
      }
      records.push_back({5, {}, std::string(1'500'000, 'r'), {}});
      Bytes bytes = batch_of(records, {.codec = codec});
      auto given = options();
      given.max_message_bytes = 3'000'000;
      auto valid = validate_and_assign_offsets(bytes, given);
      ASSERT_TRUE(valid) << name_of(codec) << " " << lead << ": " << valid.error().error.what;
      EXPECT_EQ(valid->max_timestamp, 1'700'000'000'000 + 19'000);
      EXPECT_FALSE(valid->is_rebuilt());
    }
  }
}

TEST(Validate, BoundsWhatABatchMayDecompressTo) {
  for (Codec codec : {Codec::kGzip, Codec::kSnappy, Codec::kLz4, Codec::kZstd}) {
    Bytes batch = batch_of({{1, "k", std::string(10'000'000, '0'), {}}}, {.codec = codec});
    auto given = options();
    given.max_message_bytes = 2'000'000;
    given.max_decompressed_bytes = 9'000'000;
    expect_rejected(batch, given, ErrorCode::kMessageTooLarge, "willing to decompress");
    given.max_decompressed_bytes = 11'000'000;
    EXPECT_TRUE(validate_and_assign_offsets(batch, given));
  }
}

TEST(Validate, ListsABoundedNumberOfRecordErrors) {
  std::vector<OwnedRecord> records(kMaxRecordErrors + 50);
  auto given = options();
  given.compacted = true;
  AppendError error = rejection(batch_of(records), given);
  EXPECT_EQ(error.records.size(), kMaxRecordErrors);
  EXPECT_NE(error.error.what.find(std::to_string(records.size()) + " record errors"), std::string::npos);
}

// 100 KB of compressed records may hold millions, each of them wrong.
TEST(Validate, RecordErrorsThatAreNotListedCostNoText) {
  auto allocated_by = [](size_t count, const ValidateOptions& given) {
    Bytes batch = batch_of(std::vector<OwnedRecord>(count, OwnedRecord{0, {}, "", {}}), {.codec = Codec::kZstd});
    rejection(batch, given);  // the buffers of the thread are there
    const size_t before = allocated_bytes;
    AppendError error = rejection(batch, given);
    const size_t allocated = allocated_bytes - before;
    EXPECT_EQ(error.records.size(), kMaxRecordErrors);
    return allocated;
  };
  auto compacted = options();
  compacted.compacted = true;
  auto bounded = options();
  bounded.now_ms = 10'000;
  bounded.before_max_ms = 1;
  for (const ValidateOptions& given : {compacted, bounded}) {
    EXPECT_LE(allocated_by(5 * kMaxRecordErrors, given), allocated_by(kMaxRecordErrors, given) + 100'000);
  }
}

TEST(Validate, SurvivesWhateverBytesUnderARightCrc) {
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    std::mt19937_64 random(seed);
    Codec codec = kAllCodecs[seed % kAllCodecs.size()];
    Bytes batch = changed(batch_of(simple_records(3), {.codec = codec}), [&](Bytes& b) {
      for (size_t i = 1 + random() % 3; i > 0; --i) b[kAttributesAt + 1 + random() % (b.size() - kAttributesAt - 1)] = static_cast<uint8_t>(random());
    });
    auto given = options();
    given.compacted = random() % 2 == 0;
    if (random() % 3 == 0) given.target_codec = kAllCodecs[random() % kAllCodecs.size()];
    auto valid = validate_and_assign_offsets(batch, given);
    if (!valid) continue;
    EXPECT_TRUE(valid->batch().crc_matches()) << seed;
    std::vector<Offset> offsets;
    auto read = read_all(valid->batch(), &offsets);
    ASSERT_TRUE(read) << seed << ": " << read.error().what;
    for (size_t i = 0; i < offsets.size(); ++i) ASSERT_EQ(offsets[i].value, 500 + static_cast<int64_t>(i)) << seed;
  }
}

}  // namespace
}  // namespace odradek::record
