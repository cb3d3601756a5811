// Logs that hold messages of the formats v0 and v1, as a Kafka of before 0.11 left them: recovery, reads, times, appends behind them.
#include <gtest/gtest.h>

#include <algorithm>

#include "record/frame.h"
#include "storage/log/old_formats_test_support.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;

constexpr int64_t kTime = base::ManualRuntime::kStartMs;
const std::string kFolder = "/data/t-0";
const std::string kLog = kFolder + "/00000000000000000000.log";

// Frames by their last offsets.
std::vector<int64_t> last_offsets(const Log& log, Offset from = {0}, int32_t step = 1 << 20) {
  std::vector<int64_t> offsets;
  while (from < log.log_end_offset()) {
    auto read = log.read(from, step, log.log_end_offset(), true);
    EXPECT_TRUE(read) << read.error().what;
    if (!read || read->slice.size == 0) break;
    Bytes bytes = bytes_of(read->slice);
    ByteView rest = bytes;
    for (;;) {
      auto frame = record::next_frame(rest);
      EXPECT_TRUE(frame && (*frame || rest.empty()));
      if (!frame || !*frame) break;
      EXPECT_TRUE(frame->crc_matches());
      offsets.push_back(frame->last_offset().value);
    }
    from = read->next_offset;
  }
  return offsets;
}

// A disk on which the former broker left `bytes` as partition t-0, without indexes.
void leave(Disk& disk, ByteView bytes) {
  ASSERT_TRUE(disk.files.create_directories(kFolder));
  auto file = disk.files.open(kLog, base::OpenMode::kCreate);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->pwrite(0, bytes));
  disk.kill_and_start();
}

TEST(OldFormats, ALogOfAllFormatsIsRecoveredAndRead) {
  Disk disk;
  OldLog old = make_old_log(kTime);
  leave(disk, old.bytes);
  auto log = disk.log();
  EXPECT_EQ(log->log_end_offset().value, old.end);
  EXPECT_EQ(log->size_bytes(), static_cast<int64_t>(old.bytes.size()));
  EXPECT_EQ(last_offsets(*log), old.last_offsets);
  EXPECT_EQ(last_offsets(*log, {0}, 1), old.last_offsets);
  // From an offset inside a wrapper: the wrapper.
  EXPECT_EQ(last_offsets(*log, {4}).front(), 5);
  disk.stop_and_start();
  log = disk.log();
  EXPECT_EQ(log->log_end_offset().value, old.end);
  EXPECT_EQ(last_offsets(*log), old.last_offsets);
}

TEST(OldFormats, AMessageWithAWrongCrcEndsTheLogThere) {
  for (size_t frame = 0; frame < 6; ++frame) {
    Disk disk;
    OldLog old = make_old_log(kTime);
    old.bytes[old.positions[frame] + 20] ^= 1;
    leave(disk, old.bytes);
    auto log = disk.log();
    EXPECT_EQ(log->log_end_offset().value, frame == 0 ? 0 : old.last_offsets[frame - 1] + 1) << frame;
    EXPECT_EQ(log->size_bytes(), static_cast<int64_t>(old.positions[frame]));
  }
}

TEST(OldFormats, NewBatchesAreAppendedBehindOldMessages) {
  Disk disk;
  OldLog old = make_old_log(kTime);
  leave(disk, old.bytes);
  auto log = disk.log();
  for (int round = 0; round < 2; ++round) {
    auto appended = append(*log, {.records = 2, .timestamp = kTime + 1'000'000});
    ASSERT_TRUE(appended) << appended.error().error.what;
    EXPECT_EQ(appended->first_offset.value, old.end + 2 * round);
    auto offsets = last_offsets(*log);
    EXPECT_EQ(offsets.size(), old.last_offsets.size() + static_cast<size_t>(round) + 1);
    disk.stop_and_start();
    log = disk.log();
  }
}

