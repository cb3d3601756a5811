#include "storage/log_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(LogManager, HasAllFourCheckpointFilesFromItsFirstStart) {
  Disk disk;
  EXPECT_THAT(disk.names("/data"), ElementsAre(".lock", "cleaner-offset-checkpoint", "log-start-offset-checkpoint",
                                               "recovery-point-offset-checkpoint", "replication-offset-checkpoint"));
  EXPECT_EQ(disk.text("/data/recovery-point-offset-checkpoint"), "");
}

TEST(LogManager, RefusesADirThatAnotherProcessHolds) {
  Disk disk;
  LogManager second(disk.runtime, disk.options, disk.registry);
  auto started = second.start([&](const std::string&) { return disk.config; });
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().what, HasSubstr("in use by another process"));
}

TEST(LogManager, PutsANewLogIntoTheDirWithTheFewest) {
  Disk disk;
  disk.start_in({"/a", "/b"});
  for (int i = 0; i < 6; ++i) disk.log("t", i);
  for (const auto& described : disk.manager->describe_dirs()) {
    EXPECT_EQ(described.replicas.size(), 3u);
    EXPECT_EQ(described.error, ErrorCode::kNone);
    EXPECT_GT(described.total_bytes, 0);
  }
  disk.stop_and_start();
  EXPECT_EQ(disk.manager->size(), 6u);
}

TEST(LogManager, MakesNoFolderOutsideOfItsDirsAndNoneThatAStartCouldNotRead) {
  Disk disk;
  const auto before = disk.names("/data");
  for (const TopicPartition& tp : {TopicPartition{"../../elsewhere", 0}, TopicPartition{"/elsewhere", 0}, TopicPartition{"a/b", 0}, TopicPartition{"..", 0},
                                   TopicPartition{"", 0}, TopicPartition{"a b", 0}, TopicPartition{"a\nb", 0}, TopicPartition{"t", -1},
                                   TopicPartition{"__cluster_metadata", 0}, TopicPartition{std::string(250, 'x'), 0}}) {
    auto made = disk.manager->get_or_create(tp, {}, disk.config, true);
    ASSERT_FALSE(made) << tp.to_string();
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidTopicException);
  }
  EXPECT_EQ(disk.names("/data"), before);
  EXPECT_EQ(disk.manager->describe_dirs().at(0).error, ErrorCode::kNone);
  EXPECT_TRUE(disk.manager->get_or_create({"..a-0", 0}, {}, disk.config, true));
}

TEST(LogManager, LivesOnWithTheOtherDirsWhenOneFails) {
  Disk disk;
  disk.start_in({"/a", "/b"});
  auto first = disk.log("t", 0), second = disk.log("t", 1);
  ASSERT_NE(&first->dir(), &second->dir());
  std::vector<TopicPartition> lost;
  disk.manager->on_dir_offline([&](const std::string&, const std::vector<TopicPartition>& partitions, bool any_left) {
    lost = partitions;
    EXPECT_TRUE(any_left);
  });
  const std::string bad = first->path();
  disk.files.set_fault([&](base::FileCall call, const std::string& path) { return call == base::FileCall::kWrite && path.starts_with(bad) ? EIO : 0; });
  EXPECT_FALSE(append(*first));
  EXPECT_TRUE(append(*second));
  disk.runtime.run_until_idle();
  EXPECT_THAT(lost, ElementsAre(TopicPartition{"t", 0}));
  EXPECT_FALSE(disk.manager->get_or_create({"t", 0}, {}, disk.config, true)) << "its records are in the dir that failed";
  EXPECT_FALSE(disk.manager->get_or_create({"t", 9}, {}, disk.config, false)) << "it may be in the dir that failed";
  EXPECT_TRUE(disk.manager->get_or_create({"t", 9}, {}, disk.config, true));
  EXPECT_FALSE(disk.manager->remove_async({"t", 0}));
  EXPECT_TRUE(disk.manager->remove_async({"t", 8})) << "all that was in the dir that failed is known";
  disk.manager->stop();
  disk.files.set_fault(nullptr);
  EXPECT_FALSE(disk.files.exists(bad.substr(0, 2) + "/.kafka_cleanshutdown"));
  EXPECT_TRUE(disk.files.exists(second->path().substr(0, 2) + "/.kafka_cleanshutdown"));
}

