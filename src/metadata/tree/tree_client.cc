#include "metadata/tree/tree_client.h"

#include <memory>

namespace odradek::metadata {

template <class T, class Call>
Async<StoreResult<T>> TreeClient::repeat(Call call) {
  for (;;) {
    StoreResult<T> result = co_await callback<StoreResult<T>>([&call](StoreReply<T> reply) { call(std::move(reply)); });
    if (result || result.error() != StoreError::kConnectionLoss) co_return result;
    co_await pause(kRetryMs);
  }
}

namespace {
Watch copy_of(const TreeClient::SharedWatch& watch) {
  return watch ? Watch(watch) : Watch();
}
}  // namespace

Async<StoreResult<NodeData>> TreeClient::get(std::string path, SharedWatch watch) {
  auto call = [this, path, watch](StoreReply<NodeData> reply) { store_.get(path, copy_of(watch), std::move(reply)); };
  co_return co_await repeat<NodeData>(std::move(call));
}
Async<StoreResult<Stat>> TreeClient::exists(std::string path, SharedWatch watch) {
  auto call = [this, path, watch](StoreReply<Stat> reply) { store_.exists(path, copy_of(watch), std::move(reply)); };
  co_return co_await repeat<Stat>(std::move(call));
}
Async<StoreResult<ChildList>> TreeClient::children(std::string path, SharedWatch watch) {
  auto call = [this, path, watch](StoreReply<ChildList> reply) { store_.children(path, copy_of(watch), std::move(reply)); };
  co_return co_await repeat<ChildList>(std::move(call));
}
Async<StoreResult<CreatedNode>> TreeClient::create(std::string path, Bytes data, CreateMode mode) {
  auto call = [this, path, data, mode](StoreReply<CreatedNode> reply) { store_.create(path, data, mode, std::move(reply)); };
  co_return co_await repeat<CreatedNode>(std::move(call));
}
Async<StoreResult<Stat>> TreeClient::set(std::string path, Bytes data, int32_t expected_version) {
  auto call = [this, path, data, expected_version](StoreReply<Stat> reply) { store_.set(path, data, expected_version, std::move(reply)); };
  co_return co_await repeat<Stat>(std::move(call));
}
Async<StoreResult<void>> TreeClient::remove(std::string path, int32_t expected_version) {
  auto call = [this, path, expected_version](StoreReply<void> reply) { store_.remove(path, expected_version, std::move(reply)); };
  co_return co_await repeat<void>(std::move(call));
}

Async<MultiResult> TreeClient::multi(std::vector<StoreOp> ops) {
  for (;;) {
    MultiResult result = co_await callback<MultiResult>([this, &ops](MultiReply reply) { store_.multi(ops, std::move(reply)); });
    if (result || result.error().error != StoreError::kConnectionLoss) co_return result;
    co_await pause(kRetryMs);
  }
}

namespace {
// Starts `count` calls and goes on when all have answered.
template <class T, class Call>
auto gather(std::vector<T>& results, size_t count, Call call) {
  return callback<bool>([&results, count, call](UniqueFunction<void(bool)> done) {
    struct Shared {
      size_t left;
      UniqueFunction<void(bool)> done;
    };
    auto shared = std::make_shared<Shared>(Shared{count, std::move(done)});
    for (size_t i = 0; i < count; ++i) {
      call(i, [&results, i, shared](T result) {
        results[i] = std::move(result);
        if (--shared->left == 0) shared->done(true);
      });
    }
  });
}
}  // namespace

Async<std::vector<StoreResult<NodeData>>> TreeClient::get_all(std::vector<std::string> paths, std::function<SharedWatch(size_t)> watch_for) {
  std::vector<StoreResult<NodeData>> results(paths.size(), tl::unexpected(StoreError::kConnectionLoss));
  if (paths.empty()) co_return results;
  co_await gather(results, paths.size(), [this, &paths, &watch_for](size_t i, auto reply) {
    store_.get(paths[i], watch_for ? copy_of(watch_for(i)) : Watch(), std::move(reply));
  });
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i] && results[i].error() == StoreError::kConnectionLoss) {
      SharedWatch watch;
      if (watch_for) watch = watch_for(i);
      results[i] = co_await get(paths[i], watch);
    }
  }
  co_return results;
}

Async<std::vector<MultiResult>> TreeClient::multi_all(std::vector<std::vector<StoreOp>> multis) {
  std::vector<MultiResult> results(multis.size(), tl::unexpected(MultiFailure{StoreError::kConnectionLoss, -1}));
  if (multis.empty()) co_return results;
  co_await gather(results, multis.size(), [this, &multis](size_t i, auto reply) { store_.multi(multis[i], std::move(reply)); });
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i] && results[i].error().error == StoreError::kConnectionLoss) results[i] = co_await multi(multis[i]);
  }
  co_return results;
}

Async<void> TreeClient::pause(int64_t ms) { co_await Sleep(runtime_, executor_, ms); }

Async<StoreResult<void>> TreeClient::ensure(std::string path, Bytes data) {
  for (;;) {
    auto created = co_await create(path, data);
    if (created || created.error() == StoreError::kNodeExists) co_return StoreResult<void>();
    if (created.error() != StoreError::kNoNode) co_return tl::unexpected(created.error());
    std::string parent(parent_of(path));
    Bytes none;
    auto made = co_await ensure(std::move(parent), std::move(none));
    if (!made) co_return made;
  }
}

}  // namespace odradek::metadata
