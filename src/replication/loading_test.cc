// What the controller says of partitions whose logs are still being loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "replication/partition/test_support.h"
#include "replication/replica_manager.h"

namespace odradek::replication {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using protocol::LeaderAndIsrRequest;

struct Heard : LeadershipListener {
  std::vector<std::string> log;
  void note(const char* what, const TopicPartition& tp, LeaderEpoch epoch) { log.push_back(what + tp.to_string() + " " + std::to_string(epoch.value)); }
  void on_leader(const TopicPartition& tp, LeaderEpoch epoch) override { note("leader ", tp, epoch); }
  void on_loading(const TopicPartition& tp, LeaderEpoch epoch) override { note("loading ", tp, epoch); }
  void on_follower(const TopicPartition& tp, LeaderEpoch epoch) override { note("follower ", tp, epoch); }
  void on_stopped(const TopicPartition& tp) override { log.push_back("stopped " + tp.to_string()); }
};

// Two logs of three records each after a kill; nothing of them is loaded until the runtime runs.
class ServingWhileLoading : public ::testing::Test {
 protected:
  ServingWhileLoading() {
    for (int32_t p : {0, 1}) {
      auto log = disk.log({"t", p});
      Bytes batch = make_batch(3);
      EXPECT_TRUE(log->append_as_leader(batch, {0}, {}));
      log->update_high_watermark({3});
    }
    disk.logs->write_checkpoints();
    disk.files.kill();
    disk.logs.reset();
    storage::LogManagerOptions options;
    options.dirs = {"/data"};
    disk.logs = std::make_unique<storage::LogManager>(disk.runtime, options, disk.metrics);
    EXPECT_TRUE(disk.logs->begin([](const std::string&) { return std::make_shared<const storage::LogConfig>(); }));
    manager = std::make_unique<ReplicaManager>(
        disk.runtime, *disk.logs, image,
        ReplicaManagerOptions{.self = {1}, .log_config = [](const std::string&) { return std::make_shared<const storage::LogConfig>(); },
                              .on_log_dirs_changed = [this] { ++dirs_changed; }},
        disk.metrics);
    manager->add_listener(heard);
    manager->start();
  }
  ~ServingWhileLoading() override { manager.reset(); }

  ErrorCode apply(int32_t partition, int32_t leader, int32_t epoch, Uuid id = {}) {
    LeaderAndIsrRequest request;
    request.controller_epoch = 1;
    auto& topic = request.topic_states.emplace_back();
    topic.topic_name = "t";
    topic.topic_id = id;
    auto& state = topic.partition_states.emplace_back();
    state.partition_index = partition;
    state.leader = leader;
    state.leader_epoch = epoch;
    state.isr = {leader};
    state.replicas = {1, 2};
    return static_cast<ErrorCode>(manager->apply(request).topics.at(0).partition_errors.at(0).error_code);
  }
  ErrorCode stop(int32_t partition, int32_t epoch, bool remove) {
    return static_cast<ErrorCode>(manager->apply(make_stop("t", partition, epoch, remove)).partition_errors.at(0).error_code);
  }

