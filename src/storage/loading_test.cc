// Logs that get ready one after the other: order, checkpoints, stops, deletions and failures meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "storage/files/checkpoint.h"
#include "storage/load_queue.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(LoadQueue, GivesWhatIsAskedForFirstThenInternalTopics) {
  LoadQueue queue;
  for (const char* topic : {"a", "b", "__consumer_offsets", "c"}) queue.add({.name = {topic, 0}, .dir = 1});
  EXPECT_FALSE(queue.take(0)) << "of another dir";
  queue.hasten({"c", 0});
  queue.hasten({"nowhere", 0});
  std::vector<std::string> order;
  while (auto next = queue.take(1)) {
    order.push_back(next->name.topic);
    queue.hasten(next->name);  // too late
  }
  EXPECT_THAT(order, ElementsAre("c", "__consumer_offsets", "a", "b"));
  EXPECT_EQ(queue.size(1), 4u) << "taken is not loaded";
  EXPECT_FALSE(queue.done({"a", 0}));
  EXPECT_FALSE(queue.done({"a", 0}));
  EXPECT_FALSE(queue.done({"b", 0}));
  EXPECT_FALSE(queue.done({"c", 0}));
  EXPECT_TRUE(queue.done({"__consumer_offsets", 0}));
  EXPECT_TRUE(queue.empty());
}

TEST(LoadQueue, ForgetsADirThatFailedAndKeepsWhatACancelLeft) {
  LoadQueue queue;
  queue.add({.name = {"a", 0}, .dir = 0});
  queue.add({.name = {"b", 0}, .dir = 1, .high_watermark = Offset{7}});
  ASSERT_TRUE(queue.take(0));
  queue.drop(0);
  EXPECT_FALSE(queue.contains({"a", 0}));
  queue.cancel();
  EXPECT_FALSE(queue.take(1));
  ASSERT_EQ(queue.of(1).size(), 1u);
  EXPECT_EQ(queue.of(1)[0].high_watermark, Offset{7});
  queue.wait_for({"b", 0});  // nobody will load it: does not wait
  EXPECT_TRUE(queue.claim({"b", 0}));
  EXPECT_TRUE(queue.empty());
}

// Three logs with two records each, below the high watermark, of which the first `flushed` are flushed.
class Loading : public ::testing::Test {
 protected:
  void fill() {
    for (int p = 0; p < 3; ++p) {
      auto log = disk.log("t", p);
      for (int i = 0; i < 2; ++i) ASSERT_TRUE(append(*log));
      log->update_high_watermark(log->log_end_offset());
      ASSERT_TRUE(log->maybe_advance_start_offset({1}));
      ASSERT_TRUE(log->flush());
    }
    disk.runtime.run_until_idle();
    disk.manager->write_checkpoints();
  }
  void begin() {
    disk.manager = std::make_unique<LogManager>(disk.runtime, disk.options, disk.registry);
    auto begun = disk.manager->begin([this](const std::string&) { return disk.config; });
    ASSERT_TRUE(begun) << begun.error().what;
  }
  void kill_and_begin() {
    disk.files.kill();
    disk.manager.reset();
    begin();
  }
  OffsetMap offsets(std::string_view file) { return *read_offsets(disk.files, "/data/" + std::string(file)); }
  bool marked() { return disk.files.exists("/data/.kafka_cleanshutdown"); }

  Disk disk;
};

TEST_F(Loading, LogsAreHereOneByOneInTheOrderTheyAreAskedFor) {
  fill();
  kill_and_begin();
  EXPECT_EQ(disk.manager->loading(), 3u);
  EXPECT_TRUE(disk.manager->is_loading({"t", 2}));
  EXPECT_EQ(disk.manager->find({"t", 2}), nullptr);
  EXPECT_EQ(disk.manager->partitions().size(), 3u);
  std::vector<int> order;
  disk.manager->on_loaded([&](const TopicPartition& tp) {
    order.push_back(tp.partition);
    EXPECT_FALSE(disk.manager->is_loading(tp));
    ASSERT_NE(disk.manager->find(tp), nullptr);
    EXPECT_EQ(disk.manager->find(tp)->log_end_offset().value, 2);
  });
  disk.manager->hasten({"t", 2});
  disk.runtime.run_until_idle();
  ASSERT_EQ(order.size(), 3u);
  EXPECT_EQ(order[0], 2);
  EXPECT_EQ(disk.manager->loading(), 0u);
}

TEST_F(Loading, CheckpointsKeepWhatTheySayOfLogsThatAreNotLoaded) {
  fill();
  const auto high = offsets("replication-offset-checkpoint"), flushed = offsets("recovery-point-offset-checkpoint"),
             start = offsets("log-start-offset-checkpoint");
  ASSERT_EQ(high.size(), 3u);
  ASSERT_EQ(start.size(), 3u);
  kill_and_begin();
  disk.manager->write_checkpoints();
  EXPECT_EQ(offsets("replication-offset-checkpoint"), high);
  EXPECT_EQ(offsets("recovery-point-offset-checkpoint"), flushed);
  EXPECT_EQ(offsets("log-start-offset-checkpoint"), start);
  // One gets ready, goes on, and is written down beside the others.
  disk.manager->on_loaded([&](const TopicPartition& tp) {
    if (tp.partition != 1) return;
    auto log = disk.manager->find(tp);
    ASSERT_TRUE(append(*log));
    log->update_high_watermark({3});
    disk.manager->write_checkpoints();
    auto expected = high;
    expected[tp] = {3};
    EXPECT_EQ(offsets("replication-offset-checkpoint"), expected);
  });
  disk.manager->hasten({"t", 1});
  disk.runtime.run_until_idle();
}

