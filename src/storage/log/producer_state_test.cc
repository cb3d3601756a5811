#include "storage/log/producer_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "record/test_support.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kNow = base::ManualRuntime::kStartMs;

ErrorCode code_of(const tl::expected<AppendInfo, AppendError>& result) { return result ? ErrorCode::kNone : result.error().error.code; }

BatchOptions from_producer(int32_t sequence, int records = 1, int16_t epoch = 0) {
  return {.records = records, .producer = {7}, .epoch = epoch, .sequence = sequence};
}

tl::expected<AppendInfo, AppendError> end_transaction(Log& log, bool commit, ProducerId producer = {7}, int16_t epoch = 0, int32_t coordinator = 0) {
  record::EndTxnMarker marker{commit ? record::ControlType::kCommit : record::ControlType::kAbort, coordinator};
  Bytes batch = record::build_end_txn_marker(marker, kNow, producer, epoch);
  return log.append_as_leader(batch, {0}, {record::AppendOrigin::kCoordinator, 11});
}

TEST(ProducerState, AnswersARepeatedBatchWithItsFirstOffsets) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(append(*log, from_producer(i * 10, 10)));
  for (int i = 1; i < 6; ++i) {
    auto again = append(*log, from_producer(i * 10, 10));
    ASSERT_TRUE(again) << i;
    EXPECT_TRUE(again->duplicate);
    EXPECT_EQ(again->first_offset.value, i * 10);
    EXPECT_EQ(again->last_offset.value, i * 10 + 9);
    EXPECT_EQ(again->log_append_time_ms, kNow + 9);
  }
  EXPECT_EQ(log->log_end_offset().value, 60);
  // The sixth last is forgotten; other lengths are no repetition.
  EXPECT_EQ(code_of(append(*log, from_producer(0, 10))), ErrorCode::kOutOfOrderSequenceNumber);
  EXPECT_EQ(code_of(append(*log, from_producer(50, 9))), ErrorCode::kOutOfOrderSequenceNumber);
}

TEST(ProducerState, WantsSequencesWithoutGapsPerEpoch) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log, from_producer(5)));  // unknown producer: any first sequence
  EXPECT_EQ(code_of(append(*log, from_producer(7))), ErrorCode::kOutOfOrderSequenceNumber);
  ASSERT_TRUE(append(*log, from_producer(6)));
  EXPECT_EQ(code_of(append(*log, from_producer(1, 1, 1))), ErrorCode::kOutOfOrderSequenceNumber);
  ASSERT_TRUE(append(*log, from_producer(0, 1, 1)));
  EXPECT_EQ(code_of(append(*log, from_producer(7, 1, 0))), ErrorCode::kInvalidProducerEpoch);
  ASSERT_TRUE(append(*log, from_producer(1, 1, 1)));
}

TEST(ProducerState, GoesOnAtZeroBehindTheGreatestSequence) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log, from_producer(INT32_MAX - 1, 2)));
  ASSERT_TRUE(append(*log, from_producer(0, 3)));
  auto wrapped = append(*log, from_producer(INT32_MAX - 1, 2));
  ASSERT_TRUE(wrapped);
  EXPECT_TRUE(wrapped->duplicate);

  auto across = disk.log("across");
  ASSERT_TRUE(append(*across, from_producer(INT32_MAX - 1, 4)));  // ends at 1
  EXPECT_TRUE(append(*across, from_producer(INT32_MAX - 1, 4))->duplicate);
  ASSERT_TRUE(append(*across, from_producer(2)));
}

