#include "slow_disk/journal.h"

#include <utility>

namespace odradek::slow_disk {

void Journal::before_change() {
  if (!stalls_) return;
  std::unique_lock lock(mutex_);
  if (members_ == 0) return;
  ++stalled_;
  changed_.wait(lock, [this, running = begun_] { return ended_ >= running; });
  if (--passing_ == 0) changed_.notify_all();
}

int Journal::sync(const std::function<int()>& flush) {
  if (!stalls_) {
    const int result = flush();
    hold_();
    return result;
  }
  std::unique_lock lock(mutex_);
  const uint64_t mine = begun_ + 1;
  ++joining_;
  bool begins = false;
  while (begun_ < mine) {
    if (members_ > 0 || passing_ > 0 || gathering_) {
      changed_.wait(lock);
      continue;
    }
    begins = gathering_ = true;
    lock.unlock();
    gather_();
    lock.lock();
    gathering_ = false;
    ++begun_;
    members_ = std::exchange(joining_, 0);
    changed_.notify_all();
  }
  lock.unlock();
  const int result = flush();
  if (begins) hold_();
  lock.lock();
  if (--members_ == 0) {
    ++ended_;
    passing_ = std::exchange(stalled_, 0);
    changed_.notify_all();
  } else {
    changed_.wait(lock, [this, mine] { return ended_ >= mine; });
  }
  return result;
}

int Journal::waiting_changes() const {
  std::lock_guard lock(mutex_);
  return stalled_;
}

int Journal::waiting_syncs() const {
  std::lock_guard lock(mutex_);
  return joining_;
}

}  // namespace odradek::slow_disk
