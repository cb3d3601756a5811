#include "net/network_thread.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/check.h"
#include "base/thread.h"

namespace odradek::net {
namespace {

constexpr int kEvents = 128;
constexpr int64_t kRetireStepNs = 2'000'000;
constexpr uint32_t kAllEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
constexpr int kClockEvery = 8;  // events served between two looks at the clock

}  // namespace

// ---- Calls from other threads

NetworkThread::NetworkThread(ReactorShared& shared, ListenerShared& listener, std::string name, Descriptor epoll, Descriptor wake)
    : shared_(shared),
      listener_(listener),
      name_(std::move(name)),
      inbox_(std::make_shared<ThreadInbox>(std::move(wake))),
      new_sockets_(static_cast<size_t>(std::max(shared.options.new_connection_queue, 1))),
      epoll_(std::move(epoll)),
      read_context_(shared.memory->pool, shared.memory->budget, shared.options.request_max_bytes),
      write_scratch_(new uint8_t[FrameWriter::kScratch]),
      timers_(shared.options, shared.memory->budget) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, inbox_->event.get(), &event) == 0);
}

NetworkThread::~NetworkThread() {
  CHECK(!thread_.joinable());
}

void NetworkThread::start() {
  started_ns_ = shared_.clock.monotonic_ns();
  thread_ = base::start_thread(name_, [this] { run(); });
}

bool NetworkThread::offer(const NewSocket& socket) {
  // Sequentially consistent: meets going_to_sleep(), as wake() does.
  if (new_socket_count_.fetch_add(1, std::memory_order_seq_cst) >= std::max(shared_.options.new_connection_queue, 1)) {
    new_socket_count_.fetch_sub(1, std::memory_order_seq_cst);
    return false;
  }
  NewSocket copy = socket;
  CHECK(new_sockets_.try_push(copy));
  inbox_->wake();
  return true;
}

void NetworkThread::retire() {
  inbox_->post([](NetworkThread& self) { self.retiring_ = true; });
}

void NetworkThread::shed() {
  inbox_->post([](NetworkThread& self) { self.close_excess(); });
}

void NetworkThread::drain(std::function<void()> drained) {
  auto refused = drained;
  inbox_->post(
      [drained = std::move(drained)](NetworkThread& self) {
        self.draining_ = true;
        self.drained_ = drained;
        std::vector<Connection*> all(self.open_.begin(), self.open_.end());
        for (Connection* connection : all) {
          if (connection->open_exchanges_ == 0) self.close(*connection, "shutting down");
        }
      },
      std::move(refused));
}

void NetworkThread::stop() {
  inbox_->post([](NetworkThread& self) { self.stopping_ = true; });
}

void NetworkThread::join() {
  if (thread_.joinable()) thread_.join();
}

int NetworkThread::response_queue() const {
  uint64_t taken = answers_taken_.load(std::memory_order_relaxed);
  uint64_t pushed = inbox_->answers_pushed.load(std::memory_order_relaxed);
  return pushed > taken ? static_cast<int>(pushed - taken) : 0;
}

// ---- The loop

void NetworkThread::run() {
  now_ns_ = shared_.clock.monotonic_ns();
  while (!ended_.load(std::memory_order_relaxed)) {
    int64_t ns = sleep_ns();
    if (ns != 0) {
      inbox_->going_to_sleep();
      if (inbox_->has_mail() || new_socket_count_.load(std::memory_order_seq_cst) > 0) {
        inbox_->awake();
        ns = 0;
      }
    }
    int events = wait(ns);
    round(events);
  }
}

int64_t NetworkThread::sleep_ns() {
  if (!ready_.empty()) return 0;
  constexpr int64_t kNever = ConnectionTimers::kNever;
  int64_t until = kNever;
  if (timers_.next_ns() != kNever) until = timers_.next_ns() - now_ns_;
  if (round_end_sleep_ns_ >= 0) until = std::min(until, round_end_sleep_ns_);
  if (retiring_) until = std::min(until, kRetireStepNs);
  if (until == kNever) return -1;
  return std::max<int64_t>(until, 1);
}

namespace {
thread_local epoll_event t_events[kEvents];
}

