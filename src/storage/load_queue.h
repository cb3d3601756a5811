// The logs that were found at start and are not loaded yet: which one is next, and what the checkpoints say of each, which has to stay
// in these files until the log itself can say it.
//   add()... → take() → (load) → done()
// Order: those that somebody asked for, then internal topics (groups wait for them), then as they were added.
// Thread: any. Only claim() and wait_for() wait, and not where all tasks run on one thread: there nothing is half loaded between two tasks.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "model/types.h"

namespace odradek::storage {

// One log; nullopt: no checkpoint file names it.
struct UnloadedLog {
  TopicPartition name;
  uint32_t dir = 0;
  std::optional<Offset> recovery_point, log_start, high_watermark, cleaned;
};

class LoadQueue {
 public:
  void add(UnloadedLog log);
  // The next log of this dir; it is being loaded from now on, until done(). Nullopt: nothing is left to begin.
  std::optional<UnloadedLog> take(uint32_t dir);
  // Loaded. True: it was the last one of its dir. Does nothing if it is not here.
  bool done(const TopicPartition& tp);
  // Its dir has failed: nobody waits for it any more, and it stays here until drop().
  void give_up(const TopicPartition& tp);
  // Loads it before the others. Does nothing if it is not waiting.
  void hasten(const TopicPartition& tp);
  // Takes it out, so that nobody begins to load it; if that has begun, waits for its end. Nullopt: it was not here or is loaded.
  std::optional<UnloadedLog> claim(const TopicPartition& tp);
  // Waits until it is loaded or given up, or will not be because of cancel().
  void wait_for(const TopicPartition& tp);
  // take() gives nothing any more; what was not begun stays known.
  void cancel();
  // All of a dir that failed, also what is being loaded, are gone from here.
  void drop(uint32_t dir);

  bool contains(const TopicPartition& tp) const;
  // Without a lock.
  bool empty() const { return size_.load(std::memory_order_acquire) == 0; }
  size_t size() const { return size_.load(std::memory_order_acquire); }
  size_t size(uint32_t dir) const;
  std::vector<UnloadedLog> of(uint32_t dir) const;

 private:
  enum class Phase : uint8_t { kWaiting, kHastened, kLoading, kGivenUp };
  struct Entry {
    UnloadedLog log;
    Phase phase = Phase::kWaiting;
  };
  // Names of one dir, of which some may be gone or begun meanwhile.
  struct Lane {
    std::deque<TopicPartition> hastened, internal, others;
    size_t left = 0;  // entries of this dir
  };
  Lane& lane(uint32_t dir) REQUIRES(mutex_);
  bool is_being_loaded(const TopicPartition& tp) const REQUIRES(mutex_);
  bool is_waiting(const TopicPartition& tp) const REQUIRES(mutex_);
  bool erase(const TopicPartition& tp) REQUIRES(mutex_);

  mutable base::Mutex mutex_;
  std::condition_variable changed_;
  absl::flat_hash_map<TopicPartition, Entry> entries_ GUARDED_BY(mutex_);
  std::vector<Lane> lanes_ GUARDED_BY(mutex_);  // by dir
  bool cancelled_ GUARDED_BY(mutex_) = false;
  std::atomic<size_t> size_{0};
};

}  // namespace odradek::storage
