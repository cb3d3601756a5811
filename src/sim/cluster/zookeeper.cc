#include "sim/cluster/zookeeper.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace odradek::sim {

using metadata::SessionState;
using metadata::StoreError;
using metadata::StoreReply;
using metadata::StoreResult;
using metadata::Watch;

// The client library of one process: what it has not sent, what is not answered, and whether it is connected.
struct ZooKeeper::ClientState : std::enable_shared_from_this<ClientState> {
  ClientState(ZooKeeper& s, std::string n, ZooKeeperPath p, base::Executor& c, int64_t timeout)
      : server(s), world(s.world_), name(std::move(n)), path(std::move(p)), callbacks(c), timeout_ms(timeout),
        latency_us(world.random.chance(70) ? world.random.between(100, 1'000) : world.random.between(1'000, 20'000)) {}

  struct Operation {
    int64_t opened = 0;                        // the number of the open() that it belongs to
    UniqueFunction<Task(int64_t session)> run;  // at the server; the answer, to be run on the callback executor
    UniqueFunction<Task(StoreError)> refuse;
    Task forget;  // drops what its process gave
  };
  using OperationPtr = std::shared_ptr<Operation>;  // shared: with the message on its way

  void submit(Operation operation) {
    operation.opened = opened;
    auto kept = std::make_shared<Operation>(std::move(operation));
    if (state == SessionState::kClosed || state == SessionState::kExpired) return post(kept->refuse(state == SessionState::kClosed ? StoreError::kClosed : StoreError::kSessionExpired));
    waiting.push_back(std::move(kept));
    pump();
  }

  void pump() {
    while (state == SessionState::kConnected && !waiting.empty()) {
      OperationPtr next = std::move(waiting.front());
      waiting.pop_front();
      sent.push_back(next);
      to_server([self = shared_from_this(), next, in = connection] { self->arrive(next, in); });
    }
  }

  // At the server.
  void arrive(const OperationPtr& operation, int64_t in) {
    const bool heard = in == connection && !detached;
    if (!server.quorum_ || !path.to_server()) {
      if (heard) lost_in = in;
      return;
    }
    // What was sent before the connection broke may have been done, too; nothing behind what was lost.
    if (lost_in == in || cut_in == in) return;
    if (!heard && world.random.chance(50)) {
      cut_in = in;
      return;
    }
    if (!server.is_alive(session)) {
      if (heard) disconnect("the session is no more");
      return;
    }
    server.sessions_[session].heard_ns = world.now_ns();
    Task answer = operation->run(session);
    server.fire_watches();
    if (!heard) return;
    from_server([self = shared_from_this(), operation, answer = std::move(answer), in](bool arrived) mutable {
      if (!arrived || in != self->connection || self->sent.empty()) return;
      CHECK(self->sent.front() == operation);
      self->sent.pop_front();
      self->heard_ns = self->world.now_ns();
      self->post(std::move(answer));
    });
  }

  void tell_watch(Task watch) {
    from_server([self = shared_from_this(), watch = std::move(watch), of = session, in = connection, change = server.zxid_](bool arrived) mutable {
      if (arrived && change < self->server.newest_told_) ++self->server.overtaken_;
      if (arrived) self->server.newest_told_ = std::max(self->server.newest_told_, change);
      if (self->session != of || self->state == SessionState::kClosed) return;
      // A change that came while it was away is told when it is back: also when it is back already, in another connection.
      const bool back = self->state == SessionState::kConnected && (arrived || self->connection != in);
      if (!back) return self->missed.push_back(std::move(watch));
      self->post(std::move(watch));
    });
  }

  void to_server(Task message) {
    last_arrival_ns = std::max(last_arrival_ns + 1, world.now_ns() + delay_ns());
    world.at(last_arrival_ns, std::move(message));
  }
  void from_server(UniqueFunction<void(bool arrived)> message) {
    last_delivery_ns = std::max(last_delivery_ns + 1, world.now_ns() + delay_ns());
    world.at(last_delivery_ns, [self = shared_from_this(), message = std::move(message), in = connection]() mutable {
      // What is lost breaks the connection, and nothing behind it arrives.
      if (in == self->connection && !self->path.from_server()) self->lost_in = in;
      message(self->lost_in != in);
    });
  }
  // The process has ended: nothing of it may be touched any more, although messages are still on their way.
  void end() {
    detached = true;
    ++connection;
    for (auto* list : {&waiting, &sent}) {
      for (const OperationPtr& one : *list) one->forget();
    }
    for (const auto& one : watches) {
      if (auto watch = one.lock()) *watch = {};
    }
    waiting.clear();
    sent.clear();
    missed.clear();
    *listener = {};
  }
  std::shared_ptr<Watch> keep(Watch watch) {
    if (!watch) return nullptr;
    auto kept = std::make_shared<Watch>(std::move(watch));
    if (watches.size() > 1'000) std::erase_if(watches, [](auto& one) { return one.expired(); });
    watches.push_back(kept);
    return kept;
  }
  int64_t delay_ns() { return world.random.between(latency_us / 2, world.random.chance(97) ? latency_us * 2 : latency_us * 40) * 1'000; }

  void post(Task task) {
    if (!detached) callbacks.post(std::move(task));
  }
  void tell(SessionState now) {
    state = now;
    world.trace("zookeeper: {} is {}", name, metadata::name_of(now));
    post([listener = listener, now] {
      if (*listener) (*listener)(now);
    });
  }

  void refuse_all(StoreError error, bool waiting_too) {
    for (const OperationPtr& one : std::exchange(sent, {})) post(one->refuse(error));
    if (!waiting_too) return;
    for (const OperationPtr& one : std::exchange(waiting, {})) post(one->refuse(error));
  }

  void disconnect(const char* why) {
    if (state != SessionState::kConnected) return;
    world.trace("zookeeper: {} loses its connection: {}", name, why);
    ++connection;
    tell(SessionState::kConnecting);  // first, as the library does it
    refuse_all(StoreError::kConnectionLoss, false);
  }

  void connect() {
    if (session == 0) {
      session = server.open_session(shared_from_this(), timeout_ms);
    } else if (!server.is_alive(session)) {
      ++connection;
      missed.clear();
      tell(SessionState::kExpired);
      return refuse_all(StoreError::kSessionExpired, true);
    }
    ++connection;
    heard_ns = server.sessions_[session].heard_ns = world.now_ns();
    last_delivery_ns = std::max(last_delivery_ns, world.now_ns());
    tell(SessionState::kConnected);
    for (Task& watch : std::exchange(missed, {})) post(std::move(watch));
    pump();
  }

  // Pings, and what they show. Of the session's time two thirds without a word are a lost connection.
  void beat() {
    if (detached || state == SessionState::kClosed) return;
    world.after_ms(world.random.between(timeout_ms / 12, timeout_ms / 6), [self = shared_from_this()] { self->beat(); });
    if (path.paused() || opened == 0) return;
    const bool reaches = server.quorum_ && path.to_server() && path.from_server();
    if (state == SessionState::kConnected) {
      if (lost_in == connection || !server.quorum_) return disconnect("a message was lost");
      if (world.now_ns() - heard_ns > timeout_ms * 1'000'000 * 2 / 3) return disconnect("nothing was heard");
      if (reaches && !server.is_alive(session)) return disconnect("the session is no more");
      if (reaches) heard_ns = server.sessions_[session].heard_ns = world.now_ns();
    } else if (state == SessionState::kConnecting && reaches) {
      connect();
    }
  }

  ZooKeeper& server;
  World& world;
  const std::string name;
  const ZooKeeperPath path;
  base::Executor& callbacks;
  const int64_t timeout_ms, latency_us;
  bool detached = false;
  SessionState state = SessionState::kConnecting;
  int64_t session = 0;
  int64_t opened = 0;
  int64_t connection = 0;  // the how many-eth
  int64_t lost_in = -1;    // a connection in which something was lost
  int64_t cut_in = -1;     // the last that broke before all that was sent in it had arrived
  int64_t heard_ns = 0;
  int64_t last_arrival_ns = 0, last_delivery_ns = 0;
  std::shared_ptr<metadata::SessionListener> listener = std::make_shared<metadata::SessionListener>();  // shared with what is posted
  std::deque<OperationPtr> waiting, sent;
  std::vector<Task> missed;
  std::vector<std::weak_ptr<Watch>> watches;  // set, or on their way in either direction
};

class ZooKeeper::Client final : public metadata::Store {
 public:
  explicit Client(ClientPtr state) : state_(std::move(state)) {}
  ~Client() override {
    state_->server.drop_watches(state_->session);
    state_->end();
  }

  void open(metadata::SessionListener listener) override {
    if (listener) state_->listener = std::make_shared<metadata::SessionListener>(std::move(listener));
    const bool first = state_->opened++ == 0;
    state_->state = SessionState::kConnecting;
    state_->session = 0;
    if (first) state_->beat();
  }
  void close(Task done) override {
    ClientPtr state = state_;
    if (state->state == SessionState::kClosed) return state->post(std::move(done));
    ++state->connection;
    state->state = SessionState::kClosed;
    state->refuse_all(StoreError::kClosed, true);
    auto told = std::make_shared<Task>(std::move(done));
    state->to_server([state, told] {
      if (state->server.quorum_ && state->path.to_server()) state->server.end_session(state->session);
      state->world.after_us(state->latency_us, [state, told] {
        state->tell(SessionState::kClosed);
        state->post(std::move(*told));
      });
    });
  }
  SessionState state() const override { return state_->state; }
  int64_t session_id() const override { return state_->session; }

  void create(std::string path, Bytes data, metadata::CreateMode mode, StoreReply<metadata::CreatedNode> reply) override {
    submit<metadata::CreatedNode>(std::move(reply), path, metadata::request_bytes(path, data), [&s = server(), path, data = std::move(data), mode](int64_t session) {
      return s.tree_.create(path, data, mode, s.change(session));
    });
  }
  void get(std::string path, Watch watch, StoreReply<metadata::NodeData> reply) override {
    submit<metadata::NodeData>(std::move(reply), path, 0, [&s = server(), path, watch = state_->keep(std::move(watch))](int64_t session) -> StoreResult<metadata::NodeData> {
      const auto* node = s.tree_.find(path);
      if (node == nullptr) return tl::unexpected(StoreError::kNoNode);
      s.set_watch(false, path, session, watch);
      return metadata::NodeData{node->data, node->stat()};
    });
  }
  void exists(std::string path, Watch watch, StoreReply<metadata::Stat> reply) override {
    submit<metadata::Stat>(std::move(reply), path, 0, [&s = server(), path, watch = state_->keep(std::move(watch))](int64_t session) -> StoreResult<metadata::Stat> {
      const auto* node = s.tree_.find(path);
      s.set_watch(false, path, session, watch);
      if (node == nullptr) return tl::unexpected(StoreError::kNoNode);
      return node->stat();
    });
  }
  void children(std::string path, Watch watch, StoreReply<metadata::ChildList> reply) override {
    submit<metadata::ChildList>(std::move(reply), path, 0, [&s = server(), path, watch = state_->keep(std::move(watch))](int64_t session) -> StoreResult<metadata::ChildList> {
      const auto* node = s.tree_.find(path);
      if (node == nullptr) return tl::unexpected(StoreError::kNoNode);
      s.set_watch(true, path, session, watch);
      return metadata::ChildList{{node->children.begin(), node->children.end()}, node->stat()};
    });
  }
  void set(std::string path, Bytes data, int32_t expected_version, StoreReply<metadata::Stat> reply) override {
    submit<metadata::Stat>(std::move(reply), path, metadata::request_bytes(path, data), [&s = server(), path, data = std::move(data), expected_version](int64_t session) {
      return s.tree_.set(path, data, expected_version, s.change(session));
    });
  }
  void remove(std::string path, int32_t expected_version, StoreReply<void> reply) override {
    submit<void>(std::move(reply), path, 0, [&s = server(), path, expected_version](int64_t session) { return s.tree_.remove(path, expected_version, s.change(session)); });
  }
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    auto told = std::make_shared<metadata::MultiReply>(std::move(reply));
    state_->submit({0,
                    [&s = server(), ops = std::move(ops), told](int64_t session) -> Task {
                      return [told, result = s.tree_.multi(ops, s.change(session))]() mutable { tell(told, std::move(result)); };
                    },
                    [told](StoreError error) -> Task {
                      return [told, error] { tell(told, metadata::MultiResult(tl::unexpected(metadata::MultiFailure{error, -1}))); };
                    },
                    [told] { *told = {}; }});
  }
  void sync(StoreReply<void> reply) override {
    submit<void>(std::move(reply), "/", 0, [](int64_t) { return StoreResult<void>(); });
  }

 private:
  ZooKeeper& server() { return state_->server; }

  template <class T, class Run>
  void submit(StoreReply<T> reply, const std::string& path, size_t bytes, Run run) {
    auto told = std::make_shared<StoreReply<T>>(std::move(reply));
    if (!metadata::is_legal_path(path) || bytes > metadata::kMaxRequestBytes) {
      const StoreError error = metadata::is_legal_path(path) ? StoreError::kTooLarge : StoreError::kInvalidArguments;
      return state_->post([told, error] { tell(told, StoreResult<T>(tl::unexpected(error))); });
    }
    state_->submit({0,
                    [told, run = std::move(run)](int64_t session) mutable -> Task {
                      return [told, result = run(session)]() mutable { tell(told, std::move(result)); };
                    },
                    [told](StoreError error) -> Task {
                      return [told, error] { tell(told, StoreResult<T>(tl::unexpected(error))); };
                    },
                    [told] { *told = {}; }});
  }
  // Once; nothing of who asked stays behind in what is still on its way.
  template <class Reply, class Answer>
  static void tell(const std::shared_ptr<Reply>& told, Answer answer) {
    Reply reply = std::exchange(*told, {});
    if (reply) reply(std::move(answer));
  }

  ClientPtr state_;  // shared: with events on their way
};

ZooKeeper::ZooKeeper(World& world) : world_(world) { look_for_silent_ones(); }

std::unique_ptr<metadata::Store> ZooKeeper::make_client(std::string name, ZooKeeperPath path, base::Executor& callbacks, int64_t session_timeout_ms) {
  return std::make_unique<Client>(std::make_shared<ClientState>(*this, std::move(name), std::move(path), callbacks, session_timeout_ms));
}

void ZooKeeper::set_quorum(bool there) {
  world_.trace("zookeeper: {}", there ? "a quorum again" : "no quorum");
  quorum_ = there;
  for (auto& [id, session] : sessions_) {
    session.heard_ns = world_.now_ns();
    if (auto client = session.at.lock(); client && !there && !client->path.paused()) client->disconnect("the ensemble has no quorum");
  }
}

bool ZooKeeper::expire(const std::string& client) {
  for (auto& [id, session] : sessions_) {
    auto at = session.at.lock();
    if (session.client != client || at == nullptr || at->detached) continue;
    ++expired_;
    end_session(id);
    return true;
  }
  return false;
}

void ZooKeeper::look_for_silent_ones() {
  world_.after_ms(world_.random.between(100, 500), [this] { look_for_silent_ones(); });
  if (!quorum_) return;
  std::vector<int64_t> silent;
  for (auto& [id, session] : sessions_) {
    if (world_.now_ns() - session.heard_ns > session.timeout_ms * 1'000'000) silent.push_back(id);
  }
  for (int64_t id : silent) {
    ++expired_;
    end_session(id);
  }
}

int64_t ZooKeeper::open_session(const ClientPtr& client, int64_t timeout_ms) {
  ++zxid_;
  sessions_[++last_session_] = {client->name, timeout_ms, world_.now_ns(), client};
  return last_session_;
}

void ZooKeeper::end_session(int64_t id) {
  auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  world_.trace("zookeeper: the session of {} ends", found->second.client);
  sessions_.erase(found);
  drop_watches(id);
  auto context = change(id);
  // A server goes through them in no order.
  auto paths = tree_.ephemerals_of(id);
  for (size_t i = 0; i + 1 < paths.size(); ++i) std::swap(paths[i], paths[i + world_.random.below(paths.size() - i)]);
  for (const std::string& path : paths) CHECK(tree_.remove(path, metadata::kAnyVersion, context));
  fire_watches();
}

metadata::NodeTree::Context ZooKeeper::change(int64_t session) { return {++zxid_, world_.now_ms(), session}; }

void ZooKeeper::set_watch(bool on_children, const std::string& path, int64_t session, const std::shared_ptr<Watch>& watch) {
  if (watch != nullptr) (on_children ? child_watches_ : data_watches_)[path].push_back({session, watch});
}

void ZooKeeper::drop_watches(int64_t session) {
  for (Watches* watches : {&data_watches_, &child_watches_}) {
    for (auto& [path, set] : *watches) std::erase_if(set, [&](const SetWatch& one) { return one.session == session; });
  }
}

void ZooKeeper::fire_watches() {
  auto from = [&](Watches& watches, const metadata::WatchEvent& event) {
    auto found = watches.find(event.path);
    if (found == watches.end()) return;
    std::vector<SetWatch> set = std::move(found->second);
    watches.erase(found);
    for (SetWatch& one : set) {
      auto session = sessions_.find(one.session);
      auto client = session == sessions_.end() ? nullptr : session->second.at.lock();
      if (client == nullptr) continue;
      client->tell_watch([watch = std::move(one.watch), event] {
        if (*watch) (*watch)(event);
      });
    }
  };
  auto events = tree_.take_events();
  tree_.accept();
  for (const metadata::WatchEvent& event : events) {
    if (on_change) on_change(event);
    if (event.kind != metadata::WatchKind::kChildrenChanged) from(data_watches_, event);
    if (event.kind == metadata::WatchKind::kChildrenChanged || event.kind == metadata::WatchKind::kDeleted) from(child_watches_, event);
  }
}

}  // namespace odradek::sim
