// Bound on the descriptors that idle segments and indexes keep open. Who opens a file tells the cache, which then closes others that
// have not been used lately. A client with unflushed data refuses: a failed writeback is reported only to descriptors that were open.
// Thread: any. The cache locks a client only by try_lock, so a client may call it under its own lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <list>

#include "base/mutex.h"

namespace odradek::storage {

class FileCache {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    // Closes the file and returns true, unless it is busy or has unflushed data.
    virtual bool try_close_file() = 0;
    // Asked for since the cache last came by.
    std::atomic<bool> used{true};

   private:
    friend class FileCache;
    std::list<Client*>::iterator place_;
    bool listed_ = false;
  };

  explicit FileCache(size_t capacity) : capacity_(capacity) {}
  void opened(Client& client);
  // Before a client that was opened closes its file itself or goes away. Never waits for a client.
  void closed(Client& client);
  size_t size() const;
  bool is_overfull() const { return size() > capacity_ * 2; }  // clients with unflushed data are many

 private:
  static constexpr int kSteps = 16;  // clients looked at per opening
  const size_t capacity_;
  mutable base::Mutex mutex_;
  std::list<Client*> clients_ GUARDED_BY(mutex_);
};

}  // namespace odradek::storage
