#include "net/frame.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>
#include <vector>

#include "net/frame_reader.h"
#include "net/socket.h"

namespace odradek::net {
namespace {

using Pool = FrameBudget::Pool;

TEST(BufferPool, GivesAtLeastTheSizeAskedForAndReusesIt) {
  BufferPool pool;
  for (size_t size : {0ul, 1ul, 1024ul, 1025ul, 1536ul, 1537ul, 2048ul, 2049ul, 65536ul, 65537ul, 1048576ul, 1048577ul, 5000000ul}) {
    auto buffer = pool.take(size);
    EXPECT_GE(buffer.capacity, size);
    EXPECT_LE(buffer.capacity, std::max<size_t>(1024, size + size / 2));
    if (size > 0) buffer.data[size - 1] = 1;
    pool.give(buffer);
    if (size <= BufferPool::kLargestClass) {
      auto again = pool.take(size);
      EXPECT_EQ(again.data, buffer.data);
      pool.give(again);
    }
  }
}

TEST(BufferPool, GrowingKeepsTheBytes) {
  BufferPool pool;
  auto buffer = pool.take(1000);
  for (size_t i = 0; i < 1000; ++i) buffer.data[i] = static_cast<uint8_t>(i);
  for (size_t size : {5000ul, 300000ul, 1100000ul, 9000000ul}) {
    buffer = pool.grow(buffer, 1000, size);
    EXPECT_GE(buffer.capacity, size);
    for (size_t i = 0; i < 1000; ++i) ASSERT_EQ(buffer.data[i], static_cast<uint8_t>(i));
  }
  pool.give(buffer);
}

TEST(FrameBudget, AdmitsWholeFramesUpToItsBound) {
  FrameBudget budget(1 << 20, 128 << 10);
  EXPECT_EQ(budget.try_reserve(600 << 10), Pool::kLarge);
  EXPECT_EQ(budget.try_reserve(600 << 10), Pool::kNone);
  EXPECT_EQ(budget.try_reserve(60 << 10), Pool::kSmall);
  EXPECT_EQ(budget.try_reserve(60 << 10), Pool::kSmall);
  EXPECT_EQ(budget.try_reserve(60 << 10), Pool::kLarge);  // the reserve is used up, the rest is not
  EXPECT_EQ(budget.used_bytes(), (600 + 180) << 10);
  budget.release(Pool::kLarge, 600 << 10);
  budget.release(Pool::kLarge, 60 << 10);
  budget.release(Pool::kSmall, 120 << 10);
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(FrameBudget, KeepsAReserveForSmallFrames) {
  FrameBudget budget(1 << 20, 128 << 10);
  EXPECT_EQ(budget.try_reserve(1 << 20), Pool::kLarge);
  EXPECT_EQ(budget.try_reserve(64 << 10), Pool::kSmall);
}

TEST(FrameBudget, AdmitsAFrameLargerThanItselfWhenItIsAlone) {
  FrameBudget budget(1 << 20);
  EXPECT_EQ(budget.try_reserve(100 << 10), Pool::kLarge);
  EXPECT_EQ(budget.try_reserve(5 << 20), Pool::kNone);
  budget.release(Pool::kLarge, 100 << 10);
  EXPECT_EQ(budget.try_reserve(5 << 20), Pool::kLarge);
  EXPECT_EQ(budget.try_reserve(100 << 10), Pool::kNone);
  budget.release(Pool::kLarge, 5 << 20);
  EXPECT_EQ(budget.try_reserve(100 << 10), Pool::kLarge);
}

TEST(FrameBudget, ServesWaitersInTheirOrderAndLetsNobodyOvertake) {
  FrameBudget budget(1000 << 10);
  ASSERT_EQ(budget.try_reserve(900 << 10), Pool::kLarge);
  int first_woken = 0, second_woken = 0;
  FrameBudget::Waiter first, second;
  first.size = 800 << 10;
  first.wake = [&] { ++first_woken; };
  second.size = 90 << 10;
  second.wake = [&] { ++second_woken; };
  EXPECT_EQ(budget.wait(first), Pool::kNone);
  EXPECT_EQ(budget.wait(second), Pool::kNone);  // there would be room, but not before the first
  EXPECT_EQ(budget.try_reserve(90 << 10), Pool::kNone);
  EXPECT_EQ(budget.collect(first), Pool::kNone);
  budget.release(Pool::kLarge, 900 << 10);
  EXPECT_EQ(first_woken, 1);
  EXPECT_EQ(second_woken, 1);
  EXPECT_EQ(budget.collect(first), Pool::kLarge);
  EXPECT_EQ(budget.collect(second), Pool::kLarge);
  EXPECT_EQ(budget.used_bytes(), (800 + 90) << 10);
}

TEST(FrameBudget, AWaiterThatLeavesGivesItsGrantBackAndItsPlaceUp) {
  FrameBudget budget(1000 << 10);
  ASSERT_EQ(budget.try_reserve(900 << 10), Pool::kLarge);
  FrameBudget::Waiter first, second;
  first.size = 800 << 10;
  first.wake = [] {};
  int woken = 0;
  second.size = 90 << 10;
  second.wake = [&] { ++woken; };
  budget.wait(first);
  budget.wait(second);
  budget.cancel(first);
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(budget.collect(second), Pool::kLarge);
  budget.release(Pool::kLarge, 90 << 10);
  FrameBudget::Waiter third;
  third.size = 500 << 10;
  third.wake = [] {};
  budget.wait(third);
  budget.release(Pool::kLarge, 900 << 10);
  budget.cancel(third);  // granted, not collected
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(FrameBudget, LosesNoWaiterBetweenThreads) {
  FrameBudget budget(300 << 10);
  std::atomic<int> admitted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        int64_t size = 100 << 10;
        auto pool = budget.try_reserve(size);
        if (pool == Pool::kNone) {
          std::atomic<bool> woken{false};
          FrameBudget::Waiter waiter;
          waiter.size = size;
          waiter.wake = [&] { woken = true; };
          pool = budget.wait(waiter);
          while (pool == Pool::kNone) {
            while (!woken) std::this_thread::yield();
            pool = budget.collect(waiter);
          }
        }
        ++admitted;
        budget.release(pool, size);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(admitted.load(), 8000);
  EXPECT_EQ(budget.used_bytes(), 0);
}

// ---- FrameReader over a socket pair

struct ReaderTest : ::testing::Test, FrameReader::Taker {
  ReaderTest() : context(memory.pool, memory.budget, 100 << 20), reader(context) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    near.reset(pair[0]);
    far.reset(pair[1]);
    int size = 4 << 20;
    ::setsockopt(far.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }
  bool may_take() override { return taken.size() < limit; }
  void take(Frame frame) override {
    auto view = frame.bytes();
    taken.emplace_back(view.begin(), view.end());
    if (keep) frames.push_back(std::move(frame));
  }
  // Size and that many bytes of a pattern.
  static Bytes framed(size_t size, uint8_t seed) {
    Bytes bytes;
    base::append_be<int32_t>(bytes, static_cast<int32_t>(size));
    for (size_t i = 0; i < size; ++i) bytes.push_back(static_cast<uint8_t>(seed + i * 7 + (i >> 9)));
    return bytes;
  }
  void write(ByteView bytes) { ASSERT_EQ(::send(far.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size())); }
  FrameReader::Stop run() {
    return reader.run(near.get(), true, *this, [this] { ++woken; });
  }

  FrameMemory memory{16 << 20};
  ReadContext context;
  FrameReader reader;
  Descriptor near, far;
  std::vector<Bytes> taken;
  std::vector<Frame> frames;
  size_t limit = 1000000;
  bool keep = false;
  int woken = 0;
};

TEST_F(ReaderTest, CutsAnyStreamInAnyPieces) {
  std::vector<size_t> sizes;
  uint32_t random = 12345;
  auto next = [&](uint32_t bound) {
    random = random * 1664525 + 1013904223;
    return (random >> 8) % bound;
  };
  Bytes stream;
  for (int i = 0; i < 400; ++i) {
    size_t size = 0;
    switch (next(8)) {
      case 0: size = next(4); break;
      case 1: case 2: case 3: size = next(300); break;
      case 4: size = 4000 + next(200); break;
      case 5: size = 15000 + next(300); break;
      case 6: size = next(90000); break;
      case 7: size = i % 16 == 0 ? 200000 + next(200000) : next(20000); break;
    }
    sizes.push_back(size);
    Bytes one = framed(size, static_cast<uint8_t>(i));
    stream.insert(stream.end(), one.begin(), one.end());
  }
  size_t at = 0;
  while (at < stream.size()) {
    size_t step = std::min<size_t>(stream.size() - at, next(6) == 0 ? 1 + next(6) : 1 + next(150000));
    write({stream.data() + at, step});
    at += step;
    FrameReader::Stop stop;
    do stop = run();
    while (stop == FrameReader::Stop::kTurnOver);
    ASSERT_EQ(stop, FrameReader::Stop::kDrained);
  }
  ASSERT_EQ(taken.size(), sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    Bytes expected = framed(sizes[i], static_cast<uint8_t>(i));
    ASSERT_EQ(taken[i].size(), sizes[i]) << i;
    ASSERT_TRUE(std::equal(taken[i].begin(), taken[i].end(), expected.begin() + 4)) << i;
  }
  EXPECT_EQ(memory.budget.used_bytes(), 0);
}

TEST_F(ReaderTest, KeepsWhatIsRefusedAndGoesOnWithIt) {
  for (size_t size : {100ul, 5000ul, 5000ul, 20ul, 20ul, 5000ul, 3ul}) write(framed(size, static_cast<uint8_t>(size)));
  for (size_t allowed = 0; allowed < 7; ++allowed) {
    limit = allowed;
    EXPECT_EQ(run(), FrameReader::Stop::kRefused);
    EXPECT_EQ(taken.size(), allowed);
    EXPECT_TRUE(reader.has_leftover());
  }
  limit = 7;
  EXPECT_EQ(run(), FrameReader::Stop::kDrained);
  EXPECT_EQ(taken.size(), 7u);
  EXPECT_FALSE(reader.has_leftover());
  EXPECT_EQ(memory.budget.used_bytes(), 0);
}

TEST_F(ReaderTest, RefusesSizesBelowZeroAndAboveTheLimit) {
  write(framed(10, 1));
  uint8_t negative[4] = {0xff, 0xff, 0xff, 0xff};
  write(negative);
  EXPECT_EQ(run(), FrameReader::Stop::kTooLarge);
  EXPECT_EQ(taken.size(), 1u);
  EXPECT_EQ(reader.refused_size(), -1);
  FrameReader other(context);
  uint8_t large[4];
  base::store_be<int32_t>(large, (100 << 20) + 1);
  write(large);
  EXPECT_EQ(other.run(near.get(), true, *this, nullptr), FrameReader::Stop::kTooLarge);
}

TEST_F(ReaderTest, WaitsForRoomBeforeTheBodyAndGoesOnWhenItComes) {
  keep = true;
  write(framed(10 << 20 >> 4, 1));  // 640 KiB of 16 MiB
  while (run() == FrameReader::Stop::kTurnOver) {
  }
  ASSERT_EQ(frames.size(), 1u);
  auto held = memory.budget.try_reserve(15 << 20);
  ASSERT_EQ(held, FrameBudget::Pool::kLarge);
  write(framed(600 << 10, 2));
  EXPECT_EQ(run(), FrameReader::Stop::kNoRoom);
  EXPECT_EQ(run(), FrameReader::Stop::kNoRoom);
  EXPECT_EQ(woken, 0);
  memory.budget.release(held, 15 << 20);
  EXPECT_EQ(woken, 1);
  FrameReader::Stop stop;
  do stop = run();
  while (stop == FrameReader::Stop::kTurnOver);
  EXPECT_EQ(stop, FrameReader::Stop::kDrained);
  ASSERT_EQ(taken.size(), 2u);
  Bytes expected = framed(600 << 10, 2);
  EXPECT_TRUE(std::equal(taken[1].begin(), taken[1].end(), expected.begin() + 4));
  frames.clear();
  EXPECT_EQ(memory.budget.used_bytes(), 0);
}

TEST_F(ReaderTest, PutsNoSmallFrameIntoTheBufferOfALargeOne) {
  keep = true;
  for (int i = 0; i < 3; ++i) {
    write(framed(200 << 10, 1));
    while (run() != FrameReader::Stop::kDrained) {
    }
    write(framed(10, 2));  // what is expected is another large one
    while (run() != FrameReader::Stop::kDrained) {
    }
  }
  ASSERT_EQ(frames.size(), 6u);
  std::vector<BufferPool::Buffer> small;
  for (size_t i : {1, 3, 5}) {
    EXPECT_EQ(taken[i].size(), 10u);
    // Given back, its buffer is one of the small ones.
    const uint8_t* at = frames[i].bytes().data();
    frames[i].reset();
    small.push_back(memory.pool.take(10));
    EXPECT_EQ(small.back().data, at);
  }
  for (auto buffer : small) memory.pool.give(buffer);
}

TEST_F(ReaderTest, SeesTheEnd) {
  write(framed(10, 1));
  far.reset();
  auto stop = run();
  if (stop == FrameReader::Stop::kDrained) stop = run();
  EXPECT_EQ(stop, FrameReader::Stop::kEnd);
  EXPECT_EQ(taken.size(), 1u);
}

}  // namespace
}  // namespace odradek::net
