#include "storage/files/file_cache.h"

namespace odradek::storage {

void FileCache::opened(Client& client) {
  base::MutexLock lock(mutex_);
  client.used.store(true, std::memory_order_relaxed);
  if (!client.listed_) {
    client.place_ = clients_.insert(clients_.end(), &client);
    client.listed_ = true;
  }
  // A client that was asked for since the last visit gets a second chance behind the others.
  for (int step = 0; step < kSteps && clients_.size() > capacity_; ++step) {
    Client* oldest = clients_.front();
    if (oldest == &client || oldest->used.exchange(false, std::memory_order_relaxed) || !oldest->try_close_file()) {
      clients_.splice(clients_.end(), clients_, clients_.begin());
    } else {
      clients_.pop_front();
      oldest->listed_ = false;
    }
  }
}

void FileCache::closed(Client& client) {
  base::MutexLock lock(mutex_);
  if (!client.listed_) return;
  clients_.erase(client.place_);
  client.listed_ = false;
}

size_t FileCache::size() const {
  base::MutexLock lock(mutex_);
  return clients_.size();
}

}  // namespace odradek::storage