TEST(ProducerState, SurvivesEveryKindOfStop) {
  for (int kind = 0; kind < 3; ++kind) {
    Disk disk;
    LogConfig config;
    config.segment_bytes = 600;
    disk.configure(config);
    auto log = disk.log();
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(append(*log, from_producer(i)));
    if (kind == 2) ASSERT_TRUE(log->flush());
    disk.runtime.run_until_idle();
    if (kind == 0) disk.stop_and_start();
    if (kind == 1) disk.kill_and_start();
    if (kind == 2) disk.cut_power_and_start();
    log = disk.log();
    ASSERT_EQ(log->log_end_offset().value, 20);
    auto again = append(*log, from_producer(19));
    ASSERT_TRUE(again) << kind;
    EXPECT_TRUE(again->duplicate);
    EXPECT_EQ(again->first_offset.value, 19);
    EXPECT_EQ(code_of(append(*log, from_producer(21))), ErrorCode::kOutOfOrderSequenceNumber);
    EXPECT_TRUE(append(*log, from_producer(20)));
  }
}

TEST(ProducerState, ForgetsProducersThatWereSilentForLong) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log, from_producer(0)));
  disk.runtime.advance(86'400'000 - 600'000);
  EXPECT_EQ(log->active_producers().size(), 1u);
  disk.runtime.advance(1'200'000);
  EXPECT_THAT(log->active_producers(), IsEmpty());
  EXPECT_TRUE(append(*log, from_producer(17)));
}

TEST(ProducerState, TakesItsStateBackWhenTheLogIsTruncated) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 500;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(append(*log, from_producer(i)));
  ASSERT_TRUE(log->truncate_to({12}));
  EXPECT_EQ(code_of(append(*log, from_producer(20))), ErrorCode::kOutOfOrderSequenceNumber);
  EXPECT_TRUE(append(*log, from_producer(12)));
}

// A snapshot tells of the last batch only; the other four are in the log, in this test in several segments.
TEST(ProducerState, KnowsTheLastFiveBatchesAfterEveryKindOfStopAndCut) {
  enum { kStop, kKill, kPowerCut, kCut, kCutAtASegment, kEnd };
  for (int kind = 0; kind < kEnd; ++kind) {
    Disk disk;
    LogConfig config;
    config.segment_bytes = 350;
    disk.configure(config);
    auto log = disk.log();
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(append(*log, from_producer(i)));
      ASSERT_TRUE(append(*log, {.producer = {100 + i}, .epoch = 0, .sequence = 0}));
    }
    ASSERT_TRUE(log->flush());
    if (kind == kCutAtASegment) {
      ASSERT_TRUE(log->roll());
      for (int i = 20; i < 22; ++i) ASSERT_TRUE(append(*log, from_producer(i)));
      ASSERT_TRUE(log->truncate_to({40}));
    }
    if (kind == kCut) {
      for (int i = 20; i < 29; ++i) ASSERT_TRUE(append(*log, from_producer(i)));
      ASSERT_TRUE(log->truncate_to({40}));
    }
    disk.runtime.run_until_idle();
    if (kind == kStop) disk.stop_and_start();
    if (kind == kKill) disk.kill_and_start();
    if (kind == kPowerCut) disk.cut_power_and_start();
    log = disk.log();
    ASSERT_EQ(log->log_end_offset().value, 40);
    for (int sequence : {17, 15, 16, 18, 19}) {
      auto again = append(*log, from_producer(sequence));
      ASSERT_TRUE(again) << kind << " " << sequence;
      EXPECT_TRUE(again->duplicate);
      EXPECT_EQ(again->first_offset.value, 2 * sequence);
      EXPECT_EQ(again->last_offset.value, 2 * sequence);
      EXPECT_EQ(again->log_append_time_ms, kNow);
    }
    for (int sequence : {14, 21}) EXPECT_EQ(code_of(append(*log, from_producer(sequence))), ErrorCode::kOutOfOrderSequenceNumber) << kind;
    EXPECT_EQ(log->log_end_offset().value, 40);
    ASSERT_TRUE(append(*log, from_producer(20)));
    EXPECT_TRUE(append(*log, from_producer(16))->duplicate);
    EXPECT_EQ(code_of(append(*log, from_producer(15))), ErrorCode::kOutOfOrderSequenceNumber);
  }
}

