#include "net/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <limits>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "model/error_code.h"
#include "net/resolve.h"
#include "net/socket.h"
#include "net/tcp_state.h"

namespace odradek::net {
namespace {

constexpr size_t kSizeBytes = 4;
constexpr size_t kFirstRoom = 64 * 1024;
constexpr size_t kScratch = 64 * 1024;
constexpr size_t kReadPerTurn = 1 << 20;  // then other links have their turn
constexpr size_t kPartsPerWrite = 16;

class LinkThread;

// What is marked "link thread" is touched by that thread alone.
struct LinkState : std::enable_shared_from_this<LinkState> {
  LinkState(uint64_t the_id, Endpoint the_to, LinkOptions the_options, base::Runtime& the_runtime, base::Executor& the_executor, LinkThread& the_thread)
      : id(the_id), to(std::move(the_to)), name(to.to_string()), options(the_options), runtime(the_runtime), executor(the_executor), thread(the_thread),
        connect_by_ns(runtime.clock().monotonic_ns() + options.connect_timeout.count() * 1'000'000) {}

  struct Unsent {
    uint8_t head[kSizeBytes];
    Bytes body;
    size_t sent = 0;
  };
  struct Waiting {
    int64_t until_ns;
    Link::Done done;
  };

  void send(base::Output request, std::chrono::milliseconds timeout, Link::Done done);
  // Thread: any; the link thread closes the socket then.
  void fail_all(Error why);
  void close();
  std::chrono::microseconds round_trip();
  void start_timer();
  // False: broken. Thread: link thread.
  bool on_connected();
  bool on_writable();
  bool deliver(Answer answer);
  Error network_failure(int error) const { return {ErrorCode::kNetworkException, name + ": " + std::strerror(error), error}; }

  void break_now(Error why) REQUIRES(mutex);
  void tell(Link::Done done, Result<Answer> result) REQUIRES(mutex) {
    executor.post([done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
  }
  void flush() REQUIRES(mutex);
  void arm_timer() REQUIRES(mutex);
  void on_timer();
  int64_t earliest_ns() const REQUIRES(mutex);
  void watch_writable(bool wanted) REQUIRES(mutex);

  const uint64_t id;
  const Endpoint to;
  const std::string name;
  const LinkOptions options;
  base::Runtime& runtime;
  base::Executor& executor;
  LinkThread& thread;
  const int64_t connect_by_ns;
  std::atomic<bool> is_broken{false};
  std::atomic<int64_t> received{0};

  base::Mutex mutex;
  bool closed GUARDED_BY(mutex) = false;  // the Link is gone, and perhaps the executor: nothing is posted any more
  bool connected GUARDED_BY(mutex) = false;
  bool watches_writable GUARDED_BY(mutex) = true;  // from the start: that is how the end of connecting shows
  std::optional<Error> broken GUARDED_BY(mutex);
  Descriptor socket GUARDED_BY(mutex);  // made and closed by the link thread
  std::deque<Unsent> unsent GUARDED_BY(mutex);
  std::deque<Waiting> waiting GUARDED_BY(mutex);
  base::TimerId timer GUARDED_BY(mutex) = 0;
  int64_t timer_at_ns GUARDED_BY(mutex) = 0;

  // Link thread: the answer that is being read.
  std::vector<SocketAddress> addresses;
  size_t next_address = 0;
  uint8_t head[kSizeBytes] = {};
  size_t head_size = 0;
  bool in_answer = false;
  size_t answer_size = 0;
  Answer answer;
  size_t last_size = 0;
};
using LinkPtr = std::shared_ptr<LinkState>;  // shared: the Link, its thread, timers, look-ups of names

class LinkThread {
 public:
  explicit LinkThread(const std::string& name) : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(make_event_descriptor()) {
    CHECK(epoll_.get() >= 0);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = 0;
    CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
    thread_ = base::start_thread(name, [this] { run(); });
  }
  ~LinkThread() {
    stopping_.store(true, std::memory_order_release);
    signal_event(wake_.get());
    thread_.join();
  }

  // Thread: any.
  void connect(LinkPtr link, std::vector<SocketAddress> addresses) { command({std::move(link), std::move(addresses), false}); }
  void close(LinkPtr link) { command({std::move(link), {}, true}); }
  void watch(const LinkState& link, int socket, bool writable) {
    epoll_event event{};
    event.events = EPOLLIN | (writable ? EPOLLOUT : 0u);
    event.data.u64 = link.id;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket, &event);
  }

 private:
  struct Command {
    LinkPtr link;
    std::vector<SocketAddress> addresses;
    bool close;
  };

  void command(Command one) {
    {
      base::MutexLock lock(mutex_);
      commands_.push_back(std::move(one));
    }
    signal_event(wake_.get());
  }

  void run() {
    std::vector<epoll_event> events(64);
    while (!stopping_.load(std::memory_order_acquire)) {
      int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<size_t>(i)];
        auto found = links_.find(event.data.u64);
        if (found == links_.end()) continue;
        LinkPtr link = found->second;
        if (!handle(*link, event.events)) remove(*link);
      }
      std::vector<Command> commands;
      {
        base::MutexLock lock(mutex_);
        commands.swap(commands_);
      }
      for (Command& one : commands) {
        if (one.close) {
          remove(*one.link);
        } else {
          one.link->addresses = std::move(one.addresses);
          dial_next(one.link);
        }
      }
    }
    for (auto& [id, link] : links_) {
      base::MutexLock lock(link->mutex);
      link->socket.reset();
    }
  }

