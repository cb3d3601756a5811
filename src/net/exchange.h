// One frame and the answer that is owed for it. The node of the response queue is in it, so handing back an answer cannot fail.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/output.h"
#include "net/frame.h"

namespace odradek::net {

class Connection;

// Life: made by the FrameSink for a frame (network thread); answered once (any thread); release() when the answer's last byte
// went to the socket or the connection is gone (network thread, or after the reactor's end the thread that answers).
class Exchange {
 public:
  enum class Answer : uint8_t {
    kSend,          // output
    kNothing,       // nothing is sent, the place in the order is given up
    kClose,         // the connection closes when the answers before have left
    kSendAndClose,  // output, then the connection closes
  };

  virtual ~Exchange() = default;
  // The reactor refers to it no longer.
  virtual void release() { delete this; }

  std::atomic<Exchange*> next{nullptr};  // in the response queue
  Connection* connection = nullptr;
  Frame frame;
  // Filled before Connection::answer().
  Answer answer = Answer::kSend;
  base::Output output;
  int64_t mute_until_ns = 0;  // the socket is not read before (monotonic); 0: no throttle
  // Filled by the network thread.
  int64_t dequeued_ns = 0;
  int64_t sent_ns = 0;    // 0: the connection went before
  size_t sent_bytes = 0;  // without the int32 size

 private:
  friend class FrameWriter;
  friend class NetworkThread;
  Exchange* next_in_order_ = nullptr;  // in the connection's list of owed answers
  bool answered_ = false;              // as the network thread knows it
};

}  // namespace odradek::net
