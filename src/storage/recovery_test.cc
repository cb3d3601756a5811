// What is left after every kind of stop.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <deque>

#include "storage/files/checkpoint.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

const std::string kLog = "/data/t-0/00000000000000000000.log";

void write_at(Disk& disk, const std::string& path, int64_t position, const std::string& text) {
  auto file = disk.files.open(path, base::OpenMode::kCreate);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->pwrite(position, as_bytes(text)));
}

TEST(Recovery, CutsGarbageOffAfterAKillAndKeepsEveryRecord) {
  for (const std::string& garbage : {std::string("28 bytes that are no batch.."), std::string("x"), std::string(20, '\0')}) {
    Disk disk;
    auto log = disk.log();
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log, {.records = 2}));
    const int64_t size = log->size_bytes();
    write_at(disk, kLog, size, garbage);
    disk.kill_and_start();
    log = disk.log();
    EXPECT_EQ(log->log_end_offset().value, 20);
    EXPECT_EQ(log->size_bytes(), size);
    EXPECT_EQ(disk.content(kLog).size(), static_cast<size_t>(size));
    EXPECT_EQ(base_offsets(*log).size(), 10u);
  }
}

TEST(Recovery, FlushesWhatAKilledProcessLeftUnflushedWhenItIsDue) {
  Disk disk;
  LogConfig config;
  config.flush_messages = 3;
  disk.configure(config);
  ASSERT_TRUE(append(*disk.log(), {.records = 2}));
  disk.runtime.run_until_idle();
  disk.kill_and_start();
  disk.runtime.run_until_idle();
  EXPECT_EQ(disk.log()->recovery_point().value, 0);  // 2 may wait for more
  ASSERT_TRUE(append(*disk.log(), {.records = 2}));
  disk.kill_and_start();  // before the flush has run
  disk.runtime.run_until_idle();
  EXPECT_EQ(disk.log()->recovery_point().value, 4);
  disk.cut_power_and_start();
  EXPECT_EQ(disk.log()->log_end_offset().value, 4);
}

TEST(Recovery, OfMoreUnflushedFilesThanMayBeOpenFlushesThemItself) {
  Disk disk;
  disk.options.max_open_files = 4;
  for (int p = 0; p < 50; ++p) ASSERT_TRUE(append(*disk.log("t", p), {.records = 2}));
  const int64_t before = disk.files.calls(base::FileCall::kSync);
  disk.kill_and_start();
  EXPECT_GE(disk.files.calls(base::FileCall::kSync) - before, 40);
  for (int p = 0; p < 50; ++p) EXPECT_EQ(disk.log("t", p)->log_end_offset().value, 2);
}

TEST(Recovery, CutsAtTheFirstBatchWithAWrongCrcAndDropsLaterSegments) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 3 * static_cast<int32_t>(make_batch({.value_size = 50}).size());
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(append(*log, {.value_size = 50}, {i / 3}));
  disk.runtime.run_until_idle();
  // Offset 4 lies in the second segment (3 batches each).
  write_at(disk, "/data/t-0/00000000000000000003.log", static_cast<int64_t>(make_batch({.value_size = 50}).size()) + 70, "!");
  disk.files.kill();
  // As if nothing had been flushed.
  auto checkpoint = disk.files.open("/data/recovery-point-offset-checkpoint", base::OpenMode::kTruncate);
  disk.manager.reset();
  disk.start();
  log = disk.log();
  EXPECT_EQ(log->log_end_offset().value, 4);
  EXPECT_THAT(base_offsets(*log), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(log->segment_count(), 2u);
  EXPECT_THAT(disk.names("/data/t-0"), Not(Contains("00000000000000000006.log")));
  EXPECT_THAT(disk.names("/data/t-0"), Not(Contains("00000000000000000009.snapshot")));
  EXPECT_EQ(log->latest_epoch().value, 1);
}

