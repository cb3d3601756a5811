// The handler threads (`handler-<i>`): take connections out of the request queue and run their requests.
// Waking costs more than a small request, so as few are woken as do the work:
// - nobody is awake: one is woken at once (work_came);
// - some are awake: another one only when the queue is long, and no more than there are processors;
// - the queue has not moved for 200 us, whoever is awake is busy with something long: one more, whatever the number. A network
//   thread sees to that: as long as connections wait it does not sleep longer than that.
// Thread: any; stop() from one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/event_count.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "net/idle_meter.h"
#include "request/request_context.h"
#include "server/request_queue.h"

namespace odradek::server {

class HandlerPool {
 public:
  HandlerPool(base::Runtime& runtime, RequestQueue& queue, request::RequestSink& sink);
  ~HandlerPool();

  // Also from a handler thread. Those that go finish what they run.
  void resize(int threads);
  // Runs what is queued, then ends all threads.
  void stop();
  int threads() const;
  net::IdleTimes idle_times() const;

  // A connection was queued by a thread that does not call round_end.
  void work_came();
  // A connection was queued by a network thread; round_end() follows.
  void work_came_in_round() { wake_if_none_is_awake(); }
  // See FrameSink::on_round_end.
  int64_t round_end();

 private:
  struct Handler {
    std::atomic<bool> leave{false};
    std::atomic<bool> gone{false};
    net::IdleMeter meter;
    int64_t started_ns = 0;
    std::unique_ptr<base::Executor> thread;
  };
  static constexpr int kTurns = 8;  // requests of one connection before the next one's
  static constexpr size_t kLong = 4;
  static constexpr int64_t kStuckNs = 200'000;

  void run(Handler& self);
  ServerConnection* wait(Handler& self);
  void wake_if_none_is_awake();
  void wake_one_more();
  bool is_long(uint32_t asleep) const;

  base::Runtime& runtime_;
  RequestQueue& queue_;
  request::RequestSink& sink_;
  const int processors_;
  base::EventCount work_;
  alignas(64) std::atomic<int> alive_{0};
  // A handler has been sent for and has not looked at the queue since. Set only by an exchange, cleared by each handler between
  // announcing its sleep (or waking) and its next look at the queue: who finds it set may rely on that look.
  alignas(64) std::atomic<bool> waking_{false};
  std::atomic<bool> stopping_{false};
  mutable base::Mutex mutex_;
  std::vector<std::unique_ptr<Handler>> handlers_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Handler>> leaving_ GUARDED_BY(mutex_);
};

}  // namespace odradek::server
