#include "net/network_thread.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"

namespace odradek::net {
namespace {

constexpr int kEvents = 128;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kRetireStepNs = 2'000'000;
constexpr uint32_t kAllEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
constexpr int kClockEvery = 8;  // events served between two looks at the clock
constexpr size_t kPartPerLook = 4;  // of a request, which has to come between two looks (reservation_stall) while others wait
// Requests a second from which on, and below which, a thread counts as busy, and how often that is looked at.
constexpr uint64_t kBusy = 5'000;
constexpr uint64_t kCalm = 2'500;
constexpr int64_t kRatePeriodNs = 50'000'000;

}  // namespace

// ---- ThreadInbox

ThreadInbox::~ThreadInbox() {
  for (Command* command = commands.close(); command != nullptr;) {
    Command* next = command->next.load(std::memory_order_relaxed);
    delete command;
    command = next;
  }
}

bool ThreadInbox::post(std::function<void(NetworkThread&)> run, std::function<void()> refused) {
  auto* command = new Command;
  command->run = std::move(run);
  command->refused = std::move(refused);
  if (commands.try_push(command) == base::MpscQueue<Command>::Push::kClosed) {
    if (command->refused) command->refused();
    delete command;
    return false;
  }
  wake();
  return true;
}

// ---- NetworkThread: calls from other threads

NetworkThread::NetworkThread(ReactorShared& shared, ListenerShared& listener, std::string name, Descriptor epoll, Descriptor wake)
    : shared_(shared),
      listener_(listener),
      name_(std::move(name)),
      inbox_(std::make_shared<ThreadInbox>(std::move(wake))),
      new_sockets_(static_cast<size_t>(std::max(shared.options.new_connection_queue, 1))),
      epoll_(std::move(epoll)),
      read_context_(shared.memory->pool, shared.memory->budget, shared.options.request_max_bytes),
      write_scratch_(new uint8_t[FrameWriter::kScratch]),
      next_timer_ns_(kNever) {
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
  int64_t until = kNever;
  if (next_timer_ns_ != kNever) until = next_timer_ns_ - now_ns_;
  if (round_end_sleep_ns_ >= 0) until = std::min(until, round_end_sleep_ns_);
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
  if (now_ns_ >= next_timer_ns_) run_timers();
  if (now_ns_ - waking_chosen_ns_ >= kRatePeriodNs) choose_waking();
  round_end_sleep_ns_ = shared_.sink.on_round_end();
  if (draining_ && open_.empty() && drained_) std::exchange(drained_, nullptr)();
  for (Connection* connection : dead_) delete connection;
  dead_.clear();
  if (stopping_) finish();
}

// The end of the thread. Whoever sends to the inbox from now on is refused and sees to itself.
void NetworkThread::finish() {
  for (auto* command = inbox_->commands.close(); command != nullptr;) {
    auto* next = command->next.load(std::memory_order_relaxed);
    command->run(*this);
    delete command;
    command = next;
  }
  take_new_sockets();
  if (retiring_) {
    while (!open_.empty() && move_away(*open_.front())) {
    }
  }
  close_all("shutting down");
  Exchange* exchange = inbox_->answers.close();
  if (exchange != nullptr) ++batches_;
  while (exchange != nullptr) {
    Exchange* next = exchange->next.load(std::memory_order_relaxed);
    Connection& connection = *exchange->connection;
    end_exchange(*exchange);
    settle_closed(connection);
    exchange = next;
  }
  if (drained_) std::exchange(drained_, nullptr)();
  for (Connection* connection : dead_) delete connection;
  dead_.clear();
  for (Connection* connection : closing_) {
    int references = connection->open_exchanges_ + (connection->release_awaited_ ? 1 : 0);
    if (connection->late_references_.fetch_add(references, std::memory_order_acq_rel) + references == 0) delete connection;
  }
  closing_.clear();
  // The last touch of those that found the queue empty: the inbox may go when it is done.
  while (inbox_->wakes_done.load(std::memory_order_acquire) != batches_) std::this_thread::yield();
  ended_.store(true, std::memory_order_release);
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
      if (exchange->mute_until_ns != 0) mute(connection, exchange->mute_until_ns);
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

void NetworkThread::run_timers() {
  next_timer_ns_ = kNever;
  while (!muted_.empty() && muted_.begin()->first <= now_ns_) {
    Connection& connection = *muted_.begin()->second;
    muted_.erase(muted_.begin());
    connection.mute_until_ns_ = 0;
    shared_.sink.on_unmuted(connection);
    make_ready(connection);
  }
  if (!muted_.empty()) timer_at(muted_.begin()->first);

  while (!watched_.empty() && watched_.front().first <= now_ns_) {
    Connection& connection = *watched_.front().second;
    watched_.pop_front();
    connection.in_watched_ = false;
    if (!connection.reader_->waits_for_peer()) continue;
    bool reads = connection.mute_until_ns_ == 0 && !connection.pipeline_full_ && !is_stalled_ && !connection.readable_;
    if (reads && connection.reader_->progress() == connection.seen_progress_) {
      close(connection, "a request stopped in the middle");
    } else if (reads && holds_up_others(connection)) {
      close(connection, "a request comes too slowly while others wait for its memory");
    } else {
      watch(connection);
    }
  }
  if (!watched_.empty()) timer_at(watched_.front().first);

  int64_t idle_ns = std::chrono::nanoseconds(shared_.options.max_idle).count();
  if (idle_ns > 0) {
    while (!idle_checks_.empty() && idle_checks_.begin()->first <= now_ns_) {
      Connection& connection = *idle_checks_.begin()->second;
      // Who has ended its side while a request of it is parked may be gone, and the request may be parked for as long as it asked for.
      // Who takes nothing of the answer that is there for it keeps its memory from others.
      const bool takes_nothing = connection.writer_.has_answer() && !connection.writable_;
      bool may_go = connection.open_exchanges_ == 0 || connection.peer_closed_ || takes_nothing;
      if (may_go && now_ns_ - connection.active_ns_ >= idle_ns) {
        close(connection, "idle");
        continue;
      }
      // One check a period is enough: activity in between only moves the next one.
      idle_checks_.erase(idle_checks_.begin());
      connection.idle_check_ns_ = (may_go ? connection.active_ns_ : now_ns_) + idle_ns;
      idle_checks_.insert({connection.idle_check_ns_, &connection});
    }
    if (!idle_checks_.empty()) timer_at(idle_checks_.begin()->first);
  }
  if (retiring_) timer_at(now_ns_ + kRetireStepNs);
}

// A busy thread that interrupts handlers (or the clients on the same machine) at each wake-up finds one answer or request each time and
// sleeps again; one that waits for its turn finds many. On busy processors that saves a third of the CPU of small requests. A calm thread
// wakes up at once: there the single answer counts.
void NetworkThread::choose_waking() {
  auto rate = frames_ * 1'000'000'000 / static_cast<uint64_t>(now_ns_ - waking_chosen_ns_);
  auto wanted = rate >= kBusy ? base::Waking::kNotPreempting : rate < kCalm ? base::Waking::kPreempting : waking_;
  if (wanted != waking_) base::set_waking_of_this_thread(wanted);
  waking_ = wanted;
  waking_chosen_ns_ = now_ns_;
  frames_ = 0;
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
  int64_t idle_ns = std::chrono::nanoseconds(shared_.options.max_idle).count();
  if (idle_ns > 0) {
    connection->idle_check_ns_ = now_ns_ + idle_ns;
    idle_checks_.insert({connection->idle_check_ns_, connection});
    timer_at(connection->idle_check_ns_);
  }
  if (connection->mute_until_ns_ != 0) {
    muted_.insert({connection->mute_until_ns_, connection});
    timer_at(connection->mute_until_ns_);
  }
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

void NetworkThread::serve_read(Connection& connection) {
  if (connection.mute_until_ns_ != 0 || connection.at_end_ || draining_ || retiring_ || stopping_) return;
  if (connection.pipeline_full_) {
    int limit = shared_.options.max_pipelined_requests;
    if (connection.open_exchanges_ > limit - limit / 4 && connection.open_exchanges_ > 0) return;
    connection.pipeline_full_ = false;
  }
  if (is_stalled_) {
    if (!connection.in_stalled_) {
      connection.in_stalled_ = true;
      stalled_.push_back(&connection);
    }
    return;
  }
  current_ = &connection;
  uint64_t before = connection.reader_->progress();
  auto stop = connection.reader_->run(connection.socket_.get(), connection.readable_, *this, connection.on_room_);
  if (connection.reader_->progress() != before) connection.active_ns_ = now_ns_;
  switch (stop) {
    case FrameReader::Stop::kDrained:
      // A peer that has closed: the end is still to be read.
      if (connection.peer_closed_ && connection.readable_) {
        make_ready(connection);
      } else {
        connection.readable_ = false;
      }
      break;
    case FrameReader::Stop::kTurnOver:
      make_ready(connection);
      break;
    case FrameReader::Stop::kRefused:
      if (is_stalled_ && !connection.in_stalled_) {
        connection.in_stalled_ = true;
        stalled_.push_back(&connection);
      }
      break;
    case FrameReader::Stop::kNoRoom:
      break;
    case FrameReader::Stop::kEnd:
      connection.at_end_ = true;
      if (connection.open_exchanges_ == 0) close(connection, "closed by the peer");
      return;
    case FrameReader::Stop::kTooLarge:
      log::warn("net", "{}: request of {} bytes from {}:{} refused (socket.request.max.bytes is {})", listener_.options.name,
                connection.reader_->refused_size(), connection.peer.host, connection.peer.port, shared_.options.request_max_bytes);
      close(connection, "bad request size");
      return;
    case FrameReader::Stop::kBroken:
      close(connection, "connection lost");
      return;
  }
  if (!connection.in_watched_ && connection.reader_->waits_for_peer()) watch(connection);
}

bool NetworkThread::may_take() {
  if (draining_ || retiring_) return false;
  if (current_->open_exchanges_ >= shared_.options.max_pipelined_requests) {
    current_->pipeline_full_ = true;
    return false;
  }
  if (!shared_.sink.admit(*inbox_)) {
    is_stalled_ = true;
    return false;
  }
  return true;
}

void NetworkThread::take(Frame frame) {
  ++frames_;
  Exchange* exchange = shared_.sink.on_frame(*current_, std::move(frame), now_ns_);
  // It may have been answered already; that is known only when this thread takes it out of its inbox.
  current_->writer_.expect(exchange);
  ++current_->open_exchanges_;
}

void NetworkThread::done(Exchange& exchange) {
  if (write_now_ns_ == 0) write_now_ns_ = shared_.clock.monotonic_ns();
  exchange.sent_ns = write_now_ns_;
  end_exchange(exchange);
}

void NetworkThread::end_exchange(Exchange& exchange) {
  --exchange.connection->open_exchanges_;
  shared_.sink.on_answered(exchange);
  exchange.release();
}

void NetworkThread::serve_write(Connection& connection) {
  if (!connection.writable_ || connection.loading_) return;
  write_now_ns_ = 0;
  auto stop = connection.writer_.run(connection.socket_.get(), shared_.loader != nullptr, write_scratch_.get(), *this);
  connection.active_ns_ = now_ns_;
  switch (stop) {
    case FrameWriter::Stop::kNothing: break;
    case FrameWriter::Stop::kBlocked: connection.writable_ = false; break;
    case FrameWriter::Stop::kTurnOver: make_ready(connection); break;
    case FrameWriter::Stop::kCold: load_slice(connection); break;
    case FrameWriter::Stop::kClose:
      connection.writer_.first()->sent_ns = shared_.clock.monotonic_ns();
      close(connection, "closed by the broker");
      return;
    case FrameWriter::Stop::kBroken: close(connection, "cannot send"); return;
  }
  if (connection.open_exchanges_ == 0 && (connection.at_end_ || draining_)) {
    close(connection, draining_ ? "shutting down" : "closed by the peer");
    return;
  }
  if (connection.pipeline_full_) {
    int limit = shared_.options.max_pipelined_requests;
    if (connection.open_exchanges_ <= limit - limit / 4) make_ready(connection);
  }
}

void NetworkThread::load_slice(Connection& connection) {
  connection.loading_ = true;
  shared_.loader->load(connection.writer_.to_load(), [inbox = inbox_, id = connection.id] {
    inbox->post([id](NetworkThread& self) {
      Connection* connection = self.find(id);
      if (connection == nullptr) return;
      connection->loading_ = false;
      connection->writer_.loaded();
      self.make_ready(*connection);
    });
  });
}

Connection* NetworkThread::find(uint64_t id) {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void NetworkThread::watch(Connection& connection) {
  connection.in_watched_ = true;
  connection.seen_progress_ = connection.reader_->progress();
  connection.seen_frame_ = connection.reader_->under_way();
  int64_t check = now_ns_ + std::chrono::nanoseconds(shared_.options.reservation_stall).count();
  watched_.push_back({check, &connection});
  timer_at(check);
}

// Since it was looked at last its request has got on by too small a part, and there is no memory for somebody else's.
bool NetworkThread::holds_up_others(const Connection& connection) const {
  if (!shared_.memory->budget.somebody_waits()) return false;
  const FrameReader::UnderWay now = connection.reader_->under_way();
  return now.number == connection.seen_frame_.number && now.received - connection.seen_frame_.received < now.size / kPartPerLook;
}

void NetworkThread::mute(Connection& connection, int64_t until_ns) {
  if (connection.mute_until_ns_ != 0) {
    if (connection.mute_until_ns_ >= until_ns) return;
    muted_.erase({connection.mute_until_ns_, &connection});
  }
  connection.mute_until_ns_ = until_ns;
  muted_.insert({until_ns, &connection});
  timer_at(until_ns);
}

// Takes the connection off every list but open_.
void NetworkThread::forget(Connection& connection) {
  by_id_.erase(connection.id);
  idle_checks_.erase({connection.idle_check_ns_, &connection});
  if (connection.mute_until_ns_ != 0) muted_.erase({connection.mute_until_ns_, &connection});
  if (connection.in_ready_) std::erase(ready_, &connection);
  if (connection.in_stalled_) std::erase(stalled_, &connection);
  if (connection.in_watched_) std::erase_if(watched_, [&](auto& entry) { return entry.second == &connection; });
  connection.in_ready_ = connection.in_stalled_ = connection.in_watched_ = false;
}

void NetworkThread::close(Connection& connection, const char* why) {
  log::debug("net", "{}: connection {} from {}:{} closed: {}", listener_.options.name, connection.id, connection.peer.host,
             connection.peer.port, why);
  forget(connection);
  connection.reader_.reset();
  connection.socket_.reset();
  closing_.splice(closing_.end(), open_, connection.place_);
  shared_.limits.close(connection.peer.host);
  listener_.connections.fetch_sub(1, std::memory_order_seq_cst);
  shared_.on_room();
  connection.release_awaited_ = !shared_.sink.on_close(connection);
  for (Exchange* exchange = connection.writer_.take_all(); exchange != nullptr;) {
    Exchange* next = exchange->next_in_order_;
    if (exchange->answered_) end_exchange(*exchange);
    exchange = next;
  }
  settle_closed(connection);
}

void NetworkThread::close_all(const char* why) {
  while (!open_.empty()) close(*open_.front(), why);
}

void NetworkThread::close_excess() {
  base::MutexLock lock(shared_.shed_mutex);
  auto too_many = [&] {
    return listener_.connections.load(std::memory_order_seq_cst) > listener_.max_connections.load(std::memory_order_seq_cst) ||
           (!listener_.options.inter_broker && shared_.limits.exceeded());
  };
  if (!too_many()) return;
  std::vector<Connection*> all(open_.begin(), open_.end());
  std::sort(all.begin(), all.end(), [](const Connection* a, const Connection* b) {
    return std::pair(a->open_exchanges_ > 0, a->active_ns_) < std::pair(b->open_exchanges_ > 0, b->active_ns_);
  });
  for (Connection* connection : all) {
    if (!too_many()) return;
    close(*connection, "more connections than max.connections");
  }
}

// A closed connection goes when nobody refers to it any more.
void NetworkThread::settle_closed(Connection& connection) {
  if (connection.open_exchanges_ > 0 || connection.release_awaited_) return;
  closing_.erase(connection.place_);
  dead_.push_back(&connection);  // events of this round may still name it
}

// ---- Going away

void NetworkThread::retire_step() {
  take_new_sockets();
  timer_at(now_ns_ + kRetireStepNs);
  for (auto at = open_.begin(); at != open_.end();) {
    Connection& connection = **at++;
    if (connection.open_exchanges_ == 0 && !connection.loading_ && shared_.sink.is_quiet(connection) && !move_away(connection)) return;
  }
  // A thread that the sink has on its list of refused ones waits until it is taken off.
  if (open_.empty() && closing_.empty() && !is_stalled_) stopping_ = true;
}

bool NetworkThread::move_away(Connection& connection) {
  std::shared_ptr<NetworkThread> target = listener_.pick();
  if (target == nullptr) return false;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.socket_.get(), nullptr);
  forget(connection);
  open_.erase(connection.place_);
  connection.readable_ = connection.writable_ = true;
  // A thread that was picked may have ended since; then it is not picked again.
  for (Connection* moved = &connection; target != nullptr; target = listener_.pick()) {
    connection.reader_->move_to(target->read_context_);
    if (target->inbox_->post([moved](NetworkThread& self) { self.adopt(moved); })) return true;
  }
  connection.reader_->move_to(read_context_);
  adopt(&connection);
  return false;
}

// ---- Connection

Connection::Connection(uint64_t the_id, int socket, const std::string& the_listener, SecurityProtocol the_protocol, Address the_peer,
                       std::shared_ptr<ThreadInbox> inbox, std::shared_ptr<FrameMemory> memory, ReadContext& context)
    : id(the_id),
      listener(the_listener),
      protocol(the_protocol),
      peer(std::move(the_peer)),
      local(local_address(socket)),
      memory_(std::move(memory)),
      inbox_(std::move(inbox)),
      socket_(socket),
      reader_(std::make_unique<FrameReader>(context)) {
  on_room_ = [this, the_id] {
    inbox_->post([the_id](NetworkThread& self) {
      if (Connection* connection = self.find(the_id)) self.make_ready(*connection);
    });
  };
}

Connection::~Connection() = default;

void Connection::answer(Exchange* exchange) {
  ThreadInbox& inbox = *inbox_;  // after the push neither this nor, but for its wakes_done, the inbox is sure to live
  inbox.answers_pushed.fetch_add(1, std::memory_order_relaxed);
  switch (inbox.answers.try_push(exchange)) {
    case base::MpscQueue<Exchange>::Push::kFirst:
      inbox.wake();
      inbox.wakes_done.fetch_add(1, std::memory_order_release);  // meets the acquire load at the thread's end
      break;
    case base::MpscQueue<Exchange>::Push::kMore: break;
    case base::MpscQueue<Exchange>::Push::kClosed:
      exchange->release();
      drop_late_reference();
      break;
  }
}

void Connection::released() {
  std::shared_ptr<ThreadInbox> inbox = inbox_;
  inbox->post(
      [this](NetworkThread& self) {
        release_awaited_ = false;
        self.settle_closed(*this);
      },
      [this] { drop_late_reference(); });
}

void Connection::drop_late_reference() {
  if (late_references_.fetch_sub(1, std::memory_order_acq_rel) - 1 == 0) delete this;
}

}  // namespace odradek::net
