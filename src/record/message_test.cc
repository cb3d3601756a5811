// Golden bytes: tests/record_java/old_formats.txt, made by Apache's classes (OldFormats.java beside it).
#include "record/message.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/crc.h"
#include "record/down_convert.h"
#include "record/test_support.h"
#include "record/validate.h"

namespace odradek::record {
namespace {

using testing::from_hex;
using testing::text;

constexpr int64_t kNow = 1'700'000'000'000;
constexpr std::array kOldCodecs = {Codec::kNone, Codec::kGzip, Codec::kSnappy, Codec::kLz4};

const std::map<std::string, Bytes>& golden() {
  static const auto* lines = [] {
    auto* found = new std::map<std::string, Bytes>;
    std::ifstream file(std::string(ODRADEK_SOURCE_DIR) + "/tests/record_java/old_formats.txt");
    std::string name, hex;
    while (file >> name >> hex) (*found)[name] = from_hex(hex);
    return found;
  }();
  return *lines;
}

const Bytes& golden(const std::string& name) {
  auto found = golden().find(name);
  EXPECT_NE(found, golden().end()) << name;
  static const Bytes none;
  return found == golden().end() ? none : found->second;
}

// "offset/timestamp/key=value" of every record in `frames`, whatever their formats.
std::vector<std::string> records_of(ByteView frames) {
  std::vector<std::string> lines;
  Decompressor decompressor;
  auto add = [&](const auto& record) {
    lines.push_back(std::to_string(record.offset.value) + "/" + (record.timestamp == kNoTimestamp ? "-" : std::to_string(record.timestamp - kNow)) +
                    "/" + text(record.key) + "=" + text(record.value));
  };
  for (;;) {
    auto frame = next_frame(frames);
    if (!frame || !*frame) break;
    EXPECT_TRUE(frame->crc_matches());
    if (frame->is_batch()) {
      auto reader = RecordReader::open(frame->batch(), decompressor);
      EXPECT_TRUE(reader) << reader.error().what;
      RecordView record;
      while (reader && reader->next(record).value_or(false)) add(record);
      continue;
    }
    auto reader = MessageReader::open(frame->message(), decompressor);
    EXPECT_TRUE(reader) << reader.error().what;
    MessageRecord record;
    while (reader && reader->next(record).value_or(false)) {
      EXPECT_TRUE(record.inner.crc_matches());
      add(record);
    }
  }
  EXPECT_TRUE(frames.empty());
  return lines;
}

// One wrapper or batch with its compressed part opened: what must be equal although compressors differ.
std::string opened(ByteView frame) {
  auto parsed = next_frame(frame);
  EXPECT_TRUE(parsed && *parsed && frame.empty());
  Decompressor decompressor;
  std::string shown;
  auto add = [&](ByteView bytes) { shown += std::string(as_text(bytes)); };
  if (parsed->is_batch()) {
    const BatchView batch = parsed->batch();
    EXPECT_TRUE(batch.crc_matches());
    add(batch.bytes().first(kSizeAt));
    add(batch.bytes().subspan(kLeaderEpochAt, kCrcAt - kLeaderEpochAt));
    add(batch.bytes().subspan(kAttributesAt, kBatchHeaderSize - kAttributesAt));
    add(*decompressor.all(batch.codec(), batch.records()));
    return shown;
  }
  const MessageView message = parsed->message();
  EXPECT_TRUE(message.crc_matches());
  add(message.bytes().first(kSizeAt));
  add(message.bytes().subspan(kMagicAt, message_header_size(message.magic()) - kMagicAt + 4));
  auto fields = message.fields();
  EXPECT_TRUE(fields && fields->value);
  add(*decompressor.all(message.codec(), *fields->value, kMaxDecompressedBytes, message.magic()));
  // An LZ4 frame's header: the check byte is another one in v0.
  if (message.codec() == Codec::kLz4) add(fields->value->first(7));
  return shown;
}

ValidateOptions old_produce() {
  ValidateOptions options{.partition = "t-0", .now_ms = kNow + 77, .first_offset = {1000}, .leader_epoch = {5}};
  options.produce_version = 2;
  return options;
}

std::string v(int magic, Codec codec) { return "v" + std::to_string(magic) + "-" + std::string(name_of(codec)); }

TEST(Message, ReadsWhatApacheWrites) {
  ASSERT_GE(golden().size(), 60u);
  for (Codec codec : kOldCodecs) {
    EXPECT_EQ(records_of(golden(v(0, codec))), (std::vector<std::string>{"100/-/key-0=value-0 value-0 value-0", "101/-/<null>=value-1 value-1 value-1",
                                                                         "102/-/key-2=<null>"}));
    EXPECT_EQ(records_of(golden(v(1, codec))), (std::vector<std::string>{"100/0/key-0=value-0 value-0 value-0", "101/5/<null>=value-1 value-1 value-1",
                                                                         "102/-3/key-2=<null>"}));
    EXPECT_EQ(records_of(golden(v(1, codec) + "-append")),
              (std::vector<std::string>{"100/77/key-0=value-0 value-0 value-0", "101/77/<null>=value-1 value-1 value-1", "102/77/key-2=<null>"}));
  }
}

TEST(Message, EveryCutAndEveryWrongLengthIsRefused) {
  Bytes message = golden("v1-none");
  message.resize(message_size(kMagicV1, ByteView(message).first(5), ByteView(message).first(23)));
  for (size_t size = 0; size < message.size(); ++size) {
    ByteView cut = ByteView(message).first(size);
    auto frame = next_frame(cut);
    EXPECT_TRUE(frame && !*frame) << size;
  }
  for (int32_t size : {6, 100, INT32_MAX}) {
    Bytes wrong = message;
    base::store_be<int32_t>(wrong.data() + message_header_size(kMagicV1), size == 6 ? 5 : size);
    if (size == 6) base::store_be<int32_t>(wrong.data() + message_header_size(kMagicV1) + 4 + 5, 24);
    auto fields = MessageView(wrong).fields();
    ASSERT_FALSE(fields) << size;
    EXPECT_EQ(fields.error().code, ErrorCode::kCorruptMessage);
  }
}

TEST(Message, InnerOffsetsOfV1AreRelativeToTheWrapper) {
  Bytes wrapper = golden("v1-gzip");
  base::store_be<int64_t>(wrapper.data(), 5'002);  // its offset is outside the CRC
  EXPECT_EQ(records_of(wrapper)[0].substr(0, 5), "5000/");
  base::store_be<int64_t>(wrapper.data(), 0);  // as a producer sends it
  EXPECT_EQ(records_of(wrapper)[2].substr(0, 2), "2/");
  base::store_be<int64_t>(wrapper.data(), 1);
  Decompressor decompressor;
  auto reader = MessageReader::open(MessageView(wrapper), decompressor);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, ErrorCode::kInvalidRecord);
}

TEST(UpConversion, MakesTheBatchThatApacheMakes) {
  for (int magic : {0, 1}) {
    for (Codec codec : kOldCodecs) {
      for (bool append_time : {false, true}) {
        const std::string name = v(magic, codec);
        Bytes records = golden(name);
        ValidateOptions options = old_produce();
        if (append_time) options.timestamp_type = TimestampType::kLogAppendTime;
        auto valid = validate_and_assign_offsets(records, options);
        ASSERT_TRUE(valid) << name << ": " << valid.error().error.what;
        const Bytes& wanted = golden((append_time ? "upappend-" : "up-") + name);
        EXPECT_EQ(opened(valid->bytes), opened(wanted)) << name;
        if (codec == Codec::kNone) {
          EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), valid->bytes.begin(), valid->bytes.end()));
        }
        EXPECT_EQ(valid->record_count, 3);
        EXPECT_EQ(valid->last_offset.value, 1002);
        EXPECT_EQ(valid->max_timestamp, append_time ? kNow + 77 : magic == 0 ? kNoTimestamp : kNow + 5);
        EXPECT_EQ(valid->log_append_time_ms, append_time ? kNow + 77 : kNoTimestamp);
      }
    }
  }
}

