#include "replication/partition/purgatory.h"

#include <chrono>

#include "base/check.h"

namespace odradek::replication {

void Parked::join(WaitList& list, uint32_t tag) {
  CHECK(tag < places_.size());
  if (is_done()) return;
  places_[tag].list = &list;
  list.add(shared_from_this(), tag, places_[tag].slot);
}

void Parked::leave_lists() {
  for (Place& place : places_) {
    if (place.list != nullptr) place.list->remove(place.slot);
  }
}

void Parked::complete(bool expired) {
  if (done_.exchange(true, std::memory_order_seq_cst)) return;
  if (base::TimerId timer = timer_.load(std::memory_order_acquire); timer != 0 && !expired) purgatory_->runtime_.timers().cancel(timer);
  purgatory_->parked_.fetch_sub(1, std::memory_order_relaxed);
  if (expired) purgatory_->expired_.fetch_add(1, std::memory_order_relaxed);
  finish(expired);
  if (joined_.load(std::memory_order_seq_cst)) leave_lists();
}

// The timer's task. Counted from its birth to its death, so that drain() knows when none can run any more.
class Purgatory::TimeOut {
 public:
  explicit TimeOut(std::shared_ptr<Parked> operation) : operation_(std::move(operation)) { operation_->purgatory_->timers_.fetch_add(1); }
  TimeOut(TimeOut&&) noexcept = default;
  ~TimeOut() {
    if (operation_ == nullptr) return;  // moved from
    Purgatory& purgatory = *operation_->purgatory_;
    operation_ = nullptr;
    if (purgatory.timers_.fetch_sub(1) == 1) purgatory.timers_.notify_all();
  }
  void operator()() {
    if (operation_->is_done()) return;
    operation_->purgatory_->executor_.post([operation = operation_] { operation->complete(true); });
  }

 private:
  std::shared_ptr<Parked> operation_;
};

void Purgatory::drain() {
  for (int32_t left; (left = timers_.load()) != 0;) timers_.wait(left);
}

void Purgatory::park(std::shared_ptr<Parked> operation, int64_t wait_ms) {
  operation->purgatory_ = this;
  parked_.fetch_add(1, std::memory_order_relaxed);
  // The timer first: whoever completes the operation out of a list can then cancel it.
  base::TimerId timer = runtime_.timers().after(std::chrono::milliseconds(wait_ms), TimeOut(operation));
  operation->timer_.store(timer, std::memory_order_release);
  operation->join_lists();
  operation->joined_.store(true, std::memory_order_seq_cst);
  operation->check_all();
  if (operation->done_.load(std::memory_order_seq_cst)) operation->leave_lists();
}

}  // namespace odradek::replication