TEST(OldFormats, ALargeSegmentOfOldMessagesIsIndexed) {
  Disk disk;
  LogConfig config;
  config.index_interval_bytes = 100;
  disk.configure(config);
  Bytes bytes;
  std::vector<int64_t> wanted;
  int64_t end = 0;
  while (end < 2000) {
    OldLog part = make_old_log(kTime + end, end);
    bytes.insert(bytes.end(), part.bytes.begin(), part.bytes.end());
    wanted.insert(wanted.end(), part.last_offsets.begin(), part.last_offsets.end());
    end = part.end;
  }
  leave(disk, bytes);
  for (bool clean : {false, true, false}) {
    auto log = disk.log();
    EXPECT_EQ(last_offsets(*log), wanted);
    for (int64_t from = 0; from < end; from += 37) {
      auto read = log->read({from}, 1, log->log_end_offset(), true);
      ASSERT_TRUE(read);
      Bytes frame = bytes_of(read->slice);
      EXPECT_EQ(record::Frame(frame).last_offset().value, *std::lower_bound(wanted.begin(), wanted.end(), from));
    }
    EXPECT_GT(disk.content(kFolder + "/00000000000000000000.index").size(), 1000u);
    log.reset();
    if (clean) {
      disk.stop_and_start();
    } else {
      for (const std::string& name : disk.names(kFolder)) {
        if (!name.ends_with("index")) continue;
        ASSERT_TRUE(disk.files.remove(kFolder + "/" + name));  // they are built again
      }
      disk.kill_and_start();
    }
  }
}

TEST(OldFormats, TimesAreFoundInsideWrappers) {
  Disk disk;
  OldLog old = make_old_log(kTime);
  leave(disk, old.bytes);
  auto log = disk.log();
  for (const auto& [offset, timestamp] : old.timestamps) {
    auto found = log->offset_for_timestamp(timestamp, log->log_end_offset());
    ASSERT_TRUE(found && *found) << offset;
    EXPECT_EQ((*found)->offset.value, offset);
    EXPECT_EQ((*found)->timestamp, timestamp);
    EXPECT_EQ((*found)->leader_epoch, kNoLeaderEpoch);
  }
  auto none = log->offset_for_timestamp(kTime + 1'000'000, log->log_end_offset());
  EXPECT_TRUE(none && !*none);
  auto greatest = log->max_timestamp_offset();
  ASSERT_TRUE(greatest && *greatest);
  EXPECT_EQ((*greatest)->offset.value, old.timestamps.back().first);
}

TEST(OldFormats, AFollowerTakesOldMessagesIntoManySegments) {
  Disk disk;
  LogConfig config;
  config.index_interval_bytes = 100;
  config.segment_bytes = 4000;
  disk.configure(config);
  auto log = disk.log();
  std::vector<int64_t> wanted;
  OldLog old = make_old_log(kTime);
  for (int64_t base = 0; base < 400; base += old.end) {
    OldLog part = make_old_log(kTime + base, base);
    auto appended = log->append_as_follower(part.bytes);
    ASSERT_TRUE(appended) << appended.error().error.what;
    wanted.insert(wanted.end(), part.last_offsets.begin(), part.last_offsets.end());
  }
  EXPECT_GT(log->segment_count(), 5u);
  EXPECT_EQ(last_offsets(*log), wanted);
  for (bool clean : {true, false}) {
    log.reset();
    if (clean) {
      disk.stop_and_start();
    } else {
      for (const std::string& name : disk.names(kFolder)) {
        if (!name.ends_with("index")) continue;
        ASSERT_TRUE(disk.files.remove(kFolder + "/" + name));  // they are built again
      }
      disk.kill_and_start();
    }
    log = disk.log();
    EXPECT_EQ(last_offsets(*log), wanted);
  }
}

