// Bounded queue for any number of producers and consumers, lock-free: a ring of cells, each with a sequence number that says
// whose turn it is (Vyukov's scheme). A push that fails found the queue full, a pop that fails found it empty; neither waits.
// Cost: one compare-and-swap per call when alone. Thread: any.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace odradek::base {

// T: default constructible, movable.
template <class T>
class MpmcQueue {
 public:
  // Room for at least `capacity` values (rounded up to a power of two, at least 2).
  explicit MpmcQueue(size_t capacity)
      : mask_(std::bit_ceil(capacity < 2 ? size_t{2} : capacity) - 1), cells_(std::make_unique<Cell[]>(mask_ + 1)) {
    for (size_t i = 0; i <= mask_; ++i) cells_[i].sequence.store(i, std::memory_order_relaxed);
  }
  MpmcQueue(const MpmcQueue&) = delete;
  MpmcQueue& operator=(const MpmcQueue&) = delete;

  // False: full; `value` is untouched.
  bool try_push(T& value) {
    size_t at = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[at & mask_];
      // Acquire: meets the release store in try_pop, so the cell's former value has been moved out.
      size_t sequence = cell.sequence.load(std::memory_order_acquire);
      auto ahead = static_cast<intptr_t>(sequence) - static_cast<intptr_t>(at);
      if (ahead == 0) {
        // Relaxed: the ticket alone publishes nothing, the cell's sequence does.
        if (tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          cell.value = std::move(value);
          cell.sequence.store(at + 1, std::memory_order_release);  // meets the acquire load in try_pop
          return true;
        }
      } else if (ahead < 0) {
        return false;
      } else {
        at = tail_.load(std::memory_order_relaxed);
      }
    }
  }
  bool try_push(T&& value) { return try_push(static_cast<T&>(value)); }

  // False: empty (or the next value is just being written).
  bool try_pop(T& value) {
    size_t at = head_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[at & mask_];
      // Acquire: meets the release store in try_push, so the value is whole.
      size_t sequence = cell.sequence.load(std::memory_order_acquire);
      auto ahead = static_cast<intptr_t>(sequence) - static_cast<intptr_t>(at + 1);
      if (ahead == 0) {
        if (head_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          value = std::move(cell.value);
          cell.sequence.store(at + mask_ + 1, std::memory_order_release);  // meets the acquire load in try_push
          return true;
        }
      } else if (ahead < 0) {
        return false;
      } else {
        at = head_.load(std::memory_order_relaxed);
      }
    }
  }

  // Exact when nobody pushes or pops.
  size_t approximate_size() const {
    size_t head = head_.load(std::memory_order_relaxed);
    size_t tail = tail_.load(std::memory_order_relaxed);
    return tail > head ? tail - head : 0;
  }
  size_t capacity() const { return mask_ + 1; }

 private:
  struct Cell {
    std::atomic<size_t> sequence{0};
    T value{};
  };
  const size_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(64) std::atomic<size_t> tail_{0};
  alignas(64) std::atomic<size_t> head_{0};
};

}  // namespace odradek::base
