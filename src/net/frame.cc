#include "net/frame.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

#include "base/check.h"

namespace odradek::net {

// ---- BufferPool

size_t BufferPool::size_of(int index) {
  size_t power = size_t{1024} << (index / 2);
  return index % 2 == 0 ? power : power + power / 2;
}

int BufferPool::class_of(size_t size) {
  if (size <= 1024) return 0;
  int bits = std::bit_width(size - 1);  // size <= 1 << bits
  int index = 2 * (bits - 10);
  return size <= (size_t{3} << (bits - 2)) ? index - 1 : index;
}

BufferPool::BufferPool() {
  for (int i = 0; i < kClasses; ++i) {
    size_t kept_bytes = size_of(i) >= 256 * 1024 ? 4 << 20 : 1 << 20;
    unused_[static_cast<size_t>(i)] = std::make_unique<base::MpmcQueue<uint8_t*>>(std::min<size_t>(kept_bytes / size_of(i), 256));
  }
}

BufferPool::~BufferPool() {
  for (auto& queue : unused_) {
    uint8_t* data;
    while (queue->try_pop(data)) std::free(data);
  }
}

BufferPool::Buffer BufferPool::take(size_t size) {
  Buffer buffer;
  buffer.capacity = size;
  if (size <= kLargestClass) {
    int index = class_of(size);
    buffer.capacity = size_of(index);
    if (unused_[static_cast<size_t>(index)]->try_pop(buffer.data)) return buffer;
  }
  buffer.data = static_cast<uint8_t*>(std::malloc(buffer.capacity));
  if (buffer.data == nullptr) throw std::bad_alloc();
  return buffer;
}

void BufferPool::give(Buffer buffer) {
  if (buffer.data == nullptr) return;
  if (buffer.capacity <= kLargestClass && unused_[static_cast<size_t>(class_of(buffer.capacity))]->try_push(buffer.data)) return;
  std::free(buffer.data);
}

BufferPool::Buffer BufferPool::grow(Buffer buffer, size_t used, size_t size) {
  if (size > kLargestClass && buffer.capacity >= 256 * 1024) {
    // Large blocks are mappings: the C library moves their pages, not their bytes.
    auto* data = static_cast<uint8_t*>(std::realloc(buffer.data, size));
    if (data == nullptr) throw std::bad_alloc();
    return {data, size};
  }
  Buffer larger = take(size);
  std::memcpy(larger.data, buffer.data, used);
  give(buffer);
  return larger;
}

// ---- FrameBudget

FrameBudget::FrameBudget(int64_t total_bytes, int64_t small_bytes)
    : total_(total_bytes),
      small_total_(small_bytes > 0 ? small_bytes : std::max<int64_t>(total_bytes / 4, 4 << 20)),
      large_(total_),
      small_(small_total_) {}

bool FrameBudget::take(std::atomic<int64_t>& pool, int64_t capacity, int64_t size) {
  int64_t free = pool.load(std::memory_order_seq_cst);
  for (;;) {
    bool room = free >= size || (size > capacity && free >= capacity);
    if (!room) return false;
    if (pool.compare_exchange_weak(free, free - size, std::memory_order_seq_cst)) return true;
  }
}

FrameBudget::Pool FrameBudget::take_for(int64_t size, bool small_may_use_large) {
  if (size <= kSmall) {
    if (take(small_, small_total_, size)) return Pool::kSmall;
    return small_may_use_large && take(large_, total_, size) ? Pool::kLarge : Pool::kNone;
  }
  return take(large_, total_, size) ? Pool::kLarge : Pool::kNone;
}

FrameBudget::Pool FrameBudget::try_reserve(int64_t size) {
  bool large_line = large_waiters_.load(std::memory_order_relaxed) != 0;
  if (size <= kSmall) {
    if (small_waiters_.load(std::memory_order_relaxed) != 0) return Pool::kNone;
    return take_for(size, !large_line);
  }
  return large_line ? Pool::kNone : take_for(size, false);
}

void FrameBudget::release(Pool pool, int64_t size) {
  if (pool == Pool::kNone) return;
  (pool == Pool::kSmall ? small_ : large_).fetch_add(size, std::memory_order_seq_cst);
  if (large_waiters_.load(std::memory_order_seq_cst) != 0 || small_waiters_.load(std::memory_order_seq_cst) != 0) {
    base::MutexLock lock(mutex_);
    serve_lines();
  }
}

void FrameBudget::serve(std::list<Waiter*>& line, std::atomic<int>& count) {
  while (!line.empty()) {
    Waiter& first = *line.front();
    first.granted_ = take_for(first.size, large_line_.empty());
    if (first.granted_ == Pool::kNone) return;
    line.pop_front();
    first.in_line_ = false;
    count.fetch_sub(1, std::memory_order_seq_cst);
    first.wake();
  }
}

void FrameBudget::serve_lines() {
  serve(small_line_, small_waiters_);
  serve(large_line_, large_waiters_);
}

FrameBudget::Pool FrameBudget::wait(Waiter& waiter) {
  base::MutexLock lock(mutex_);
  CHECK(!waiter.in_line_ && waiter.granted_ == Pool::kNone);
  auto& line = waiter.size <= kSmall ? small_line_ : large_line_;
  auto& count = waiter.size <= kSmall ? small_waiters_ : large_waiters_;
  bool alone = line.empty();
  line.push_back(&waiter);
  count.fetch_add(1, std::memory_order_seq_cst);
  if (alone) {
    // Room may have come between the caller's look and the line.
    Pool pool = take_for(waiter.size, false);
    if (pool != Pool::kNone) {
      line.pop_back();
      count.fetch_sub(1, std::memory_order_seq_cst);
      return pool;
    }
  }
  waiter.place_ = std::prev(line.end());
  waiter.in_line_ = true;
  return Pool::kNone;
}

FrameBudget::Pool FrameBudget::collect(Waiter& waiter) {
  base::MutexLock lock(mutex_);
  return std::exchange(waiter.granted_, Pool::kNone);
}

void FrameBudget::cancel(Waiter& waiter) {
  Pool pool;
  {
    base::MutexLock lock(mutex_);
    pool = std::exchange(waiter.granted_, Pool::kNone);
    if (waiter.in_line_) {
      bool small = waiter.size <= kSmall;
      (small ? small_line_ : large_line_).erase(waiter.place_);
      (small ? small_waiters_ : large_waiters_).fetch_sub(1, std::memory_order_seq_cst);
      waiter.in_line_ = false;
      serve_lines();  // it may have been the one that held up the line
    }
  }
  release(pool, waiter.size);
}

}  // namespace odradek::net
