// One direction between two ends: packets lie in it as long as their way takes, and leave in the order in which they came.
// As on a real way: a queue before a sender of a limited rate, then the distance. Jitter delays, it never reorders.
// Thread: offer() and deliver() belong to the thread of its source; settings come through configure() from any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <span>

namespace odradek::distance {

struct LinkSettings {
  int64_t delay_ns = 0;
  int64_t jitter_ns = 0;         // 0 .. jitter are added to the delay of each packet
  double loss = 0;               // share of the packets that vanish, 0 .. 1
  double rate = 0;               // bytes a second, 0: no limit
  int64_t buffer_ns = 100'000'000;  // packets that would wait longer for the rate are dropped
};

struct LinkCounts {
  uint64_t packets = 0, bytes = 0;  // delivered
  uint64_t lost = 0;                // by `loss`
  uint64_t dropped = 0;             // the queue before the rate, or the memory of the link, was full
};

class Link {
 public:
  explicit Link(uint64_t seed, size_t capacity_bytes = size_t{256} << 20);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  void configure(const LinkSettings& settings);
  LinkSettings settings() const;
  LinkCounts counts() const;

  // A packet sets out at `now`. `packet_bytes` of the data count for the rate (the rest is a header of our own).
  void offer(int64_t now_ns, std::span<const std::byte> data, size_t packet_bytes);
  // When the next packet arrives; INT64_MAX: none is on the way.
  int64_t next_ns() const { return head_ == tail_ ? INT64_MAX : at(head_)->due_ns; }
  // Hands over what has arrived by `now`: write(data).
  template <class Write>
  void deliver(int64_t now_ns, Write&& write) {
    uint64_t packets = 0, bytes = 0;
    while (head_ != tail_ && at(head_)->due_ns <= now_ns) {
      const Head* head = at(head_);
      write(std::span<const std::byte>(memory_ + head_ + sizeof(Head), head->size));
      ++packets;
      bytes += head->packet_bytes;
      step(*head);
    }
    if (packets != 0) count(packets, bytes);
  }

 private:
  struct Head {
    int64_t due_ns;
    uint32_t size, packet_bytes;
  };
  // Packets lie in a ring, each in one piece; the rest of the ring behind the last one that fits is skipped.
  Head* at(size_t position) const { return reinterpret_cast<Head*>(memory_ + position); }
  static size_t space_of(size_t size) { return (sizeof(Head) + size + 15) / 16 * 16; }
  void step(const Head& head);
  std::byte* room_for(size_t size);
  void count(uint64_t packets, uint64_t bytes);

  const size_t capacity_;
  std::byte* memory_;
  size_t head_ = 0, tail_ = 0;
  size_t wrapped_at_ = 0;  // where the packets before the ring's end stop, while tail_ < head_
  int64_t free_at_ns_ = 0;   // when the sender of limited rate has sent all that waits
  int64_t last_due_ns_ = 0;
  std::mt19937_64 random_;
  mutable std::mutex mutex_;  // of what follows
  LinkSettings settings_;
  LinkCounts counts_;
};

}  // namespace odradek::distance