TEST_F(Loading, AStopMeanwhileMarksOnlyADirThatIsClean) {
  fill();
  kill_and_begin();
  disk.manager->stop();
  EXPECT_FALSE(marked()) << "nothing of it was recovered";
  EXPECT_EQ(offsets("recovery-point-offset-checkpoint").size(), 3u);
  disk.manager.reset();
  begin();
  disk.runtime.run_until_idle();
  disk.manager->stop();
  EXPECT_TRUE(marked());
  disk.manager.reset();
  begin();
  EXPECT_FALSE(marked());
  disk.manager->stop();
  EXPECT_TRUE(marked()) << "as clean as it was, whether looked at or not";
  disk.manager.reset();
  disk.start();
  for (int p = 0; p < 3; ++p) {
    auto log = disk.log("t", p);
    EXPECT_EQ(log->log_end_offset().value, 2);
    EXPECT_EQ(log->log_start_offset().value, 1);
    EXPECT_EQ(log->high_watermark().value, 2);
  }
}

TEST_F(Loading, AKillMeanwhileLosesNothing) {
  fill();
  kill_and_begin();
  disk.manager->on_loaded([&](const TopicPartition&) { disk.manager->write_checkpoints(); });
  kill_and_begin();
  disk.runtime.run_until_idle();
  for (int p = 0; p < 3; ++p) EXPECT_THAT(base_offsets(*disk.log("t", p), {1}), ElementsAre(1));
}

TEST_F(Loading, ALogThatIsDeletedMeanwhileIsNeverLoaded) {
  fill();
  kill_and_begin();
  ASSERT_TRUE(disk.manager->remove_async({"t", 1}));
  EXPECT_FALSE(disk.manager->is_loading({"t", 1}));
  EXPECT_FALSE(disk.files.exists("/data/t-1"));
  auto fresh = disk.log("t", 1);
  EXPECT_EQ(fresh->log_end_offset().value, 0);
  EXPECT_EQ(fresh->high_watermark().value, 0);
  disk.runtime.run_until_idle();
  EXPECT_EQ(disk.log("t", 1), fresh);
  EXPECT_EQ(disk.manager->size(), 3u);
  disk.manager->write_checkpoints();
  EXPECT_EQ(offsets("replication-offset-checkpoint")[(TopicPartition{"t", 1})].value, 0);
}

TEST_F(Loading, WhatADirThatFailsHasNotLoadedIsLostWithIt) {
  fill();
  kill_and_begin();
  std::vector<TopicPartition> lost;
  disk.manager->on_dir_offline([&](const std::string&, const std::vector<TopicPartition>& partitions, bool any_left) {
    lost = partitions;
    EXPECT_FALSE(any_left);
  });
  disk.files.set_fault([](base::FileCall, const std::string& path) { return path.starts_with("/data/t-1/") ? EIO : 0; });
  disk.manager->hasten({"t", 1});
  disk.runtime.run_until_idle();
  EXPECT_THAT(lost, UnorderedElementsAre(TopicPartition{"t", 0}, TopicPartition{"t", 1}, TopicPartition{"t", 2}));
  EXPECT_EQ(disk.manager->loading(), 0u);
  EXPECT_THAT(disk.manager->all(), IsEmpty());
  EXPECT_FALSE(disk.manager->get_or_create({"t", 1}, {}, disk.config, true));
  disk.files.set_fault(nullptr);
}

TEST_F(Loading, SettingsThatChangeMeanwhileReachTheLog) {
  fill();
  kill_and_begin();
  LogConfig changed;
  changed.retention_ms = 4'711;
  // In the middle of the load of one: it began with the old ones, and is not yet among those that are given new ones.
  disk.files.set_fault([&](base::FileCall, const std::string& path) {
    if (path.starts_with("/data/t-1/") && disk.config->retention_ms != 4'711) {
      disk.config = std::make_shared<LogConfig>(changed);
      disk.manager->configs_changed();
      for (const auto& log : disk.manager->all()) log->update_config(disk.config);
    }
    return 0;
  });
  disk.runtime.run_until_idle();
  disk.files.set_fault(nullptr);
  ASSERT_EQ(disk.manager->size(), 3u);
  for (const auto& log : disk.manager->all()) EXPECT_EQ(log->config()->retention_ms, 4'711);
}

// What a kill leaves below the recovery point is neither written nor flushed again.
TEST_F(Loading, ARecoveryThatFindsEverythingInOrderLeavesTheDiskAlone) {
  fill();
  disk.manager->stop();
  disk.manager.reset();
  begin();
  disk.runtime.run_until_idle();
  std::vector<std::string> touched;
  kill_and_begin();
  disk.files.set_fault([&](base::FileCall call, const std::string& path) {
    using enum base::FileCall;
    const bool changes = call == kWrite || call == kSync || call == kTruncate || call == kRename || call == kRemove || call == kSyncDirectory;
    if (path.starts_with("/data/t-") && changes) touched.push_back(path);
    return 0;
  });
  disk.runtime.run_until_idle();
  disk.files.set_fault(nullptr);
  EXPECT_THAT(touched, IsEmpty());
  for (int p = 0; p < 3; ++p) EXPECT_EQ(disk.log("t", p)->recovery_point().value, 2);
}

}  // namespace
}  // namespace odradek::storage
