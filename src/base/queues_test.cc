#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/event_count.h"
#include "base/mpmc_queue.h"
#include "base/mpsc_queue.h"

namespace odradek::base {
namespace {

TEST(MpmcQueue, HoldsWhatFitsAndKeepsTheOrder) {
  MpmcQueue<int> queue(4);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(queue.try_push(i));
  EXPECT_FALSE(queue.try_push(4));
  EXPECT_EQ(queue.approximate_size(), 4u);
  for (int i = 0; i < 4; ++i) {
    int value = -1;
    EXPECT_TRUE(queue.try_pop(value));
    EXPECT_EQ(value, i);
  }
  int value;
  EXPECT_FALSE(queue.try_pop(value));
}

TEST(MpmcQueue, MovesEachValueOnceBetweenManyThreads) {
  constexpr int kEach = 20000;
  MpmcQueue<std::unique_ptr<int>> queue(64);
  std::atomic<int64_t> sum{0};
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 1; i <= kEach; ++i) {
        auto value = std::make_unique<int>(i);
        while (!queue.try_push(value)) std::this_thread::yield();
      }
    });
    threads.emplace_back([&] {
      std::unique_ptr<int> value;
      while (taken.load() < 3 * kEach) {
        if (!queue.try_pop(value)) {
          std::this_thread::yield();
          continue;
        }
        sum += *value;
        ++taken;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(sum.load(), 3ll * kEach * (kEach + 1) / 2);
}

struct Node {
  std::atomic<Node*> next{nullptr};
  int producer = 0;
  int number = 0;
};

TEST(MpscQueue, GivesNodesInTheOrderOfTheirPushes) {
  MpscQueue<Node> queue;
  Node nodes[3];
  EXPECT_TRUE(queue.push(&nodes[0]));
  EXPECT_FALSE(queue.push(&nodes[1]));
  EXPECT_FALSE(queue.push(&nodes[2]));
  Node* node = queue.pop_all();
  for (auto& expected : nodes) {
    ASSERT_EQ(node, &expected);
    node = node->next;
  }
  EXPECT_EQ(node, nullptr);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.pop_all(), nullptr);
}

TEST(MpscQueue, RefusesAfterClose) {
  MpscQueue<Node> queue;
  Node a, b;
  queue.push(&a);
  EXPECT_EQ(queue.close(), &a);
  EXPECT_EQ(queue.try_push(&b), MpscQueue<Node>::Push::kClosed);
  EXPECT_EQ(queue.pop_all(), nullptr);
  EXPECT_EQ(queue.close(), nullptr);
}

// The queue and the event count together, as the network thread and the handlers use them: if a wake-up were lost, the consumer
// would sleep for ever.
TEST(MpscQueue, LosesNoNodeAndNoWakeUpAndKeepsEachProducersOrder) {
  constexpr int kEach = 20000;
  constexpr int kProducers = 3;
  MpscQueue<Node> queue;
  EventCount event;
  std::vector<std::vector<Node>> nodes;
  for (int p = 0; p < kProducers; ++p) {
    nodes.emplace_back(kEach);
    for (int i = 0; i < kEach; ++i) {
      nodes.back()[i].producer = p;
      nodes.back()[i].number = i;
    }
  }
  std::vector<std::thread> threads;
  for (int p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      for (Node& node : nodes[p]) {
        if (queue.push(&node)) event.notify_one();
        if (node.number % 64 == 0) std::this_thread::yield();
      }
    });
  }
  std::vector<int> next(kProducers, 0);
  for (int taken = 0; taken < kProducers * kEach;) {
    Node* node = queue.pop_all();
    if (node == nullptr) {
      auto key = event.prepare_wait();
      if (queue.empty()) {
        event.commit_wait(key);
      } else {
        event.cancel_wait();
      }
      continue;
    }
    for (; node != nullptr; node = node->next) {
      ASSERT_EQ(node->number, next[node->producer]++);
      ++taken;
    }
  }
  for (auto& thread : threads) thread.join();
}

TEST(EventCount, WakesEveryWaiterOverAndOver) {
  constexpr int kRounds = 2000;
  constexpr int kWaiters = 3;
  EventCount event;
  std::atomic<int> round{0};
  std::atomic<int> seen{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kWaiters; ++t) {
    threads.emplace_back([&] {
      for (int mine = 1; mine <= kRounds; ++mine) {
        while (round.load(std::memory_order_relaxed) < mine) {
          auto key = event.prepare_wait();
          if (round.load(std::memory_order_relaxed) >= mine) {
            event.cancel_wait();
          } else {
            event.commit_wait(key);
          }
        }
        seen.fetch_add(1);
      }
    });
  }
  for (int i = 1; i <= kRounds; ++i) {
    round.store(i, std::memory_order_relaxed);
    event.notify_all();
    while (seen.load() < i * kWaiters) std::this_thread::yield();
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace odradek::base
