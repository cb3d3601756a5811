// What the reactor hands frames to. `net` knows no API: a frame is bytes, an answer is bytes and file slices.
#pragma once

#include "net/exchange.h"
#include "net/frame.h"

namespace odradek::net {

class Connection;
class NetworkThread;

// Thread: each call is on the connection's network thread, unless said otherwise; none may block.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // A new connection; may set Connection::user.
  virtual void on_open(Connection& connection) = 0;
  // Asked before each frame. False: none is taken now; the thread stops reading until somebody calls thread.resume_reading().
  virtual bool admit(NetworkThread& thread) = 0;
  // One frame, admitted before. Returns the exchange that now owes the answer; its place in the order is that of the call.
  virtual Exchange* on_frame(Connection& connection, Frame frame, int64_t received_ns) = 0;
  // The frames of one round of events have been handed over: whoever works on them may be woken now. Returns how long the thread
  // may sleep before it asks again, in ns; -1: as long as it likes.
  virtual int64_t on_round_end(NetworkThread& thread) = 0;
  // The exchange is finished; the sink frees it.
  virtual void on_answered(Exchange* exchange) = 0;
  // Some bytes of answers have left (after one or more on_answered).
  virtual void on_progress(Connection& connection) = 0;
  // The time of Exchange::mute_until_ns is over.
  virtual void on_unmuted(Connection& connection) = 0;
  // The socket is closed. Exchanges that are not answered yet stay valid and must still be answered. True: nothing outside the
  // exchanges refers to the connection; false: somebody does, who will call Connection::released() once.
  virtual bool on_close(Connection& connection) = 0;
  // Whether the connection may move to another network thread now (no exchange is open): nobody else refers to it.
  virtual bool is_quiet(Connection& connection) = 0;
  // Last call for a connection; the object is destroyed afterwards. Thread: any.
  virtual void on_destroy(Connection& connection) = 0;
};

}  // namespace odradek::net
