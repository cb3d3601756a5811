// What the reactor hands frames to. `net` knows no API: a frame is bytes, an answer is bytes and file slices.
#pragma once

#include <atomic>
#include <cstdint>

#include "net/exchange.h"
#include "net/frame.h"

namespace odradek::net {

class Connection;

// A network thread as the sink sees it. Lives as long as the thread or a reference is held.
class ReadingThread {
 public:
  virtual ~ReadingThread() = default;
  // After a refused FrameSink::admit: read again. Thread: any.
  virtual void resume_reading() = 0;
  std::atomic<ReadingThread*> next{nullptr};  // for the sink: a list of threads that were refused
};

// Thread: each call is on the connection's network thread; none may block.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // A new connection; may set Connection::user.
  virtual void on_open(Connection& connection) = 0;
  // Asked before each frame; true: that frame follows. False: nothing is read until somebody calls thread.resume_reading(), which
  // must be done once for each false.
  virtual bool admit(ReadingThread& thread) = 0;
  // A frame. Returns the exchange that now owes the answer; answers leave in the order of these calls.
  virtual Exchange* on_frame(Connection& connection, Frame frame, int64_t received_ns) = 0;
  // The frames of one round of events have been handed over. Returns how many ns the thread may sleep before it must ask again;
  // -1: as long as it likes.
  virtual int64_t on_round_end() = 0;
  // The answer has been sent or the connection is gone (exchange.sent_ns). release() follows.
  virtual void on_answered(Exchange& exchange) = 0;
  // The time of Exchange::mute_until_ns is over.
  virtual void on_unmuted(Connection& connection) = 0;
  // The socket is closed. Exchanges that are not answered yet stay valid and must still be answered. False: somebody refers to the
  // connection beside its exchanges and will call Connection::released() once; it lives until then.
  virtual bool on_close(Connection& connection) = 0;
  // Whether the connection, which has no open exchange, may move to another network thread: nobody else refers to it.
  virtual bool is_quiet(Connection& connection) = 0;
};

}  // namespace odradek::net
