#include "storage/load_queue.h"

#include <utility>

namespace odradek::storage {

LoadQueue::Lane& LoadQueue::lane(uint32_t dir) {
  if (lanes_.size() <= dir) lanes_.resize(dir + 1);
  return lanes_[dir];
}

void LoadQueue::add(UnloadedLog log) {
  base::MutexLock lock(mutex_);
  Lane& of_dir = lane(log.dir);
  (is_internal_topic(log.name.topic) ? of_dir.internal : of_dir.others).push_back(log.name);
  ++of_dir.left;
  TopicPartition name = log.name;
  entries_.emplace(std::move(name), Entry{std::move(log)});
  size_.store(entries_.size(), std::memory_order_release);
}

std::optional<UnloadedLog> LoadQueue::take(uint32_t dir) {
  base::MutexLock lock(mutex_);
  if (cancelled_) return std::nullopt;
  Lane& of_dir = lane(dir);
  for (auto* names : {&of_dir.hastened, &of_dir.internal, &of_dir.others}) {
    while (!names->empty()) {
      auto found = entries_.find(names->front());
      names->pop_front();
      if (found == entries_.end() || found->second.phase >= Phase::kLoading) continue;
      found->second.phase = Phase::kLoading;
      return found->second.log;
    }
  }
  return std::nullopt;
}

bool LoadQueue::erase(const TopicPartition& tp) {
  auto found = entries_.find(tp);
  if (found == entries_.end()) return false;
  const bool last = --lane(found->second.log.dir).left == 0;
  entries_.erase(found);
  size_.store(entries_.size(), std::memory_order_release);
  changed_.notify_all();
  return last;
}

bool LoadQueue::done(const TopicPartition& tp) {
  base::MutexLock lock(mutex_);
  return erase(tp);
}

void LoadQueue::give_up(const TopicPartition& tp) {
  base::MutexLock lock(mutex_);
  auto found = entries_.find(tp);
  if (found == entries_.end()) return;
  found->second.phase = Phase::kGivenUp;
  changed_.notify_all();
}

void LoadQueue::hasten(const TopicPartition& tp) {
  if (empty()) return;
  base::MutexLock lock(mutex_);
  auto found = entries_.find(tp);
  if (found == entries_.end() || found->second.phase != Phase::kWaiting) return;
  found->second.phase = Phase::kHastened;
  lane(found->second.log.dir).hastened.push_back(tp);
}

std::optional<UnloadedLog> LoadQueue::claim(const TopicPartition& tp) {
  if (empty()) return std::nullopt;
  base::MutexLock lock(mutex_);
  auto found = entries_.find(tp);
  if (found == entries_.end()) return std::nullopt;
  if (found->second.phase < Phase::kLoading) {
    UnloadedLog log = std::move(found->second.log);
    erase(tp);
    return log;
  }
  while (is_being_loaded(tp)) lock.wait(changed_);
  return std::nullopt;
}

void LoadQueue::wait_for(const TopicPartition& tp) {
  if (empty()) return;
  base::MutexLock lock(mutex_);
  while (is_being_loaded(tp) || (!cancelled_ && is_waiting(tp))) lock.wait(changed_);
}

bool LoadQueue::is_being_loaded(const TopicPartition& tp) const {
  auto found = entries_.find(tp);
  return found != entries_.end() && found->second.phase == Phase::kLoading;
}

bool LoadQueue::is_waiting(const TopicPartition& tp) const {
  auto found = entries_.find(tp);
  return found != entries_.end() && found->second.phase < Phase::kLoading;
}

void LoadQueue::cancel() {
  base::MutexLock lock(mutex_);
  cancelled_ = true;
  changed_.notify_all();
}

void LoadQueue::drop(uint32_t dir) {
  base::MutexLock lock(mutex_);
  absl::erase_if(entries_, [&](const auto& entry) { return entry.second.log.dir == dir; });
  lane(dir) = Lane{};
  size_.store(entries_.size(), std::memory_order_release);
  changed_.notify_all();
}

bool LoadQueue::contains(const TopicPartition& tp) const {
  if (empty()) return false;
  base::MutexLock lock(mutex_);
  return entries_.contains(tp);
}

size_t LoadQueue::size(uint32_t dir) const {
  base::MutexLock lock(mutex_);
  return dir < lanes_.size() ? lanes_[dir].left : 0;
}

std::vector<UnloadedLog> LoadQueue::of(uint32_t dir) const {
  std::vector<UnloadedLog> logs;
  if (empty()) return logs;
  base::MutexLock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.log.dir == dir) logs.push_back(entry.log);
  }
  return logs;
}

}  // namespace odradek::storage