  Disk disk;
  metadata::ImageHolder image;
  Heard heard;
  int dirs_changed = 0;
  std::unique_ptr<ReplicaManager> manager;
};

TEST_F(ServingWhileLoading, ALeaderServesWhenItsOwnLogIsReady) {
  EXPECT_EQ(apply(0, 1, 4), ErrorCode::kNone);
  EXPECT_EQ(manager->find("t", 0), nullptr);
  EXPECT_TRUE(manager->is_loading("t", 0));
  EXPECT_TRUE(manager->hasten("t", 0));
  EXPECT_THAT(heard.log, ElementsAre("loading t-0 4"));
  bool all = false;
  manager->when_loaded([&] { all = true; });
  EXPECT_FALSE(all);
  disk.runtime.run_until_idle();
  EXPECT_TRUE(all);
  EXPECT_FALSE(manager->is_loading("t", 0));
  EXPECT_THAT(heard.log, ElementsAre("loading t-0 4", "leader t-0 4"));
  auto partition = manager->find("t", 0);
  ASSERT_NE(partition, nullptr);
  EXPECT_EQ(partition->check_leader({4}), ErrorCode::kNone);
  EXPECT_EQ(partition->high_watermark(), Offset{3});
  EXPECT_EQ(manager->find("t", 1), nullptr) << "the controller has not spoken of it";
  EXPECT_EQ(apply(1, 1, 0), ErrorCode::kNone);
  EXPECT_NE(manager->find("t", 1), nullptr);
}

TEST_F(ServingWhileLoading, TheNewestStateCounts) {
  EXPECT_EQ(apply(0, 1, 4), ErrorCode::kNone);
  EXPECT_EQ(apply(0, 1, 3), ErrorCode::kStaleControllerEpoch);
  EXPECT_EQ(apply(0, 1, 4), ErrorCode::kStaleControllerEpoch);
  EXPECT_EQ(apply(0, 2, 5), ErrorCode::kNone);
  disk.runtime.run_until_idle();
  EXPECT_EQ(manager->find("t", 0)->role(), Role::kFollower);
  EXPECT_EQ(manager->find("t", 0)->leader_epoch(), LeaderEpoch{5});
  EXPECT_THAT(heard.log, ElementsAre("loading t-0 4", "follower t-0 5", "follower t-0 5"));
}

TEST_F(ServingWhileLoading, AStopEndsIt) {
  EXPECT_EQ(apply(0, 1, 4), ErrorCode::kNone);
  EXPECT_EQ(apply(1, 1, 4), ErrorCode::kNone);
  EXPECT_EQ(stop(0, 3, false), ErrorCode::kFencedLeaderEpoch);
  EXPECT_EQ(stop(0, 5, false), ErrorCode::kNone);
  EXPECT_EQ(stop(1, 5, true), ErrorCode::kNone);
  EXPECT_FALSE(disk.files.exists("/data/t-1"));
  disk.runtime.run_until_idle();
  EXPECT_EQ(manager->find("t", 0), nullptr);
  EXPECT_EQ(manager->find("t", 1), nullptr);
  EXPECT_NE(disk.logs->find({"t", 0}), nullptr) << "its records stay";
  EXPECT_THAT(heard.log, ElementsAre("loading t-0 4", "loading t-1 4", "stopped t-0", "stopped t-1"));
}

TEST_F(ServingWhileLoading, ADirThatFailsTakesThemOfflineAndTheControllerHearsOfIt) {
  EXPECT_EQ(apply(0, 1, 4), ErrorCode::kNone);
  disk.files.set_fault([](base::FileCall, const std::string& path) { return path.starts_with("/data/t-") ? EIO : 0; });
  disk.runtime.run_until_idle();
  EXPECT_EQ(dirs_changed, 1);
  EXPECT_EQ(manager->leader_or_error({"t", 0}, kNoLeaderEpoch).error().code, ErrorCode::kKafkaStorageError);
  EXPECT_EQ(apply(0, 1, 5), ErrorCode::kKafkaStorageError);
  EXPECT_EQ(apply(1, 1, 5), ErrorCode::kKafkaStorageError);
  EXPECT_THAT(heard.log, ElementsAre("loading t-0 4", "stopped t-0"));
  EXPECT_FALSE(manager->is_loading("t", 1));
  disk.files.set_fault(nullptr);
}

TEST_F(ServingWhileLoading, ALogOfAnotherTopicOfThatNameIsNotServed) {
  Uuid first, second;
  first.bytes[15] = 1;
  second.bytes[15] = 2;
  EXPECT_EQ(apply(0, 1, 4, first), ErrorCode::kNone);
  disk.runtime.run_until_idle();
  ASSERT_NE(manager->find("t", 0), nullptr);
  EXPECT_EQ(manager->find("t", 0)->log()->topic_id(), first);
  EXPECT_EQ(apply(0, 1, 5, second), ErrorCode::kInconsistentTopicId);
}

}  // namespace
}  // namespace odradek::replication