TEST(LogManager, ALogThatWasBegunInADirThatFailedIsNotMadeInAnother) {
  Disk disk;
  disk.start_in({"/a", "/b"});
  const Uuid id = base::random_uuid(disk.runtime.random());
  disk.files.set_fault([&](base::FileCall call, const std::string& path) {
    return call == base::FileCall::kWrite && path.ends_with("/partition.metadata") ? EIO : 0;
  });
  EXPECT_FALSE(disk.manager->get_or_create({"t", 0}, id, disk.config, true));
  disk.files.set_fault(nullptr);
  disk.runtime.run_until_idle();
  EXPECT_TRUE(disk.manager->has_offline_dir());
  EXPECT_FALSE(disk.manager->get_or_create({"t", 0}, id, disk.config, true));
  disk.kill_and_start();
}

// Its logs are not known any more, and the cleaner may still be at work on one of them.
TEST(LogManager, LeavesTheCheckpointsOfADirThatHasFailedAsTheyAre) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->flush());
  disk.manager->write_checkpoints();
  const std::string before = disk.text("/data/recovery-point-offset-checkpoint");
  EXPECT_EQ(before, "0\n1\nt 0 1\n");
  ASSERT_TRUE(append(*log));
  disk.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kSync ? EIO : 0; });
  EXPECT_FALSE(log->flush());
  disk.files.set_fault(nullptr);
  disk.runtime.run_until_idle();
  EXPECT_FALSE(log->make_durable_below({1}));
  EXPECT_EQ(disk.text("/data/recovery-point-offset-checkpoint"), before);
}

TEST(LogManager, StartsWithoutADirThatCannotBeRead) {
  Disk disk;
  disk.start_in({"/a", "/b"});
  disk.log("t", 0);
  disk.manager->stop();
  disk.manager.reset();
  disk.files.set_fault([](base::FileCall call, const std::string& path) { return call == base::FileCall::kList && path == "/b" ? EIO : 0; });
  disk.start();
  EXPECT_TRUE(disk.manager->has_offline_dir());
  EXPECT_EQ(disk.manager->describe_dirs()[1].error, ErrorCode::kKafkaStorageError);
  EXPECT_EQ(disk.manager->size(), 1u);
}

// Seed 6111 of the cluster simulation: a topic was gone although a replica of it was in a dir that was offline, and a new topic of its
// name met that replica when the dir was back.
TEST(LogManager, DoesNotSayOfALogThatMayBeOfflineThatItIsGone) {
  Disk disk;
  disk.start_in({"/a", "/b"});
  const std::string offline = disk.log("t", 0)->path().substr(0, 2);
  ASSERT_FALSE(disk.log("t", 1)->path().starts_with(offline));
  EXPECT_TRUE(disk.manager->remove_async({"t", 7})) << "it is nowhere";
  disk.manager->stop();
  disk.manager.reset();
  disk.files.set_fault([&](base::FileCall, const std::string& path) { return path.starts_with(offline) ? EIO : 0; });
  disk.start();
  auto removed = disk.manager->remove_async({"t", 0});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, ErrorCode::kKafkaStorageError);
  EXPECT_TRUE(disk.manager->remove_async({"t", 1}));
  EXPECT_TRUE(disk.manager->remove_async({"t", 1})) << "the answer was lost: it was here";
  disk.files.set_fault(nullptr);
  disk.stop_and_start();
  EXPECT_TRUE(disk.manager->find({"t", 0}));
  EXPECT_TRUE(disk.manager->remove_async({"t", 0}));
}

// Seed 46 of the cluster simulation: a replica was reassigned away and back while its dir could not be read, and the broker did not start
// any more when the dir was back.
TEST(LogManager, APartitionMadeAnewCountsWhenTheDirOfTheFormerOneIsBack) {
  Disk disk;
  disk.start_in({"/a", "/b"});
  auto former = disk.log("t", 0);
  ASSERT_TRUE(append(*former));
  const std::string old_dir = former->path().substr(0, 2), new_dir = old_dir == "/a" ? "/b" : "/a";
  former.reset();
  disk.manager->stop();
  disk.manager.reset();
  auto fault = [&](base::FileCall, const std::string& path) { return path.starts_with(old_dir) ? EIO : 0; };
  disk.files.set_fault(fault);
  disk.start();
  EXPECT_FALSE(disk.manager->get_or_create({"t", 0}, {}, disk.config, false));
  ASSERT_TRUE(disk.manager->get_or_create({"t", 0}, {}, disk.config, true));
  ASSERT_TRUE(disk.manager->get_or_create({"t", 1}, {}, disk.config, true));
  EXPECT_FALSE(disk.manager->remove_async({"t", 1})) << "a former one may be back with its dir";
  EXPECT_FALSE(disk.manager->find({"t", 1}));
  EXPECT_FALSE(disk.manager->remove_async({"t", 1}));
  disk.files.set_fault(nullptr);
  disk.stop_and_start();
  ASSERT_TRUE(disk.manager->find({"t", 0}));
  EXPECT_EQ(disk.manager->find({"t", 0})->path(), new_dir + "/t-0");
  EXPECT_EQ(disk.manager->find({"t", 0})->log_end_offset(), Offset{0});
  EXPECT_FALSE(disk.files.exists(old_dir + "/t-0"));
  EXPECT_FALSE(disk.manager->find({"t", 1}));

  // All dirs are known now: whatever comes next, this one has no twin any more.
  EXPECT_FALSE(disk.files.exists(new_dir + "/t-0/odradek-newer"));
  EXPECT_TRUE(disk.manager->remove_async({"t", 0}));
}

