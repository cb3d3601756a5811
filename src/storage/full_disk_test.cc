// A disk without room: clients are refused, the broker's own records and files go on from the reserve, nothing goes offline, and all
// of it ends by itself.
#include <gmock/gmock.h>

#include <cerrno>

#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using base::FileCall;

constexpr int64_t kReserve = 256 << 10;

class FullDisk : public ::testing::Test {
 protected:
  FullDisk() {
    disk.manager.reset();
    disk.options.reserve_bytes = kReserve;
    disk.start();
  }
  void leave_room(int64_t bytes) { disk.files.set_capacity(disk.files.used_bytes() + bytes); }
  // Appends until there is no room; how many went in.
  static int fill(Log& log, size_t value_size = 3'000) {
    for (int count = 0; count < 10'000; ++count) {
      auto done = append(log, {.value_size = value_size});
      if (done) continue;
      EXPECT_EQ(done.error().error.code, ErrorCode::kKafkaStorageError);
      return count;
    }
    ADD_FAILURE() << "the disk never was full";
    return 0;
  }
  int64_t reserve_left() { return disk.files.status("/data/odradek-reserve")->size; }

  Disk disk;
};

TEST_F(FullDisk, RefusesClientsServesReadersAndTakesTheBrokersOwnRecords) {
  auto log = disk.log();
  auto own = disk.log("__consumer_offsets");
  EXPECT_EQ(reserve_left(), kReserve);
  leave_room(40'000);
  const int count = fill(*log);
  EXPECT_GT(count, 5);
  EXPECT_FALSE(disk.manager->has_offline_dir());
  EXPECT_EQ(reserve_left(), kReserve) << "kept for others";
  EXPECT_EQ(base_offsets(*log).size(), static_cast<size_t>(count));
  EXPECT_FALSE(append(*log, {.value_size = 1})) << "a small record would fit, but comes after the refused one";
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(append(*own, {.value_size = 3'000}, {0}, record::AppendOrigin::kCoordinator)) << i;
  EXPECT_LT(reserve_left(), kReserve);
  // Markers go to topics of clients, too.
  ASSERT_TRUE(append(*log, {}, {0}, record::AppendOrigin::kCoordinator));
  disk.runtime.run_until_idle();
  disk.manager->write_checkpoints();
  EXPECT_TRUE(log->flush());
  EXPECT_FALSE(disk.manager->has_offline_dir());
}

// Found by the simulation (seed 80 of 2026-11-28): all logs of the dir were offline for it.
TEST_F(FullDisk, ALogIsServedThoughThereIsNoRoomForItsSnapshots) {
  auto log = disk.log();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(append(*log));
    ASSERT_TRUE(log->roll());
  }
  ASSERT_TRUE(append(*log));
  log.reset();
  int refused = 0;
  disk.files.set_fault([&](FileCall call, const std::string& path) {
    if (call != FileCall::kOpen || !path.ends_with(".snapshot")) return 0;
    ++refused;
    return ENOSPC;
  });
  disk.kill_and_start();
  disk.files.set_fault(nullptr);
  EXPECT_GT(refused, 0);
  EXPECT_FALSE(disk.manager->has_offline_dir());
  EXPECT_EQ(disk.log()->log_end_offset().value, 4);
}

// It would be made in the other dir the next time, and a partition in two dirs keeps the broker from starting (cluster simulation, seed 46).
TEST_F(FullDisk, ALogThatCouldNotBeMadeLeavesNothingBehind) {
  disk.start_in({"/a", "/b"});
  const Uuid id = base::random_uuid(disk.runtime.random());
  for (const std::string end : {"/partition.metadata", ".log"}) {
    disk.files.set_fault([&](FileCall call, const std::string& path) {
      return (call == FileCall::kWrite || call == FileCall::kOpen) && path.find("/t-0/") != std::string::npos && path.ends_with(end) ? ENOSPC : 0;
    });
    EXPECT_FALSE(disk.manager->get_or_create({"t", 0}, id, disk.config, true));
    disk.files.set_fault(nullptr);
    for (const char* dir : {"/a", "/b"}) EXPECT_FALSE(disk.files.exists(std::string(dir) + "/t-0")) << end;
  }
  EXPECT_TRUE(disk.manager->get_or_create({"t", 0}, id, disk.config, true));
  disk.kill_and_start();
}

// A follower that has to cut its log goes on when there is room (cluster simulation, seed 8).
TEST_F(FullDisk, ALogThatCouldNotBeCutIsCutLater) {
  for (const int64_t to : {1, -1}) {
    auto log = disk.log("t", to == 1 ? 0 : 1);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(append(*log));
    ASSERT_TRUE(log->flush());
    disk.manager->write_checkpoints();
    auto checkpointed = [&] { return disk.text("/data/recovery-point-offset-checkpoint").find(to == 1 ? "t 0 3" : "t 1 3") != std::string::npos; };
    ASSERT_TRUE(checkpointed());
    disk.files.set_fault([](FileCall, const std::string& path) { return path.find("recovery-point-offset-checkpoint") != std::string::npos ? ENOSPC : 0; });
    auto cut = [&] { return to == 1 ? log->truncate_to({1}) : log->truncate_fully_and_start_at({2}); };
    EXPECT_FALSE(cut());
    EXPECT_FALSE(cut()) << "the checkpoint says still that what would come then is on the disk";
    EXPECT_EQ(log->log_end_offset(), Offset{3});
    EXPECT_EQ(log->latest_epoch(), LeaderEpoch{0});
    disk.files.set_fault(nullptr);
    EXPECT_TRUE(cut());
    EXPECT_EQ(log->log_end_offset(), Offset{to == 1 ? 1 : 2});
    EXPECT_FALSE(checkpointed()) << "what comes there now is not on the disk";
    disk.runtime.advance(1'000);
    EXPECT_TRUE(append(*log));
  }
}

TEST_F(FullDisk, EndsByItselfWithinASecondOfRoom) {
  auto log = disk.log();
  auto own = disk.log("__consumer_offsets");
  leave_room(40'000);
  const int count = fill(*log);
  while (append(*own, {.value_size = 3'000}, {0}, record::AppendOrigin::kCoordinator)) {
  }
  EXPECT_EQ(reserve_left(), 0);
  disk.runtime.advance(10'000);
  EXPECT_FALSE(append(*log));
  EXPECT_FALSE(disk.manager->has_offline_dir());
  disk.files.set_capacity(INT64_MAX);
  disk.runtime.advance(1'000);
  EXPECT_TRUE(append(*log));
  EXPECT_EQ(reserve_left(), kReserve);
  EXPECT_EQ(base_offsets(*log).size(), static_cast<size_t>(count + 1));
  // What went in is there in the next life, and nothing else.
  const auto before = base_offsets(*own);
  disk.kill_and_start();
  EXPECT_EQ(base_offsets(*disk.log()).size(), static_cast<size_t>(count + 1));
  EXPECT_EQ(base_offsets(*disk.log("__consumer_offsets")), before);
}

TEST_F(FullDisk, RetentionRunsAtOnceAndItsFilesGoAtOnce) {
  disk.configure({.segment_bytes = 20'000, .retention_bytes = 60'000});
  auto log = disk.log();
  leave_room(300'000);
  const int count = fill(*log);  // high watermark 0: nothing may go
  log->update_high_watermark(log->log_end_offset());
  EXPECT_FALSE(append(*log));
  disk.runtime.run_until_idle();
  disk.runtime.advance(1'000);
  EXPECT_GT(log->log_start_offset(), Offset{0});
  EXPECT_TRUE(append(*log));
  EXPECT_EQ(log->log_end_offset(), Offset{count + 1});
  for (const std::string& name : disk.names("/data/t-0")) EXPECT_FALSE(name.ends_with(".deleted")) << name;
}

TEST_F(FullDisk, ARollWithoutRoomLeavesNoFileBehind) {
  disk.configure({.segment_bytes = 22'000});
  auto log = disk.log();
  while (log->size_bytes() < 20'000) ASSERT_TRUE(append(*log, {.value_size = 3'000}));
  ASSERT_EQ(log->segment_count(), 1u);
  ASSERT_TRUE(log->flush());
  const auto names = disk.names("/data/t-0");
  for (const char* kind : {".snapshot", ".log", ".timeindex"}) {
    disk.files.set_fault([&](FileCall call, const std::string& path) {
      return (call == FileCall::kOpen || call == FileCall::kWrite) && path.ends_with(kind) && !path.ends_with("00000000000000000000" + std::string(kind)) ? ENOSPC : 0;
    });
    EXPECT_FALSE(append(*log, {.value_size = 3'000})) << kind;
    disk.files.set_fault(nullptr);
    EXPECT_FALSE(disk.manager->has_offline_dir());
    for (const std::string& name : disk.names("/data/t-0")) {
      EXPECT_TRUE(std::ranges::find(names, name) != names.end() || name.ends_with(".snapshot")) << kind << ": " << name;
    }
    disk.runtime.advance(1'000);
    // A small one still fits into the segment: the refused roll has changed nothing.
    ASSERT_TRUE(append(*log, {.value_size = 1})) << kind;
  }
  ASSERT_TRUE(append(*log, {.value_size = 3'000}));
  EXPECT_EQ(log->segment_count(), 2u);
  const auto offsets = base_offsets(*log);
  disk.kill_and_start();
  EXPECT_EQ(base_offsets(*disk.log()), offsets);
}

TEST_F(FullDisk, AWriteThatFailsInTheMiddleLeavesNoHalfBatch) {
  auto log = disk.log();
  ASSERT_TRUE(append(*log, {.records = 3}));
  disk.files.set_fault([](FileCall call, const std::string& path) { return call == FileCall::kWrite && path.ends_with(".log") ? ENOSPC : 0; });
  EXPECT_FALSE(append(*log, {.records = 50}));
  disk.files.set_fault(nullptr);
  disk.runtime.advance(1'000);
  ASSERT_TRUE(append(*log, {.records = 2}));
  EXPECT_EQ(base_offsets(*log), (std::vector<int64_t>{0, 3}));
  disk.kill_and_start();
  EXPECT_EQ(base_offsets(*disk.log()), (std::vector<int64_t>{0, 3}));
}

TEST_F(FullDisk, AWriteThatCannotBeTakenBackEndsTheLog) {
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.files.set_fault([](FileCall call, const std::string& path) {
    return !path.ends_with(".log") ? 0 : call == FileCall::kWrite ? ENOSPC : call == FileCall::kTruncate ? EIO : 0;
  });
  EXPECT_FALSE(append(*log));
  disk.files.set_fault(nullptr);
  EXPECT_TRUE(disk.manager->has_offline_dir());
  disk.kill_and_start();
  EXPECT_EQ(base_offsets(*disk.log()), std::vector<int64_t>{0});
}

TEST_F(FullDisk, IndexEntriesWaitInMemory) {
  disk.configure({.index_interval_bytes = 0});
  auto log = disk.log();
  disk.files.set_fault([](FileCall call, const std::string& path) { return call == FileCall::kWrite && path.ends_with("index") ? ENOSPC : 0; });
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(append(*log)) << i;
  EXPECT_TRUE(log->read({250}, 1'000, {500}, true));
  ASSERT_TRUE(log->roll());
  EXPECT_FALSE(log->flush()) << "the index of a closed segment has to be written";
  EXPECT_EQ(log->flushed_offset(), Offset{500}) << "its records are";
  EXPECT_LT(log->recovery_point(), Offset{500});
  disk.files.set_fault(nullptr);
  EXPECT_TRUE(log->flush());
  EXPECT_EQ(log->recovery_point(), Offset{500});
  disk.cut_power_and_start();
  EXPECT_EQ(base_offsets(*disk.log()).size(), 500u);
}

TEST_F(FullDisk, APartitionThatCouldNotBeMadeIsAskedForAgain) {
  const Uuid id{7, 7};
  int asked = 0;
  disk.manager->on_room([&] { ++asked; });
  // Its folder, or when it has a folder the file with its id.
  for (auto [name, refused, file] : {std::tuple("new", FileCall::kCreateDirectory, "new-0"), std::tuple("next", FileCall::kWrite, "next-0/partition.metadata")}) {
    disk.files.set_fault([&](FileCall call, const std::string& path) { return call == refused && path.ends_with(file) ? ENOSPC : 0; });
    EXPECT_FALSE(disk.manager->get_or_create({name, 0}, id, disk.config, true)) << name;
    disk.files.set_fault(nullptr);
    EXPECT_FALSE(disk.manager->has_offline_dir());
    disk.runtime.advance(1'000);
    EXPECT_EQ(asked, 1) << name;
    asked = 0;
    auto made = disk.manager->get_or_create({name, 0}, id, disk.config, true);
    ASSERT_TRUE(made) << name;
    EXPECT_EQ((*made)->topic_id(), id);
  }
}

TEST_F(FullDisk, AStartTakesWhatItNeedsFromTheReserve) {
  disk.configure({.segment_bytes = 20'000, .index_interval_bytes = 0});
  auto log = disk.log();
  leave_room(200'000);
  const int count = fill(*log, 500);
  disk.kill_and_start();
  disk.files.set_capacity(disk.files.used_bytes());
  disk.kill_and_start();
  EXPECT_FALSE(disk.manager->has_offline_dir());
  ASSERT_NE(disk.manager->find({"t", 0}), nullptr);
  EXPECT_EQ(base_offsets(*disk.log()).size(), static_cast<size_t>(count));
}

TEST_F(FullDisk, WhatWasOnItsWayBehindARefusedBatchDoesNotComeBeforeIt) {
  auto log = disk.log();
  auto produce = [&](int32_t sequence, int16_t epoch = 0) {
    auto done = append(*log, {.records = 2, .producer = {9}, .epoch = epoch, .sequence = sequence});
    return done ? ErrorCode::kNone : done.error().error.code;
  };
  leave_room(0);
  EXPECT_EQ(produce(0), ErrorCode::kKafkaStorageError);
  disk.files.set_capacity(INT64_MAX);
  disk.runtime.advance(1'000);
  EXPECT_EQ(produce(2), ErrorCode::kOutOfOrderSequenceNumber);
  EXPECT_EQ(produce(0), ErrorCode::kNone);
  EXPECT_EQ(produce(2), ErrorCode::kNone);
  // A new epoch has forgotten it.
  auto other = disk.log("t", 1);
  leave_room(0);
  auto at_other = [&](int32_t sequence, int16_t epoch) {
    auto done = append(*other, {.producer = {9}, .epoch = epoch, .sequence = sequence});
    return done ? ErrorCode::kNone : done.error().error.code;
  };
  EXPECT_EQ(at_other(5, 0), ErrorCode::kKafkaStorageError);
  disk.files.set_capacity(INT64_MAX);
  disk.runtime.advance(1'000);
  EXPECT_EQ(at_other(0, 1), ErrorCode::kNone);
}

TEST_F(FullDisk, TheStoreGetsRoomToo) {
  EXPECT_TRUE(disk.manager->make_room("/data"));
  EXPECT_LT(reserve_left(), kReserve);
  EXPECT_FALSE(disk.manager->make_room("/elsewhere"));
  while (disk.manager->make_room("/data")) {
  }
  EXPECT_EQ(reserve_left(), 0);
}

}  // namespace
}  // namespace odradek::storage
