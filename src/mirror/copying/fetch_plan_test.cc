#include "mirror/copying/fetch_plan.h"

#include <gtest/gtest.h>

#include <random>

#include "record/batch_builder.h"

namespace odradek::mirror {
namespace {

// A log of batches with holes between them, read as a broker reads it.
struct SourceLog {
  struct Entry {
    Offset base, last;
    Bytes bytes;
  };
  std::vector<Entry> batches;
  Offset end{0};

  void append(int records, int hole, size_t value_bytes) {
    record::BatchBuilder builder({.base_offset = end + hole});
    Bytes value(value_bytes, 'x');
    for (int i = 0; i < records; ++i) builder.append(1, std::nullopt, ByteView(value));
    Offset base = end + hole;
    end = base + records;
    batches.push_back({base, end + -1, builder.build()});
  }
  std::shared_ptr<Bytes> fetch(Offset from, int32_t max_bytes) const {
    auto answer = std::make_shared<Bytes>();
    for (const Entry& batch : batches) {
      if (batch.last < from) continue;
      if (!answer->empty() && answer->size() + batch.bytes.size() > static_cast<size_t>(max_bytes)) break;
      answer->insert(answer->end(), batch.bytes.begin(), batch.bytes.end());
    }
    return answer;
  }
};

void expect_whole(const SourceLog& log, const std::vector<Chunk>& chunks) {
  size_t at = 0;
  for (const Chunk& chunk : chunks) {
    ByteView rest = chunk.frames;
    for (;;) {
      auto batch = record::next_batch(rest);
      ASSERT_TRUE(batch);
      if (!*batch) break;
      ASSERT_LT(at, log.batches.size());
      EXPECT_EQ(batch->base_offset(), log.batches[at].base) << "batch " << at;
      ++at;
    }
  }
  EXPECT_EQ(at, log.batches.size());
}

TEST(FetchPlan, RangesThatAreAnsweredInAnyOrderGiveTheWholeLogOnceAndInOrder) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    SourceLog log;
    int batches = 200 + static_cast<int>(random() % 200);
    for (int i = 0; i < batches; ++i) log.append(1 + static_cast<int>(random() % 30), random() % 4 == 0 ? static_cast<int>(random() % 50) : 0, 10 + random() % 200);
    FetchPlan plan({.range_bytes = 16 << 10, .ranges = 6, .poll_bytes = 8 << 10});
    plan.reset(Offset{0});
    std::vector<FetchTask> on_the_way;
    std::vector<Chunk> chunks;
    size_t most = 0;
    for (int step = 0; step < 100'000; ++step) {
      while (auto chunk = plan.take()) chunks.push_back(std::move(*chunk));
      if (auto task = plan.poll()) {
        if (task->from == log.end) break;
        on_the_way.push_back(*task);
      }
      while (auto task = plan.next_range()) on_the_way.push_back(*task);
      most = std::max(most, on_the_way.size());
      ASSERT_FALSE(on_the_way.empty());
      size_t which = random() % on_the_way.size();
      FetchTask task = on_the_way[which];
      on_the_way.erase(on_the_way.begin() + static_cast<ptrdiff_t>(which));
      if (random() % 10 == 0) {
        plan.failed(task.range);
        continue;
      }
      auto bytes = random() % 10 == 0 ? std::make_shared<Bytes>() : log.fetch(task.from, task.max_bytes);
      ASSERT_TRUE(plan.answered(task, {.owner = bytes, .frames = *bytes, .aborted = {}}, log.end));
    }
    EXPECT_GT(most, 3u) << "several ranges are on their way at once";
    expect_whole(log, chunks);
  }
}

TEST(FetchPlan, PollsNearTheEnd) {
  SourceLog log;
  log.append(3, 0, 10);
  FetchPlan plan({});
  plan.reset(Offset{0});
  auto task = plan.poll();
  ASSERT_TRUE(task);
  EXPECT_EQ(plan.poll(), std::nullopt) << "one poll at a time";
  EXPECT_EQ(plan.next_range(), std::nullopt);
  auto bytes = log.fetch(task->from, task->max_bytes);
  ASSERT_TRUE(plan.answered(*task, {.owner = bytes, .frames = *bytes, .aborted = {}}, log.end));
  EXPECT_EQ(plan.poll(), std::nullopt) << "what came is taken first";
  EXPECT_TRUE(plan.take());
  EXPECT_EQ(plan.poll()->from, Offset{3});
}

TEST(FetchPlan, TakesNothingFromAnswersToWhatWasAskedBeforeAReset) {
  SourceLog log;
  log.append(3, 0, 10);
  FetchPlan plan({});
  plan.reset(Offset{0});
  auto task = plan.poll();
  plan.reset(Offset{2});
  auto bytes = log.fetch(task->from, task->max_bytes);
  ASSERT_TRUE(plan.answered(*task, {.owner = bytes, .frames = *bytes, .aborted = {}}, log.end));
  EXPECT_FALSE(plan.take());
  EXPECT_EQ(plan.poll()->from, Offset{2});
}

}  // namespace
}  // namespace odradek::mirror
