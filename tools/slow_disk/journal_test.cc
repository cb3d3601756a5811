#include "slow_disk/journal.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace odradek::slow_disk {
namespace {

// A commit lasts until it is let go.
class Gate {
 public:
  void hold() {
    std::unique_lock lock(mutex_);
    ++held_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return let_go_ > 0; });
    --let_go_;
    --held_;
  }
  int held() {
    std::lock_guard lock(mutex_);
    return held_;
  }
  void let_go(int commits = 1) {
    std::lock_guard lock(mutex_);
    let_go_ += commits;
    changed_.notify_all();
  }
  void open() { let_go(1'000); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0, let_go_ = 0;
};

// False: it does not come. A limit, so that a journal that is wrong fails a test and does not hang it.
template <class Condition>
bool comes_true(Condition condition) {
  for (int i = 0; i < 10'000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return condition();
}

int nothing_to_flush() { return 0; }

TEST(Journal, AChangeWaitsForTheEndOfTheCommit) {
  Gate gate;
  Journal journal([] {}, [&] { gate.hold(); }, true);
  journal.before_change();  // no commit runs
  std::thread sync([&] { journal.sync(nothing_to_flush); });
  EXPECT_TRUE(comes_true([&] { return gate.held() == 1; }));
  std::atomic<bool> over = false, changed_early = false;
  std::thread change([&] {
    journal.before_change();
    changed_early = !over;
  });
  EXPECT_TRUE(comes_true([&] { return journal.waiting_changes() == 1; }));
  over = true;
  gate.open();
  sync.join();
  change.join();
  EXPECT_FALSE(changed_early);
}

TEST(Journal, SyncsThatComeDuringACommitShareTheNext) {
  Gate gate;
  std::atomic<int> commits = 0, flushed = 0;
  Journal journal([] {}, [&] { ++commits, gate.hold(); }, true);
  std::vector<std::thread> syncs;
  auto sync = [&] { journal.sync([&] { return ++flushed, 0; }); };
  syncs.emplace_back(sync);
  EXPECT_TRUE(comes_true([&] { return gate.held() == 1; }));
  for (int i = 0; i < 5; ++i) syncs.emplace_back(sync);
  EXPECT_TRUE(comes_true([&] { return journal.waiting_syncs() == 5; }));
  EXPECT_EQ(flushed, 1) << "what has not begun may hold what was written after the commit began";
  gate.open();
  for (auto& each : syncs) each.join();
  EXPECT_EQ(commits, 2);
  EXPECT_EQ(flushed, 6);
}

TEST(Journal, SyncsGatherBeforeACommitCloses) {
  std::atomic<int> commits = 0;
  std::atomic<bool> gathered = false, changed = false;
  Journal* self = nullptr;
  Journal journal([&] { gathered = comes_true([&] { return self->waiting_syncs() == 3; }) && comes_true([&] { return changed.load(); }); }, [&] { ++commits; }, true);
  self = &journal;
  std::vector<std::thread> syncs;
  for (int i = 0; i < 3; ++i) syncs.emplace_back([&] { journal.sync(nothing_to_flush); });
  EXPECT_TRUE(comes_true([&] { return journal.waiting_syncs() == 3; }));
  journal.before_change();  // does not wait for a commit that has not closed
  changed = true;
  for (auto& each : syncs) each.join();
  EXPECT_TRUE(gathered);
  EXPECT_EQ(commits, 1);
}

TEST(Journal, WhatWaitedGoesBeforeTheNextCommit) {
  Gate gate;
  std::atomic<int> commits = 0, gone = 0;
  Journal journal([] {}, [&] { ++commits, gate.hold(); }, true);
  std::thread first([&] { journal.sync(nothing_to_flush); });
  EXPECT_TRUE(comes_true([&] { return gate.held() == 1; }));
  std::vector<std::thread> changes;
  for (int i = 0; i < 20; ++i) {
    changes.emplace_back([&] {
      journal.before_change();
      ++gone;
      journal.before_change();  // each has more to do: it waits for the second commit
    });
  }
  EXPECT_TRUE(comes_true([&] { return journal.waiting_changes() == 20; }));
  std::thread second([&] { journal.sync(nothing_to_flush); });
  EXPECT_TRUE(comes_true([&] { return journal.waiting_syncs() == 1; }));
  gate.let_go();
  EXPECT_TRUE(comes_true([&] { return gone == 20; })) << "the second commit, which nobody lets go, does not hold them";
  EXPECT_TRUE(comes_true([&] { return commits == 2; }));
  gate.open();
  for (auto& each : changes) each.join();
  first.join();
  second.join();
}

TEST(Journal, WithoutStallsNobodyWaitsForAnother) {
  Gate gate;
  Journal journal([] {}, [&] { gate.hold(); }, false);
  std::thread first([&] { journal.sync(nothing_to_flush); });
  EXPECT_TRUE(comes_true([&] { return gate.held() == 1; }));
  journal.before_change();
  auto second = std::async(std::launch::async, [&] { return journal.sync([] { return 5; }); });
  EXPECT_TRUE(comes_true([&] { return gate.held() == 2; }));
  gate.open();
  EXPECT_EQ(second.get(), 5) << "the result of the flush";
  first.join();
}

}  // namespace
}  // namespace odradek::slow_disk
