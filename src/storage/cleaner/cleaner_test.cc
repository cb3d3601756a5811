// Whole cleanings of logs on a disk in memory, in hand-driven time.
#include "storage/cleaner/cleaner.h"

#include <gmock/gmock.h>

#include <map>

#include "record/message.h"
#include "storage/cleaner/clean_job.h"
#include "storage/dir/log_dir.h"
#include "storage/test_support.h"

namespace odradek::storage::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct KeyValue {
  std::optional<std::string> key, value;
  int64_t timestamp = base::ManualRuntime::kStartMs;
};

std::optional<ByteView> view(const std::optional<std::string>& text) {
  return text ? std::optional<ByteView>(as_bytes(*text)) : std::nullopt;
}

// "7 a=1", "8 b" (a tombstone), "9 COMMIT" per record that is there, and "10 -" per batch without any.
std::vector<std::string> shown(ByteView bytes) {
  std::vector<std::string> all;
  record::Decompressor decompressor;
  auto text = [](const std::optional<ByteView>& field) { return field ? std::string(as_text(*field)) : std::string("null"); };
  auto show = [&](int64_t offset, const auto& record) {
    all.push_back(std::to_string(offset) + " " + text(record.key) + (record.value ? "=" + text(record.value) : ""));
  };
  for (;;) {
    auto frame = record::next_frame(bytes);
    EXPECT_TRUE(frame);
    if (!frame || !*frame) return all;
    EXPECT_TRUE(frame->crc_matches());
    if (!frame->is_batch()) {
      auto reader = record::MessageReader::open(frame->message(), decompressor);
      EXPECT_TRUE(reader);
      for (record::MessageRecord record; *reader->next(record);) show(record.offset.value, record);
    } else if (frame->batch().count() == 0) {
      all.push_back(std::to_string(frame->last_offset().value) + " -");
    } else if (frame->batch().is_control()) {
      all.push_back(std::to_string(frame->last_offset().value) + " " + std::string(record::name_of(record::parse_end_txn_marker(frame->batch())->type)));
    } else {
      auto reader = record::RecordReader::open(frame->batch(), decompressor);
      EXPECT_TRUE(reader);
      for (record::RecordView record; *reader->next(record);) show(record.offset.value, record);
    }
  }
}

Bytes content_of(const Log& log, Offset from = {0}) {
  Bytes all;
  while (from < log.log_end_offset()) {
    auto read = log.read(from, 1 << 20, log.log_end_offset(), true);
    EXPECT_TRUE(read) << read.error().what;
    if (!read || read->slice.size == 0) break;
    Bytes bytes = bytes_of(read->slice);
    all.insert(all.end(), bytes.begin(), bytes.end());
    from = read->next_offset;
  }
  return all;
}
std::vector<std::string> records(const Log& log) { return shown(content_of(log)); }

class CleanerTest : public ::testing::Test {
 protected:
  CleanerTest() {
    config.compact_policy = true;
    config.delete_policy = false;
    config.segment_index_bytes = 4096;
    config.delete_retention_ms = 1000;
    config.min_cleanable_dirty_ratio = 0.01;
    disk.configure(config);
    options.backoff_ms = 100;
  }
  ~CleanerTest() override { cleaner.reset(); }

  void configure() { disk.configure(config); }
  void start() {
    cleaner = std::make_unique<Cleaner>(disk.runtime, *disk.manager, options, disk.registry);
    cleaner->start();
  }
  // Until it finds nothing more to do.
  void clean(int64_t ms = 500) {
    if (cleaner == nullptr) start();
    disk.runtime.advance(ms);
  }
  std::shared_ptr<Log> log(int partition = 0) { return disk.log("t", partition); }

  void append(const std::vector<KeyValue>& records, record::BuilderOptions built = {}, int partition = 0) {
    record::BatchBuilder builder(built);
    for (const auto& record : records) builder.append(record.timestamp, view(record.key), view(record.value));
    auto target = log(partition);
    Bytes batch = builder.build();
    auto appended = target->append_as_leader(batch, {0}, {record::AppendOrigin::kCoordinator, 11});
    ASSERT_TRUE(appended) << appended.error().error.what;
    target->update_high_watermark(target->log_end_offset());
  }
  void append(const std::string& key, std::optional<std::string> value, int partition = 0) { append({{key, std::move(value)}}, {}, partition); }
  void end_transaction(record::ControlType type, ProducerId producer, int16_t epoch = 0) {
    Bytes marker = record::build_end_txn_marker({type, 0}, disk.runtime.clock().wall_ms(), producer, epoch);
    auto appended = log()->append_as_leader(marker, {0}, {record::AppendOrigin::kCoordinator, 11});
    ASSERT_TRUE(appended) << appended.error().error.what;
    log()->update_high_watermark(log()->log_end_offset());
  }
  void roll(int partition = 0) { ASSERT_TRUE(log(partition)->roll()); }
  double metric(const std::string& name) {
    std::string text = disk.registry.prometheus_text();
    size_t at = text.find("\n" + name);
    EXPECT_NE(at, std::string::npos) << name;
    return at == std::string::npos ? -1 : std::stod(text.substr(text.find(' ', at + 1)));
  }

