// Connections that have a request to run, and the bound on requests that wait (queued.max.requests).
// A connection is in the ring at most once, and only with work; its frames wait in its mailbox. Lock-free; should unblocked
// connections ever overfill the ring, the rest goes through a list with a lock.
// Counted are the frames of connections that are active (in the ring or in the hands of a handler). Frames behind a request that
// is pending are not: a few blocked connections cannot stop the others.
// Thread: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>

#include "base/mpmc_queue.h"
#include "base/mpsc_queue.h"
#include "base/mutex.h"
#include "net/frame_sink.h"

namespace odradek::server {

class ServerConnection;

// The bound. A network thread that was refused is told when the number falls below three quarters: the refused thread first joins
// the list, then looks at the number again; whoever lowers the number looks at the list afterwards. All of it is sequentially
// consistent, so one of the two sees the other and no wake-up is lost.
class RequestBound {
 public:
  explicit RequestBound(int64_t max) : max_(max), low_(max * 3 / 4 > 1 ? max * 3 / 4 : 1) {}

  // Counts one request. False: there are too many; thread.resume_reading() will be called once.
  bool admit(net::ReadingThread& thread);
  void add(int64_t requests) { waiting_.fetch_add(requests, std::memory_order_seq_cst); }
  void remove(int64_t requests);
  int64_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  // Nobody is told any more.
  void close() { (void)refused_.close(); }

 private:
  void resume_refused();
  const int64_t max_;
  const int64_t low_;
  alignas(64) std::atomic<int64_t> waiting_{0};
  alignas(64) base::MpscQueue<net::ReadingThread> refused_;
};

class RequestQueue {
 public:
  explicit RequestQueue(int max_requests) : bound(max_requests), ring_(static_cast<size_t>(max_requests) + 1) {}

  RequestBound bound;

  void push(ServerConnection* connection);
  // Null: empty.
  ServerConnection* pop();
  // Connections, about.
  size_t size() const { return ring_.approximate_size() + overflow_size_.load(std::memory_order_relaxed); }
  // Goes up with each pop.
  uint64_t pops() const { return pops_.load(std::memory_order_relaxed); }

  // No handler takes from it any more: what is in it, and what is pushed later, has its frames dropped.
  void close();

 private:
  void drop_all();
  base::MpmcQueue<ServerConnection*> ring_;
  alignas(64) std::atomic<uint64_t> pops_{0};
  std::atomic<bool> closed_{false};
  std::atomic<size_t> overflow_size_{0};
  base::Mutex mutex_;
  std::deque<ServerConnection*> overflow_ GUARDED_BY(mutex_);
};

}  // namespace odradek::server
