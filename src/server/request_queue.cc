#include "server/request_queue.h"

#include "server/server_connection.h"

namespace odradek::server {

bool RequestBound::admit(net::ReadingThread& thread) {
  if (waiting_.fetch_add(1, std::memory_order_seq_cst) < max_) return true;
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  // The short-lived addition above may have kept another from telling the refused ones; the look below makes up for it.
  refused_.push(&thread);
  if (waiting_.load(std::memory_order_seq_cst) < low_) resume_refused();
  return false;
}

void RequestBound::remove(int64_t requests) {
  if (requests == 0) return;
  if (waiting_.fetch_sub(requests, std::memory_order_seq_cst) - requests < low_ && !refused_.empty()) resume_refused();
}

void RequestBound::resume_refused() {
  for (net::ReadingThread* thread = refused_.pop_all(); thread != nullptr;) {
    net::ReadingThread* next = thread->next.load(std::memory_order_relaxed);
    thread->resume_reading();
    thread = next;
  }
}

void RequestQueue::push(ServerConnection* connection) {
  if (!ring_.try_push(connection)) {
    base::MutexLock lock(mutex_);
    overflow_.push_back(connection);
    overflow_size_.store(overflow_.size(), std::memory_order_seq_cst);
  }
  // Sequentially consistent: meets close(), which sets the flag and then empties the queue.
  if (closed_.load(std::memory_order_seq_cst)) drop_all();
}

ServerConnection* RequestQueue::pop() {
  ServerConnection* connection = nullptr;
  if (overflow_size_.load(std::memory_order_relaxed) != 0) {
    base::MutexLock lock(mutex_);
    if (!overflow_.empty()) {
      connection = overflow_.front();
      overflow_.pop_front();
      overflow_size_.store(overflow_.size(), std::memory_order_seq_cst);
    }
  }
  if (connection == nullptr && !ring_.try_pop(connection)) return nullptr;
  pops_.fetch_add(1, std::memory_order_relaxed);
  return connection;
}

void RequestQueue::close() {
  closed_.store(true, std::memory_order_seq_cst);
  drop_all();
  bound.close();
}

void RequestQueue::drop_all() {
  while (ServerConnection* connection = pop()) connection->drop_frames();
}

}  // namespace odradek::server
