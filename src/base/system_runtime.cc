// The real runtime: system clock, posix files, executors of real threads, one thread for the timer wheel.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <deque>
#include <list>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/random.h"
#include "base/thread.h"

namespace odradek::base {

void name_this_thread(const std::string& name) { ::prctl(PR_SET_NAME, name.substr(0, 15).c_str()); }

void set_waking_of_this_thread(Waking waking) {
  sched_param none{};
  ::sched_setscheduler(0, waking == Waking::kNotPreempting ? SCHED_BATCH : SCHED_OTHER, &none);  // 0: this thread; refused: nothing is lost
}

std::thread start_thread(std::string name, Task body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread([name = std::move(name), body = std::move(body)]() mutable {
    name_this_thread(name);
    body();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

namespace {

int64_t read_clock(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

class SystemClock final : public Clock {
 public:
  int64_t wall_ms() const override { return read_clock(CLOCK_REALTIME) / 1'000'000; }
  int64_t monotonic_ns() const override { return read_clock(CLOCK_MONOTONIC); }
};

// xoshiro256** per thread, seeded from the system; these numbers name things, they guard nothing.
class SystemRandom final : public Random {
 public:
  uint64_t next() override {
    thread_local Xoshiro generator;
    return generator.next();
  }

 private:
  struct Xoshiro {
    uint64_t s[4];
    // Without a file: the first number may be wanted while the process has no descriptor left.
    Xoshiro() { CHECK(::getentropy(s, sizeof s) == 0); }
    static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
    uint64_t next() {
      uint64_t result = rotate(s[1] * 5, 7) * 9;
      uint64_t t = s[1] << 17;
      s[2] ^= s[0];
      s[3] ^= s[1];
      s[1] ^= s[2];
      s[0] ^= s[3];
      s[2] ^= t;
      s[3] = rotate(s[3], 45);
      return result;
    }
  };
};

class ThreadExecutor final : public Executor {
 public:
  ThreadExecutor(const std::string& name, int threads) {
    for (int i = 0; i < threads; ++i) {
      threads_.push_back(start_thread(threads == 1 ? name : name + "-" + std::to_string(i), [this] { run(); }));
    }
  }
  ~ThreadExecutor() override {
    close_door();
    {
      MutexLock lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void post(Task task) override {
    {
      MutexLock lock(mutex_);
      tasks_.push_back(std::move(task));
      if (idle_ == 0) return;  // a busy thread looks again before it sleeps
    }
    wake_.notify_one();
  }
  bool on_this_executor() const override { return current_ == this; }

 private:
  void run() {
    current_ = this;
    for (;;) {
      Task task;
      {
        MutexLock lock(mutex_);
        while (tasks_.empty()) {
          if (stopping_) return;
          ++idle_;
          lock.wait(wake_);
          --idle_;
        }
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  static thread_local const ThreadExecutor* current_;
  Mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  int idle_ GUARDED_BY(mutex_) = 0;
  std::vector<std::thread> threads_;
};
thread_local const ThreadExecutor* ThreadExecutor::current_ = nullptr;

// Two levels: 4096 slots of 1 ms, and an ordered overflow list of later timers by slot rounds. The thread sleeps until the
// next occupied slot, so an idle broker has no wake-up.
class TimerWheel final : public Timers {
 public:
  explicit TimerWheel(Clock& clock) : clock_(clock), current_tick_(clock.monotonic_ms()) {
    thread_ = start_thread("timers", [this] { run(); });
  }
  ~TimerWheel() override {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  TimerId after(std::chrono::milliseconds delay, Task task) override {
    // One more tick: the current one has partly gone, and a timer must never fire early. "Never" is often written as the greatest number.
    int64_t due = clock_.monotonic_ms() + std::clamp<int64_t>(delay.count(), 0, INT64_MAX / 2) + 1;
    bool earlier;
    TimerId id;
    {
      MutexLock lock(mutex_);
      id = ++last_id_;
      due = std::max(due, current_tick_ + 1);
      auto& slot = slots_[static_cast<size_t>(due) % kSlots];
      slot.push_back(Entry{id, due, std::move(task)});
      mark(static_cast<size_t>(due) % kSlots);
      index_.emplace(id, std::prev(slot.end()));
      earlier = due < sleeping_until_;
    }
    if (earlier) wake_.notify_one();
    return id;
  }

  bool cancel(TimerId id) override {
    Task dropped;  // destroyed outside the lock: it may own anything
    MutexLock lock(mutex_);
    auto found = index_.find(id);
    if (found == index_.end()) return false;
    dropped = std::move(found->second->task);
    size_t at = static_cast<size_t>(found->second->due) % kSlots;
    slots_[at].erase(found->second);
    if (slots_[at].empty()) unmark(at);
    index_.erase(found);
    return true;
  }

 private:
  static constexpr size_t kSlots = 4096;
  struct Entry {
    TimerId id;
    int64_t due;
    Task task;
  };

  void mark(size_t slot) REQUIRES(mutex_) { occupied_[slot / 64] |= uint64_t{1} << (slot % 64); }
  void unmark(size_t slot) REQUIRES(mutex_) { occupied_[slot / 64] &= ~(uint64_t{1} << (slot % 64)); }

  // Next tick after current_tick_ whose slot holds something, at most one turn of the wheel away; INT64_MAX if the wheel is empty.
  int64_t next_occupied() REQUIRES(mutex_) {
    if (index_.empty()) return INT64_MAX;
    for (int64_t step = 1; step <= static_cast<int64_t>(kSlots);) {
      size_t slot = static_cast<size_t>(current_tick_ + step) % kSlots;
      uint64_t word = occupied_[slot / 64] >> (slot % 64);
      if (word != 0) {
        step += std::countr_zero(word);
        return current_tick_ + step;
      }
      step += static_cast<int64_t>(64 - slot % 64);
    }
    return current_tick_ + static_cast<int64_t>(kSlots);
  }

  void run() {
    std::vector<Task> due;
    for (;;) {
      {
        MutexLock lock(mutex_);
        for (;;) {
          if (stopping_) return;
          int64_t now = clock_.monotonic_ms();
          int64_t next = next_occupied();
          if (next <= now) {
            current_tick_ = next;
            take_due(next, due);
            if (!due.empty()) break;
            continue;
          }
          if (now > current_tick_) current_tick_ = std::min(now, next - 1);
          sleeping_until_ = next;
          if (next == INT64_MAX) {
            lock.wait(wake_);
          } else {
            lock.wait_for(wake_, std::chrono::milliseconds(next - now));
          }
          sleeping_until_ = INT64_MIN;
        }
      }
      for (Task& task : due) task();
      due.clear();
    }
  }

  void take_due(int64_t tick, std::vector<Task>& due) REQUIRES(mutex_) {
    size_t at = static_cast<size_t>(tick) % kSlots;
    auto& slot = slots_[at];
    for (auto entry = slot.begin(); entry != slot.end();) {
      if (entry->due > tick) {
        ++entry;  // a later turn of the wheel
        continue;
      }
      due.push_back(std::move(entry->task));
      index_.erase(entry->id);
      entry = slot.erase(entry);
    }
    if (slot.empty()) unmark(at);
  }

  Clock& clock_;
  Mutex mutex_;
  std::condition_variable wake_;
  std::array<std::list<Entry>, kSlots> slots_ GUARDED_BY(mutex_);
  std::array<uint64_t, kSlots / 64> occupied_ GUARDED_BY(mutex_){};
  std::unordered_map<TimerId, std::list<Entry>::iterator> index_ GUARDED_BY(mutex_);
  TimerId last_id_ GUARDED_BY(mutex_) = 0;
  int64_t current_tick_ GUARDED_BY(mutex_);
  int64_t sleeping_until_ GUARDED_BY(mutex_) = INT64_MIN;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

class SystemRuntime final : public Runtime {
 public:
  Clock& clock() override { return clock_; }
  Random& random() override { return random_; }
  FileSystem& files() override { return posix_files(); }
  Timers& timers() override { return timers_; }
  std::unique_ptr<Executor> make_executor(const std::string& name, int threads) override {
    return std::make_unique<ThreadExecutor>(name, std::max(threads, 1));
  }

 private:
  SystemClock clock_;
  SystemRandom random_;
  TimerWheel timers_{clock_};
};

}  // namespace

std::unique_ptr<Runtime> make_system_runtime() { return std::make_unique<SystemRuntime>(); }

// State is shared with the timer's and the executor's tasks: any of them may be the last to go.
struct PeriodicTask::State : std::enable_shared_from_this<State> {
  State(Runtime& r, Executor& e, std::chrono::milliseconds p, Task t) : runtime(r), executor(e), period(p), task(std::move(t)) {}

  void arm() REQUIRES(mutex) {
    timer = runtime.timers().after(period, executor.posting([self = shared_from_this()] { self->step(); }));
  }
  void step() {
    {
      MutexLock lock(mutex);
      if (stopped) return;
      running = true;
    }
    task();
    MutexLock lock(mutex);
    running = false;
    if (stopped) {
      idle.notify_all();
    } else {
      arm();
    }
  }

  Runtime& runtime;
  Executor& executor;
  const std::chrono::milliseconds period;
  Task task;
  Mutex mutex;
  std::condition_variable idle;
  TimerId timer GUARDED_BY(mutex) = 0;
  bool running GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;
};

PeriodicTask::PeriodicTask(Runtime& runtime, Executor& executor, std::chrono::milliseconds period, Task task)
    : state_(std::make_shared<State>(runtime, executor, std::max(period, std::chrono::milliseconds(1)), std::move(task))) {
  MutexLock lock(state_->mutex);
  state_->arm();
}

PeriodicTask::~PeriodicTask() {
  TimerId timer;
  {
    MutexLock lock(state_->mutex);
    state_->stopped = true;
    timer = state_->timer;
    while (state_->running && !state_->executor.on_this_executor()) lock.wait(state_->idle);
  }
  // Outside the lock: a cancelled task lets go of the state.
  state_->runtime.timers().cancel(timer);
}

}  // namespace odradek::base