// Seed 1311 of the cluster simulation: a replica could not be removed, for its dir failed, and was made anew in another dir.
TEST(LogManager, ALogThatCouldNotBeRemovedIsNotMadeInAnotherDir) {
  Disk disk;
  disk.start_in({"/a", "/b"});
  const std::string dir = disk.log("t", 0)->path().substr(0, 2);
  disk.files.set_fault([&](base::FileCall call, const std::string& path) { return call == base::FileCall::kRename && path.starts_with(dir) ? EIO : 0; });
  EXPECT_FALSE(disk.manager->remove_async({"t", 0}));
  disk.runtime.run_until_idle();
  EXPECT_FALSE(disk.manager->get_or_create({"t", 0}, {}, disk.config, true));
  EXPECT_FALSE(disk.manager->remove_async({"t", 0}));
  disk.files.set_fault(nullptr);
  disk.stop_and_start();
  EXPECT_TRUE(disk.manager->find({"t", 0}));
}

// The power is cut after any number of calls, and any part of what was not synced is on the disk.
TEST(LogManager, APartitionMadeAnewIsNeverWithoutItsMarker) {
  bool made = false;
  for (int calls = 0; !made; ++calls) {
    ASSERT_LT(calls, 100);
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      Disk disk(seed);
      disk.start_in({"/a", "/b"});
      const std::string old_dir = disk.log("t", 0)->path().substr(0, 2);
      disk.manager->stop();
      disk.manager.reset();
      ASSERT_TRUE(disk.files.sync_directory(old_dir));
      int left = calls;
      disk.files.set_fault([&](base::FileCall call, const std::string& path) {
        if (path.starts_with(old_dir)) return EIO;
        if (call == base::FileCall::kList || path.find("t-0") == std::string::npos) return 0;
        return left-- > 0 ? 0 : EIO;
      });
      disk.start();
      made = bool(disk.manager->get_or_create({"t", 0}, {}, disk.config, true));
      disk.files.set_fault(nullptr);
      disk.cut_power_and_start(&disk.runtime.random());
      EXPECT_TRUE(disk.manager->find({"t", 0})) << "after " << calls << " calls, seed " << seed;
    }
  }
}

TEST(LogManager, RefusesToStartOverWhatItCannotExplain) {
  Disk disk;
  disk.log("t", 0);
  disk.manager->stop();
  disk.manager.reset();
  auto start_error = [&] {
    LogManager manager(disk.runtime, disk.options, disk.registry);
    auto started = manager.start([&](const std::string&) { return disk.config; });
    return started ? std::string() : started.error().what;
  };
  ASSERT_TRUE(disk.files.create_directories("/data/lost+found"));
  EXPECT_THAT(start_error(), HasSubstr("lost+found"));
  ASSERT_TRUE(disk.files.remove_all("/data/lost+found"));
  EXPECT_TRUE(disk.files.exists("/data/.kafka_cleanshutdown")) << "a start that fails must not cost a recovery";
  disk.options.dirs = {"/data", "/more"};
  ASSERT_TRUE(disk.files.create_directories("/more/t-0"));
  EXPECT_THAT(start_error(), HasSubstr("two log dirs"));
  ASSERT_TRUE(disk.files.remove_all("/more/t-0"));
  ASSERT_TRUE(disk.files.create_directories("/data/__cluster_metadata-0"));
  ASSERT_TRUE(disk.files.create_directories("/data/remote-log-index-cache"));
  EXPECT_EQ(start_error(), "");
}

