#include "replication/partition/wait_list.h"

namespace odradek::replication {

void WaitList::add(std::shared_ptr<Waiter> waiter, uint32_t tag, Slot& slot) {
  base::MutexLock lock(mutex_);
  slot.index_ = static_cast<uint32_t>(entries_.size());
  entries_.push_back({std::move(waiter), &slot, tag});
  count_.fetch_add(1, std::memory_order_acq_rel);
}

void WaitList::remove(Slot& slot) {
  std::shared_ptr<Waiter> dropped;  // may be the last reference: it dies outside the lock
  base::MutexLock lock(mutex_);
  if (slot.index_ == Slot::kNowhere) return;
  Entry& entry = entries_[slot.index_];
  dropped = std::move(entry.waiter);
  if (&entry != &entries_.back()) {
    entry = std::move(entries_.back());
    entry.slot->index_ = slot.index_;
  }
  entries_.pop_back();
  slot.index_ = Slot::kNowhere;
  count_.fetch_sub(1, std::memory_order_acq_rel);
}

void WaitList::wake() {
  if (!has_waiters()) return;
  std::vector<Entry> to_check;
  {
    base::MutexLock lock(mutex_);
    to_check = entries_;
  }
  for (Entry& entry : to_check) entry.waiter->check(entry.tag);
}

}  // namespace odradek::replication