  Disk disk;
  LogConfig config;
  CleanerOptions options;
  std::unique_ptr<Cleaner> cleaner;
};

TEST_F(CleanerTest, KeepsTheLastRecordOfEachKeyAtItsOffset) {
  append("a", "1");
  append("b", "1");
  roll();
  append("a", "2");
  append({{"c", "1"}, {"b", "2"}, {"c", "2"}});
  roll();
  append("b", "3");  // in the active segment: not looked at
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("2 a=2", "4 b=2", "5 c=2", "6 b=3"));
  EXPECT_EQ(log()->log_start_offset().value, 0);
  EXPECT_EQ(log()->segment_count(), 2u);
  EXPECT_EQ(disk.text("/data/cleaner-offset-checkpoint"), "0\n1\nt 0 6\n");
  EXPECT_EQ(metric("odradek_log_cleaner_removed_records_total"), 3);
  disk.runtime.advance(70'000);
  disk.stop_and_start();
  EXPECT_THAT(records(*log()), ElementsAre("2 a=2", "4 b=2", "5 c=2", "6 b=3"));
}

TEST_F(CleanerTest, LeavesBatchesAloneOfWhichEverythingStays) {
  append({{"a", "1"}, {"b", "1"}}, {.codec = record::Codec::kZstd});
  append("c", "1");
  const Bytes before = content_of(*log());
  roll();
  append("c", "2");
  roll();
  append("x", "");
  auto before_read = log()->read({0}, 100, log()->log_end_offset(), true);
  clean();
  Bytes after = content_of(*log());
  EXPECT_EQ(shown(after), (std::vector<std::string>{"0 a=1", "1 b=1", "3 c=2", "4 x="}));
  EXPECT_TRUE(std::equal(after.begin(), after.begin() + before_read->slice.size, before.begin()));
}

TEST_F(CleanerTest, KeepsTheFileOfASegmentOfWhichEverythingStays) {
  config.segment_bytes = 300;
  configure();
  append({{"a", std::string(200, 'a')}});
  append({{"b", std::string(200, 'b')}});
  append({{"c", std::string(200, 'c')}});
  roll();
  auto read = log()->read({0}, 1000, log()->log_end_offset(), true);
  clean();
  EXPECT_EQ(log()->cleaned_offset().value, 3);
  EXPECT_EQ(log()->read({0}, 1000, log()->log_end_offset(), true)->slice.file, read->slice.file);
  EXPECT_THAT(disk.names("/data/t-0"), ::testing::Not(::testing::Contains(::testing::HasSubstr("cleaned"))));
}

TEST_F(CleanerTest, CompressesAgainWhatItTakesApart) {
  for (record::Codec codec : {record::Codec::kNone, record::Codec::kGzip, record::Codec::kSnappy, record::Codec::kLz4, record::Codec::kZstd}) {
    append({{"a", std::string(500, 'x')}, {"b", std::string(500, 'y')}, {"a", std::string(500, 'z')}}, {.codec = codec, .timestamp_type = record::TimestampType::kCreateTime});
  }
  roll();
  append("x", "");
  clean();
  Bytes bytes = content_of(*log());
  auto batches = batches_of(bytes);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].codec(), record::Codec::kZstd);
  EXPECT_EQ(batches[0].base_offset().value, 12);
  EXPECT_EQ(batches[0].last_offset().value, 14);
  EXPECT_EQ(batches[0].count(), 2);
  EXPECT_EQ(batches[0].leader_epoch().value, 0);
}

TEST_F(CleanerTest, KeepsATombstoneUntilItsTimeHasCome) {
  append("a", "1");
  append("b", "1");
  roll();
  append("a", std::nullopt);
  roll();
  append("x", "1");
  clean(500);
  EXPECT_THAT(records(*log()), ElementsAre("1 b=1", "2 a", "3 x=1"));
  Bytes bytes = content_of(*log());
  auto batch = batches_of(bytes)[1];
  EXPECT_TRUE(batch.has_delete_horizon());
  EXPECT_GE(batch.base_timestamp(), base::ManualRuntime::kStartMs + 1000);
  EXPECT_LE(batch.base_timestamp(), base::ManualRuntime::kStartMs + 1500);
  EXPECT_EQ(batch.max_timestamp(), base::ManualRuntime::kStartMs) << "records keep their times";
  roll();
  append("x", "2");
  clean(400);
  EXPECT_THAT(records(*log()), ElementsAre("1 b=1", "2 a", "3 x=1", "4 x=2")) << "not yet";
  roll();
  append("x", "3");
  clean(2000);
  EXPECT_THAT(records(*log()), ElementsAre("1 b=1", "4 x=2", "5 x=3"));
}

