#include "distance/link.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace odradek::distance {

Link::Link(uint64_t seed, size_t capacity_bytes) : capacity_(capacity_bytes / 16 * 16), random_(seed) {
  // Pages are taken when packets first lie in them.
  void* memory = mmap(nullptr, capacity_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for a link");
  memory_ = static_cast<std::byte*>(memory);
}

Link::~Link() { munmap(memory_, capacity_); }

void Link::configure(const LinkSettings& settings) {
  std::lock_guard lock(mutex_);
  settings_ = settings;
}

LinkSettings Link::settings() const {
  std::lock_guard lock(mutex_);
  return settings_;
}

LinkCounts Link::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

void Link::count(uint64_t packets, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  counts_.packets += packets;
  counts_.bytes += bytes;
}

void Link::step(const Head& head) {
  head_ += space_of(head.size);
  if (tail_ < head_ && head_ == wrapped_at_) head_ = 0;
  if (head_ == tail_) head_ = tail_ = 0;  // the same memory again, while it is in the cache
}

// nullptr: full. One unit always stays free, so that head_ == tail_ means empty.
std::byte* Link::room_for(size_t size) {
  size_t space = space_of(size);
  if (tail_ >= head_) {
    if (tail_ + space < capacity_ || (tail_ + space == capacity_ && head_ != 0)) return memory_ + tail_;
    if (space >= head_) return nullptr;
    wrapped_at_ = tail_;
    tail_ = 0;
    return memory_;
  }
  return tail_ + space < head_ ? memory_ + tail_ : nullptr;
}

void Link::offer(int64_t now_ns, std::span<const std::byte> data, size_t packet_bytes) {
  LinkSettings settings = this->settings();
  if (settings.loss > 0 && std::uniform_real_distribution<double>(0, 1)(random_) < settings.loss) {
    std::lock_guard lock(mutex_);
    ++counts_.lost;
    return;
  }
  int64_t sent_ns = now_ns;
  if (settings.rate > 0) {
    sent_ns = std::max(now_ns, free_at_ns_) + static_cast<int64_t>(static_cast<double>(packet_bytes) / settings.rate * 1e9);
  }
  std::byte* room = sent_ns - now_ns > settings.buffer_ns ? nullptr : room_for(data.size());
  if (room == nullptr) {
    std::lock_guard lock(mutex_);
    ++counts_.dropped;
    return;
  }
  free_at_ns_ = sent_ns;
  int64_t due_ns = sent_ns + settings.delay_ns;
  if (settings.jitter_ns > 0) due_ns += std::uniform_int_distribution<int64_t>(0, settings.jitter_ns)(random_);
  last_due_ns_ = due_ns = std::max(due_ns, last_due_ns_);
  Head head{.due_ns = due_ns, .size = static_cast<uint32_t>(data.size()), .packet_bytes = static_cast<uint32_t>(packet_bytes)};
  std::memcpy(room, &head, sizeof(head));
  std::memcpy(room + sizeof(head), data.data(), data.size());
  tail_ += space_of(data.size());
}

}  // namespace odradek::distance