// A follower that asks where one of them ends would be told: behind the last record of all that are missing (cluster simulation, seed 209 of
// 2026-11-28: it was cut there, and its log did not fit the leader's any more).
TEST(Recovery, LearnsTheEpochsOfRecordsWhoseDeletionWasForgotten) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 3 * static_cast<int32_t>(make_batch({}).size());
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(append(*log, {}, {i / 2 + 1}));
  const auto epochs = log->epochs();
  ASSERT_EQ(epochs.size(), 4u);
  log->update_high_watermark({8});
  ASSERT_TRUE(log->maybe_advance_start_offset({7}));
  ASSERT_TRUE(log->flush());
  disk.runtime.run_until_idle();
  disk.manager->write_checkpoints();
  ASSERT_EQ(disk.text("/data/t-0/leader-epoch-checkpoint"), "0\n1\n4 7\n");
  disk.files.kill();
  // As if the power had gone before the log start was written.
  auto checkpoint = disk.files.open("/data/log-start-offset-checkpoint", base::OpenMode::kTruncate);
  disk.manager.reset();
  disk.start();
  log = disk.log();
  ASSERT_EQ(log->log_start_offset().value, 0);
  EXPECT_EQ(log->epochs(), epochs);
  EXPECT_EQ(log->end_offset_for_epoch({2}), (std::pair{LeaderEpoch{2}, Offset{4}}));
}

TEST(Recovery, ChecksNoCrcBelowTheRecoveryPoint) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->flush());
  disk.manager->write_checkpoints();
  ASSERT_TRUE(append(*log));
  write_at(disk, kLog, 80, "!");  // below: the disk keeps what it has synced, so nobody looks
  disk.kill_and_start();
  EXPECT_EQ(disk.log()->log_end_offset().value, 5);
}

TEST(Recovery, BuildsIndexesAgainThatAreMissingOrNotSound) {
  for (int damage = 0; damage < 5; ++damage) {
    Disk disk;
    LogConfig config;
    config.segment_bytes = 20'000;
    config.index_interval_bytes = 500;
    disk.configure(config);
    auto log = disk.log();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(append(*log, {.timestamp = base::ManualRuntime::kStartMs + i, .value_size = 700}));
    disk.manager->stop();
    const std::string index = "/data/t-0/00000000000000000000.index", times = "/data/t-0/00000000000000000000.timeindex";
    Bytes good = disk.content(index), good_times = disk.content(times);
    if (damage == 0) ASSERT_TRUE(disk.files.remove(index));
    if (damage == 1) write_at(disk, index, static_cast<int64_t>(good.size()), "odd");
    if (damage == 2) ASSERT_TRUE((*disk.files.open(index, base::OpenMode::kReadWrite))->truncate(4096));  // a tail of zeros
    if (damage == 3) ASSERT_TRUE((*disk.files.open(times, base::OpenMode::kReadWrite))->truncate(1200));
    if (damage == 4) {
      ASSERT_TRUE(disk.files.remove(times));
    }
    disk.manager.reset();
    disk.start();
    log = disk.log();
    EXPECT_EQ(base_offsets(*log, {0}, 2000).size(), 100u) << damage;
    auto found = log->offset_for_timestamp(base::ManualRuntime::kStartMs + 5, {100});
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->offset.value, 5);
    disk.manager->stop();
    if (damage == 0) {  // at the start; the others at first use, with the usual interval
      EXPECT_EQ(disk.content(index), good);
      EXPECT_EQ(disk.content(times), good_times);
    }
    EXPECT_EQ(disk.content(index).size() % 8, 0u);
    EXPECT_EQ(disk.content(times).size() % 12, 0u);
  }
}

// Else nobody could read committed records there any more, nor the log be cut or compacted.
TEST(Recovery, MakesABrokenTransactionIndexAgain) {
  for (const bool killed : {false, true}) {
    SCOPED_TRACE(killed);
    Disk disk;
    auto log = disk.log();
    // Begun in one segment, aborted in the next.
    ASSERT_TRUE(append(*log, {.producer = {7}, .epoch = 0, .sequence = 0, .transactional = true}));
    ASSERT_TRUE(log->roll());
    ASSERT_TRUE(append(*log));
    Bytes marker = record::build_end_txn_marker({record::ControlType::kAbort, 0}, base::ManualRuntime::kStartMs, {7}, 0);
    ASSERT_TRUE(log->append_as_leader(marker, {0}, {record::AppendOrigin::kCoordinator, 11}));
    ASSERT_TRUE(log->roll());
    ASSERT_TRUE(append(*log));
    ASSERT_TRUE(log->flush());
    disk.manager->write_checkpoints();
    const std::string index = "/data/t-0/" + segment_name({1}) + ".txnindex";
    const Bytes whole = disk.content(index);
    ASSERT_EQ(whole.size(), 34u);
    if (!killed) disk.manager->stop();
    disk.files.kill();
    ASSERT_TRUE((*disk.files.open(index, base::OpenMode::kReadWrite))->truncate(20));
    disk.manager.reset();
    disk.start();
    EXPECT_EQ(disk.content(index), whole);
    auto aborted = disk.log()->aborted_transactions({0}, {4});
    ASSERT_TRUE(aborted) << aborted.error().what;
    ASSERT_EQ(aborted->size(), 1u);
    EXPECT_EQ(aborted->at(0).first_offset, Offset{0});
    EXPECT_EQ(aborted->at(0).last_offset, Offset{2});
  }
}

