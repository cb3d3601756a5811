#include "storage/dir/flusher.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <map>

namespace odradek::storage {

struct Flusher::Due : std::enable_shared_from_this<Due> {
  explicit Due(base::Runtime& r) : runtime(r) {}

  // One timer, for the earliest task.
  void arm() REQUIRES(mutex) {
    if (tasks.empty() || (timer != 0 && timer_due <= tasks.begin()->first)) return;
    if (timer != 0) runtime.timers().cancel(timer);
    timer_due = tasks.begin()->first;
    int64_t delay = std::max<int64_t>(timer_due - runtime.clock().monotonic_ms(), 0);
    timer = runtime.timers().after(std::chrono::milliseconds(delay), [self = shared_from_this()] { self->fire(); });
  }
  void fire() {
    base::MutexLock lock(mutex);
    timer = 0;
    if (executor == nullptr) return;
    const int64_t now = runtime.clock().monotonic_ms();
    bool flushes = false;
    for (auto entry = tasks.begin(); entry != tasks.end() && entry->first <= now; entry = post(entry)) flushes = flushes || entry->second.early_ms > 0;
    // What is left has more than half of its time before it, so that this walk is rare.
    for (auto entry = tasks.begin(); flushes && entry != tasks.end();) {
      entry = entry->second.early_ms > 0 && entry->first - entry->second.early_ms <= now ? post(entry) : std::next(entry);
    }
    arm();
  }

  struct Delayed {
    Task task;
    bool deletion = false;
    int64_t early_ms = 0;  // a flush: so long before its time it goes along with another one
  };
  using Tasks = std::multimap<int64_t, Delayed>;  // by due time (monotonic ms)
  // Deletions one after the other, each a task of its own: those of many segments at a time would keep flushes waiting.
  void post(Delayed delayed) REQUIRES(mutex) {
    if (!delayed.deletion) return executor->post(std::move(delayed.task));
    deletions.push_back(std::move(delayed.task));
    if (!deleting) post_deletion();
  }
  Tasks::iterator post(Tasks::iterator entry) REQUIRES(mutex) {
    post(std::move(entry->second));
    return tasks.erase(entry);
  }
  void post_deletion() REQUIRES(mutex) {
    deleting = true;
    executor->post([self = shared_from_this()] { self->delete_next(); });
  }
  void delete_next() {
    Task next;
    {
      base::MutexLock lock(mutex);
      if (deletions.empty()) return;  // the flusher stops
      next = std::move(deletions.front());
      deletions.pop_front();
    }
    next();
    base::MutexLock lock(mutex);
    deleting = false;
    if (executor != nullptr && !deletions.empty()) post_deletion();
  }
  void add(int64_t delay_ms, Delayed delayed) {
    base::MutexLock lock(mutex);
    if (executor == nullptr) return;
    const int64_t now = runtime.clock().monotonic_ms();
    tasks.emplace(delay_ms > INT64_MAX - now ? INT64_MAX : now + delay_ms, std::move(delayed));
    arm();
  }

  base::Runtime& runtime;
  base::Mutex mutex;
  base::Executor* executor GUARDED_BY(mutex) = nullptr;  // null: the flusher is gone
  Tasks tasks GUARDED_BY(mutex);
  std::deque<Task> deletions GUARDED_BY(mutex);  // that are due
  bool deleting GUARDED_BY(mutex) = false;       // a task for the next one is posted
  base::TimerId timer GUARDED_BY(mutex) = 0;
  int64_t timer_due GUARDED_BY(mutex) = 0;
};

Flusher::Flusher(base::Runtime& runtime, const std::string& name, int threads)
    : threads_(std::max(threads, 1)), clock_(runtime.clock()), due_(std::make_shared<Due>(runtime)), executor_(runtime.make_executor(name, threads)) {
  base::MutexLock lock(due_->mutex);
  due_->executor = executor_.get();
}

Flusher::~Flusher() { stop(); }

void Flusher::stop() {
  stopped_.store(true, std::memory_order_release);
  Due::Tasks dropped;  // destroyed outside the lock: tasks own logs
  std::deque<Task> deletions;
  base::TimerId timer;
  {
    base::MutexLock lock(due_->mutex);
    due_->executor = nullptr;
    dropped.swap(due_->tasks);
    deletions.swap(due_->deletions);
    timer = due_->timer;
  }
  if (timer != 0) due_->runtime.timers().cancel(timer);
  executor_.reset();
  // A log owns its dir, which owns this.
  std::shared_ptr<Flushable> log;
  while (queue_.try_pop(log)) log.reset();
}

void Flusher::enqueue(std::shared_ptr<Flushable> log) {
  if (stopped_.load(std::memory_order_acquire)) return;
  if (!queue_.try_push(log)) return post([log = std::move(log)] { log->run_flush(); });
  call_worker();
}

// No wake-up is lost: the push comes before a read-modify-write of workers_, a worker that goes looks at the queue after one.
void Flusher::call_worker() {
  int workers = workers_.fetch_add(0, std::memory_order_acq_rel);
  while (workers < threads_) {
    if (!workers_.compare_exchange_weak(workers, workers + 1, std::memory_order_acq_rel)) continue;
    post([this] { work(); });
    return;
  }
}

// One log a turn: other tasks of this executor come between.
void Flusher::work() {
  std::shared_ptr<Flushable> log;
  if (queue_.try_pop(log)) log->run_flush();
  log.reset();
  if (queue_.approximate_size() > 0) return post([this] { work(); });
  workers_.fetch_sub(1, std::memory_order_acq_rel);
  if (queue_.approximate_size() > 0) call_worker();
}

void Flusher::post(Task task) {
  base::MutexLock lock(due_->mutex);
  if (due_->executor != nullptr) due_->executor->post(std::move(task));
}

void Flusher::post_after(int64_t delay_ms, Task task) { due_->add(delay_ms, {std::move(task)}); }
void Flusher::post_deletion(int64_t delay_ms, Task task) { due_->add(delay_ms, {std::move(task), true}); }

void Flusher::hasten_deletions() {
  base::MutexLock lock(due_->mutex);
  if (due_->executor == nullptr) return;
  for (auto entry = due_->tasks.begin(); entry != due_->tasks.end();) {
    entry = entry->second.deletion ? due_->post(entry) : std::next(entry);
  }
}

void Flusher::flush_after(int64_t delay_ms, std::weak_ptr<Flushable> weak) {
  Task task = [weak = std::move(weak)] {
    if (auto log = weak.lock()) log->flush_is_due();
  };
  due_->add(delay_ms, {std::move(task), false, delay_ms / 2});
}

}  // namespace odradek::storage
