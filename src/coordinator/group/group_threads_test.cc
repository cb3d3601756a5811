// Many clients at once on a coordinator with real threads, while leadership comes and goes: every call is answered exactly once, and
// no offset that was answered as committed goes back. Made for ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "coordinator/group/group_coordinator.h"
#include "coordinator/group/group_test_util.h"
#include "coordinator/runtime/fake_log.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/list_groups.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/sync_group.h"

namespace odradek::coordinator {
namespace {

// The log of one partition behind a lock; what is appended is committed by another thread.
class LockedLog : public LogAccess {
 public:
  base::Mutex mutex;
  FakeLog log GUARDED_BY(mutex);

  Result<Offset> append(const TopicPartition& tp, LeaderEpoch epoch, Bytes batch, UniqueFunction<void(ErrorCode)> committed) override {
    base::MutexLock lock(mutex);
    auto held = std::make_shared<UniqueFunction<void(ErrorCode)>>(std::move(committed));
    auto appended = log.append(tp, epoch, std::move(batch), [this, held](ErrorCode error) { due.emplace_back(held, error); });
    if (!appended) {
      due.pop_back();
      (*held)(appended.error().code);
    }
    return appended;
  }
  Result<LogBounds> bounds(const TopicPartition& tp, LeaderEpoch epoch) override {
    base::MutexLock lock(mutex);
    return log.bounds(tp, epoch);
  }
  std::optional<int32_t> max_batch_bytes(const TopicPartition& tp) override {
    base::MutexLock lock(mutex);
    return log.max_batch_bytes(tp);
  }
  Result<Bytes> read(const TopicPartition& tp, LeaderEpoch epoch, Offset from, int32_t max_bytes) override {
    base::MutexLock lock(mutex);
    return log.read(tp, epoch, from, max_bytes);
  }
  void step(bool lose) {
    std::vector<std::pair<std::shared_ptr<UniqueFunction<void(ErrorCode)>>, ErrorCode>> now;
    {
      base::MutexLock lock(mutex);
      if (lose) {
        log.lose_leadership(true);
      } else {
        log.commit_all();
      }
      now.swap(due);
    }
    for (auto& [committed, error] : now) (*committed)(error);
  }

 private:
  std::vector<std::pair<std::shared_ptr<UniqueFunction<void(ErrorCode)>>, ErrorCode>> due GUARDED_BY(mutex);
};

TEST(GroupThreads, EveryCallIsAnsweredOnceAndNoOffsetGoesBack) {
  auto runtime = base::make_system_runtime();
  LockedLog log;
  {
    base::MutexLock lock(log.mutex);
    log.log.commit_at_once = false;
  }
  GroupConfig config;
  config.initial_rebalance_delay_ms = 5;
  config.min_session_timeout_ms = 1;
  config.retention_check_interval_ms = 20;
  config.commit_timeout_ms = 200;
  auto groups = std::make_unique<GroupCoordinator>(*runtime, log, [] { return 1; }, config);
  groups->start();
  TopicPartition tp{std::string(kGroupMetadataTopic), 0};
  groups->on_leader(tp, {0});

  std::atomic<bool> stop{false};
  std::atomic<int64_t> called{0}, answered{0}, committed{0};
  auto once = [&](auto&& body) {
    called.fetch_add(1);
    return [&, body = std::move(body)](auto response) mutable {
      answered.fetch_add(1);
      body(response);
    };
  };
  auto client = [&](int id) {
    const std::string group = "g" + std::to_string(id % 3), own = "own" + std::to_string(id);
    const ClientInfo info{"c", "/h", 7};
    std::atomic<int64_t> safe{-1};  // of our own group: nobody else writes it
    for (int64_t i = 0; !stop.load(); ++i) {
      {
        protocol::OffsetCommitRequest request;
        request.group_id = own;
        auto& topic = request.topics.emplace_back();
        topic.name = "t";
        topic.partitions.emplace_back().committed_offset = i;
        auto shared = std::make_shared<std::atomic<int>>(0);
        groups->commit_offsets(std::move(request), info, once([&, i, shared](protocol::OffsetCommitResponse& response) {
          if (response.topics[0].partitions[0].error_code == 0) {
            safe.store(i);
            committed.fetch_add(1);
          }
          shared->store(1);
        }));
        while (shared->load() == 0) std::this_thread::yield();
      }
      {
        const int64_t at_least = safe.load();
        protocol::OffsetFetchRequest request;
        request.group_id = own;
        auto& topic = request.topics->emplace_back();
        topic.name = "t";
        topic.partition_indexes = {0};
        auto shared = std::make_shared<std::atomic<int>>(0);
        groups->fetch_offsets(std::move(request), info, once([&, at_least, shared](protocol::OffsetFetchResponse& response) {
          if (response.error_code == 0) {
            EXPECT_GE(response.topics[0].partitions[0].committed_offset, at_least);
          }
          shared->store(1);
        }));
        while (shared->load() == 0) std::this_thread::yield();
      }
      protocol::JoinGroupRequest join;
      join.group_id = group;
      join.session_timeout_ms = 50;
      join.rebalance_timeout_ms = 50;
      join.protocol_type = "consumer";
      join.protocols.emplace_back().name = "range";
      groups->join_group(std::move(join), ClientInfo{"c", "/h", 3}, once([&, group](protocol::JoinGroupResponse& response) {
        if (response.error_code != 0) return;
        protocol::SyncGroupRequest sync;
        sync.group_id = group;
        sync.member_id = response.member_id;
        sync.generation_id = response.generation_id;
        groups->sync_group(std::move(sync), ClientInfo{"c", "/h", 3}, once([](protocol::SyncGroupResponse&) {}));
      }));
      groups->list_groups({}, info, once([](protocol::ListGroupsResponse&) {}));
    }
  };
  {
    std::vector<std::thread> threads;
    for (int id = 0; id < 4; ++id) threads.push_back(base::start_thread("client", [&, id] { client(id); }));
    int32_t epoch = 0;
    auto& clock = runtime->clock();
    const int64_t end = clock.monotonic_ms() + 60'000;  // a limit; enough is done long before
    int64_t next_change = 0;
    while ((committed.load() < 400 || epoch < 10) && clock.monotonic_ms() < end) {
      log.step(false);
      if (committed.load() >= next_change) {
        next_change = committed.load() + 40;
        log.step(true);
        groups->on_follower(tp, {++epoch});
        ++epoch;
        {
          base::MutexLock lock(log.mutex);
          log.log.leader_epoch = {epoch - 1};
          log.log.take_leadership();
        }
        groups->on_leader(tp, {epoch});
      }
      std::this_thread::yield();
    }
    stop.store(true);
    std::atomic<bool> done{false};
    auto committer = base::start_thread("committer", [&] {
      while (!done.load()) log.step(false);
    });
    for (auto& thread : threads) thread.join();
    groups->stop();
    done.store(true);
    committer.join();
  }
  groups.reset();
  EXPECT_EQ(called.load(), answered.load());
  EXPECT_GE(committed.load(), 400);
}

}  // namespace
}  // namespace odradek::coordinator
