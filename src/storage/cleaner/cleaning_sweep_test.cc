// Cleanings interrupted at each call, and random logs cleaned again and again.
#include <gmock/gmock.h>

#include <cerrno>
#include <map>

#include "storage/cleaner/cleaner_fixture.h"

namespace odradek::storage::testing {
namespace {

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
