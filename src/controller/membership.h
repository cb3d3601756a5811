// The life of this broker in the cluster: session, base paths, cluster id, configs, registration, office; and all of it again after
// the session expired (interbroker.md §4, §15).
// Thread: calls from any thread; everything else on the metadata executor.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/executor.h"
#include "base/function.h"
#include "base/result.h"
#include "controller/controller.h"
#include "metadata/cluster_config.h"
#include "metadata/registration.h"
#include "metadata/store/store.h"

namespace odradek::controller {

struct Connected {
  std::string cluster_id;
};

struct JoinOptions {
  // How long the node of a session that nobody holds any more is waited for: that of this broker before it crashed.
  int64_t wait_for_former_ms = 0;
  // The tree may be shared with brokers that serve transactions: a cluster that has any is refused. Not with a tree of its own (log dirs
  // adopted from Kafka), nor where this broker holds the transactions' log itself and nobody else is alive: nobody can go on with them.
  bool refuse_transactions = false;
  bool holds_transactions = false;
};

class Membership {
 public:
  Membership(base::Runtime& runtime, base::Executor& metadata, metadata::Store& store, metadata::ConfigStore& configs);
  ~Membership();

  // Returns when there is a session.
  void open_session(UniqueFunction<void(Result<void>)> done);
  // Session, if there is none yet, base paths, cluster id (`known_cluster_id`: that of meta.properties, written if the tree is new; "" if none), configs.
  void connect(std::string known_cluster_id, UniqueFunction<void(Result<Connected>)> done);
  // Registers and runs for office; `on_epoch` hears the broker epoch of this and every later registration before the controller starts.
  // Errors: kDuplicateBrokerRegistration; kInvalidConfig (the cluster has transactions).
  void join(metadata::BrokerInfo info, Controller& controller, JoinOptions options, std::function<void(int64_t)> on_epoch,
            UniqueFunction<void(Result<void>)> done);
  // Of the session, since the start. Thread: any.
  struct Counts {
    int64_t connects = 0, disconnects = 0, expirations = 0;
  };
  Counts counts() const;
  // Leaves office and closes the session; without a connection what is under way is given up.
  void leave(Task done);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared: replies of the store may come after the end
};

}  // namespace odradek::controller
