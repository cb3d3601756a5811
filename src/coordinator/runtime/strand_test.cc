#include "coordinator/runtime/strand.h"

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <functional>
#include <new>
#include <thread>

namespace odradek::coordinator {
namespace {

// Keeps what was posted until the test runs it.
struct ManualExecutor : base::Executor {
  std::vector<Task> tasks;
  void post(Task task) override { tasks.push_back(std::move(task)); }
  bool on_this_executor() const override { return false; }
  void run_all() {
    auto all = std::exchange(tasks, {});
    for (Task& task : all) task();
  }
};

TEST(Strand, RunsATaskOnTheThreadThatBringsIt) {
  ManualExecutor executor;
  auto strand = Strand::make(executor);
  bool ran = false;
  strand->run([&] { ran = true; });
  EXPECT_TRUE(ran);
  EXPECT_TRUE(executor.tasks.empty());
}

TEST(Strand, TaskBroughtByATaskRunsAfterIt) {
  ManualExecutor executor;
  auto strand = Strand::make(executor);
  std::string order;
  strand->run([&] {
    strand->run([&] { order += "b"; });
    strand->post([&] { order += "c"; });
    order += "a";
  });
  EXPECT_EQ(order, "abc");
  EXPECT_TRUE(executor.tasks.empty());
}

TEST(Strand, PostedTaskRunsOnTheExecutor) {
  ManualExecutor executor;
  auto strand = Strand::make(executor);
  int ran = 0;
  strand->post([&] { ++ran; });
  EXPECT_EQ(ran, 0);
  strand->run([&] { ++ran; });
  EXPECT_EQ(ran, 0) << "behind the one that was posted first";
  ASSERT_EQ(executor.tasks.size(), 1u);
  executor.run_all();
  EXPECT_EQ(ran, 2);
}

TEST(Strand, ABusyStrandGivesTheThreadBackAfterATurn) {
  ManualExecutor executor;
  auto strand = Strand::make(executor);
  int ran = 0;
  bool go_on = true;
  // As under load: whenever the strand looks, something waits.
  std::function<void()> next = [&] {
    if (++ran < 1'000 && go_on) strand->post(next);
  };
  strand->run([&] { next(); });
  EXPECT_EQ(ran, 1 + Strand::kTurn);
  ASSERT_EQ(executor.tasks.size(), 1u);
  bool other_ran = false;
  auto other = Strand::make(executor);
  other->post([&] { other_ran = true; });
  executor.run_all();
  EXPECT_EQ(ran, 1 + 2 * Strand::kTurn);
  EXPECT_TRUE(other_ran);
  ASSERT_EQ(executor.tasks.size(), 1u);
  // In order, across the turns.
  int last = 0;
  for (int i = 1; i <= 200; ++i) {
    strand->run([&last, i] {
      EXPECT_EQ(last, i - 1);
      last = i;
    });
  }
  EXPECT_EQ(last, 0) << "it waits for its turn";
  go_on = false;
  while (!executor.tasks.empty()) executor.run_all();
  EXPECT_EQ(last, 200);
  bool at_once = false;
  strand->run([&] { at_once = true; });
  EXPECT_TRUE(at_once) << "it rests again";
}

TEST(Strand, AClosedStrandEndsWhatWaitsWithoutTheExecutor) {
  ManualExecutor executor;
  auto strand = Strand::make(executor);
  int ran = 0;
  strand->run([&] {
    for (int i = 0; i < 3 * Strand::kTurn; ++i) strand->post([&] { ++ran; });
    strand->close();
  });
  EXPECT_EQ(ran, 3 * Strand::kTurn);
  EXPECT_TRUE(executor.tasks.empty());
}

TEST(Strand, ATaskThatThrowsStopsNoOther) {
  ManualExecutor executor;
  auto strand = Strand::make(executor);
  int ran = 0;
  auto unwinds = [&ran](int& seen) {
    return std::shared_ptr<int>(new int(0), [&ran, &seen](int* at) {
      seen = std::uncaught_exceptions();
      delete at;
      ++ran;
    });
  };
  int seen = 0;
  // On the thread that brought it: the caller learns of it, those that wait run first.
  EXPECT_THROW(strand->run([&] {
    strand->run([&] { ++ran; });
    throw std::bad_alloc();
  }), std::bad_alloc);
  EXPECT_EQ(ran, 1);
  // On the executor: what the task owns is destroyed while the exception is on its way.
  strand->post([owned = unwinds(seen)] { throw std::bad_alloc(); });
  strand->post([&] { ++ran; });
  executor.run_all();
  EXPECT_EQ(ran, 3);
  EXPECT_EQ(seen, 1);
  strand->run([&] { ++ran; });
  EXPECT_EQ(ran, 4) << "and the strand rests";
}

TEST(Strand, AnExecutorWithoutMemoryLeavesTheStrandAsItWas) {
  struct Full : ManualExecutor {
    bool full = true;
    void post(Task task) override {
      if (full) throw std::bad_alloc();
      ManualExecutor::post(std::move(task));
    }
  } executor;
  auto strand = Strand::make(executor);
  int ran = 0;
  EXPECT_THROW(strand->post([&] { ++ran; }), std::bad_alloc);
  strand->run([&] {
    for (int i = 0; i < 2 * Strand::kTurn; ++i) strand->post([&] { ++ran; });
  });
  EXPECT_EQ(ran, 2 * Strand::kTurn) << "no turn elsewhere: all of it here";
}

TEST(Strand, ClosedStrandDropsTasks) {
  ManualExecutor executor;
  auto strand = Strand::make(executor);
  strand->close();
  strand->run([] { FAIL(); });
  strand->post([] { FAIL(); });
  EXPECT_TRUE(executor.tasks.empty());
}

TEST(Strand, TasksOfManyThreadsNeverRunSideBySide) {
  auto runtime = base::make_system_runtime();
  auto executor = runtime->make_executor("strand-test", 2);
  auto strand = Strand::make(*executor);
  int64_t plain = 0;  // ThreadSanitizer sees it if two tasks overlap
  std::atomic<int> done{0};
  constexpr int kEach = 20'000;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          auto task = [&] {
            ++plain;
            done.fetch_add(1, std::memory_order_relaxed);
          };
          if ((t + i) % 3 == 0) {
            strand->post(task);
          } else {
            strand->run(task);
          }
        }
      });
    }
  }
  strand->close();
  executor.reset();
  EXPECT_EQ(done.load(), 4 * kEach);
  EXPECT_EQ(plain, 4 * kEach);
}

}  // namespace
}  // namespace odradek::coordinator