// Waits for events up to `ns` (-1: without limit) and takes the time.
int NetworkThread::wait(int64_t ns) {
  if (ns != 0) meter_.begin(shared_.clock.monotonic_ns());
  timespec limit{ns / 1'000'000'000, ns % 1'000'000'000};
  int count = ::epoll_pwait2(epoll_.get(), t_events, kEvents, ns < 0 ? nullptr : &limit, nullptr);
  if (count < 0 && errno != EINTR) {
    // Unknown to an older kernel, or forbidden in a container that does not know it yet.
    int ms = ns < 0 ? -1 : static_cast<int>(std::min<int64_t>((ns + 999'999) / 1'000'000, 60'000));
    count = ::epoll_wait(epoll_.get(), t_events, kEvents, ms);
  }
  now_ns_ = shared_.clock.monotonic_ns();
  if (ns != 0) {
    meter_.end(now_ns_);
    inbox_->awake();
  }
  return std::max(count, 0);
}

void NetworkThread::round(int events) {
  take_answers();
  for (int i = 0; i < events; ++i) {
    if (t_events[i].data.ptr == nullptr) continue;  // the inbox
    on_event(*static_cast<Connection*>(t_events[i].data.ptr), t_events[i].events);
    if (i % kClockEvery == kClockEvery - 1) now_ns_ = shared_.clock.monotonic_ns();
  }
  take_new_sockets();
  take_resume();
  serve_ready();
  // Last: they may end the thread or give connections away.
  take_commands();
  if (retiring_) retire_step();
  if (now_ns_ >= timers_.next_ns()) timers_.run(now_ns_, is_stalled_, *this);
  waking_.look(now_ns_);
  round_end_sleep_ns_ = shared_.sink.on_round_end();
  if (draining_ && open_.empty() && drained_) std::exchange(drained_, nullptr)();
  for (Connection* connection : dead_) delete connection;
  dead_.clear();
  if (stopping_) finish();
}

void NetworkThread::take_answers() {
  Exchange* exchange = inbox_->answers.pop_all();
  if (exchange == nullptr) return;
  ++batches_;
  uint64_t count = 0;
  for (; exchange != nullptr; ++count) {
    Exchange* next = exchange->next.load(std::memory_order_relaxed);
    Connection& connection = *exchange->connection;
    exchange->answered_ = true;
    exchange->dequeued_ns = now_ns_;
    if (connection.socket_.get() < 0) {
      end_exchange(*exchange);
      settle_closed(connection);
    } else {
      if (exchange->mute_until_ns != 0) timers_.mute(connection, exchange->mute_until_ns);
      if (connection.writer_.first() == exchange) answered_.push_back(&connection);
    }
    exchange = next;
  }
  answers_taken_.store(answers_taken_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  for (Connection* connection : answered_) {
    if (connection->socket_.get() >= 0) serve_write(*connection);
  }
  answered_.clear();
}

void NetworkThread::take_commands() {
  for (auto* command = inbox_->commands.pop_all(); command != nullptr;) {
    auto* next = command->next.load(std::memory_order_relaxed);
    command->run(*this);
    delete command;
    command = next;
  }
}

void NetworkThread::take_new_sockets() {
  if (new_socket_count_.load(std::memory_order_relaxed) == 0) return;
  NewSocket socket;
  bool taken = false;
  while (new_sockets_.try_pop(socket)) {
    new_socket_count_.fetch_sub(1, std::memory_order_seq_cst);
    taken = true;
    open(socket);
  }
  if (taken) listener_.on_queue_room();
}

void NetworkThread::take_resume() {
  if (!inbox_->resume.load(std::memory_order_relaxed) || !inbox_->resume.exchange(false, std::memory_order_seq_cst)) return;
  is_stalled_ = false;
  for (Connection* connection : stalled_) {
    connection->in_stalled_ = false;
    make_ready(*connection);
  }
  stalled_.clear();
}

void NetworkThread::serve_ready() {
  if (ready_.empty()) return;
  ready_now_.swap(ready_);
  for (Connection* connection : ready_now_) {
    connection->in_ready_ = false;
  }
  for (Connection* connection : ready_now_) {
    if (connection->socket_.get() >= 0 && connection->writer_.has_answer()) serve_write(*connection);
    if (connection->socket_.get() >= 0) serve_read(*connection);
  }
  ready_now_.clear();
}

// ---- Connections

void NetworkThread::open(const NewSocket& socket) {
  auto* connection = new Connection(shared_.next_connection_id.fetch_add(1, std::memory_order_relaxed), socket.socket,
                                    listener_.options.name, listener_.options.protocol, socket.peer, inbox_, shared_.memory, read_context_);
  shared_.sink.on_open(*connection);
  adopt(connection);
}

void NetworkThread::adopt(Connection* connection) {
  connection->inbox_ = inbox_;
  connection->active_ns_ = now_ns_;
  connection->place_ = open_.insert(open_.end(), connection);
  by_id_[connection->id] = connection;
  timers_.add(*connection, now_ns_);
  epoll_event event{};
  event.events = kAllEvents;
  event.data.ptr = connection;
  if (draining_ || (stopping_ && !retiring_) || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection->socket_.get(), &event) != 0) {
    close(*connection, "shutting down");
    return;
  }
  make_ready(*connection);
}

void NetworkThread::on_event(Connection& connection, uint32_t events) {
  if (connection.socket_.get() < 0) return;
  if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0) connection.peer_closed_ = true;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) connection.readable_ = true;
  if ((events & EPOLLOUT) != 0 && !connection.writable_) {
    connection.writable_ = true;
    serve_write(connection);
    if (connection.socket_.get() < 0) return;
  }
  if ((events & (EPOLLERR | EPOLLHUP)) != 0 && (connection.at_end_ || connection.open_exchanges_ > 0)) {
    // Gone in both directions: no answer would arrive.
    close(connection, "closed by the peer");
    return;
  }
  if (connection.readable_) serve_read(connection);
}

void NetworkThread::make_ready(Connection& connection) {
  if (connection.in_ready_ || connection.socket_.get() < 0) return;
  connection.in_ready_ = true;
  ready_.push_back(&connection);
}

void NetworkThread::unmuted(Connection& connection) {
  shared_.sink.on_unmuted(connection);
  make_ready(connection);
}

Connection* NetworkThread::find(uint64_t id) {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

}  // namespace odradek::net
