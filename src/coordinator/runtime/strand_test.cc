#include "coordinator/runtime/strand.h"

#include <gtest/gtest.h>

#include <atomic>
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