  void remove(LinkState& link) {
    base::MutexLock lock(link.mutex);
    link.socket.reset();  // leaves epoll by that
    links_.erase(link.id);
  }

  // The next address that the name has; the link is broken when none is left.
  void dial_next(const LinkPtr& link) {
    int error = 0;
    while (link->next_address < link->addresses.size()) {
      const SocketAddress& address = link->addresses[link->next_address++];
      Descriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      if (socket.get() < 0) {
        error = errno;
        continue;
      }
      int on = 1;
      ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
      const LinkOptions& options = link->options;
      if (options.send_buffer_bytes >= 0) ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &options.send_buffer_bytes, sizeof(int));
      if (options.receive_buffer_bytes >= 0) ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &options.receive_buffer_bytes, sizeof(int));
      if (::connect(socket.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) {
        error = errno;
        continue;
      }
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT;
      event.data.u64 = link->id;
      if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0) {
        error = errno;
        continue;
      }
      base::MutexLock lock(link->mutex);
      if (link->broken) return;  // given up meanwhile
      link->socket = std::move(socket);
      links_[link->id] = link;
      return;
    }
    link->fail_all(link->network_failure(error));
  }

  // False: the link is broken.
  bool handle(LinkState& link, uint32_t events) {
    bool connected;
    int descriptor;
    {
      base::MutexLock lock(link.mutex);
      if (link.broken) return false;
      connected = link.connected;
      descriptor = link.socket.get();
    }
    if (!connected) {
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) {
        if (link.next_address >= link.addresses.size()) {
          link.fail_all(link.network_failure(error));
          return false;
        }
        LinkPtr again = link.shared_from_this();
        remove(link);
        dial_next(again);
        return true;
      }
      if ((events & EPOLLOUT) == 0) return true;
      return link.on_connected();
    }
    if ((events & EPOLLOUT) != 0 && !link.on_writable()) return false;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) return read(link, descriptor);
    return true;
  }

  bool read(LinkState& link, int descriptor) {
    for (size_t turn = 0; turn < kReadPerTurn;) {
      iovec parts[2];
      int count = 0;
      size_t direct = 0;
      if (link.in_answer) {
        make_room(link);
        direct = std::min(link.answer_size - link.answer.size(), link.answer.room().size());
        parts[count++] = {link.answer.room().data(), direct};
      }
      // What follows the answer, if all of it fits.
      bool with_scratch = !link.in_answer || link.answer.size() + direct == link.answer_size;
      if (with_scratch) parts[count++] = {scratch_.data(), scratch_.size()};
      ssize_t got = ::readv(descriptor, parts, count);
      if (got == 0) {
        link.fail_all({ErrorCode::kNetworkException, link.name + " closed the connection"});
        return false;
      }
      if (got < 0) {
        if (errno == EAGAIN) return true;
        if (errno == EINTR) continue;
        link.fail_all(link.network_failure(errno));
        return false;
      }
      auto bytes = static_cast<size_t>(got);
      turn += bytes;
      link.received.fetch_add(got, std::memory_order_relaxed);
      size_t into_answer = std::min(bytes, direct);
      if (link.in_answer) {
        link.answer.filled(into_answer);
        if (!end_answer(link)) return false;
      }
      if (!parse(link, ByteView(scratch_).first(bytes - into_answer))) return false;
      if (bytes < direct + (with_scratch ? scratch_.size() : 0)) return true;  // there was no more
    }
    return true;
  }

  bool parse(LinkState& link, ByteView bytes) {
    while (!bytes.empty()) {
      if (!link.in_answer) {
        size_t step = std::min(kSizeBytes - link.head_size, bytes.size());
        std::memcpy(link.head + link.head_size, bytes.data(), step);
        link.head_size += step;
        bytes = bytes.subspan(step);
        if (link.head_size < kSizeBytes) return true;
        link.head_size = 0;
        auto size = base::load_be<int32_t>(link.head);
        if (size < 0 || size > link.options.max_answer_bytes) {
          link.fail_all({ErrorCode::kCorruptMessage, link.name + " announced an answer of " + std::to_string(size) + " bytes, at most " +
                                                         std::to_string(link.options.max_answer_bytes) + " are taken"});
          return false;
        }
        link.in_answer = true;
        link.answer_size = static_cast<size_t>(size);
        // One like the last is taken at its word.
        link.answer = Answer(std::min(link.answer_size, std::max(kFirstRoom, link.last_size)));
      }
      make_room(link);
      size_t step = std::min(bytes.size(), link.answer.room().size());
      std::memcpy(link.answer.room().data(), bytes.data(), step);
      link.answer.filled(step);
      bytes = bytes.subspan(step);
      if (!end_answer(link)) return false;
    }
    return true;
  }

  static void make_room(LinkState& link) {
    Answer& answer = link.answer;
    if (!answer.room().empty() || answer.size() == link.answer_size) return;
    Answer larger(std::min(link.answer_size, 2 * answer.size()));
    std::memcpy(larger.room().data(), answer.bytes().data(), answer.size());
    larger.filled(answer.size());
    answer = std::move(larger);
  }

  bool end_answer(LinkState& link) {
    if (link.answer.size() < link.answer_size) return true;
    link.in_answer = false;
    link.last_size = link.answer_size;
    return link.deliver(std::exchange(link.answer, {}));
  }

  Descriptor epoll_;
  Descriptor wake_;
  std::vector<uint8_t> scratch_ = std::vector<uint8_t>(kScratch);
  std::unordered_map<uint64_t, LinkPtr> links_;  // those that have a socket; link thread
  std::atomic<bool> stopping_{false};
  base::Mutex mutex_;
  std::vector<Command> commands_ GUARDED_BY(mutex_);
  std::thread thread_;
};

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

