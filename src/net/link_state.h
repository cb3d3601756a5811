// One link over TCP (link.h): what is to be sent, who waits for an answer and until when, and the socket while there is one.
// Broken for good after the first failure; closed when the Link is gone: then nothing is posted any more.
// The socket is made, read and closed by the link's thread alone; it is written under the mutex, by that thread or by who sends.
// Thread: any, but for what is marked "link thread".
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "model/error_code.h"
#include "net/answer_reader.h"
#include "net/link.h"
#include "net/resolve.h"
#include "net/socket.h"

namespace odradek::net {

class LinkThread;

class LinkState final : public std::enable_shared_from_this<LinkState>, private AnswerReader::Taker {
 public:
  LinkState(uint64_t the_id, Endpoint the_to, LinkOptions the_options, base::Runtime& the_runtime, base::Executor& the_executor, LinkThread& the_thread)
      : id(the_id), to(std::move(the_to)), name(to.to_string()), options(the_options), thread(the_thread), runtime(the_runtime), executor(the_executor),
        connect_by_ns(runtime.clock().monotonic_ns() + options.connect_timeout.count() * 1'000'000), reader(options.max_answer_bytes) {}

  // What Link promises. Thread: any; the link thread closes the socket then.
  void send(base::Output request, std::chrono::milliseconds timeout, Link::Done done);
  void fail_all(Error why);
  void close();
  std::chrono::microseconds round_trip();
  void start_timer();
  // False: broken. Thread: link thread.
  bool on_connected();
  bool on_writable();
  bool on_readable(int descriptor, MutableByteView scratch);
  Error network_failure(int error) const { return {ErrorCode::kNetworkException, name + ": " + std::strerror(error), error}; }

  const uint64_t id;
  const Endpoint to;
  const std::string name;
  const LinkOptions options;
  LinkThread& thread;
  std::atomic<bool> is_broken{false};

  base::Mutex mutex;
  bool connected GUARDED_BY(mutex) = false;
  std::optional<Error> broken GUARDED_BY(mutex);
  Descriptor socket GUARDED_BY(mutex);  // made and closed by the link thread

  // Link thread.
  std::vector<SocketAddress> addresses;
  size_t next_address = 0;

  int64_t received_bytes() const { return reader.received_bytes(); }

 private:
  static constexpr size_t kSizeBytes = 4;
  struct Unsent {
    uint8_t head[kSizeBytes];
    Bytes body;
    size_t sent = 0;
  };
  struct Waiting {
    int64_t until_ns;
    Link::Done done;
  };

  bool take(Answer answer) override;
  void break_now(Error why) REQUIRES(mutex);
  void tell(Link::Done done, Result<Answer> result) REQUIRES(mutex) {
    executor.post([done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
  }
  void flush() REQUIRES(mutex);
  void arm_timer() REQUIRES(mutex);
  void on_timer();
  int64_t earliest_ns() const REQUIRES(mutex);
  void watch_writable(bool wanted) REQUIRES(mutex);

  base::Runtime& runtime;
  base::Executor& executor;
  const int64_t connect_by_ns;
  bool closed GUARDED_BY(mutex) = false;  // the Link is gone, and perhaps the executor: nothing is posted any more
  bool watches_writable GUARDED_BY(mutex) = true;  // from the start: that is how the end of connecting shows
  std::deque<Unsent> unsent GUARDED_BY(mutex);
  std::deque<Waiting> waiting GUARDED_BY(mutex);
  base::TimerId timer GUARDED_BY(mutex) = 0;
  int64_t timer_at_ns GUARDED_BY(mutex) = 0;
  AnswerReader reader;  // link thread
};
using LinkPtr = std::shared_ptr<LinkState>;  // shared: the Link, its thread, timers, look-ups of names

}  // namespace odradek::net
