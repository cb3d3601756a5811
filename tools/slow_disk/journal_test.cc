#include "slow_disk/journal.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
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
  void wait_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_ > let_go_; });
  }
  void let_go() {
    std::lock_guard lock(mutex_);
    ++let_go_;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0, let_go_ = 0;
};

template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) std::this_thread::yield();
}

int nothing_to_flush() { return 0; }

TEST(Journal, AChangeWaitsForTheEndOfTheCommit) {
  Gate gate;
  Journal journal([&] { gate.hold(); }, true);
  journal.before_change();  // no commit runs
  std::thread sync([&] { journal.sync(nothing_to_flush); });
  gate.wait_held();
  std::atomic<bool> over = false, changed_early = false;
  std::thread change([&] {
    journal.before_change();
    changed_early = !over;
  });
  wait_until([&] { return journal.waiting_changes() == 1; });
  over = true;
  gate.let_go();
  sync.join();
  change.join();
  EXPECT_FALSE(changed_early);
}

TEST(Journal, SyncsThatComeDuringACommitShareTheNext) {
  Gate gate;
  std::atomic<int> commits = 0, flushed = 0;
  Journal journal([&] { ++commits, gate.hold(); }, true);
  std::vector<std::thread> syncs;
  auto sync = [&] { journal.sync([&] { return ++flushed, 0; }); };
  syncs.emplace_back(sync);
  gate.wait_held();
  for (int i = 0; i < 5; ++i) syncs.emplace_back(sync);
  wait_until([&] { return journal.waiting_syncs() == 5; });
  EXPECT_EQ(flushed, 1) << "what has not begun may hold what was written after the commit began";
  gate.let_go();
  gate.let_go();
  for (auto& each : syncs) each.join();
  EXPECT_EQ(commits, 2);
  EXPECT_EQ(flushed, 6);
}

TEST(Journal, WhatWaitedGoesBeforeTheNextCommit) {
  Gate gate;
  std::atomic<int> commits = 0, gone_after = 0;
  Journal journal([&] { ++commits, gate.hold(); }, true);
  std::thread first([&] { journal.sync(nothing_to_flush); });
  gate.wait_held();
  std::vector<std::thread> changes;
  for (int i = 0; i < 20; ++i) {
    changes.emplace_back([&] {
      journal.before_change();
      gone_after = std::max(gone_after.load(), commits.load());
    });
  }
  wait_until([&] { return journal.waiting_changes() == 20; });
  std::thread second([&] { journal.sync(nothing_to_flush); });
  wait_until([&] { return journal.waiting_syncs() == 1; });
  gate.let_go();
  for (auto& each : changes) each.join();  // the second commit, which nobody lets go, does not hold them
  gate.let_go();
  first.join();
  second.join();
  EXPECT_EQ(commits, 2);
}

TEST(Journal, WithoutStallsNobodyWaitsForAnother) {
  Gate gate;
  Journal journal([&] { gate.hold(); }, false);
  std::thread first([&] { journal.sync(nothing_to_flush); });
  gate.wait_held();
  journal.before_change();
  auto second = std::async(std::launch::async, [&] { return journal.sync([] { return 5; }); });
  gate.let_go();
  gate.let_go();
  EXPECT_EQ(second.get(), 5) << "the result of the flush";
  first.join();
}

}  // namespace
}  // namespace odradek::slow_disk