TEST(Recovery, LeavesACleanlyStoppedLogAsItIs) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log, {.producer = {1}, .epoch = 0, .sequence = i}));
  disk.manager->stop();
  EXPECT_EQ(disk.text("/data/.kafka_cleanshutdown"), "{\"version\":0,\"brokerEpoch\":-1}");
  EXPECT_EQ(disk.text("/data/recovery-point-offset-checkpoint"), "0\n1\nt 0 10\n");
  EXPECT_EQ(disk.text("/data/log-start-offset-checkpoint"), "0\n0\n");
  EXPECT_THAT(disk.names("/data/t-0"), ElementsAre("00000000000000000000.index", "00000000000000000000.log", "00000000000000000000.timeindex",
                                                    "00000000000000000010.snapshot", "leader-epoch-checkpoint"));
  EXPECT_EQ(disk.text("/data/t-0/leader-epoch-checkpoint"), "0\n1\n0 0\n");
  disk.manager.reset();
  const int64_t writes = disk.files.calls(base::FileCall::kWrite);
  disk.start();
  EXPECT_FALSE(disk.files.exists("/data/.kafka_cleanshutdown"));
  EXPECT_EQ(disk.files.calls(base::FileCall::kWrite), writes);
  EXPECT_EQ(disk.log()->recovery_point().value, 10);
  disk.manager->stop();
  EXPECT_EQ(disk.files.calls(base::FileCall::kWrite) - writes, 4) << "checkpoints and the marker; nothing in the log";
}

TEST(Recovery, DoesNotBelieveTheMarkerOfAnEarlierStop) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.stop_and_start();
  log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.files.kill();
  write_at(disk, kLog, log->size_bytes(), "garbage that is long enough to be a batch header, or nearly so, and a bit more");
  disk.manager.reset();
  disk.start();
  EXPECT_EQ(disk.log()->log_end_offset().value, 2);
}

TEST(Recovery, StartsAtTheCheckpointedLogStartWhenTheLogEndsBelowIt) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log));
  log->update_high_watermark({10});
  ASSERT_TRUE(log->maybe_advance_start_offset({8}));
  disk.manager->write_checkpoints();
  disk.files.kill();
  ASSERT_TRUE((*disk.files.open(kLog, base::OpenMode::kReadWrite))->truncate(300));
  disk.manager.reset();
  disk.start();
  log = disk.log();
  EXPECT_EQ(log->log_start_offset().value, 8);
  EXPECT_EQ(log->log_end_offset().value, 8);
  EXPECT_THAT(log->epochs(), IsEmpty()) << "nothing is there that they could be of";
  ASSERT_TRUE(append(*log));
  EXPECT_THAT(base_offsets(*log, {8}), ElementsAre(8));
}

// A follower of a leader that lost records is cut below what was deleted here, and follows on from there.
TEST(Recovery, DropsNothingThatCameBelowAFormerLogStart) {
  for (const bool whole : {false, true}) {
    SCOPED_TRACE(whole);
    Disk disk;
    auto log = disk.log();
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log));
    log->update_high_watermark({10});
    ASSERT_TRUE(log->maybe_advance_start_offset({8}));
    disk.manager->write_checkpoints();
    EXPECT_EQ(disk.text("/data/log-start-offset-checkpoint"), "0\n1\nt 0 8\n");
    ASSERT_TRUE(whole ? log->truncate_fully_and_start_at({4}) : log->truncate_to({4}));
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(append(*log));
    disk.kill_and_start();
    EXPECT_THAT(base_offsets(*disk.log(), {4}), ElementsAre(4, 5));
    EXPECT_EQ(disk.log()->log_start_offset().value, 4);
  }
}

