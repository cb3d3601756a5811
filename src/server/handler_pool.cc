#include "server/handler_pool.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/clock.h"
#include "server/server_connection.h"

namespace odradek::server {

HandlerPool::HandlerPool(base::Runtime& runtime, RequestQueue& queue, request::RequestSink& sink)
    : runtime_(runtime), queue_(queue), sink_(sink), processors_(std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)))) {}

HandlerPool::~HandlerPool() { stop(); }

void HandlerPool::resize(int threads) {
  threads = std::max(threads, 1);
  std::vector<std::unique_ptr<Handler>> gone;  // their threads end outside the lock
  base::MutexLock lock(mutex_);
  if (stopping_.load(std::memory_order_relaxed)) return;
  for (auto& handler : leaving_) {
    if (handler->gone.load(std::memory_order_acquire)) gone.push_back(std::move(handler));
  }
  std::erase(leaving_, nullptr);
  while (static_cast<int>(handlers_.size()) < threads) {
    auto handler = std::make_unique<Handler>();
    handler->started_ns = runtime_.clock().monotonic_ns();
    alive_.fetch_add(1, std::memory_order_seq_cst);
    handler->thread = runtime_.make_executor("handler-" + std::to_string(handlers_.size()), 1);
    handler->thread->post([this, self = handler.get()] { run(*self); });
    handlers_.push_back(std::move(handler));
  }
  while (static_cast<int>(handlers_.size()) > threads) {
    handlers_.back()->leave.store(true, std::memory_order_seq_cst);
    leaving_.push_back(std::move(handlers_.back()));
    handlers_.pop_back();
  }
  work_.notify_all();  // those that leave must notice
}

void HandlerPool::stop() {
  std::vector<std::unique_ptr<Handler>> all;
  {
    base::MutexLock lock(mutex_);
    stopping_.store(true, std::memory_order_seq_cst);
    all = std::move(handlers_);
    for (auto& handler : leaving_) all.push_back(std::move(handler));
    handlers_.clear();
    leaving_.clear();
  }
  work_.notify_all();
  all.clear();  // waits for each
}

int HandlerPool::threads() const {
  base::MutexLock lock(mutex_);
  return static_cast<int>(handlers_.size());
}

net::IdleTimes HandlerPool::idle_times() const {
  net::IdleTimes times;
  int64_t now_ns = runtime_.clock().monotonic_ns();
  base::MutexLock lock(mutex_);
  for (auto& handler : handlers_) {
    ++times.threads;
    times.idle_ns += handler->meter.idle_ns(now_ns);
    times.alive_ns += now_ns - handler->started_ns;
  }
  return times;
}

void HandlerPool::run(Handler& self) {
  for (;;) {
    if (self.leave.load(std::memory_order_relaxed)) break;
    ServerConnection* connection = queue_.pop();
    if (connection == nullptr) {
      connection = wait(self);
      if (connection == nullptr) {
        if (stopping_.load(std::memory_order_seq_cst) && queue_.size() == 0) break;
        continue;
      }
    }
    if (is_long(work_.waiters())) wake_one_more();
    connection->run(sink_, kTurns);
  }
  // Others may have relied on this one being awake: first it stops being counted, then it sends for somebody else.
  alive_.fetch_sub(1, std::memory_order_seq_cst);
  work_.notify_one();
  self.gone.store(true, std::memory_order_release);
}

// Null: look again.
ServerConnection* HandlerPool::wait(Handler& self) {
  base::EventCount::Key key = work_.prepare_wait();
  // Exchange: whoever found the flag set before this has its connection in the queue for the look below.
  waking_.exchange(false, std::memory_order_acq_rel);
  ServerConnection* connection = queue_.pop();
  if (connection != nullptr || stopping_.load(std::memory_order_seq_cst) || self.leave.load(std::memory_order_seq_cst)) {
    work_.cancel_wait();
    return connection;
  }
  self.meter.begin(runtime_.clock().monotonic_ns());
  work_.commit_wait(key);
  self.meter.end(runtime_.clock().monotonic_ns());
  waking_.exchange(false, std::memory_order_acq_rel);
  return nullptr;
}

void HandlerPool::wake_if_none_is_awake() {
  // Whoever is not among the waiters now will look at the queue before it waits.
  uint32_t asleep = work_.waiters_after_change();
  if (static_cast<int>(asleep) < alive_.load(std::memory_order_seq_cst)) return;
  wake_one_more();
}

void HandlerPool::wake_one_more() {
  if (!waking_.exchange(true, std::memory_order_acq_rel)) work_.notify_one();
}

bool HandlerPool::is_long(uint32_t asleep) const {
  if (asleep == 0) return false;
  int awake = alive_.load(std::memory_order_relaxed) - static_cast<int>(asleep);
  return awake < processors_ && queue_.size() > kLong * static_cast<size_t>(std::max(awake, 1));
}

void HandlerPool::work_came() {
  wake_if_none_is_awake();
  if (work_.waiters() != 0) wake_one_more();  // nobody would look after it
}

int64_t HandlerPool::round_end() {
  struct LastLook {
    uint64_t pops = 0;
    int64_t at_ns = 0;
  };
  thread_local LastLook last;
  if (queue_.size() == 0) return -1;
  uint32_t asleep = work_.waiters();
  if (asleep == 0) return -1;
  if (is_long(asleep)) wake_one_more();
  uint64_t pops = queue_.pops();
  int64_t now_ns = runtime_.clock().monotonic_ns();
  if (pops != last.pops) {
    last = {pops, now_ns};
  } else if (now_ns - last.at_ns >= kStuckNs) {
    wake_one_more();
    last.at_ns = now_ns;
  }
  return kStuckNs;
}

}  // namespace odradek::server