TEST(ProducerState, LooksForOlderBatchesOnceAndOnlyForWhoMayHaveSome) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(append(*log, from_producer(i)));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(append(*log, from_producer(i, 1, 1)));
  disk.stop_and_start();
  log = disk.log();
  auto reads_of = [&](const BatchOptions& batch, ErrorCode expected) {
    const int64_t before = disk.files.calls(base::FileCall::kRead);
    EXPECT_EQ(code_of(append(*log, batch)), expected);
    return disk.files.calls(base::FileCall::kRead) - before;
  };
  // Whose state began here lacks nothing.
  ASSERT_TRUE(append(*log, {.producer = {8}, .epoch = 0, .sequence = 0}));
  EXPECT_EQ(reads_of({.producer = {8}, .epoch = 0, .sequence = 5}, ErrorCode::kOutOfOrderSequenceNumber), 0);
  EXPECT_EQ(reads_of(from_producer(4, 1, 2), ErrorCode::kOutOfOrderSequenceNumber), 0);
  EXPECT_GT(reads_of(from_producer(7, 1, 1), ErrorCode::kOutOfOrderSequenceNumber), 0);
  EXPECT_EQ(reads_of(from_producer(7, 1, 1), ErrorCode::kOutOfOrderSequenceNumber), 0);
  // Those of an earlier epoch are no repetition.
  EXPECT_TRUE(append(*log, from_producer(0, 1, 1))->duplicate);
  EXPECT_EQ(append(*log, from_producer(0, 1, 1))->first_offset.value, 3);
  EXPECT_EQ(code_of(append(*log, from_producer(2, 1, 0))), ErrorCode::kInvalidProducerEpoch);
  EXPECT_FALSE(append(*log, from_producer(2, 1, 1))->duplicate);
}

TEST(ProducerState, LooksForOlderBatchesOnlyInTheTailOfALargeLog) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log, from_producer(0)));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(append(*log, {.value_size = 1'000'000}));
  for (int i = 1; i < 4; ++i) ASSERT_TRUE(append(*log, from_producer(i)));
  disk.stop_and_start();
  log = disk.log();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(append(*log, {.value_size = 1'000'000}));
  const int64_t before = disk.files.calls(base::FileCall::kRead);
  EXPECT_TRUE(append(*log, from_producer(2))->duplicate);
  EXPECT_TRUE(append(*log, from_producer(1))->duplicate);
  EXPECT_LT(disk.files.calls(base::FileCall::kRead) - before, 40);
  EXPECT_EQ(code_of(append(*log, from_producer(0))), ErrorCode::kOutOfOrderSequenceNumber);
}

// --- transactions -----------------------------------------------------------------------------------------------------------

TEST(ProducerState, HoldsTheLastStableOffsetAtOpenTransactions) {
  Disk disk;
  auto log = disk.log();
  auto transactional = [&](int64_t producer, int32_t sequence) {
    return append(*log, {.producer = {producer}, .epoch = 0, .sequence = sequence, .transactional = true});
  };
  ASSERT_TRUE(append(*log));          // 0
  ASSERT_TRUE(transactional(7, 0));   // 1
  ASSERT_TRUE(transactional(8, 0));   // 2
  ASSERT_TRUE(transactional(7, 1));   // 3
  log->update_high_watermark({4});
  EXPECT_EQ(log->last_stable_offset({4}).value, 1);
  EXPECT_EQ(log->last_stable_offset({1}).value, 1);
  EXPECT_EQ(code_of(append(*log, from_producer(2))), ErrorCode::kInvalidTxnState);
  ASSERT_TRUE(end_transaction(*log, false));  // 4: the abort of 7
  EXPECT_EQ(log->last_stable_offset({4}).value, 1) << "the marker is not replicated";
  log->update_high_watermark({5});
  EXPECT_EQ(log->last_stable_offset({5}).value, 2);
  ASSERT_TRUE(end_transaction(*log, true, {8}));  // 5
  log->update_high_watermark({6});
  EXPECT_EQ(log->last_stable_offset({6}).value, 6);
  AbortedTransaction aborted{{7}, {1}, {4}, {2}};
  EXPECT_THAT(*log->aborted_transactions({0}, {6}), ElementsAre(aborted));
  EXPECT_THAT(*log->aborted_transactions({5}, {6}), IsEmpty());
  EXPECT_THAT(*log->aborted_transactions({0}, {1}), IsEmpty());
  disk.kill_and_start();
  EXPECT_THAT(*disk.log()->aborted_transactions({0}, {6}), ElementsAre(aborted));
  EXPECT_EQ(disk.log()->last_stable_offset({6}).value, 1) << "the high watermark was in no checkpoint";
  disk.log()->update_high_watermark({6});
  EXPECT_EQ(disk.log()->last_stable_offset({6}).value, 6);
}