// Else what is appended from there on would be believed without a look at its CRCs.
TEST(Recovery, TheCheckpointSaysNoMoreThanTheLogHolds) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->flush());
  disk.manager->write_checkpoints();
  EXPECT_EQ(disk.text("/data/recovery-point-offset-checkpoint"), "0\n1\nt 0 10\n");
  disk.files.kill();
  ASSERT_TRUE((*disk.files.open(kLog, base::OpenMode::kReadWrite))->truncate(log->size_bytes() / 2));
  disk.manager.reset();
  disk.start();
  log = disk.log();
  EXPECT_EQ(log->log_end_offset().value, 5);
  EXPECT_EQ(disk.text("/data/recovery-point-offset-checkpoint"), "0\n1\nt 0 5\n");
  // Written again and not flushed: the power goes, and of a page something else is on the disk.
  const int64_t half = log->size_bytes();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*log));
  disk.files.kill();
  write_at(disk, kLog, half + half / 2, "x");
  disk.manager.reset();
  disk.start();
  EXPECT_THAT(base_offsets(*disk.log()).size(), ::testing::AllOf(::testing::Ge(5u), ::testing::Lt(10u)));
}

TEST(Recovery, FinishesWhatACleanerHadBegun) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 300;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(append(*log, {.value_size = 150}));
  disk.manager->stop();
  const std::string folder = "/data/t-0/";
  // Segments 0..2 were merged into one that ends at 3; the swap was not finished. Another output was not ready.
  Bytes merged;
  for (int i : {0, 2}) {
    Bytes part = disk.content(folder + segment_name({i}) + ".log");
    merged.insert(merged.end(), part.begin(), part.end());
  }
  write_at(disk, folder + segment_name({0}) + ".log.swap", 0, std::string(as_text(merged)));
  write_at(disk, folder + segment_name({0}) + ".index.swap", 0, "");
  write_at(disk, folder + segment_name({0}) + ".timeindex.swap", 0, "");
  write_at(disk, folder + segment_name({4}) + ".log.cleaned", 0, "half");
  write_at(disk, folder + segment_name({4}) + ".log.swap", 0, "half");
  write_at(disk, folder + segment_name({9}) + ".log.deleted", 0, "old");
  write_at(disk, folder + segment_name({77}) + ".index", 0, "");
  disk.manager.reset();
  disk.start();
  log = disk.log();
  EXPECT_THAT(base_offsets(*log), ElementsAre(0, 2, 3, 4, 5));
  EXPECT_EQ(log->log_end_offset().value, 6);
  for (const std::string& name : disk.names("/data/t-0")) {
    EXPECT_FALSE(name.ends_with(".swap") || name.ends_with(".cleaned") || name.ends_with(".deleted")) << name;
    EXPECT_FALSE(name.starts_with(segment_name({77})) || name.starts_with(segment_name({1}) + ".log")) << name;
  }
  auto read = log->read({1}, 1 << 20, {6}, true);
  Bytes bytes = bytes_of(read->slice);
  EXPECT_EQ(batches_of(bytes)[0].base_offset().value, 2);
}

// As Kafka's splits leave them: one of the new segments was ready, the next one not.
TEST(Recovery, TakesASwapForVoidAlsoWhenTheStartBeforeWasCutShort) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 300;
  disk.configure(config);
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(append(*disk.log(), {.value_size = 150}));
  disk.manager->stop();
  disk.manager.reset();
  const std::string folder = "/data/t-0/";
  Bytes one = disk.content(folder + segment_name({4}) + ".log");
  write_at(disk, folder + segment_name({2}) + ".log.cleaned", 0, "half");
  write_at(disk, folder + segment_name({3}) + ".log.swap", 0, std::string(as_text(one)));
  disk.files.set_fault([](base::FileCall call, const std::string& path) { return call == base::FileCall::kRemove && path.ends_with(".swap") ? EIO : 0; });
  disk.manager = std::make_unique<LogManager>(disk.runtime, disk.options, disk.registry);
  EXPECT_FALSE(disk.manager->start([&](const std::string&) { return disk.config; }));
  disk.files.set_fault(nullptr);
  disk.kill_and_start();
  EXPECT_THAT(base_offsets(*disk.log()), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(Recovery, KeepsTheHighWatermarkOfTheCheckpointWithinTheLog) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*log));
  log->update_high_watermark({4});
  disk.runtime.advance(5001);
  EXPECT_EQ(disk.text("/data/replication-offset-checkpoint"), "0\n1\nt 0 4\n");
  disk.kill_and_start();
  EXPECT_EQ(disk.manager->high_watermark_checkpoint({"t", 0})->value, 4);
  disk.files.kill();
  ASSERT_TRUE((*disk.files.open(kLog, base::OpenMode::kReadWrite))->truncate(100));
  disk.manager.reset();
  disk.start();
  EXPECT_EQ(disk.manager->high_watermark_checkpoint({"t", 0})->value, disk.log()->log_end_offset().value);
}