TEST(LogManager, TakesADirOfflineWhoseLeaderEpochFileIsBroken) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.manager->stop();
  disk.manager.reset();
  auto file = disk.files.open("/data/t-0/leader-epoch-checkpoint", base::OpenMode::kTruncate);
  ASSERT_TRUE((*file)->pwrite(0, as_bytes("0\nnonsense")));
  LogManager manager(disk.runtime, disk.options, disk.registry);
  EXPECT_FALSE(manager.start([&](const std::string&) { return disk.config; }));
}

TEST(LogManager, RenamesADeletedLogAtOnceAndRemovesItLater) {
  Disk disk;
  auto log = disk.log(std::string(249, 'x'), 3);
  ASSERT_TRUE(append(*log));
  auto slice = log->read({0}, 1000, {1}, true)->slice;
  ASSERT_TRUE(disk.manager->remove_async(log->name()));
  EXPECT_EQ(disk.manager->find(log->name()), nullptr);
  EXPECT_FALSE(append(*log));
  std::string folder;
  auto entries = disk.files.list("/data");
  for (const auto& entry : *entries) {
    if (entry.is_directory) folder = entry.name;
  }
  EXPECT_EQ(folder.size(), 255u);
  EXPECT_TRUE(folder.ends_with("-delete"));
  Bytes read_still = bytes_of(slice);
  EXPECT_EQ(batches_of(read_still).size(), 1u);
  EXPECT_TRUE(log->read({0}, 1000, {1}, true)) << "who holds it can still read";
  // The same name again, before the old files are gone.
  auto again = disk.log(std::string(249, 'x'), 3);
  EXPECT_EQ(again->log_end_offset().value, 0);
  disk.runtime.advance(60'001);
  EXPECT_FALSE(disk.files.exists("/data/" + folder));
  EXPECT_TRUE(disk.files.exists("/data/" + again->name().to_string()));
}

TEST(LogManager, WhatIsToldToBeDeletedDoesNotComeBackAfterAPowerCut) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->flush());
  ASSERT_TRUE(disk.manager->remove_async({"t", 0}));
  ASSERT_TRUE(disk.manager->make_removals_durable());
  disk.cut_power_and_start();
  EXPECT_EQ(disk.manager->size(), 0u);
}

TEST(LogManager, GoesOnDeletingAfterARestart) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  ASSERT_TRUE(disk.manager->remove_async({"t", 0}));
  disk.kill_and_start();
  EXPECT_EQ(disk.manager->size(), 0u);
  disk.runtime.advance(1);
  auto entries = disk.files.list("/data");
  for (const auto& entry : *entries) EXPECT_FALSE(entry.is_directory) << entry.name;
}

TEST(LogManager, GivesANewLogNothingOfADeletedOneOfItsName) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log));
  log->update_high_watermark({10});
  ASSERT_TRUE(log->maybe_advance_start_offset({9}));
  ASSERT_TRUE(log->flush());
  disk.manager->write_checkpoints();
  ASSERT_TRUE(disk.manager->remove_async({"t", 0}));
  log = disk.log();  // before the checkpoints were written again
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(append(*log));
  disk.kill_and_start();
  log = disk.log();
  EXPECT_EQ(log->log_start_offset().value, 0);
  EXPECT_EQ(log->log_end_offset().value, 3);
  EXPECT_EQ(log->high_watermark().value, 0);
  EXPECT_EQ(log->recovery_point().value, 0);
}

TEST(LogManager, KeepsTopicIdsAndRefusesOthers) {
  Disk disk;
  Uuid id = *Uuid::parse("T7IX2ErtQQyDM-Lkl36jeA");
  ASSERT_TRUE(disk.manager->get_or_create({"t", 0}, id, disk.config, true));
  EXPECT_EQ(disk.text("/data/t-0/partition.metadata"), "version: 0\ntopic_id: T7IX2ErtQQyDM-Lkl36jeA");
  disk.kill_and_start();
  EXPECT_EQ(disk.log()->topic_id(), id);
  Uuid other = *Uuid::parse("AAAAAAAAQQyDM-Lkl36jeA");
  auto wrong = disk.manager->get_or_create({"t", 0}, other, disk.config, false);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kInconsistentTopicId);
  EXPECT_EQ(disk.log()->set_topic_id(other).error().code, ErrorCode::kInconsistentTopicId);
  EXPECT_TRUE(disk.log("old")->topic_id().is_zero());
}

