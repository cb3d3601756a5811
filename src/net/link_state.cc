#include "net/link_state.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/check.h"
#include "net/link_thread.h"
#include "net/tcp_state.h"

namespace odradek::net {
namespace {

constexpr size_t kPartsPerWrite = 16;

}  // namespace

void LinkState::send(base::Output request, std::chrono::milliseconds timeout, Link::Done done) {
  CHECK(request.inserts.empty());
  bool broke;
  {
    base::MutexLock lock(mutex);
    if (broken) return tell(std::move(done), fail(*broken));
    Unsent& item = unsent.emplace_back();
    base::store_be<int32_t>(item.head, static_cast<int32_t>(request.bytes.size()));
    item.body = std::move(request.bytes);
    waiting.push_back({runtime.clock().monotonic_ns() + timeout.count() * 1'000'000, std::move(done)});
    arm_timer();
    // From here, when nothing is before it: no change of threads on the way out.
    if (connected && unsent.size() == 1) flush();
    broke = broken.has_value();
  }
  if (broke) thread.close(shared_from_this());
}

void LinkState::flush() {
  while (!unsent.empty()) {
    iovec parts[2 * kPartsPerWrite];
    size_t count = 0;
    for (size_t i = 0; i < unsent.size() && i < kPartsPerWrite; ++i) {
      Unsent& item = unsent[i];
      if (item.sent < kSizeBytes) parts[count++] = {item.head + item.sent, kSizeBytes - item.sent};
      size_t body_sent = item.sent - std::min(item.sent, kSizeBytes);
      if (body_sent < item.body.size()) parts[count++] = {item.body.data() + body_sent, item.body.size() - body_sent};
    }
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    ssize_t put = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
    if (put < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return watch_writable(true);
      return break_now(network_failure(errno));
    }
    for (auto left = static_cast<size_t>(put); left > 0;) {
      Unsent& item = unsent.front();
      size_t step = std::min(left, kSizeBytes + item.body.size() - item.sent);
      item.sent += step;
      left -= step;
      if (item.sent == kSizeBytes + item.body.size()) unsent.pop_front();
    }
  }
  watch_writable(false);
}

void LinkState::watch_writable(bool wanted) {
  if (watches_writable == wanted) return;
  watches_writable = wanted;
  thread.watch(*this, socket.get(), wanted);
}

bool LinkState::on_connected() {
  base::MutexLock lock(mutex);
  if (broken) return false;
  connected = true;
  flush();
  return !broken;
}

bool LinkState::on_writable() {
  base::MutexLock lock(mutex);
  if (!broken) flush();
  return !broken;
}

bool LinkState::on_readable(int descriptor, MutableByteView scratch) {
  switch (reader.run(descriptor, scratch, *this)) {
    case AnswerReader::Stop::kDrained: return true;
    case AnswerReader::Stop::kRefused: break;
    case AnswerReader::Stop::kEnd: fail_all({ErrorCode::kNetworkException, name + " closed the connection"}); break;
    case AnswerReader::Stop::kTooLarge:
      fail_all({ErrorCode::kCorruptMessage, name + " announced an answer of " + std::to_string(reader.refused_size()) + " bytes, at most " +
                                                std::to_string(options.max_answer_bytes) + " are taken"});
      break;
    case AnswerReader::Stop::kBroken: fail_all(network_failure(reader.error())); break;
  }
  return false;
}

bool LinkState::take(Answer answer) {
  base::MutexLock lock(mutex);
  if (broken) return false;
  if (waiting.empty()) {
    break_now({ErrorCode::kCorruptMessage, name + " sent an answer that nobody waits for"});
    return false;
  }
  tell(std::move(waiting.front().done), std::move(answer));
  waiting.pop_front();
  return true;
}

void LinkState::break_now(Error why) {
  if (broken) return;
  broken = std::move(why);
  is_broken.store(true, std::memory_order_release);
  unsent.clear();
  for (Waiting& one : waiting) tell(std::move(one.done), fail(*broken));
  waiting.clear();
}

void LinkState::fail_all(Error why) {
  base::MutexLock lock(mutex);
  if (broken) return;
  break_now(std::move(why));
  thread.close(shared_from_this());  // under the mutex: close() waits for it, and the thread may be gone after that
}

void LinkState::close() {
  base::TimerId id_of_timer;
  {
    base::MutexLock lock(mutex);
    break_now({ErrorCode::kNetworkException, "the connection to " + name + " was given up"});
    closed = true;
    id_of_timer = std::exchange(timer, 0);
  }
  if (id_of_timer != 0) runtime.timers().cancel(id_of_timer);
  thread.close(shared_from_this());
}

int64_t LinkState::earliest_ns() const {
  int64_t earliest = connected ? std::numeric_limits<int64_t>::max() : connect_by_ns;
  for (const Waiting& one : waiting) earliest = std::min(earliest, one.until_ns);
  return earliest;
}

// One timer, for the request whose time is over first; it is not touched by each request that is answered in time.
void LinkState::arm_timer() {
  int64_t at = earliest_ns();
  if (closed || broken || at == std::numeric_limits<int64_t>::max()) return;
  if (timer != 0) {
    if (timer_at_ns <= at || !runtime.timers().cancel(timer)) return;
  }
  timer_at_ns = at;
  int64_t wait_ms = std::max<int64_t>(0, (at - runtime.clock().monotonic_ns() + 999'999) / 1'000'000);
  timer = runtime.timers().after(std::chrono::milliseconds(wait_ms), [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->on_timer();
  });
}

void LinkState::on_timer() {
  base::MutexLock lock(mutex);
  timer = 0;
  if (broken) return;
  if (earliest_ns() > runtime.clock().monotonic_ns()) return arm_timer();
  break_now({ErrorCode::kRequestTimedOut, name + (connected ? ": no answer in time" : ": not connected in time")});
  thread.close(shared_from_this());  // under the mutex, as in fail_all()
}

void LinkState::start_timer() {
  base::MutexLock lock(mutex);
  arm_timer();
}

std::chrono::microseconds LinkState::round_trip() {
  base::MutexLock lock(mutex);
  return connected ? round_trip_of(socket.get()) : std::chrono::microseconds{};
}

}  // namespace odradek::net