// Random work on one log, ended again and again by a clean stop, a kill or a power cut that keeps an arbitrary part of what was not
// synced. What a flush covered must be there byte for byte, what is there must be a prefix of what was appended, and every CRC good.
TEST(Recovery, LosesNothingThatWasFlushedAndServesNothingThatIsBroken) {
  const char* more = std::getenv("ODRADEK_SEEDS");
  const uint64_t seeds = more == nullptr ? 150 : std::strtoull(more, nullptr, 10);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE(seed);
    Disk disk(seed);
    base::Random& random = disk.runtime.random();
    LogConfig config;
    config.segment_bytes = static_cast<int32_t>(600 + random.below(5000));
    config.index_interval_bytes = static_cast<int32_t>(random.below(2000));
    config.flush_messages = random.below(2) == 0 ? 7 : INT64_MAX;
    config.preallocate = random.below(4) == 0;
    disk.configure(config);
    std::deque<Bytes> expected;  // batches of one record; the first one's offset is `start`
    int64_t start = 0;
    int64_t flushed = 0;
    int32_t sequence = 0;
    int64_t producer = 1;  // another one whenever records were lost
    auto log = disk.log();
    ASSERT_TRUE(log->flush());
    for (int step = 0; step < 120; ++step) {
      const int64_t end = start + static_cast<int64_t>(expected.size());
      switch (random.below(20)) {
        default: {
          Bytes batch = make_batch({.value_size = random.below(400), .producer = {producer}, .epoch = 0, .sequence = sequence++});
          auto appended = log->append_as_leader(batch, {step / 30}, {});
          ASSERT_TRUE(appended) << appended.error().error.what;
          ASSERT_EQ(appended->first_offset.value, end);
          expected.push_back(batch);
          break;
        }
        case 0:
          ASSERT_TRUE(log->flush());
          flushed = end;
          break;
        case 1: disk.runtime.run_until_idle(); break;
        case 2: disk.manager->write_checkpoints(); break;
        case 3: ASSERT_TRUE(log->roll()); break;
        case 4: {
          if (random.below(3) != 0) break;
          int64_t target = std::max(start, end - static_cast<int64_t>(random.below(10)));
          ASSERT_TRUE(log->truncate_to({target}));
          expected.resize(static_cast<size_t>(target - start));
          flushed = std::min(flushed, target);
          ++producer;
          sequence = 0;
          break;
        }
        case 5: {
          if (random.below(2) != 0) break;
          log->update_high_watermark({end});
          disk.configure([&] {
            LogConfig changed = *log->config();
            changed.retention_bytes = 3000;
            return changed;
          }());
          disk.manager->run_retention();
          while (start < log->log_start_offset().value) {
            expected.pop_front();
            ++start;
          }
          break;
        }
        case 6: {
          log.reset();
          switch (random.below(3)) {
            case 0:
              disk.stop_and_start();
              flushed = end;
              break;
            case 1: {
              const int64_t before = end;
              disk.kill_and_start();
              log = disk.log();
              ASSERT_EQ(log->log_end_offset().value, before) << "a kill loses nothing";
              break;
            }
            case 2: {
              flushed = std::max(flushed, disk.manager->find({"t", 0})->recovery_point().value);
              disk.cut_power_and_start(&random);
              break;
            }
          }
          log = disk.log();
          // A log start that was in no checkpoint goes back to the first segment that is left.
          const int64_t new_end = log->log_end_offset().value;
          ASSERT_GE(new_end, flushed);
          ASSERT_LE(new_end, end);
          ASSERT_LE(log->log_start_offset().value, start);
          if (new_end < start) {  // retention had dropped what was never flushed
            expected.clear();
            start = new_end;
          }
          expected.resize(static_cast<size_t>(std::max<int64_t>(new_end - start, 0)));
          flushed = std::min(flushed, new_end);
          if (new_end < end || log->active_producers().empty()) {
            ++producer;
            sequence = 0;
          }
          break;
        }
      }
      if (random.below(4) != 0) continue;
      Offset from{start};
      for (const Bytes& batch : expected) {
        auto read = log->read(from, 1, log->log_end_offset(), true);
        ASSERT_TRUE(read) << read.error().what;
        ASSERT_EQ(bytes_of(read->slice), batch);
        from = read->next_offset;
      }
      ASSERT_EQ(from.value, log->log_end_offset().value);
    }
  }
}

}  // namespace
}  // namespace odradek::storage