TEST(OldFormats, TruncationInsideAWrapperTakesTheWholeWrapper) {
  Disk disk;
  OldLog old = make_old_log(kTime);
  leave(disk, old.bytes);
  auto log = disk.log();
  ASSERT_TRUE(log->truncate_to({4}));
  EXPECT_EQ(log->log_end_offset().value, 4);
  EXPECT_EQ(last_offsets(*log), (std::vector<int64_t>{0, 1, 2}));
  // The leader sends the wrapper again.
  ByteView wrapper = ByteView(old.bytes).subspan(old.positions[3], old.positions[4] - old.positions[3]);
  auto appended = log->append_as_follower(wrapper);
  ASSERT_TRUE(appended) << appended.error().error.what;
  EXPECT_EQ(log->log_end_offset().value, 6);
}

TEST(OldFormats, AnOldProduceRequestBecomesOneBatch) {
  Disk disk;
  auto log = disk.log();
  OldLog old = make_old_log(kTime);
  Bytes messages(old.bytes.begin(), old.bytes.begin() + static_cast<ptrdiff_t>(old.positions[3]));
  auto appended = log->append_as_leader(messages, {3}, {record::AppendOrigin::kClient, 1});
  ASSERT_TRUE(appended) << appended.error().error.what;
  EXPECT_EQ(appended->first_offset.value, 0);
  EXPECT_EQ(appended->last_offset.value, 2);
  EXPECT_EQ(base_offsets(*log), std::vector<int64_t>{0});
  EXPECT_EQ(log->latest_epoch().value, 3);
  Bytes nothing;
  appended = log->append_as_leader(nothing, {3}, {record::AppendOrigin::kClient, 1});
  ASSERT_TRUE(appended);
  EXPECT_EQ(appended->first_offset.value, -1);
  EXPECT_EQ(log->log_end_offset().value, 3);
}

TEST(OldFormats, AnOldProduceRequestIsStoredAsItCameWhereTheTopicSaysSo) {
  Disk disk;
  LogConfig config;
  config.keep_old_formats = true;
  config.segment_bytes = 2000;
  disk.configure(config);
  auto log = disk.log();
  OldLog old = make_old_log(kTime);
  std::vector<int64_t> ends;
  auto part = [&](size_t from, size_t to) {
    const size_t end = to < old.positions.size() ? old.positions[to] : old.bytes.size();
    return Bytes(old.bytes.begin() + static_cast<ptrdiff_t>(old.positions[from]), old.bytes.begin() + static_cast<ptrdiff_t>(end));
  };
  // Three messages of v0, a wrapper of v0, two messages of v1, a wrapper of v1 and a batch of v2, by three leaders.
  for (int32_t epoch = 1; epoch <= 3; ++epoch) {
    const int64_t base = log->log_end_offset().value;
    for (auto [from, to] : {std::pair<size_t, size_t>{0, 3}, {3, 4}, {5, 7}, {7, 8}}) {
      Bytes records = part(from, to);
      auto appended = log->append_as_leader(records, {epoch}, {record::AppendOrigin::kClient, 2});
      ASSERT_TRUE(appended) << appended.error().error.what;
    }
    ASSERT_TRUE(append(*log, {.records = 2, .timestamp = kTime}, {epoch}));
    for (int64_t last : {0, 1, 2, 5, 6, 7, 11, 13}) ends.push_back(base + last);
  }
  auto check = [&] {
    EXPECT_EQ(last_offsets(*log), ends);
    EXPECT_EQ(log->log_end_offset().value, 42);
    EXPECT_GT(log->segment_count(), 1u);
    EXPECT_EQ(log->latest_epoch().value, 3);
    EXPECT_EQ(log->end_offset_for_epoch({1}).second.value, 14);
    EXPECT_EQ(log->end_offset_for_epoch({2}).second.value, 28);
  };
  check();
  disk.stop_and_start();
  log = disk.log();
  check();
  disk.kill_and_start();
  log = disk.log();
  check();
  auto first = log->read({0}, 1, log->log_end_offset(), true);
  ASSERT_TRUE(first);
  EXPECT_EQ(bytes_of(first->slice), part(0, 1));
}

}  // namespace
}  // namespace odradek::storage
