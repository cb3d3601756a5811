// A ZooKeeper ensemble as its clients see it: one tree, sessions that expire when nothing is heard of them, watches, lost connections
// that leave an operation done or not, and times without a quorum, in which nothing is answered and no session expires.
// What one session is told comes in order; several sessions hear of a change at different times.
// Thread: one.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/executor.h"
#include "metadata/store/node_tree.h"
#include "metadata/store/store.h"
#include "sim/world.h"

namespace odradek::sim {

// Of one process that uses the ensemble.
struct ZooKeeperPath {
  std::function<bool()> to_server, from_server;  // a message gets through now
  std::function<bool()> paused;                  // the process stands still
};

class ZooKeeper {
 public:
  explicit ZooKeeper(World& world);

  std::unique_ptr<metadata::Store> make_client(std::string name, ZooKeeperPath path, base::Executor& callbacks, int64_t session_timeout_ms);
  void set_quorum(bool there);
  bool has_quorum() const { return quorum_; }
  // Ends a client's session as if it had been silent for too long; false: it has none.
  bool expire(const std::string& client);

  // After each change, for each of its events, before anybody hears of it.
  std::function<void(const metadata::WatchEvent& event)> on_change;
  // Watches that came to one session after another had heard of a later change.
  int64_t overtaken() const { return overtaken_; }

  const metadata::NodeTree& tree() const { return tree_; }
  int64_t expired_sessions() const { return expired_; }

 private:
  class Client;
  struct ClientState;
  using ClientPtr = std::shared_ptr<ClientState>;
  struct Session {
    std::string client;
    int64_t timeout_ms = 0;
    int64_t heard_ns = 0;
    std::weak_ptr<ClientState> at;
  };
  struct SetWatch {
    int64_t session;
    std::shared_ptr<metadata::Watch> watch;  // shared: with what is on its way
  };
  using Watches = std::map<std::string, std::vector<SetWatch>>;

  void look_for_silent_ones();
  int64_t open_session(const ClientPtr& client, int64_t timeout_ms);
  // Its ephemeral nodes go.
  void end_session(int64_t id);
  bool is_alive(int64_t session) const { return sessions_.contains(session); }
  metadata::NodeTree::Context change(int64_t session);
  void fire_watches();
  void set_watch(bool on_children, const std::string& path, int64_t session, const std::shared_ptr<metadata::Watch>& watch);
  void drop_watches(int64_t session);

  World& world_;
  metadata::NodeTree tree_;
  int64_t zxid_ = 0;
  int64_t last_session_ = 0x1000;
  bool quorum_ = true;
  int64_t expired_ = 0;
  int64_t newest_told_ = 0, overtaken_ = 0;  // by zxid
  std::map<int64_t, Session> sessions_;
  Watches data_watches_, child_watches_;
};

}  // namespace odradek::sim
