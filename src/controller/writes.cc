// Writes to the tree under the check of /controller_epoch. Source: zookeeper.md §6.
#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::StoreError;
using metadata::StoreOp;

namespace {
constexpr int64_t kStorageRetryMs = 1000;
// Of write_together(): so few multis that thousands of states cost the ensemble a few flushes of its log, each far below what a server
// takes (metadata::kMaxRequestBytes) and what it can do in a moment.
constexpr size_t kOpsOfMulti = 250;
constexpr size_t kBytesOfMulti = 256 << 10;
}  // namespace

Async<std::vector<Controller::Impl::Write>> Controller::Impl::write_all(std::vector<StoreOp> ops) { co_return co_await write_in_multis(std::move(ops), 1); }

Async<std::vector<Controller::Impl::Write>> Controller::Impl::write_together(std::vector<StoreOp> ops) {
  co_return co_await write_in_multis(std::move(ops), kOpsOfMulti);
}

Async<std::vector<Controller::Impl::Write>> Controller::Impl::write_in_multis(std::vector<StoreOp> ops, size_t most) {
  uint64_t held = office;
  std::vector<std::vector<StoreOp>> multis;  // in each the check, then operations
  size_t bytes = 0;
  for (StoreOp& op : ops) {
    const size_t op_bytes = metadata::request_bytes(op.path, op.data);
    if (multis.empty() || multis.back().size() > most || bytes + op_bytes > kBytesOfMulti) {
      multis.emplace_back().push_back(StoreOp::check(paths::kControllerEpoch, state.epoch_version));
      bytes = 0;
    }
    bytes += op_bytes;
    multis.back().push_back(std::move(op));
  }
  auto results = co_await tree.multi_all(multis);
  std::vector<Write> writes;
  writes.reserve(ops.size());
  std::vector<StoreOp> alone;  // one of a multi was refused, and the others with it
  std::vector<size_t> alone_at;
  for (size_t i = 0; i < results.size(); ++i) {
    metadata::MultiResult& result = results[i];
    // A store whose disk is full or fails: nothing of it took effect, and nothing else can be decided before it does.
    while (held == office && in_office() && !result && result.error().error == StoreError::kStorage) {
      co_await tree.pause(kStorageRetryMs);
      std::vector<StoreOp> again = multis[i];
      result = co_await tree.multi(std::move(again));
    }
    if (!result && result.error().op == 0 && held == office) resign("/controller_epoch was raised by another broker");
    for (size_t k = 1; k < multis[i].size(); ++k) {
      Write write;
      if (result) {
        write.stat = (*result)[k].stat;
      } else {
        write.error = result.error().error;
        if (most > 1 && result.error().op > 0) {
          alone_at.push_back(writes.size());
          alone.push_back(std::move(multis[i][k]));
        }
      }
      writes.push_back(write);
    }
  }
  if (alone.empty() || held != office || !in_office()) co_return writes;
  auto again = co_await write_in_multis(std::move(alone), 1);
  for (size_t i = 0; i < again.size(); ++i) writes[alone_at[i]] = again[i];
  co_return writes;
}

Async<Controller::Impl::Write> Controller::Impl::write(StoreOp op) {
  std::vector<StoreOp> one;
  one.push_back(std::move(op));
  auto writes = co_await write_all(std::move(one));
  co_return writes.front();
}

}  // namespace odradek::controller
