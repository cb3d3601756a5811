// Operations that cannot be answered yet: produce with acks=all (until the high watermark passes), fetch (until enough bytes are
// there), delete records (until every replica has moved). They stand in the wait lists of their partitions and on one timer each;
// parked ones cost nothing while nothing happens, and a wake-up looks only at those of the partition where something happened.
// Thread: an operation is completed exactly once, by whichever thread finds it complete (an appending handler, the timer's executor);
// no lock of a partition or list is held then.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "replication/partition/partition.h"
#include "replication/partition/wait_list.h"

namespace odradek::replication {

class Purgatory;

class Parked : public Waiter, public std::enable_shared_from_this<Parked> {
 public:
  // Without waiting any longer; nothing happens if it is complete. Thread: any.
  void complete_now() { complete(); }

 protected:
  // Adds the operation to its lists with join(); then the purgatory calls check_all(), which must look at everything once more.
  virtual void join_lists() = 0;
  virtual void check_all() = 0;
  // The answer. Runs once; other threads may still be inside check(), so what check() reads must stay.
  virtual void finish(bool expired) = 0;

  // How many lists there will be; before the first join().
  void reserve(size_t lists) { places_ = std::vector<Place>(lists); }
  // tag: 0..lists-1, each once.
  void join(WaitList& list, uint32_t tag);
  bool is_done() const { return done_.load(std::memory_order_acquire); }
  // Finishes the operation unless it is finished.
  void complete(bool expired = false);

 private:
  friend class Purgatory;
  struct Place {
    WaitList* list = nullptr;  // of a partition that the operation holds
    WaitList::Slot slot;
  };
  void leave_lists();

  std::vector<Place> places_;  // written before joined_, read after it
  // Both sequentially consistent: whoever comes second of the one that completes and the one that registers takes the operation
  // out of its lists.
  std::atomic<bool> done_{false};
  std::atomic<bool> joined_{false};
  std::atomic<base::TimerId> timer_{0};
  Purgatory* purgatory_ = nullptr;
};

class Purgatory {
 public:
  // Time-outs are worked off on `executor`. It and the runtime outlive every parked operation.
  Purgatory(base::Runtime& runtime, base::Executor& executor) : runtime_(runtime), executor_(executor) {}

  // Waits until no timer of completed operations is about to post to the executor; then that may go.
  void drain();

  // Completes `operation` at once if it already can be, else when it can, at the latest after wait_ms.
  void park(std::shared_ptr<Parked> operation, int64_t wait_ms);
  size_t size() const { return parked_.load(std::memory_order_relaxed); }
  uint64_t expired() const { return expired_.load(std::memory_order_relaxed); }

 private:
  friend class Parked;
  class TimeOut;
  base::Runtime& runtime_;
  base::Executor& executor_;
  std::atomic<size_t> parked_{0};
  std::atomic<uint64_t> expired_{0};
  std::atomic<int32_t> timers_{0};  // time-outs that exist, waiting or running
};

}  // namespace odradek::replication
