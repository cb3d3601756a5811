// What the store's suite runs on: a way to make sessions on one tree, and to let one expire.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/executor.h"
#include "metadata/store/store.h"

namespace odradek::metadata::testing {

class Backend {
 public:
  virtual ~Backend() = default;
  // Not empty: why the suite cannot run on this one.
  virtual std::string unavailable() { return {}; }
  virtual std::unique_ptr<Store> make_store(base::Executor& callbacks) = 0;
  virtual void expire(Store& store) = 0;
};

// Calls that wait for their answer. The test's thread is not the callback executor.
template <class T, class Call>
T wait_for(Call&& call) {
  auto promise = std::make_shared<std::promise<T>>();
  auto future = promise->get_future();
  call([promise](T result) { promise->set_value(std::move(result)); });
  return future.get();
}

class Sync {
 public:
  explicit Sync(Store& store) : store_(store) {}
  StoreResult<CreatedNode> create(std::string path, std::string_view data = {}, CreateMode mode = CreateMode::kPersistent) {
    ByteView view = as_bytes(data);
    return wait_for<StoreResult<CreatedNode>>(
        [&](auto reply) { store_.create(path, Bytes(view.begin(), view.end()), mode, std::move(reply)); });
  }
  StoreResult<NodeData> get(std::string path, Watch watch = {}) {
    return wait_for<StoreResult<NodeData>>([&](auto reply) { store_.get(path, std::move(watch), std::move(reply)); });
  }
  StoreResult<Stat> exists(std::string path, Watch watch = {}) {
    return wait_for<StoreResult<Stat>>([&](auto reply) { store_.exists(path, std::move(watch), std::move(reply)); });
  }
  StoreResult<ChildList> children(std::string path, Watch watch = {}) {
    return wait_for<StoreResult<ChildList>>([&](auto reply) { store_.children(path, std::move(watch), std::move(reply)); });
  }
  StoreResult<Stat> set(std::string path, std::string_view data, int32_t version = kAnyVersion) {
    ByteView view = as_bytes(data);
    return wait_for<StoreResult<Stat>>([&](auto reply) { store_.set(path, Bytes(view.begin(), view.end()), version, std::move(reply)); });
  }
  StoreResult<void> remove(std::string path, int32_t version = kAnyVersion) {
    return wait_for<StoreResult<void>>([&](auto reply) { store_.remove(path, version, std::move(reply)); });
  }
  MultiResult multi(std::vector<StoreOp> ops) {
    return wait_for<MultiResult>([&](auto reply) { store_.multi(std::move(ops), std::move(reply)); });
  }
  StoreResult<void> sync() {
    return wait_for<StoreResult<void>>([&](auto reply) { store_.sync(std::move(reply)); });
  }
  void close() {
    std::promise<void> closed;
    store_.close([&] { closed.set_value(); });
    closed.get_future().get();
  }

 private:
  Store& store_;
};

// What happened, in order, for tests to wait on.
class Record {
 public:
  void add(std::string what) {
    std::lock_guard lock(mutex_);
    entries_.push_back(std::move(what));
    changed_.notify_all();
  }
  bool wait_for(const std::string& what) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return std::find(entries_.begin(), entries_.end(), what) != entries_.end(); });
  }
  std::vector<std::string> all() {
    std::lock_guard lock(mutex_);
    return {entries_.begin(), entries_.end()};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> entries_;
};

inline std::string text(const WatchEvent& event) {
  const char* kinds[] = {"created", "deleted", "data changed", "children changed"};
  return std::string(kinds[static_cast<int>(event.kind)]) + " " + event.path;
}
inline Watch noted(Record& record) {
  return [&record](const WatchEvent& event) { record.add(text(event)); };
}

}  // namespace odradek::metadata::testing