TEST_F(CleanerTest, DropsAbortedRecordsAtOnceAndMarkersWhenNothingOfTheirTransactionIsLeft) {
  const record::BuilderOptions aborted{.producer_id = {1}, .producer_epoch = 0, .base_sequence = 0, .transactional = true};
  const record::BuilderOptions committed{.producer_id = {2}, .producer_epoch = 0, .base_sequence = 0, .transactional = true};
  append("a", "0");
  append({{"a", "aborted"}}, aborted);
  append({{"b", "1"}}, committed);
  end_transaction(record::ControlType::kAbort, {1});
  end_transaction(record::ControlType::kCommit, {2});
  roll();
  append("x", "1");
  clean();
  // The last batch of each producer that is known stays for its sequence number, an empty one if need be.
  EXPECT_THAT(records(*log()), ElementsAre("0 a=0", "1 -", "2 b=1", "3 ABORT", "4 COMMIT", "5 x=1"));
  EXPECT_THAT(log()->aborted_transactions({0}, {9})->size(), 1);

  // Then the producers are forgotten.
  log()->expire_producers(disk.runtime.clock().wall_ms() + 100'000'000);
  roll();
  append("b", "2");
  roll();
  append("x", "2");
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("0 a=0", "3 ABORT", "4 COMMIT", "5 x=1", "6 b=2", "7 x=2")) << "markers wait for their time";
  EXPECT_EQ(log()->aborted_transactions({0}, {9})->size(), 1u) << "its empty batch was there when this began";
  roll();
  append("x", "3");
  clean(500);
  EXPECT_THAT(records(*log()), ElementsAre("0 a=0", "3 ABORT", "4 COMMIT", "6 b=2", "7 x=2", "8 x=3"));
  EXPECT_THAT(*log()->aborted_transactions({0}, {9}), IsEmpty());
  roll();
  append("x", "4");
  clean(500);
  EXPECT_THAT(records(*log()), ElementsAre("0 a=0", "3 ABORT", "4 COMMIT", "6 b=2", "8 x=3", "9 x=4")) << "not yet";
  disk.runtime.advance(1000);
  roll();
  append("x", "5");
  clean(500);
  EXPECT_THAT(records(*log()), ElementsAre("0 a=0", "6 b=2", "9 x=4", "10 x=5"));
  disk.kill_and_start();
  EXPECT_THAT(records(*log()), ElementsAre("0 a=0", "6 b=2", "9 x=4", "10 x=5"));
}

TEST_F(CleanerTest, NeverPassesAnOpenTransactionOrTheHighWatermark) {
  append("a", "1");
  roll();
  append("a", "2");
  roll();
  append({{"b", "1"}}, {.producer_id = {1}, .producer_epoch = 0, .base_sequence = 0, .transactional = true});
  roll();
  append("a", "3");
  roll();
  append("a", "4");
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("1 a=2", "2 b=1", "3 a=3", "4 a=4"));
  EXPECT_EQ(log()->cleaned_offset().value, 2);
  end_transaction(record::ControlType::kCommit, {1});
  roll();
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("2 b=1", "4 a=4", "5 COMMIT"));
}

TEST_F(CleanerTest, KeepsTheSequenceOfAProducerThroughARestartWithoutSnapshots) {
  record::BuilderOptions producer{.producer_id = {5}, .producer_epoch = 3};
  for (int i = 0; i < 4; ++i) {
    producer.base_sequence = i;
    append({{"k", std::to_string(i)}}, producer);
  }
  append("k", "last");
  roll();
  append("x", "1");
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("3 -", "4 k=last", "5 x=1"));
  disk.manager->stop();
  for (const auto& name : disk.names("/data/t-0")) {
    if (name.ends_with(".snapshot")) ASSERT_TRUE(disk.files.remove("/data/t-0/" + name));
  }
  cleaner.reset();
  disk.manager.reset();
  disk.start();
  auto producers = log()->active_producers();
  ASSERT_EQ(producers.size(), 1u);
  EXPECT_EQ(producers[0].last_sequence, 3);
  EXPECT_EQ(producers[0].producer_epoch, 3);
}

TEST_F(CleanerTest, KeepsTheLastBatchOfWhatItCleanedThoughItIsEmpty) {
  append("a", "1");
  record::BatchBuilder builder({.base_offset = {1}, .leader_epoch = {0}});
  builder.append(0, std::nullopt, as_bytes("no key"));
  Bytes batch = builder.build();
  ASSERT_TRUE(log()->append_as_follower(batch));
  roll();
  append("x", "1");
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("0 a=1", "1 -", "2 x=1"));
}

