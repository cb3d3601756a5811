// Outgoing connections for callers that never wait: what the broker itself dials out with (controller to brokers, brokers to the
// controller, followers to leaders). Frames out, frames in; no API knowledge: requests and their answers pair by order.
//
//   auto link = links.open({host, port}, options, executor);
//   link->send(frame, 30s, [](Result<Answer> answer) {...});      as often as wanted, without waiting for answers
//
// A link connects at once; what is sent meanwhile leaves when it has. After the first failure it is broken for good: everything that
// waits fails with that error, and so does every later send(). Making a new one, and when, is the user's business.
// Errors: kNetworkException, refused, reset, closed, no such name; kRequestTimedOut, connect_timeout or the time of a request is
// over; kCorruptMessage, an answer larger than max_answer_bytes, or one that nobody waits for.
// Memory: what is queued to be sent, and one answer per request in flight, each at most max_answer_bytes; memory for an answer
// grows as its bytes arrive, not with the size announced.
// The simulation puts its own Links in the place of make_tcp_links().
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/executor.h"
#include "base/function.h"
#include "base/output.h"
#include "base/result.h"
#include "model/types.h"
#include "net/outgoing.h"

namespace odradek::net {

// The bytes of one answer, without their int32 size.
class Answer {
 public:
  Answer() = default;
  explicit Answer(size_t room) : data_(std::make_unique_for_overwrite<uint8_t[]>(room)), room_(room) {}
  explicit Answer(ByteView bytes) : Answer(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), data_.get());
    size_ = bytes.size();
  }
  Answer(Answer&& other) noexcept { swap(other); }
  Answer& operator=(Answer&& other) noexcept {
    Answer moved(std::move(other));
    swap(moved);
    return *this;
  }

  MutableByteView bytes() const { return {data_.get(), size_}; }
  size_t size() const { return size_; }
  // For who fills it: what is behind the bytes, and how many of that have come.
  MutableByteView room() const { return {data_.get() + size_, room_ - size_}; }
  void filled(size_t bytes) { size_ += bytes; }

 private:
  void swap(Answer& other) {
    std::swap(data_, other.data_);
    std::swap(room_, other.room_);
    std::swap(size_, other.size_);
  }
  std::unique_ptr<uint8_t[]> data_;
  size_t room_ = 0, size_ = 0;
};

struct LinkOptions {
  std::chrono::milliseconds connect_timeout{30'000};
  int32_t max_answer_bytes = 100 << 20;
  // -1: what the kernel makes of it.
  int send_buffer_bytes = -1, receive_buffer_bytes = -1;
  SecurityProtocol protocol = SecurityProtocol::kPlaintext;
};

class Link {
 public:
  using Done = UniqueFunction<void(Result<Answer>)>;
  // Closes. What waits for an answer fails with kNetworkException.
  virtual ~Link() = default;
  // `request`: header and body, without the size and without slices. `done` runs once, on the link's executor (never inside this
  // call), in the order of the calls; it does not run if the executor is gone. The time runs from this call to the answer's last byte.
  // Thread: any.
  virtual void send(base::Output request, std::chrono::milliseconds timeout, Done done) = 0;
  // Breaks it with this error. Thread: any.
  virtual void fail_all(Error why) = 0;
  virtual bool broken() const = 0;
  // Bytes received since it was opened. Thread: any.
  virtual int64_t received_bytes() const = 0;
  // How long the way there and back takes at least, as TCP sees it; 0: not known. Thread: any.
  virtual std::chrono::microseconds round_trip() const { return {}; }
};

class Links {
 public:
  virtual ~Links() = default;
  // `executor` outlives the link. Thread: any.
  virtual std::unique_ptr<Link> open(const Endpoint& to, LinkOptions options, base::Executor& executor) = 0;
};

// TCP, without Nagle's delay, with keep-alive. `threads` read and write for all links ("link-<n>"); names are looked up by one more
// thread. Links must be gone before it is destroyed.
std::unique_ptr<Links> make_tcp_links(base::Runtime& runtime, int threads = 1);

}  // namespace odradek::net
