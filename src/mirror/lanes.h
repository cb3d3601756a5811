// The connections of a mirror. A lane is one connection to one broker with a thread of its own, which sends while answers are on their way.
// What a lane works on it finds in the list of partitions: those whose leader its broker is.
//   SourceLane 0 of a broker polls (one long poll with every partition that is near its end); the others fetch ranges ahead, two at a
//   time each. TargetLane i produces the partitions whose hash falls to it, many requests on the way at once: order and place are safe
//   because each batch says by its sequence number where it belongs (partition.h).
// A lane that loses its connection hands its work back and connects again. Thread: one a lane; the Shared part as it says.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <map>

#include "base/executor.h"
#include "base/mutex.h"
#include "client/connection.h"
#include "metrics/registry.h"
#include "mirror/copying/partition.h"
#include "mirror/options.h"
#include "net/outgoing.h"

namespace odradek::mirror {

// Wakes sleeping lanes. A wait ends by itself, so that a wake-up that comes too early costs some time only.
class Alarm {
 public:
  void ring() {
    base::MutexLock lock(mutex_);
    ++rings_;
    wake_.notify_all();
  }
  uint64_t rings() const {
    base::MutexLock lock(mutex_);
    return rings_;
  }
  // Until it has rung more than `seen` times, at most so long.
  void wait(uint64_t seen, std::chrono::milliseconds longest) {
    base::MutexLock lock(mutex_);
    if (rings_ == seen) lock.wait_for(wake_, longest);
  }

 private:
  mutable base::Mutex mutex_;
  std::condition_variable wake_;
  uint64_t rings_ GUARDED_BY(mutex_) = 0;
};

using PartitionList = std::vector<std::shared_ptr<Partition>>;  // shared: lanes hold a list while the next one is made

struct Shared {
  Shared(const MirrorOptions& options, base::Runtime& runtime, net::Dialer& dialer) : options(options), runtime(runtime), dialer(dialer), budget(options.buffer_bytes) {}

  const MirrorOptions& options;
  base::Runtime& runtime;
  net::Dialer& dialer;
  Budget budget;
  Alarm source_alarm, target_alarm;
  std::function<uint64_t()> durable;            // ticket up to which runs are durable
  std::atomic<int64_t> lease_until_ns{0};       // nothing is produced after it
  std::atomic<bool> stop{false};
  std::atomic<bool> stale{false};               // leaders have moved: the control thread looks again
  std::atomic<int64_t> fetched_bytes{0};        // of Fetch answers
  std::shared_ptr<metrics::Histogram> delay;    // from a batch's arrival to its acknowledgement, ns
  int64_t now_ns() const { return runtime.clock().monotonic_ns(); }
  // In steps, so that a stop need not wait.
  void pause(int64_t ms) {
    int64_t until = now_ns() + ms * 1'000'000;
    while (!stop && now_ns() < until) dialer.pause_until(std::min(until, now_ns() + 100'000'000));
  }

  std::shared_ptr<const PartitionList> partitions() const {
    base::MutexLock lock(mutex);
    return list;
  }
  void set_partitions(std::shared_ptr<const PartitionList> next) {
    base::MutexLock lock(mutex);
    list = std::move(next);
  }

  mutable base::Mutex mutex;
  std::shared_ptr<const PartitionList> list GUARDED_BY(mutex) = std::make_shared<PartitionList>();
};

class Lane {
 public:
  Lane(Shared& shared, BrokerId broker, net::Endpoint address, int index, std::string client)
      : shared_(shared), broker_(broker), address_(std::move(address)), index_(index), client_(std::move(client)) {}
  virtual ~Lane() = default;
  // Starts the thread. stop() makes it end; the destructor of the class below waits for it.
  void start(const std::string& name);
  void stop() { stop_.store(true, std::memory_order_relaxed); }
  const net::Endpoint& address() const { return address_; }
  // Why there is no connection; empty: there is one.
  std::string trouble() const;

 protected:
  // One turn; false: nothing could be done.
  virtual bool work() = 0;
  virtual void hand_back(const std::string& why) = 0;  // the connection is gone
  virtual Alarm& alarm() = 0;
  void join() { executor_.reset(); }
  bool stopping() const { return stop_.load(std::memory_order_relaxed) || shared_.stop.load(std::memory_order_relaxed); }
  void broken(const std::string& why);

  Shared& shared_;
  const BrokerId broker_;
  const net::Endpoint address_;
  const int index_;
  const std::string client_;
  std::unique_ptr<client::Connection> connection_;

 private:
  void loop();
  std::atomic<bool> stop_{false};
  int failures_ = 0;
  mutable base::Mutex mutex_;
  std::string trouble_ GUARDED_BY(mutex_);
  std::unique_ptr<base::Executor> executor_;
};

class SourceLane final : public Lane {
 public:
  using Lane::Lane;
  ~SourceLane() override {
    stop();
    join();
  }

 private:
  using Work = std::pair<std::shared_ptr<Partition>, Partition::Task>;
  struct Request {
    client::Ticket ticket;
    std::vector<Work> work;
    int64_t sent_ns = 0;
    int64_t reserved = 0;  // of the budget
    bool compares = false;  // the broker's Fetch has last_fetched_epoch
  };
  bool work() override;
  void hand_back(const std::string& why) override;
  Alarm& alarm() override { return shared_.source_alarm; }
  bool send();
  std::vector<Work> find_work();
  void receive();
  void give_back(Request& request);

  std::deque<Request> on_the_way_;
  size_t next_ = 0;  // partition at which the search for work goes on
};

class TargetLane final : public Lane {
 public:
  using Lane::Lane;
  ~TargetLane() override {
    stop();
    join();
  }

 private:
  using Work = std::pair<std::shared_ptr<Partition>, Partition::Outgoing>;
  struct Request {
    client::Ticket ticket;
    std::vector<Work> work;
    int64_t sent_ns = 0;
    int64_t bytes = 0;
  };
  bool work() override;
  void hand_back(const std::string& why) override;
  Alarm& alarm() override { return shared_.target_alarm; }
  bool send();
  void receive();

  std::deque<Request> on_the_way_;
  int64_t bytes_on_the_way_ = 0;
};

}  // namespace odradek::mirror