TEST_F(CleanerTest, MergesSmallSegmentsUpToTheSizeOfOne) {
  for (int i = 0; i < 20; ++i) {
    append("k" + std::to_string(i), std::string(100, 'v'));
    roll();
  }
  const int64_t one = log()->size_bytes() / 20;
  config.segment_bytes = static_cast<int32_t>(one * 5 + one / 2);
  configure();
  clean();
  EXPECT_EQ(log()->segment_count(), 5u);
  EXPECT_EQ(records(*log()).size(), 20u);
  disk.runtime.advance(70'000);
  EXPECT_THAT(disk.names("/data/t-0"), ::testing::Not(::testing::Contains(::testing::HasSubstr("deleted"))));
  int snapshots = 0;
  for (const auto& name : disk.names("/data/t-0")) snapshots += name.ends_with(".snapshot");
  EXPECT_EQ(snapshots, 4);
}

TEST_F(CleanerTest, DoesNotJoinSegmentsBeyondTheReachOfAnOffset) {
  append("a", "1");
  roll();
  record::BatchBuilder builder({.base_offset = {INT32_MAX - 1ll}, .leader_epoch = {0}});
  builder.append(0, as_bytes("b"), as_bytes("1"));
  Bytes far = builder.build();
  ASSERT_TRUE(log()->append_as_follower(far));
  roll();
  builder = record::BatchBuilder({.base_offset = {INT32_MAX + 10ll}, .leader_epoch = {0}});
  builder.append(0, as_bytes("c"), as_bytes("1"));
  far = builder.build();
  ASSERT_TRUE(log()->append_as_follower(far));
  roll();
  log()->update_high_watermark(log()->log_end_offset());
  clean();
  EXPECT_EQ(log()->segment_count(), 3u) << "0 and 1 are one now, the third is out of reach";
  EXPECT_THAT(records(*log()), ElementsAre("0 a=1", "2147483646 b=1", "2147483657 c=1"));
}

TEST_F(CleanerTest, TakesWhatFitsIntoTheMapAndTheRestTheNextTime) {
  options.dedupe_buffer_bytes = 24 * 10;
  options.load_factor = 0.5;  // 5 keys
  for (int i = 0; i < 40; ++i) append("k" + std::to_string(i % 8), std::to_string(i));
  roll();
  append("x", "1");
  clean(10'000);
  std::vector<std::string> expected;
  for (int i = 32; i < 40; ++i) expected.push_back(std::to_string(i) + " k" + std::to_string(i % 8) + "=" + std::to_string(i));
  expected.push_back("40 x=1");
  EXPECT_EQ(records(*log()), expected);
  EXPECT_EQ(log()->cleaned_offset().value, 40);
}

TEST_F(CleanerTest, ReadsBatchesThatAreLargerThanItsBuffers) {
  options.io_buffer_bytes = 64;
  append({{"a", std::string(100'000, 'a')}, {"b", std::string(100'000, 'b')}});
  append("a", "small");
  roll();
  append("x", "1");
  clean(20'000);
  auto all = records(*log());
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0], "1 b=" + std::string(100'000, 'b'));
  EXPECT_EQ(all[1], "2 a=small");
}

TEST_F(CleanerTest, CompactsMessagesAndWrappersOfOldFormats) {
  config.segment_bytes = 100;  // they are not joined
  configure();
  for (int8_t magic : {int8_t{0}, int8_t{1}}) {
    for (record::Codec codec : {record::Codec::kNone, record::Codec::kGzip, record::Codec::kLz4}) {
      SCOPED_TRACE(std::to_string(magic) + " " + std::string(record::name_of(codec)));
      const int partition = magic * 10 + static_cast<int>(codec);
      auto old = log(partition);
      // A wrapper with a, b, a; then single messages b (a tombstone) and c.
      Bytes inner, frames;
      for (int i = 0; i < 3; ++i) {
        record::put_message(inner, magic, {i}, 1000 + i, 0, as_bytes(i == 1 ? "b" : "a"), as_bytes(std::to_string(i)));
      }
      if (codec == record::Codec::kNone) {
        frames = inner;
      } else {
        auto compressed = record::compress(codec, record::default_level(codec), inner, magic);
        record::put_message(frames, magic, {2}, 1002, static_cast<uint8_t>(codec), std::nullopt, ByteView(*compressed));
      }
      record::put_message(frames, magic, {3}, 1003, 0, as_bytes("d"), std::nullopt);
      record::put_message(frames, magic, {4}, 1004, 0, as_bytes("c"), as_bytes("4"));
      ASSERT_TRUE(old->append_as_follower(frames));
      roll(partition);
      Bytes more;
      record::put_message(more, magic, {5}, 1005, 0, as_bytes("x"), as_bytes("5"));
      ASSERT_TRUE(old->append_as_follower(more));
      roll(partition);
      old->update_high_watermark(old->log_end_offset());
      clean();
      EXPECT_THAT(records(*old), ElementsAre("1 b=1", "2 a=2", "3 d", "4 c=4", "5 x=5"));
      Bytes bytes = content_of(*old);
      ByteView rest = bytes;
      EXPECT_EQ(record::next_frame(rest)->magic(), magic);
      if (codec != record::Codec::kNone) {
        EXPECT_EQ(bytes[record::kMessageAttributesAt], static_cast<uint8_t>(codec));
      }
      // The tombstone goes when the last compacted segment is so much younger than its own.
      for (int i : {6, 7}) {
        disk.runtime.advance(5000);
        Bytes last;
        record::put_message(last, magic, {i}, 1000 + i, 0, as_bytes("y"), as_bytes(std::to_string(i)));
        ASSERT_TRUE(old->append_as_follower(last));
        roll(partition);
        old->update_high_watermark(old->log_end_offset());
        clean();
        if (i == 6) EXPECT_THAT(records(*old), ElementsAre("1 b=1", "2 a=2", "3 d", "4 c=4", "5 x=5", "6 y=6"));
      }
      EXPECT_THAT(records(*old), ElementsAre("1 b=1", "2 a=2", "4 c=4", "5 x=5", "7 y=7"));
    }
  }
}

// --- choice, rate, settings -------------------------------------------------------------------------------------------------

TEST_F(CleanerTest, TakesTheDirtiestLogFirstAndNoneBelowItsRatio) {
  config.min_cleanable_dirty_ratio = 0.6;
  configure();
  for (int partition : {0, 1}) {
    append("a", "1", partition);
    roll(partition);
  }
  clean();
  EXPECT_EQ(log(0)->cleaned_offset().value, 1);
  // Half dirty; two thirds dirty.
  append("a", "2", 0);
  roll(0);
  append("a", "2", 1);
  append("a", "3", 1);
  roll(1);
  clean();
  EXPECT_EQ(log(0)->cleaned_offset().value, 1);
  EXPECT_EQ(log(1)->cleaned_offset().value, 3);
  EXPECT_EQ(metric("kafka_log_logcleanermanager_max_dirty_percent"), 50);
}

TEST_F(CleanerTest, CompactsALogThatIsOverdueThoughItIsHardlyDirty) {
  config.min_cleanable_dirty_ratio = 1;
  config.max_compaction_lag_ms = 10'000;
  configure();
  append("a", "1");
  roll();
  append("a", "2");
  roll();
  clean(5000);
  EXPECT_EQ(log()->cleaned_offset().value, -1);
  clean(6000);
  EXPECT_EQ(log()->cleaned_offset().value, 2);
}

TEST_F(CleanerTest, LeavesLogsThatAreNotCompactedAlone) {
  config.compact_policy = false;
  configure();
  append("a", "1");
  roll();
  append("a", "2");
  roll();
  clean(10'000);
  EXPECT_EQ(records(*log()).size(), 2u);
  EXPECT_EQ(disk.text("/data/cleaner-offset-checkpoint"), "");
}

TEST_F(CleanerTest, CompactsAndDeletesWhereBothIsAsked) {
  config.delete_policy = true;
  config.retention_ms = 60'000;
  configure();
  const int64_t start = base::ManualRuntime::kStartMs;
  append({{"a", "1", start}});
  append({{"a", "2", start}});
  roll();
  append({{"b", "1", start + 100'000}});
  roll();
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("1 a=2", "2 b=1"));
  EXPECT_EQ(log()->segment_count(), 2u) << "one closed segment after compaction, and the active one";
  append({{"b", "2", start + 100'000}});
  disk.runtime.advance(61'000);
  disk.manager->run_retention();
  EXPECT_EQ(log()->log_start_offset().value, 0) << "b=1 stands in the same segment and is not old";
  disk.runtime.advance(100'000);
  disk.manager->run_retention();
  EXPECT_EQ(log()->log_start_offset().value, 4);
}

TEST_F(CleanerTest, KeepsToItsRate) {
  options.io_buffer_bytes = 2048;
  options.max_bytes_per_second = 10'000;
  for (int i = 0; i < 100; ++i) append("k" + std::to_string(i), std::string(900, 'v'));
  append("k0", "last");
  roll();
  const int64_t size = log()->size_bytes();
  start();
  int64_t waited = 0;
  while (log()->cleaned_offset().value < 0 && waited < 120'000) {
    disk.runtime.advance(100);
    waited += 100;
  }
  // Read for the map, read again, written.
  const int64_t expected = size * 3 / 10;
  EXPECT_GT(waited, expected * 8 / 10);
  EXPECT_LT(waited, expected * 12 / 10);
}

TEST_F(CleanerTest, FollowsChangedSettingsInTheMiddleOfACleaning) {
  options.io_buffer_bytes = 2048;
  options.max_bytes_per_second = 1;
  for (int i = 0; i < 100; ++i) append("k", std::string(900, 'v'));
  roll();
  start();
  disk.runtime.advance(5000);
  EXPECT_EQ(log()->cleaned_offset().value, -1);
  options.threads = 0;
  cleaner->reconfigure(options);
  options.max_bytes_per_second = 1e9;
  disk.runtime.advance(5000);
  cleaner->reconfigure(options);
  disk.runtime.advance(100'000'000);
  EXPECT_EQ(log()->cleaned_offset().value, -1) << "no worker";
  options.threads = 3;
  cleaner->reconfigure(options);
  disk.runtime.advance(5000);
  EXPECT_EQ(log()->cleaned_offset().value, 100);
}

TEST_F(CleanerTest, StopsInTheMiddleAndLeavesNothingBehind) {
  options.io_buffer_bytes = 64;
  options.max_bytes_per_second = 30'000;
  for (int i = 0; i < 100; ++i) append("k" + std::to_string(i % 60), std::string(900, 'v'));
  roll();
  start();
  auto unfinished = [&] {
    for (const auto& name : disk.names("/data/t-0")) {
      if (name.ends_with(".cleaned")) return true;
    }
    return false;
  };
  for (int i = 0; i < 1000 && !unfinished(); ++i) disk.runtime.advance(100);
  ASSERT_TRUE(unfinished());
  cleaner->stop();
  EXPECT_FALSE(unfinished());
  EXPECT_EQ(records(*log()).size(), 100u);
}

TEST_F(CleanerTest, GivesUpALogThatIsCutOrDeletedMeanwhile) {
  for (bool deleted : {false, true}) {
    SCOPED_TRACE(deleted);
    options.io_buffer_bytes = 64;
    options.max_bytes_per_second = 30'000;
    for (int i = 0; i < 100; ++i) append("k" + std::to_string(i % 60), std::string(900, 'v'));
    roll();
    start();
    disk.runtime.advance(4000);
    if (deleted) {
      ASSERT_TRUE(disk.manager->remove_async({"t", 0}));
      disk.runtime.advance(100'000);
      EXPECT_EQ(disk.manager->find({"t", 0}), nullptr);
    } else {
      ASSERT_TRUE(log()->truncate_to({50}));
      options.max_bytes_per_second = 1e9;
      cleaner->reconfigure(options);
      disk.runtime.advance(100'000);
      EXPECT_EQ(records(*log()).size(), 50u);
      EXPECT_EQ(log()->log_end_offset().value, 50);
    }
    EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 0);
    EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);
    cleaner.reset();
  }
}

// --- faults -----------------------------------------------------------------------------------------------------------------

TEST_F(CleanerTest, GoesOnWithOtherLogsWhenABatchIsBroken) {
  for (int partition : {0, 1}) {
    append("a", "1", partition);
    append("a", "2", partition);
    roll(partition);
    append("x", "1", partition);
  }
  disk.runtime.run_until_idle();
  {
    auto file = disk.files.open("/data/t-0/00000000000000000000.log", base::OpenMode::kReadWrite);
    uint8_t byte = 0xff;
    ASSERT_TRUE((*file)->pwrite(66, {&byte, 1}));
  }
  clean();
  EXPECT_EQ(log(0)->cleaned_offset().value, -1);
  EXPECT_EQ(log(1)->cleaned_offset().value, 2);
  EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 1);
  EXPECT_GT(metric("kafka_log_logcleanermanager_uncleanable_bytes"), 0);
  EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 1);
  EXPECT_EQ(metric("kafka_log_logcleaner_deadthreadcount"), 0);
  EXPECT_TRUE(log(0)->dir().online());
  disk.runtime.advance(10'000);
  EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 1) << "not tried all the time";
  disk.runtime.advance(80'000);
  EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 3) << "after 15 s, 30 s, then a minute";
  // Somebody repairs it.
  ASSERT_TRUE(log(0)->truncate_fully_and_start_at({0}));
  append("a", "1");
  append("a", "2");
  roll();
  append("x", "1");
  disk.runtime.advance(3'600'000);
  EXPECT_EQ(log(0)->cleaned_offset().value, 2);
  EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);
}

TEST_F(CleanerTest, TriesAgainAfterAReadThatFailedAndWhenThereIsRoomOnTheDisk) {
  for (bool full : {false, true}) {
    SCOPED_TRACE(full);
    const int partition = full;
    append("a", "1", partition);
    append("a", "2", partition);
    roll(partition);
    append("x", "1", partition);
    disk.runtime.run_until_idle();
    disk.files.set_fault([full](base::FileCall call, const std::string& path) {
      if (full) return call == base::FileCall::kWrite && path.ends_with(".cleaned") ? ENOSPC : 0;
      return call == base::FileCall::kRead && path.ends_with(".log") ? EIO : 0;
    });
    clean();
    EXPECT_EQ(log(partition)->cleaned_offset().value, -1);
    EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 1);
    EXPECT_TRUE(log(partition)->dir().online());
    EXPECT_THAT(disk.names("/data/t-" + std::to_string(partition)), ::testing::Not(::testing::Contains(::testing::HasSubstr("cleaned"))));
    disk.files.set_fault(nullptr);
    disk.runtime.advance(16'000);
    EXPECT_EQ(log(partition)->cleaned_offset().value, 2);
    EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);
  }
}

// Each call to the disk during a cleaning fails in turn; then the process dies, or the power goes. Whatever was reached: after the next
// start and cleaning the records are those of an undisturbed one, and none was missing in between.
TEST_F(CleanerTest, LosesNothingWhereverItIsInterrupted) {
  auto key_of = [](const std::string& record) { return record.substr(record.find(' ') + 1, 2); };
  for (int call = 1;; ++call) {
    bool reached = false;
    for (int how : {0, 1, 2}) {
      SCOPED_TRACE("call " + std::to_string(call) + " how " + std::to_string(how));
      Disk fresh(static_cast<uint64_t>(call * 3 + how));
      LogConfig small = config;
      small.segment_bytes = 500;
      fresh.configure(small);
      auto log = fresh.log();
      std::map<std::string, std::string> last;
      for (int i = 0; i < 30; ++i) {
        const std::string key = "k" + std::to_string(i * 7 % 10), value = std::to_string(i);
        record::BatchBuilder builder({});
        builder.append(base::ManualRuntime::kStartMs, as_bytes(key), as_bytes(value));
        Bytes batch = builder.build();
        ASSERT_TRUE(log->append_as_leader(batch, {0}, {record::AppendOrigin::kClient, 11}));
        last[key] = std::to_string(i) + " " + key + "=" + value;
      }
      log->update_high_watermark(log->log_end_offset());
      ASSERT_TRUE(log->flush());
      fresh.runtime.run_until_idle();
      fresh.manager->write_checkpoints();
      CleanerOptions fast = options;
      fast.io_buffer_bytes = 256;
      int calls = 0;
      {
        fresh.files.set_fault([&](base::FileCall, const std::string&) { return ++calls >= call ? EIO : 0; });
        Cleaner first(fresh.runtime, *fresh.manager, fast, fresh.registry);
        first.start();
        fresh.runtime.advance(90);
        reached |= calls >= call;
        fresh.files.set_fault(nullptr);
        if (how == 0) {
          fresh.files.kill();
        } else {
          fresh.files.power_cut(how == 1 ? nullptr : &fresh.runtime.random());
        }
      }
      log.reset();
      fresh.manager.reset();
      fresh.start();
      log = fresh.log();
      auto check = [&] {
        EXPECT_EQ(log->log_end_offset().value, 30);
        auto all = records(*log);
        std::map<std::string, std::string> newest;
        for (const auto& record : all) newest[key_of(record)] = record;
        EXPECT_EQ(newest, last);
      };
      check();
      for (const auto& name : fresh.names("/data/t-0")) {
        EXPECT_FALSE(name.ends_with(".cleaned") || name.ends_with(".swap") || name.ends_with(".deleted")) << name;
      }
      ASSERT_TRUE(log->roll());
      log->update_high_watermark(log->log_end_offset());
      Cleaner second(fresh.runtime, *fresh.manager, fast, fresh.registry);
      second.start();
      fresh.runtime.advance(1000);
      check();
      EXPECT_EQ(log->cleaned_offset().value, 30);
      EXPECT_EQ(records(*log).size(), 10u);
    }
    if (!reached) break;
    ASSERT_LT(call, 1000);
  }
}

// Random logs with everything in them, cleaned again and again between restarts: what a reader of the whole log knows in the end (the
// last value of each key, as a consumer of committed records sees it) never changes, nor does an offset.
TEST_F(CleanerTest, NeverChangesWhatAReaderOfTheWholeLogKnows) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Disk fresh(seed);
    base::Random& random = fresh.runtime.random();
    LogConfig small = config;
    small.segment_bytes = static_cast<int32_t>(400 + random.below(3000));
    small.delete_retention_ms = static_cast<int64_t>(random.below(2) * 500);
    fresh.configure(small);
    CleanerOptions fast = options;
    fast.io_buffer_bytes = static_cast<int32_t>(100 + random.below(2000));
    fast.dedupe_buffer_bytes = static_cast<int64_t>(24 * (5 + random.below(100)));
    auto worker = std::make_unique<Cleaner>(fresh.runtime, *fresh.manager, fast, fresh.registry);
    worker->start();
    auto log = fresh.log();
    struct Written {
      std::string key;
      std::optional<std::string> value;
      int64_t producer = -1;
    };
    std::map<int64_t, Written> written;          // by offset
    std::map<int64_t, std::vector<int64_t>> open;  // producer → offsets of its open transaction
    std::set<int64_t> aborted;
    std::map<int64_t, int32_t> sequences;
    auto append_to = [&](Bytes batch) {
      auto appended = log->append_as_leader(batch, {0}, {record::AppendOrigin::kCoordinator, 11});
      ASSERT_TRUE(appended) << appended.error().error.what;
    };
    auto finish = [&](int64_t producer, bool abort) {
      append_to(record::build_end_txn_marker({abort ? record::ControlType::kAbort : record::ControlType::kCommit, 0}, fresh.runtime.clock().wall_ms(),
                                             {producer}, 0));
      if (abort) aborted.insert(open[producer].begin(), open[producer].end());
      open.erase(producer);
    };
    for (int step = 0; step < 150; ++step) {
      const uint64_t what = random.below(20);
      if (what < 14) {
        const int64_t producer = random.below(3) == 0 ? -1 : static_cast<int64_t>(random.below(3));
        record::BuilderOptions built;
        built.codec = static_cast<record::Codec>(random.below(5));
        if (producer >= 0) {
          built.producer_id = {producer};
          built.producer_epoch = 0;
          built.base_sequence = sequences[producer];
          built.transactional = true;
        }
        record::BatchBuilder builder(built);
        const int count = 1 + static_cast<int>(random.below(6));
        for (int i = 0; i < count; ++i) {
          Written record{"k" + std::to_string(random.below(20)), std::nullopt, producer};
          if (random.below(4) != 0) record.value = std::to_string(step) + "." + std::to_string(i);
          builder.append(fresh.runtime.clock().wall_ms(), as_bytes(record.key), view(record.value));
          const int64_t offset = log->log_end_offset().value + i;
          if (producer >= 0) open[producer].push_back(offset);
          written[offset] = record;
        }
        if (producer >= 0) sequences[producer] += count;
        append_to(builder.build());
      } else if (what < 16) {
        if (!open.empty()) finish(open.begin()->first, random.below(2) == 0);
      } else if (what < 18) {
        log->update_high_watermark(log->log_end_offset());
        fresh.runtime.advance(static_cast<int64_t>(random.below(800)));
      } else if (what == 18) {
        log->expire_producers(random.below(4) == 0 && open.empty() ? INT64_MAX / 2 : 0);
        if (log->active_producers().empty()) sequences.clear();
      } else {
        log->update_high_watermark(log->log_end_offset());
        worker.reset();
        log.reset();
        if (random.below(2) == 0) {
          fresh.stop_and_start();
        } else {
          fresh.kill_and_start();
        }
        log = fresh.log();
        worker = std::make_unique<Cleaner>(fresh.runtime, *fresh.manager, fast, fresh.registry);
        worker->start();
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
    while (!open.empty()) finish(open.begin()->first, random.below(2) == 0);
    ASSERT_TRUE(log->roll());
    log->update_high_watermark(log->log_end_offset());
    fresh.runtime.advance(3000);

    std::map<std::string, std::string> expected, seen;
    for (const auto& [offset, record] : written) {
      if (aborted.contains(offset)) continue;
      if (record.value) {
        expected[record.key] = std::to_string(offset) + "=" + *record.value;
      } else {
        expected.erase(record.key);
      }
    }
    // As a consumer of committed records reads it.
    Bytes bytes = content_of(*log);
    auto lists = *log->aborted_transactions({0}, log->log_end_offset());
    record::Decompressor decompressor;
    size_t read = 0;
    int64_t before = -1;
    for (const auto& batch : batches_of(bytes)) {
      ASSERT_GT(batch.base_offset().value, before);
      before = batch.last_offset().value;
      if (batch.is_control()) continue;
      bool is_aborted = false;
      for (const auto& entry : lists) {
        is_aborted |= batch.is_transactional() && entry.producer_id == batch.producer_id() && entry.first_offset <= batch.base_offset() &&
                      batch.last_offset() < entry.last_offset;
      }
      auto reader = record::RecordReader::open(batch, decompressor);
      ASSERT_TRUE(reader);
      for (record::RecordView record; *reader->next(record);) {
        ++read;
        const Written& origin = written.at(record.offset.value);
        ASSERT_EQ(as_text(*record.key), origin.key);
        ASSERT_EQ(record.value.has_value(), origin.value.has_value());
        if (record.value) ASSERT_EQ(as_text(*record.value), *origin.value);
        ASSERT_EQ(is_aborted, aborted.contains(record.offset.value)) << record.offset.value;
        if (is_aborted) continue;
        if (record.value) {
          seen[origin.key] = std::to_string(record.offset.value) + "=" + *origin.value;
        } else {
          seen.erase(origin.key);
        }
      }
    }
    EXPECT_EQ(seen, expected);
    EXPECT_LE(read, 40u) << "of 20 keys, values and tombstones, are left";
  }
}

}  // namespace
}  // namespace odradek::storage::testing
