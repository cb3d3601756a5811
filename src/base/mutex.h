// A mutex that clang's -Wthread-safety understands. Lock rules stand in signatures: GUARDED_BY(mutex_), REQUIRES(mutex_).
#pragma once

// Abseil's headers define some of the same names: let them do it first, whatever the order of includes.
#include <absl/base/thread_annotations.h>
#undef GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

// abseil's headers define some of these names too, to the same end.
#undef GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS
#if defined(__clang__)
#define ODRADEK_TS(x) __attribute__((x))
#else
#define ODRADEK_TS(x)
#endif
#define CAPABILITY(x) ODRADEK_TS(capability(x))
#define SCOPED_CAPABILITY ODRADEK_TS(scoped_lockable)
#define GUARDED_BY(x) ODRADEK_TS(guarded_by(x))
#define REQUIRES(...) ODRADEK_TS(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) ODRADEK_TS(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) ODRADEK_TS(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) ODRADEK_TS(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) ODRADEK_TS(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) ODRADEK_TS(release_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) ODRADEK_TS(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) ODRADEK_TS(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS ODRADEK_TS(no_thread_safety_analysis)

namespace odradek::base {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : lock_(mutex.mutex_) {}
  ~MutexLock() RELEASE() {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  // For std::condition_variable; the condition is checked by the caller in a loop.
  void wait(std::condition_variable& condition) { condition.wait(lock_); }
  template <class Duration>
  void wait_for(std::condition_variable& condition, Duration duration) {
    condition.wait_for(lock_, duration);
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

class CAPABILITY("shared_mutex") SharedMutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  void lock_shared() ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void unlock_shared() RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

class SCOPED_CAPABILITY WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~WriterLock() RELEASE() { mutex_.unlock(); }

 private:
  SharedMutex& mutex_;
};

class SCOPED_CAPABILITY ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) { mutex_.lock_shared(); }
  ~ReaderLock() RELEASE() { mutex_.unlock_shared(); }

 private:
  SharedMutex& mutex_;
};

}  // namespace odradek::base