bool LinkState::deliver(Answer answer_read) {
  base::MutexLock lock(mutex);
  if (broken) return false;
  if (waiting.empty()) {
    break_now({ErrorCode::kCorruptMessage, name + " sent an answer that nobody waits for"});
    return false;
  }
  tell(std::move(waiting.front().done), std::move(answer_read));
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

class TcpLink final : public Link {
 public:
  explicit TcpLink(LinkPtr state) : state_(std::move(state)) {}
  ~TcpLink() override { state_->close(); }
  void send(base::Output request, std::chrono::milliseconds timeout, Done done) override { state_->send(std::move(request), timeout, std::move(done)); }
  void fail_all(Error why) override { state_->fail_all(std::move(why)); }
  bool broken() const override { return state_->is_broken.load(std::memory_order_acquire); }
  int64_t received_bytes() const override { return state_->received.load(std::memory_order_relaxed); }
  std::chrono::microseconds round_trip() const override { return state_->round_trip(); }

 private:
  LinkPtr state_;
};

class TcpLinks final : public Links {
 public:
  TcpLinks(base::Runtime& runtime, int threads) : runtime_(runtime) {
    for (int i = 0; i < std::max(threads, 1); ++i) threads_.push_back(std::make_unique<LinkThread>("link-" + std::to_string(i)));
  }
  ~TcpLinks() override { resolver_.reset(); }

  std::unique_ptr<Link> open(const Endpoint& to, LinkOptions options, base::Executor& executor) override {
    uint64_t id = ++last_id_;
    LinkThread& thread = *threads_[id % threads_.size()];
    auto state = std::make_shared<LinkState>(id, to, options, runtime_, executor, thread);
    auto link = std::make_unique<TcpLink>(state);
    if (options.protocol != SecurityProtocol::kPlaintext) {
      state->fail_all({ErrorCode::kNetworkException, to.to_string() + ": outgoing connections of protocol " + std::string(name_of(options.protocol)) + " are not served"});
      return link;
    }
    state->start_timer();
    if (auto addresses = resolve(to.host, to.port, Names::kNumeric)) {
      thread.connect(std::move(state), std::move(*addresses));
      return link;
    }
    resolver().post([weak = std::weak_ptr<LinkState>(state)] {
      auto self = weak.lock();
      if (!self) return;
      auto found = resolve(self->to.host, self->to.port);
      if (!found) return self->fail_all({ErrorCode::kNetworkException, self->to.host + ": " + found.error().what});
      LinkThread& runs_on = self->thread;
      runs_on.connect(std::move(self), std::move(*found));
    });
    return link;
  }

 private:
  base::Executor& resolver() {
    base::MutexLock lock(mutex_);
    if (!resolver_) resolver_ = runtime_.make_executor("resolver", 1);
    return *resolver_;
  }

  base::Runtime& runtime_;
  std::atomic<uint64_t> last_id_{0};
  std::vector<std::unique_ptr<LinkThread>> threads_;
  base::Mutex mutex_;
  std::unique_ptr<base::Executor> resolver_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Links> make_tcp_links(base::Runtime& runtime, int threads) { return std::make_unique<TcpLinks>(runtime, threads); }

}  // namespace odradek::net