TEST(UpConversion, WritesTheTopicsCodecOverTheProducers) {
  for (Codec codec : testing::kAllCodecs) {
    Bytes records = golden("v1-snappy");
    ValidateOptions options = old_produce();
    options.target_codec = codec;
    auto valid = validate_and_assign_offsets(records, options);
    ASSERT_TRUE(valid);
    EXPECT_EQ(valid->batch().codec(), codec);
    EXPECT_EQ(records_of(valid->bytes), records_of(golden("up-v1-none")));
  }
}

// Bytes, options -> error.
ErrorCode refusal(Bytes records, const std::function<void(ValidateOptions&)>& change = [](ValidateOptions&) {}) {
  ValidateOptions options = old_produce();
  change(options);
  auto valid = validate_and_assign_offsets(records, options);
  return valid ? ErrorCode::kNone : valid.error().error.code;
}

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void mend_crc(Bytes& message) {
  base::store_be<uint32_t>(message.data() + kMessageCrcAt, base::crc32(ByteView(message).subspan(kMessageCrcFrom)));
}

Bytes wrapper_of(int8_t magic, ByteView inner, Codec codec = Codec::kGzip) {
  Bytes value = *compress(codec, default_level(codec), inner, magic);
  Bytes wrapper;
  put_message(wrapper, magic, {0}, kNow, static_cast<uint8_t>(codec), std::nullopt, ByteView(value));
  return wrapper;
}

