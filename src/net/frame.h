// Memory of frames: a pool of buffers, a bound over all frames, and the frame itself.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <utility>

#include "base/bytes.h"
#include "base/mpmc_queue.h"
#include "base/mutex.h"

namespace odradek::net {

// Buffers of uninitialised memory by size class (1, 1.5, 2, 3, 4, 6 ... 1024 KiB); larger ones come from malloc. A class keeps
// at most about 1 MiB (from 256 KiB up: 4 MiB) of unused buffers. Lock-free. Thread: any.
class BufferPool {
 public:
  struct Buffer {
    uint8_t* data = nullptr;
    size_t capacity = 0;
  };

  BufferPool();
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // capacity >= size.
  Buffer take(size_t size);
  void give(Buffer buffer);
  // A larger buffer with the first `used` bytes of this one.
  Buffer grow(Buffer buffer, size_t used, size_t size);

  static constexpr size_t kLargestClass = 1 << 20;

 private:
  static constexpr int kClasses = 21;
  static int class_of(size_t size);
  static size_t size_of(int index);
  std::array<std::unique_ptr<base::MpmcQueue<uint8_t*>>, kClasses> unused_;
};

// The bound over all frames (queued.max.request.bytes). A frame's whole size is reserved before its body is read, so a frame that
// was admitted can always finish. Frames up to kSmall have a reserve of their own beside the bound, so that large claims cannot
// shut them out. Who finds no room waits in line, and newcomers of its kind do not overtake it.
// Lock-free while nobody waits; the line itself has a lock, held for a few instructions. Thread: any.
class FrameBudget {
 public:
  static constexpr int64_t kSmall = 64 * 1024;
  enum class Pool : uint8_t { kNone, kSmall, kLarge };

  // A place in the line. `wake` is called once, on any thread and under the line's lock, when the room has been granted; then
  // collect() tells.
  struct Waiter {
    int64_t size = 0;
    std::function<void()> wake;

   private:
    friend class FrameBudget;
    Pool granted_ = Pool::kNone;
    bool in_line_ = false;
    std::list<Waiter*>::iterator place_;
  };

  // `small_bytes` <= 0: a quarter of `total_bytes`, at least 4 MiB.
  explicit FrameBudget(int64_t total_bytes, int64_t small_bytes = 0);

  // kNone: no room now. A frame larger than its whole pool is admitted when it is alone there.
  Pool try_reserve(int64_t size);
  // Takes without asking, from the small pool: bytes that have been received and cannot be handed on yet.
  void force(int64_t size) { small_.fetch_sub(size, std::memory_order_seq_cst); }
  void release(Pool pool, int64_t size);

  // Joins the line with waiter.size. Not kNone: granted at once, `wake` will not be called.
  Pool wait(Waiter& waiter);
  // kNone: still in line. Else the grant, which is now the caller's.
  Pool collect(Waiter& waiter);
  // Leaves the line; a grant that has come meanwhile is given back.
  void cancel(Waiter& waiter);

  bool somebody_waits() const {
    return large_waiters_.load(std::memory_order_relaxed) != 0 || small_waiters_.load(std::memory_order_relaxed) != 0;
  }
  int64_t total_bytes() const { return total_; }
  // Reserved now, both pools together.
  int64_t used_bytes() const {
    return total_ + small_total_ - large_.load(std::memory_order_relaxed) - small_.load(std::memory_order_relaxed);
  }

 private:
  static bool take(std::atomic<int64_t>& pool, int64_t capacity, int64_t size);
  Pool take_for(int64_t size, bool small_may_use_large);
  void serve_lines() REQUIRES(mutex_);
  void serve(std::list<Waiter*>& line, std::atomic<int>& count) REQUIRES(mutex_);

  const int64_t total_;
  const int64_t small_total_;
  alignas(64) std::atomic<int64_t> large_;  // free bytes; below zero while an oversized frame is in
  alignas(64) std::atomic<int64_t> small_;  // free bytes; force() may take it below zero
  // Waiters per line. Sequentially consistent with the pools: "give back, then look for waiters" meets "join the line, then look
  // for room", so one of the two sees the other.
  alignas(64) std::atomic<int> large_waiters_{0};
  std::atomic<int> small_waiters_{0};
  base::Mutex mutex_;
  std::list<Waiter*> large_line_ GUARDED_BY(mutex_);
  std::list<Waiter*> small_line_ GUARDED_BY(mutex_);
};

// Shared by the reactor and its connections: a frame may be given back after the reactor has gone.
struct FrameMemory {
  explicit FrameMemory(int64_t total_bytes) : budget(total_bytes) {}
  BufferPool pool;
  FrameBudget budget;
};

// One request as it came, without its int32 size. Gives its memory and its reservation back when destroyed, on any thread.
class Frame {
 public:
  Frame() = default;
  Frame(Frame&& other) noexcept { swap(other); }
  Frame& operator=(Frame&& other) noexcept {
    Frame moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~Frame() { reset(); }

  MutableByteView bytes() const { return {buffer_.data + offset_, size_}; }
  size_t size() const { return size_; }
  bool empty() const { return buffer_.data == nullptr; }
  void reset() {
    if (buffer_.data == nullptr) return;
    budget_->release(reserved_in_, static_cast<int64_t>(size_));
    pool_->give(buffer_);
    buffer_ = {};
    size_ = 0;
  }

 private:
  friend class FrameReader;
  void swap(Frame& other) {
    std::swap(pool_, other.pool_);
    std::swap(budget_, other.budget_);
    std::swap(buffer_, other.buffer_);
    std::swap(reserved_in_, other.reserved_in_);
    std::swap(offset_, other.offset_);
    std::swap(size_, other.size_);
  }

  BufferPool* pool_ = nullptr;
  FrameBudget* budget_ = nullptr;
  BufferPool::Buffer buffer_;
  FrameBudget::Pool reserved_in_ = FrameBudget::Pool::kNone;
  uint32_t offset_ = 0;  // where the frame starts in the buffer
  size_t size_ = 0;
};

}  // namespace odradek::net