TEST(ProducerState, RefusesMarkersOfAFencedCoordinator) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(end_transaction(*log, true, {7}, 3, 5));
  EXPECT_EQ(code_of(end_transaction(*log, true, {7}, 3, 4)), ErrorCode::kTransactionCoordinatorFenced);
  EXPECT_EQ(code_of(end_transaction(*log, true, {7}, 2, 5)), ErrorCode::kInvalidProducerEpoch);
  EXPECT_TRUE(end_transaction(*log, true, {7}, 3, 6));
  auto producers = log->active_producers();
  ASSERT_EQ(producers.size(), 1u);
  EXPECT_EQ(producers[0].coordinator_epoch, 6);
  EXPECT_EQ(producers[0].producer_epoch, 3);
  EXPECT_EQ(producers[0].last_sequence, -1);
}

// --- bytes ------------------------------------------------------------------------------------------------------------------

TEST(ProducerState, WritesTheSnapshotThatKafkaWrote) {
  Bytes kafkas = record::testing::from_hex(
      "0001 b10f3905 00000001 0000000000000003 0000 00000001 0000000000000002 00000000 000001a2015ab8a5 00000000 ffffffffffffffff");
  ProducerStateManager state;
  ASSERT_TRUE(state.load_snapshot(kafkas, {4}));
  auto all = state.list();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].producer_id.value, 3);
  EXPECT_EQ(all[0].last_sequence, 1);
  EXPECT_EQ(all[0].current_txn_first_offset.value, -1);
  EXPECT_EQ(state.encode_snapshot(), kafkas);
  EXPECT_EQ(ProducerStateManager().encode_snapshot().size(), 10u);
  for (size_t i = 0; i < kafkas.size(); ++i) {
    Bytes damaged = kafkas;
    damaged[i] ^= 1;
    EXPECT_FALSE(state.load_snapshot(damaged, {4})) << i;
  }
  EXPECT_FALSE(state.load_snapshot(ByteView(kafkas).first(20), {4}));
}

TEST(ProducerState, WritesTheTransactionIndexThatKafkaWrote) {
  base::MemoryFiles files;
  TxnIndex index(files, "/0.txnindex", false);
  ASSERT_TRUE(index.append({{3}, {2}, {3}, {4}}));
  auto content = base::read_file(files, "/0.txnindex", 1000);
  EXPECT_EQ(*content, record::testing::from_hex("0000 0000000000000003 0000000000000002 0000000000000003 0000000000000004"));
}

TEST(ProducerState, FallsBackToAnOlderSnapshot) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 500;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(append(*log, from_producer(i)));
  disk.manager->stop();
  for (const std::string& name : disk.names("/data/t-0")) {
    if (!name.ends_with(".snapshot") || name < "00000000000000000012") continue;
    auto file = disk.files.open("/data/t-0/" + name, base::OpenMode::kReadWrite);
    ASSERT_TRUE((*file)->pwrite(12, Bytes(1, 0xff)));
  }
  disk.manager.reset();
  disk.start();
  EXPECT_TRUE(append(*disk.log(), from_producer(19))->duplicate);
  EXPECT_TRUE(append(*disk.log(), from_producer(20)));
}

}  // namespace
}  // namespace odradek::storage