TEST(KeptMessages, AreWhatApacheStoresInALogOfTheirFormat) {
  int compared = 0;
  for (int magic : {0, 1}) {
    for (Codec codec : kOldCodecs) {
      const std::string name = v(magic, codec);
      auto compare = [&](const std::string& as, const std::function<void(ValidateOptions&)>& change) {
        Bytes records = golden(name);
        if (codec != Codec::kNone) base::store_be<int64_t>(records.data(), 2);  // as a producer sends it
        ValidateOptions options = old_produce();
        options.keep_old_formats = true;
        change(options);
        auto valid = validate_and_assign_offsets(records, options);
        ASSERT_TRUE(valid) << as << name << ": " << valid.error().error.what;
        ASSERT_TRUE(place(*valid, {1000}));
        const Bytes& wanted = golden(as + name);
        const bool wrapped = MessageView(valid->bytes).is_wrapper();
        if (wrapped) {
          EXPECT_EQ(opened(valid->bytes), opened(wanted)) << as << name;
        } else {
          EXPECT_EQ(Bytes(valid->bytes.begin(), valid->bytes.end()), wanted) << as << name;
        }
        EXPECT_EQ(records_of(valid->bytes), records_of(wanted)) << as << name;
        EXPECT_EQ(valid->record_count, 3);
        EXPECT_EQ(valid->first_offset.value, 1000);
        EXPECT_EQ(valid->last_offset.value, 1002);
        ++compared;
      };
      compare("keep-", [](auto&) {});
      if (magic == 1) compare("keepappend-", [](auto& o) { o.timestamp_type = TimestampType::kLogAppendTime; });
      for (Codec target : kOldCodecs) {
        if (target != codec) compare("keep" + std::string(name_of(target)) + "-", [&](auto& o) { o.target_codec = target; });
      }
    }
  }
  EXPECT_EQ(compared, 4 * (4 + 5));
}

