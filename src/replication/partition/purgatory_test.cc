#include "replication/partition/purgatory.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <thread>

#include "base/manual_runtime.h"

namespace odradek::replication {
namespace {

// Something that rises, and who waits for it.
struct Counter {
  std::atomic<int64_t> value{0};
  WaitList waiters;
  void raise_to(int64_t to) {
    value.store(to, std::memory_order_release);
    waiters.wake();
  }
};

// Waits until each of its counters has reached its target.
class WaitsFor : public Parked {
 public:
  WaitsFor(std::vector<std::pair<Counter*, int64_t>> targets, std::function<void(bool expired)> done) : targets_(std::move(targets)), done_(std::move(done)) {
    reserve(targets_.size());
  }

 protected:
  void join_lists() override {
    for (uint32_t i = 0; i < targets_.size(); ++i) join(targets_[i].first->waiters, i);
  }
  void check_all() override { check(0); }
  void check(uint32_t) override {
    for (auto& [counter, target] : targets_) {
      if (counter->value.load(std::memory_order_acquire) < target) return;
    }
    complete();
  }
  void finish(bool expired) override { done_(expired); }

 private:
  const std::vector<std::pair<Counter*, int64_t>> targets_;
  std::function<void(bool)> done_;
};

struct ManualPurgatory {
  base::ManualRuntime runtime;
  std::unique_ptr<base::Executor> executor = runtime.make_executor("purgatory", 1);
  Purgatory purgatory{runtime, *executor};
};

TEST(Purgatory, AnOperationThatIsAlreadyCompleteIsAnsweredAtOnceAndLeavesNothingBehind) {
  ManualPurgatory manual;
  Counter counter;
  counter.value = 5;
  int done = 0;
  manual.purgatory.park(std::make_shared<WaitsFor>(std::vector<std::pair<Counter*, int64_t>>{{&counter, 5}}, [&](bool) { ++done; }), 1000);
  EXPECT_EQ(done, 1);
  EXPECT_EQ(counter.waiters.size(), 0u);
  EXPECT_EQ(manual.purgatory.size(), 0u);
  EXPECT_EQ(manual.runtime.pending_timers(), 0u);
}

TEST(Purgatory, AWakeUpCompletesWhatItSatisfiesAndNothingElse) {
  ManualPurgatory manual;
  Counter a, b;
  std::vector<int> done;
  auto park = [&](int name, std::vector<std::pair<Counter*, int64_t>> targets) {
    manual.purgatory.park(std::make_shared<WaitsFor>(std::move(targets), [&done, name](bool expired) { done.push_back(expired ? -name : name); }), 1000);
  };
  park(1, {{&a, 1}});
  park(2, {{&a, 2}});
  park(3, {{&a, 1}, {&b, 1}});
  a.raise_to(1);
  EXPECT_EQ(done, std::vector<int>{1});
  b.raise_to(1);
  EXPECT_EQ(done, (std::vector<int>{1, 3}));
  EXPECT_EQ(a.waiters.size(), 1u);
  EXPECT_EQ(b.waiters.size(), 0u);
  a.raise_to(7);
  EXPECT_EQ(done, (std::vector<int>{1, 3, 2}));
  EXPECT_EQ(manual.purgatory.size(), 0u);
  EXPECT_EQ(manual.runtime.pending_timers(), 0u);
}

TEST(Purgatory, AnOperationExpiresOnceWhenItsTimeIsOver) {
  ManualPurgatory manual;
  Counter counter;
  int expired = 0, done = 0;
  manual.purgatory.park(std::make_shared<WaitsFor>(std::vector<std::pair<Counter*, int64_t>>{{&counter, 1}}, [&](bool late) { ++(late ? expired : done); }), 500);
  manual.runtime.advance(499);
  EXPECT_EQ(expired, 0);
  manual.runtime.advance(1);
  EXPECT_EQ(expired, 1);
  EXPECT_EQ(counter.waiters.size(), 0u);
  counter.raise_to(1);
  manual.runtime.advance(5000);
  EXPECT_EQ(expired, 1);
  EXPECT_EQ(done, 0);
  EXPECT_EQ(manual.purgatory.expired(), 1u);
}

TEST(Purgatory, NoWakeUpIsLostWhenRegisteringRacesWithTheEvent) {
  auto runtime = base::make_system_runtime();
  auto executor = runtime->make_executor("purgatory", 1);
  Purgatory purgatory(*runtime, *executor);
  constexpr int kThreads = 3, kRounds = 3000;
  std::deque<Counter> counters(4);
  std::atomic<int> completed{0}, expired{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> raisers;
  for (int t = 0; t < 2; ++t) {
    raisers.emplace_back([&, t] {
      for (int64_t n = 1; !stop; ++n) {
        for (size_t i = static_cast<size_t>(t); i < counters.size(); i += 2) counters[i].raise_to(n);
      }
    });
  }
  std::vector<std::thread> parkers;
  for (int t = 0; t < kThreads; ++t) {
    parkers.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        Counter& a = counters[static_cast<size_t>(i + t) % counters.size()];
        Counter& b = counters[static_cast<size_t>(i + t + 1) % counters.size()];
        purgatory.park(std::make_shared<WaitsFor>(std::vector<std::pair<Counter*, int64_t>>{{&a, a.value + 1}, {&b, b.value + 1}},
                                                  [&](bool late) { ++(late ? expired : completed); }),
                       60'000);
      }
    });
  }
  for (auto& thread : parkers) thread.join();
  // The raisers go on until everything has been let go; a lost wake-up of the last round would show as a wait.
  for (int i = 0; i < 10'000 && completed < kThreads * kRounds; ++i) std::this_thread::yield();
  stop = true;
  for (auto& thread : raisers) thread.join();
  for (Counter& counter : counters) counter.raise_to(counter.value + 2);
  EXPECT_EQ(completed, kThreads * kRounds);
  EXPECT_EQ(expired, 0);
  EXPECT_EQ(purgatory.size(), 0u);
  for (Counter& counter : counters) EXPECT_EQ(counter.waiters.size(), 0u);
}

// Each event happens once, just while the operation registers: nothing comes later that would hide a lost one.
TEST(Purgatory, ASingleEventDuringRegistrationIsSeen) {
  auto runtime = base::make_system_runtime();
  auto executor = runtime->make_executor("purgatory", 1);
  Purgatory purgatory(*runtime, *executor);
  constexpr int kRounds = 5000;
  std::deque<Counter> counters(kRounds);
  std::atomic<int> turn{-1}, completed{0};
  std::thread raiser([&] {
    for (int i = 0; i < kRounds; ++i) {
      while (turn.load() < i) std::this_thread::yield();
      counters[static_cast<size_t>(i)].raise_to(1);
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    auto operation =
        std::make_shared<WaitsFor>(std::vector<std::pair<Counter*, int64_t>>{{&counters[static_cast<size_t>(i)], 1}}, [&](bool late) { completed += !late; });
    turn = i;
    purgatory.park(std::move(operation), 60'000);
  }
  raiser.join();
  EXPECT_EQ(completed, kRounds);
}

TEST(Purgatory, TimeOutAndWakeUpAtTheSameMomentAnswerOnce) {
  auto runtime = base::make_system_runtime();
  auto executor = runtime->make_executor("purgatory", 1);
  constexpr int kRounds = 300;
  std::deque<Counter> counters(kRounds);
  std::atomic<int> answers{0};
  {
    Purgatory purgatory(*runtime, *executor);
    for (int i = 0; i < kRounds; ++i) {
      Counter& counter = counters[static_cast<size_t>(i)];
      purgatory.park(std::make_shared<WaitsFor>(std::vector<std::pair<Counter*, int64_t>>{{&counter, 1}}, [&](bool) { ++answers; }), 1 + i % 3);
      if (i % 3 == 0) std::this_thread::yield();
      counter.raise_to(1);
    }
    purgatory.drain();
    executor.reset();
  }
  EXPECT_EQ(answers, kRounds);
}

}  // namespace
}  // namespace odradek::replication