TEST(LogManager, WritesWhoItIsIntoEachDirOnce) {
  Disk disk;
  disk.manager.reset();
  disk.options.dirs = {"/a", "/b"};
  {
    LogManager manager(disk.runtime, disk.options, disk.registry);
    ASSERT_TRUE(manager.lock_dirs());
    auto nobody = manager.read_identity();
    ASSERT_TRUE(nobody);
    EXPECT_FALSE(nobody->cluster_id || nobody->broker_id);
    ASSERT_TRUE(manager.write_identity("T7IX2ErtQQyDM-Lkl36jeA", {7}));
    EXPECT_EQ(disk.text("/a/meta.properties"), "#\nbroker.id=7\ncluster.id=T7IX2ErtQQyDM-Lkl36jeA\nversion=0\n");
    EXPECT_EQ(manager.write_identity("other", {7}).error().code, ErrorCode::kInconsistentClusterId);
    EXPECT_FALSE(manager.write_identity("T7IX2ErtQQyDM-Lkl36jeA", {8}));
    EXPECT_EQ(manager.read_identity()->broker_id->value, 7);
  }
  auto file = disk.files.open("/b/meta.properties", base::OpenMode::kTruncate);
  ASSERT_TRUE((*file)->pwrite(0, as_bytes("cluster.id=x\nbroker.id=7\n")));
  LogManager manager(disk.runtime, disk.options, disk.registry);
  ASSERT_TRUE(manager.lock_dirs());
  EXPECT_THAT(manager.read_identity().error().what, HasSubstr("cluster.id"));
}

TEST(LogManager, DoesNotFsyncOnTheThreadOfTheCaller) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 500;
  config.flush_messages = 1;
  disk.configure(config);
  Uuid id = *Uuid::parse("T7IX2ErtQQyDM-Lkl36jeA");
  const int64_t syncs = disk.files.calls(base::FileCall::kSync) + disk.files.calls(base::FileCall::kSyncDirectory);
  auto log = *disk.manager->get_or_create({"t", 0}, id, disk.config, true);
  log->assign_epoch_start({4}, {0});
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(append(*log, {}, {4}));
  log->update_high_watermark({20});
  ASSERT_TRUE(log->maybe_advance_start_offset({10}));
  ASSERT_TRUE(log->delete_old_segments());
  ASSERT_TRUE(disk.manager->remove_async({"t", 0}));
  EXPECT_EQ(disk.files.calls(base::FileCall::kSync) + disk.files.calls(base::FileCall::kSyncDirectory), syncs);
  disk.runtime.run_until_idle();
  EXPECT_FALSE(disk.manager->has_offline_dir());
}

TEST(LogManager, WakesUpForNothingButRetentionWhenNothingHappens) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  log->update_high_watermark({1});
  disk.runtime.advance(250'000);
  EXPECT_EQ(disk.runtime.pending_timers(), 2u);
  EXPECT_EQ(disk.text("/data/replication-offset-checkpoint"), "0\n1\nt 0 1\n");
}

TEST(LogManager, ShowsItsLogsAsMetrics) {
  Disk disk;
  auto log = disk.log("orders", 2);
  ASSERT_TRUE(append(*log, {.records = 5}));
  std::string text = disk.registry.prometheus_text();
  EXPECT_THAT(text, HasSubstr("kafka_log_log_logendoffset{topic=\"orders\",partition=\"2\"} 5"));
  EXPECT_THAT(text, HasSubstr("kafka_log_log_size{topic=\"orders\",partition=\"2\"} " + std::to_string(log->size_bytes())));
  EXPECT_THAT(text, HasSubstr("kafka_log_logmanager_logdirectoryoffline{logdirectory=\"/data\"} 0"));
}

TEST(SliceReader, CountsWhatCameFromTheDiskAndWhatLeftAgain) {
  Disk disk;
  disk.options.cold_read_cache_bytes = 4'096;
  auto log = disk.log();
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(append(*log));
  disk.stop_and_start();
  log = disk.log();
  disk.files.make_cold("/data/t-0/00000000000000000000.log");
  base::FileSlice cold;
  ASSERT_TRUE(log->read({0}, 1 << 20, {300}, true, &cold));
  ASSERT_GT(cold.size, 8'192);
  for (int i = 0; i < 2; ++i) disk.manager->slice_loader().load(cold, [] {});
  disk.runtime.run_until_idle();
  EXPECT_EQ(disk.registry.counter(metrics::kColdReadBytes)->value(), static_cast<uint64_t>(2 * cold.size));
  EXPECT_GE(disk.registry.counter(metrics::kColdReadDroppedBytes)->value(), static_cast<uint64_t>(cold.size));
}

}  // namespace
}  // namespace odradek::storage
