// The store on a ZooKeeper ensemble (3.5 or later), through libzookeeper_mt. Its callbacks come on a thread of the library and are
// handed to `callbacks`. Connection loss: operations not yet answered get kConnectionLoss, the library reconnects, watches survive. With more
// watches than a server takes at once (900 KiB of their paths) the session ends with the connection, as if it had expired.
// Threads: two of the library; one of its own (`zookeeper`) that opens and closes sessions, which may take seconds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/executor.h"
#include "base/result.h"
#include "metadata/store/store.h"

namespace odradek::metadata {

struct ZooKeeperOptions {
  std::string connect;                  // zookeeper.connect: "h1:p1,h2:p2/chroot/x", the chroot once, at the end
  int32_t session_timeout_ms = 18'000;  // asked for; the server bounds it
  int32_t max_in_flight = 250;          // unanswered requests, the rest waits here; 0: no bound
};

// A missing chroot is created at open(), with all parents. `callbacks` outlives the store.
// Errors: kInvalidConfig: `connect` is not of this form.
Result<std::unique_ptr<Store>> make_zookeeper_store(base::Runtime& runtime, base::Executor& callbacks, const ZooKeeperOptions& options);
// Ends the session of a store as if it had been silent for too long: takes it over and closes it. Blocks (tests).
void expire_zookeeper_session(Store& zookeeper_store);

}  // namespace odradek::metadata
