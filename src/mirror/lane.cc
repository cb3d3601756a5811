#include <algorithm>

#include "base/log.h"
#include "mirror/lanes.h"

namespace odradek::mirror {

void Lane::start(const std::string& name) {
  executor_ = shared_.runtime.make_executor(name, 1);
  executor_->post([this] { loop(); });
}

std::string Lane::trouble() const {
  base::MutexLock lock(mutex_);
  return trouble_;
}

void Lane::broken(const std::string& why) {
  {
    base::MutexLock lock(mutex_);
    trouble_ = why;
  }
  if (failures_ == 0) log::warn("mirror", "{}", why);
  connection_.reset();
  hand_back(why);
  shared_.stale.store(true, std::memory_order_relaxed);
  // In steps, so that a stop need not wait.
  int64_t until = shared_.now_ns() + (50'000'000ll << std::min(failures_++, 6));
  while (!stopping() && shared_.now_ns() < until) shared_.dialer.pause_until(std::min(until, shared_.now_ns() + 100'000'000));
}

void Lane::loop() {
  while (!stopping()) {
    if (connection_ == nullptr) {
      client::ConnectionOptions options;
      options.client_id = client_;
      options.request_timeout = std::chrono::milliseconds(shared_.options.request_timeout_ms);
      options.connect_timeout = std::min(options.connect_timeout, options.request_timeout);
      auto opened = client::Connection::open(shared_.dialer, address_, options);
      if (!opened) {
        broken(opened.error().what);
        continue;
      }
      connection_ = std::move(*opened);
      failures_ = 0;
      base::MutexLock lock(mutex_);
      trouble_.clear();
    }
    uint64_t rings = alarm().rings();
    if (!work() && !stopping()) alarm().wait(rings, std::chrono::milliseconds(100));
  }
  connection_.reset();
  hand_back("the mirror stops");
}

}  // namespace odradek::mirror
