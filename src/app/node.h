// The broker without its sockets: logs, metadata tree, controller, partitions, coordinators and the dispatcher of requests, made and
// connected in the right order. `Broker` puts the server in front of it; the simulation its own.
//   open() → (bind sockets) → join() → ... → hand_over() → answer_parked() → leave()
// Thread: these calls from one thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/dispatcher.h"
#include "api/handler/services.h"
#include "app/waiter.h"
#include "base/executor.h"
#include "config/config.h"
#include "metadata/image/image.h"
#include "metadata/registration.h"
#include "metadata/store/store.h"
#include "metrics/registry.h"

namespace odradek::controller {
class Controller;
class Membership;
}
namespace odradek::net {
class Links;
}
namespace odradek::replication {
class ReplicaManager;
class FetchSessionCache;
}
namespace odradek::storage {
class LogManager;
}

namespace odradek::app {

class Node {
 public:
  // Makes this broker's session on the metadata tree; callbacks run on the executor given.
  using OpenStore = std::function<Result<std::unique_ptr<metadata::Store>>(base::Executor& callbacks)>;

  // `links`: outgoing connections to other brokers; outlives the node.
  Node(base::Runtime& runtime, Waiter& waiter, net::Links& links, std::shared_ptr<const config::BrokerConfig> config);
  // Without leave(): as after a crash, nothing is written.
  ~Node();

  // Locks the log dirs, opens the tree, checks who this is, begins to load and recover the logs: a partition is served when its own is
  // ready. Errors: one line for the operator.
  Result<void> open(const OpenStore& open_store);
  // Registers under these addresses and returns when this broker knows itself and a controller. `registered` runs as soon as requests may
  // come: the controller's, which this waits for, and others, which wait for this.
  Result<void> join(std::vector<metadata::Endpoint> endpoints, const std::function<void()>& registered = [] {});
  // Controlled shutdown: the controller gives the leaderships of this broker to others (controlled.shutdown.*). Requests are still served.
  void hand_over();
  // Answers what is parked, leaves the cluster, flushes and closes the logs. No request may come any more.
  void answer_parked();
  void leave();

  request::RequestSink& sink();
  config::ConfigHolder& config();
  metrics::Registry& registry();
  storage::LogManager& logs();
  replication::ReplicaManager& replicas();
  replication::FetchSessionCache& fetch_sessions();
  controller::Controller& controller();
  controller::Membership& membership();
  metadata::Store& store();
  const metadata::ImageHolder& image() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// The store that the configuration names: ZooKeeper's (zookeeper.connect), or the embedded one in the folder of the metadata.
// Error of the first: the folder holds an embedded store, whose content would be left behind.
Node::OpenStore configured_store(base::Runtime& runtime, const config::BrokerConfig& config);

}  // namespace odradek::app
