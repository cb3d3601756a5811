// The store on a ZooKeeper ensemble, through libzookeeper_mt. Its callbacks come on its own thread and are handed to `callbacks`.
// Connection loss: operations not yet answered get kConnectionLoss, the library reconnects, watches survive.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/executor.h"
#include "base/result.h"
#include "metadata/store.h"

namespace odradek::metadata {

struct ZooKeeperOptions {
  std::string connect;              // zookeeper.connect: "h1:p1,h2:p2/chroot/x", the chroot once, at the end
  int32_t session_timeout_ms = 18'000;
};

// A missing chroot is created at open(), with all parents. `callbacks` outlives the store.
// Errors: kInvalidConfig: `connect` is not of this form.
Result<std::unique_ptr<Store>> make_zookeeper_store(base::Runtime& runtime, base::Executor& callbacks, const ZooKeeperOptions& options);

}  // namespace odradek::metadata