TEST(KeptMessages, AreWrittenAgainOnlyWhereTheFormatForcesIt) {
  auto kept = [](Bytes& records, std::optional<Codec> target = std::nullopt) {
    ValidateOptions options = old_produce();
    options.keep_old_formats = true;
    options.target_codec = target;
    auto valid = validate_and_assign_offsets(records, options);
    EXPECT_TRUE(valid && place(*valid, {5'000}));
    return std::move(*valid);
  };
  for (Codec codec : kOldCodecs) {
    Bytes plain = golden(v(1, codec));
    EXPECT_FALSE(kept(plain).is_rebuilt());
    Bytes v0 = golden(v(0, codec));
    EXPECT_EQ(kept(v0).is_rebuilt(), codec != Codec::kNone);
  }
  Bytes inner;
  for (int i = 0; i < 3; ++i) put_message(inner, kMagicV1, {0}, kNow + i, 0, as_bytes("k"), as_bytes("v"));
  Bytes all_zero = wrapper_of(kMagicV1, inner, Codec::kLz4);
  auto valid = kept(all_zero);
  EXPECT_TRUE(valid.is_rebuilt());
  EXPECT_EQ(records_of(valid.bytes), (std::vector<std::string>{"5000/0/k=v", "5001/1/k=v", "5002/2/k=v"}));
  // zstd is none of their codecs.
  Bytes to_zstd = golden("v1-gzip");
  valid = kept(to_zstd, Codec::kZstd);
  ASSERT_TRUE(valid.is_batch());
  EXPECT_EQ(valid.batch().codec(), Codec::kZstd);
  EXPECT_EQ(valid.batch().base_offset().value, 5'000);
}

TEST(KeptMessages, AreHeldAgainstTheSameRules) {
  auto keep = [](auto& o) { o.keep_old_formats = true; };
  for (Codec codec : kOldCodecs) {
    EXPECT_EQ(refusal(golden(v(0, codec)), [&](auto& o) { keep(o), o.compacted = true; }), ErrorCode::kInvalidRecord);
    EXPECT_EQ(refusal(golden(v(1, codec)), [&](auto& o) { keep(o), o.before_max_ms = 78; }), ErrorCode::kInvalidTimestamp);
    EXPECT_EQ(refusal(golden(v(0, codec)), [&](auto& o) { keep(o), o.max_message_bytes = 40; }), ErrorCode::kMessageTooLarge);
  }
  EXPECT_EQ(refusal(golden("v0-none"), [&](auto& o) { keep(o), o.max_message_bytes = 100; }), ErrorCode::kNone);  // 54 bytes at most each
  // Not together, though, and not where one expands.
  EXPECT_EQ(refusal(golden("v0-none"), [&](auto& o) { keep(o), o.max_message_bytes = 60, o.target_codec = Codec::kGzip; }), ErrorCode::kMessageTooLarge);
  EXPECT_EQ(refusal(wrapper_of(kMagicV1, golden("v0-none")), keep), ErrorCode::kInvalidRecord);
}

TEST(UpConversion, NothingWholeIsNoError) {
  for (size_t size : {size_t{0}, size_t{5}, size_t{30}}) {
    Bytes records = golden("v0-none");
    auto valid = validate_and_assign_offsets(MutableByteView(records).first(size), old_produce());
    ASSERT_TRUE(valid) << size;
    EXPECT_TRUE(valid->bytes.empty());
    EXPECT_EQ(valid->record_count, 0);
  }
}

TEST(UpConversion, ACutOffLastMessageIsLeftOut) {
  Bytes records = golden("v0-none");
  auto valid = validate_and_assign_offsets(MutableByteView(records).first(records.size() - 1), old_produce());
  ASSERT_TRUE(valid);
  EXPECT_EQ(valid->record_count, 2);
}

TEST(UpConversion, RefusesWhatKafkaRefuses) {
  Bytes flipped = golden("v1-none");
  flipped.back() ^= 1;
  EXPECT_EQ(refusal(flipped), ErrorCode::kCorruptMessage);
  EXPECT_EQ(refusal(joined({golden("v1-none"), golden("v0-none")})), ErrorCode::kInvalidRecord);
  EXPECT_EQ(refusal(joined({golden("v1-gzip"), golden("v1-gzip")})), ErrorCode::kInvalidRecord);
  EXPECT_EQ(refusal(joined({golden("v1-none"), golden("v1-gzip")})), ErrorCode::kInvalidRecord);
  for (Codec codec : kOldCodecs) {
    EXPECT_EQ(refusal(golden(v(0, codec)), [](auto& o) { o.compacted = true; }), ErrorCode::kInvalidRecord);
    EXPECT_EQ(refusal(golden(v(1, codec)), [](auto& o) { o.before_max_ms = 78; }), ErrorCode::kInvalidTimestamp);
    EXPECT_EQ(refusal(golden(v(1, codec)), [](auto& o) { o.before_max_ms = 80; }), ErrorCode::kNone);
    EXPECT_EQ(refusal(golden(v(1, codec)), [](auto& o) { o.now_ms = kNow, o.after_max_ms = 4; }), ErrorCode::kInvalidTimestamp);
    EXPECT_EQ(refusal(golden(v(0, codec)), [](auto& o) { o.before_max_ms = o.after_max_ms = 1; }), ErrorCode::kNone);
    EXPECT_EQ(refusal(golden(v(0, codec)), [](auto& o) { o.max_message_bytes = 40; }), ErrorCode::kMessageTooLarge);
    EXPECT_EQ(refusal(golden(v(1, codec) + "-append"), [](auto& o) { o.timestamp_type = TimestampType::kLogAppendTime; }), ErrorCode::kInvalidTimestamp);
  }
  // 54 bytes at most each, but not together.
  EXPECT_EQ(refusal(golden("v0-none"), [](auto& o) { o.max_message_bytes = 100; }), ErrorCode::kMessageTooLarge);
  Bytes without_value;
  put_message(without_value, kMagicV1, {0}, kNow, static_cast<uint8_t>(Codec::kGzip), std::nullopt, std::nullopt);
  EXPECT_EQ(refusal(without_value), ErrorCode::kInvalidRecord);
  for (uint8_t codec : {4, 5, 7}) {
    Bytes unknown;
    put_message(unknown, kMagicV1, {0}, kNow, codec, std::nullopt, as_bytes("x"));
    EXPECT_EQ(refusal(unknown), ErrorCode::kInvalidRecord) << int{codec};
  }
}

TEST(UpConversion, RefusesWrappersWithWrongContent) {
  EXPECT_EQ(refusal(wrapper_of(kMagicV1, {})), ErrorCode::kInvalidRecord);
  EXPECT_EQ(refusal(wrapper_of(kMagicV1, golden("v0-none"))), ErrorCode::kInvalidRecord);
  EXPECT_EQ(refusal(wrapper_of(kMagicV1, golden("v1-gzip"))), ErrorCode::kInvalidRecord);
  EXPECT_EQ(refusal(wrapper_of(kMagicV0, golden("v0-none"))), ErrorCode::kNone);
  Bytes inner = golden("v0-none");
  inner.back() ^= 1;
  inner[kMessageCrcAt] ^= 1;
  EXPECT_EQ(refusal(wrapper_of(kMagicV0, inner)), ErrorCode::kCorruptMessage);
  Bytes long_key = golden("v0-none");
  base::store_be<int32_t>(long_key.data() + message_header_size(kMagicV0), 1'000'000);
  EXPECT_EQ(refusal(wrapper_of(kMagicV0, long_key)), ErrorCode::kCorruptMessage);
  // A wrapper that claims zstd's or another's stream, cut and wrong ones.
  Bytes wrong = golden("v1-lz4");
  wrong[kMessageAttributesAt] = static_cast<uint8_t>(Codec::kSnappy);
  mend_crc(wrong);
  EXPECT_NE(refusal(wrong), ErrorCode::kNone);
}

TEST(UpConversion, InnerOffsetsThatAProducerLeavesAtZeroDoNotMatter) {
  Bytes inner;
  for (int i = 0; i < 3; ++i) put_message(inner, kMagicV1, {0}, kNow + i, 0, as_bytes("k"), as_bytes("v"));
  Bytes records = wrapper_of(kMagicV1, inner, Codec::kLz4);
  auto valid = validate_and_assign_offsets(records, old_produce());
  ASSERT_TRUE(valid);
  EXPECT_EQ(records_of(valid->bytes), (std::vector<std::string>{"1000/0/k=v", "1001/1/k=v", "1002/2/k=v"}));
}

TEST(UpConversion, TakesLz4WithEitherHeaderChecksumInV0AndOnlyTheRightOneInV1) {
  Bytes inner0, inner1;
  put_message(inner0, kMagicV0, {0}, kNow, 0, as_bytes("k"), as_bytes("v"));
  put_message(inner1, kMagicV1, {0}, kNow, 0, as_bytes("k"), as_bytes("v"));
  Bytes right = *compress(Codec::kLz4, kDefaultLz4Level, inner0, kMagicV2);
  Bytes message;
  put_message(message, kMagicV0, {0}, kNow, static_cast<uint8_t>(Codec::kLz4), std::nullopt, ByteView(right));
  EXPECT_EQ(refusal(message), ErrorCode::kNone);
  EXPECT_EQ(refusal(wrapper_of(kMagicV0, inner0, Codec::kLz4)), ErrorCode::kNone);
  Bytes broken = *compress(Codec::kLz4, kDefaultLz4Level, inner1, kMagicV0);
  message.clear();
  put_message(message, kMagicV1, {0}, kNow, static_cast<uint8_t>(Codec::kLz4), std::nullopt, ByteView(broken));
  EXPECT_EQ(refusal(message), ErrorCode::kInvalidRecord);
}

TEST(UpConversion, AV2BatchInAnOldRequestIsTakenAlone) {
  Bytes batch = testing::batch_of(testing::simple_records(3, kNow));
  EXPECT_EQ(refusal(batch), ErrorCode::kNone);
  EXPECT_EQ(refusal(joined({batch, batch})), ErrorCode::kInvalidRecord);
  set_base_offset(batch, {7});
  EXPECT_EQ(refusal(batch), ErrorCode::kInvalidRecord);
  EXPECT_EQ(refusal(golden("v1-none"), [](auto& o) { o.produce_version = 3; }), ErrorCode::kInvalidRecord);
}

// All frames of a golden line, converted from offset 101 on.
Bytes down(const std::string& source, int8_t magic, size_t limit = SIZE_MAX) {
  DownConverter converter(magic, {101});
  Bytes out;
  ByteView rest = golden(source);
  for (;;) {
    auto frame = next_frame(rest);
    if (!frame || !*frame) return out;
    auto done = converter.convert(*frame, out, limit);
    EXPECT_TRUE(done) << source << ": " << done.error().what;
    if (!done || !*done) return out;
  }
}

TEST(DownConversion, MakesWhatApacheMakes) {
  int compared = 0;
  for (const auto& [name, wanted] : golden()) {
    if (!name.starts_with("down")) continue;
    const auto magic = static_cast<int8_t>(name[4] - '0');
    const std::string source = name.substr(6);
    Bytes got = down(source, magic);
    if (source.find("-none") != std::string::npos || source == "v2-transaction") {
      EXPECT_EQ(got, wanted) << name;
    } else {
      EXPECT_EQ(opened(got), opened(wanted)) << name;
    }
    ++compared;
  }
  EXPECT_EQ(compared, 26);
}

TEST(DownConversion, LeavesWhatTheClientReadsAsItIs) {
  EXPECT_EQ(down("v1-gzip", kMagicV1), golden("v1-gzip"));
  EXPECT_EQ(down("v0-none", kMagicV1), golden("v0-none"));
}

TEST(DownConversion, StopsAtTheLimitBetweenMessages) {
  EXPECT_EQ(records_of(down("v2-none", kMagicV1, 1)), (std::vector<std::string>{"101/5/<null>=value-1 value-1 value-1"}));
  EXPECT_EQ(records_of(down("v2-none", kMagicV1, 57 + 39)).size(), 2u);
  EXPECT_EQ(records_of(down("v2-none", kMagicV1, 57 + 38)).size(), 1u);
  EXPECT_EQ(records_of(down("v2-gzip", kMagicV1, 1)).size(), 3u);  // a wrapper is whole or not there
  Bytes batch = golden("v2-gzip");
  DownConverter converter(kMagicV1, {0});
  Bytes out;
  ASSERT_TRUE(*converter.convert(Frame(batch), out, 100));
  const size_t before = out.size();
  EXPECT_FALSE(*converter.convert(Frame(batch), out, before + 10));
  EXPECT_EQ(out.size(), before);
}

TEST(DownConversion, RefusesZstdAndLeavesOutEmptyBatches) {
  Bytes zstd = testing::batch_of(testing::simple_records(3), {.codec = Codec::kZstd});
  DownConverter converter(kMagicV1, {0});
  Bytes out;
  auto done = converter.convert(Frame(zstd), out, SIZE_MAX);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kUnsupportedCompressionType);
  BatchBuilder empty({.base_offset = {5}});
  empty.set_last_offset({9});
  Bytes nothing = empty.build();
  EXPECT_TRUE(*converter.convert(Frame(nothing), out, SIZE_MAX));
  EXPECT_TRUE(out.empty());
}

TEST(DownConversion, OfAnyRecordsKeepsOffsetsTimestampsKeysAndValues) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 40; ++round) {
    const Codec codec = kOldCodecs[random() % kOldCodecs.size()];
    Bytes batch = testing::batch_of(testing::random_records(random), {.codec = codec, .base_offset = {1'000'000}});
    for (int8_t magic : {kMagicV0, kMagicV1}) {
      DownConverter converter(magic, {0});
      Bytes out;
      ASSERT_TRUE(*converter.convert(Frame(batch), out, SIZE_MAX));
      auto wanted = records_of(batch);
      auto got = records_of(out);
      if (magic == kMagicV0) {
        for (std::string& line : wanted) line = line.substr(0, line.find('/')) + "/-" + line.substr(line.find('/', line.find('/') + 1));
      }
      ASSERT_EQ(got, wanted);
      // And up again.
      Bytes sent = out;
      ValidateOptions options = old_produce();
      options.first_offset = {1'000'000};
      options.max_message_bytes = 64 << 20;
      auto valid = validate_and_assign_offsets(sent, options);
      ASSERT_TRUE(valid) << valid.error().error.what;
      EXPECT_EQ(records_of(valid->bytes), wanted);
    }
  }
}

TEST(UpConversion, RecordErrorsThatAreNotListedCostNoText) {
  auto allocated_by = [](size_t count, const ValidateOptions& options) {
    Bytes inner;
    for (size_t i = 0; i < count; ++i) put_message(inner, kMagicV1, {0}, kNow, 0, std::nullopt, as_bytes("v"));
    const Bytes records = wrapper_of(kMagicV1, inner);
    size_t allocated = 0;
    for (int round = 0; round < 2; ++round) {  // in the first one the buffers of the thread are made
      Bytes sent = records;
      const size_t before = testing::allocated_bytes;
      auto valid = validate_and_assign_offsets(sent, options);
      allocated = testing::allocated_bytes - before;
      EXPECT_TRUE(!valid && valid.error().records.size() == kMaxRecordErrors);
    }
    return allocated;
  };
  ValidateOptions compacted = old_produce(), bounded = old_produce();
  compacted.compacted = true;
  bounded.before_max_ms = 1;
  for (const ValidateOptions& options : {compacted, bounded}) {
    // The content stands in memory as a whole: 1.4 MB more, in a buffer that grows. The texts would be 8 MB at least.
    EXPECT_LE(allocated_by(5 * kMaxRecordErrors, options), allocated_by(kMaxRecordErrors, options) + 6'000'000);
  }
}

}  // namespace
}  // namespace odradek::record
