// Cuts the byte stream of one outgoing connection into answers: int32 size (big-endian), then that many bytes. The rest of an answer that
// has begun is read straight into it; sizes and small answers come through the thread's scratch, many with one system call.
// Memory: one answer; room for it grows with the bytes that arrived (to 64 KiB or the size of the last one at once, then at most doubling).
// Thread: the one that reads; received_bytes() any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "net/link.h"

namespace odradek::net {

class AnswerReader {
 public:
  static constexpr size_t kScratch = 64 * 1024;

  class Taker {
   public:
    virtual ~Taker() = default;
    // False: the connection is given up, no other one is wanted.
    virtual bool take(Answer answer) = 0;
  };

  enum class Stop : uint8_t {
    kDrained,   // the socket is empty, or others have their turn; level-triggered events tell of more
    kRefused,   // take() said no
    kEnd,       // the peer sends no more
    kTooLarge,  // refused_size(): below 0 or above the limit
    kBroken,    // the socket failed: error()
  };

  explicit AnswerReader(int32_t max_answer_bytes) : max_answer_bytes_(max_answer_bytes) {}

  // `scratch`: nothing is kept in it. After any other end than kDrained it is not called again.
  Stop run(int socket, MutableByteView scratch, Taker& taker);

  int32_t refused_size() const { return refused_size_; }
  int error() const { return error_; }
  int64_t received_bytes() const { return received_.load(std::memory_order_relaxed); }

 private:
  // kDrained: all of it was taken.
  Stop parse(ByteView bytes, Taker& taker);
  void make_room();
  // False: take() said no.
  bool end_answer(Taker& taker);

  static constexpr size_t kSizeBytes = 4;
  const int32_t max_answer_bytes_;
  uint8_t head_[kSizeBytes] = {};  // of a size that has not come whole
  size_t head_size_ = 0;
  bool in_answer_ = false;
  size_t answer_size_ = 0;
  Answer answer_;  // under way if in_answer_
  size_t last_size_ = 0;
  int32_t refused_size_ = 0;
  int error_ = 0;
  std::atomic<int64_t> received_{0};
};

}  // namespace odradek::net
