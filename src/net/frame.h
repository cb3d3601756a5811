// Memory of frames: a pool of buffers, a bound over all frames, and the frame itself.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
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
  struct Class {
    size_t size = 0;
    std::unique_ptr<base::MpmcQueue<uint8_t*>> unused;
  };
  static constexpr int kClasses = 21;
  static int class_of(size_t size);
  std::array<Class, kClasses> classes_;
};

// The bound over all frames (queued.max.request.bytes). A frame's whole size is reserved before its body is read, so a frame that
// was admitted can always finish. Frames up to kSmall have a reserve of their own beside the bound, so that large claims cannot
// shut them out. Whoever finds no room waits in line; requests behind it do not overtake it.
// Lock-free while nobody waits; the line itself has a lock, held for a few instructions. Thread: any.
class FrameBudget {
 public:
  static constexpr int64_t kSmall = 64 * 1024;

  // `small_bytes` <= 0: a quarter of `total_bytes`, at least 4 MiB.
  explicit FrameBudget(int64_t total_bytes, int64_t small_bytes = 0);

  // A place in the line. `granted` is set, then `wake` is called (any thread, under the line's lock), when the room is there.
  struct Waiter {
    int64_t size = 0;
    std::atomic<bool> granted{false};
    std::function<void()> wake;
    bool from_small = false;  // what was granted
    bool queued = false;
    std::list<Waiter*>::iterator place;
  };
  enum class Pool : uint8_t { kNone, kSmall, kLarge };

  // kNone: no room. A frame larger than the whole bound is admitted when it would be alone.
  Pool try_reserve(int64_t size);
  // No room is asked: what a connection has received and cannot hand on yet.
  void force(int64_t size) { small_.fetch_sub(size, std::memory_order_acq_rel); }
  void release(Pool pool, int64_t size);
  // True: granted at once, into waiter.granted and waiter.from_small.
  bool wait(Waiter& waiter);
  // Leaves the line; a grant that has come meanwhile is given back.
  void cancel(Waiter& waiter);

  int64_t total_bytes() const { return total_; }
  // Reserved now, both pools together.
  int64_t used_bytes() const {
    return total_ + small_total_ - large_.load(std::memory_order_relaxed) - small_.load(std::memory_order_relaxed);
  }
  bool has_waiters() const { return waiters_.load(std::memory_order_acquire) != 0; }

 private:
  bool take(std::atomic<int64_t>& pool, int64_t capacity, int64_t size);
  Pool take_any(int64_t size);
  void serve_line();

  const int64_t total_;
  const int64_t small_total_;
  alignas(64) std::atomic<int64_t> large_;  // free bytes
  alignas(64) std::atomic<int64_t> small_;
  alignas(64) std::atomic<int> waiters_{0};
  base::Mutex mutex_;
  std::list<Waiter*> large_line_ GUARDED_BY(mutex_);
  std::list<Waiter*> small_line_ GUARDED_BY(mutex_);
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
    if (budget_ != nullptr) budget_->release(reserved_in_, static_cast<int64_t>(size_));
    if (buffer_.data != nullptr) pool_->give(buffer_);
    buffer_ = {};
    budget_ = nullptr;
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
