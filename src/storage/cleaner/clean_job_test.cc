// What a cleaning keeps and drops: whole cleanings of logs on a disk in memory.
#include "storage/cleaner/clean_job.h"

#include <gmock/gmock.h>

#include "storage/cleaner/cleaner_fixture.h"

namespace odradek::storage::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

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

}  // namespace
}  // namespace odradek::storage::testing
