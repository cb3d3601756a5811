// Connections close and move to other threads; the thread ends.
#include <sys/epoll.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/log.h"
#include "net/network_thread.h"

namespace odradek::net {

// Takes the connection off every list but open_.
void NetworkThread::forget(Connection& connection) {
  by_id_.erase(connection.id);
  timers_.forget(connection);
  if (connection.in_ready_) std::erase(ready_, &connection);
  if (connection.in_stalled_) std::erase(stalled_, &connection);
  connection.in_ready_ = connection.in_stalled_ = false;
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

void NetworkThread::retire_step() {
  take_new_sockets();
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

}  // namespace odradek::net
