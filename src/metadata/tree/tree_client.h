// The store's operations as awaitable steps (async.h). Connection losses are repeated here until the connection is back or the
// session is gone: a caller then sees the traces of its own first try (kNodeExists of a create, kBadVersion of a set).
// Thread: the store's callback executor.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/executor.h"
#include "metadata/store/store.h"
#include "metadata/tree/async.h"

namespace odradek::metadata {

class TreeClient {
 public:
  static constexpr int64_t kRetryMs = 100;

  TreeClient(base::Runtime& runtime, base::Executor& executor, Store& store) : runtime_(runtime), executor_(executor), store_(store) {}

  Store& store() const { return store_; }
  base::Runtime& runtime() const { return runtime_; }
  base::Executor& executor() const { return executor_; }

  // `watch` is copied into each try; it may run more than once if a try was lost: treat it as "look again".
  using SharedWatch = std::function<void(const WatchEvent&)>;

  Async<StoreResult<NodeData>> get(std::string path, SharedWatch watch = {});
  Async<StoreResult<Stat>> exists(std::string path, SharedWatch watch = {});
  // All at once; results in the order of `paths`. `watch_for(i)`: the watch on paths[i].
  Async<std::vector<StoreResult<NodeData>>> get_all(std::vector<std::string> paths, std::function<SharedWatch(size_t)> watch_for = {});
  // Each on its own, sent in this order; results in the order of `multis`. None may need another: of those under way when the connection is
  // lost each is repeated when all others have been answered, so one behind it may take effect before it.
  Async<std::vector<MultiResult>> multi_all(std::vector<std::vector<StoreOp>> multis);
  Async<StoreResult<ChildList>> children(std::string path, SharedWatch watch = {});
  Async<StoreResult<CreatedNode>> create(std::string path, Bytes data, CreateMode mode = CreateMode::kPersistent);
  Async<StoreResult<Stat>> set(std::string path, Bytes data, int32_t expected_version);
  Async<StoreResult<void>> remove(std::string path, int32_t expected_version = kAnyVersion);
  Async<MultiResult> multi(std::vector<StoreOp> ops);
  Async<void> pause(int64_t ms);

  // Creates a persistent node and its missing parents; an existing node is fine (its data stays).
  Async<StoreResult<void>> ensure(std::string path, Bytes data = {});

 private:
  template <class T, class Call>
  Async<StoreResult<T>> repeat(Call call);

  base::Runtime& runtime_;
  base::Executor& executor_;
  Store& store_;
};

}  // namespace odradek::metadata
