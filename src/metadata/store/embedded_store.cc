#include "metadata/store/embedded_store.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/random.h"
#include "metadata/store/node_tree.h"
#include "metadata/store/sqlite_file.h"

namespace odradek::metadata {

namespace {

constexpr size_t kMaxBatch = 1024;  // operations per commit

// What the tree knows of a session. Shared by the store that the user holds, queued operations and set watches.
struct Session {
  explicit Session(base::Executor& executor) : callbacks(executor) {}

  // Nothing is posted after detach().
  void post(Task task) {
    base::MutexLock lock(mutex);
    if (!detached) callbacks.post(std::move(task));
  }
  void detach() {
    base::MutexLock lock(mutex);
    detached = true;
  }
  void tell(SessionState now) {
    state.store(now, std::memory_order_release);
    post([self = listener, now] {
      if (*self) (*self)(now);
    });
  }

  base::Executor& callbacks;
  base::Mutex mutex;
  bool detached GUARDED_BY(mutex) = false;
  std::atomic<SessionState> state{SessionState::kConnecting};
  std::atomic<int64_t> id{0};
  std::shared_ptr<SessionListener> listener = std::make_shared<SessionListener>();  // set before the first tell(), run on `callbacks`
};
using SessionPtr = std::shared_ptr<Session>;

struct OpenOp {};
struct EndOp {
  SessionState as = SessionState::kClosed;
  Task done;
};
struct CreateOp {
  std::string path;
  Bytes data;
  CreateMode mode;
  StoreReply<CreatedNode> reply;
};
struct SetOp {
  std::string path;
  Bytes data;
  int32_t version;
  StoreReply<Stat> reply;
};
struct RemoveOp {
  std::string path;
  int32_t version;
  StoreReply<void> reply;
};
struct MultiOp {
  std::vector<StoreOp> ops;
  MultiReply reply;
};
struct GetOp {
  std::string path;
  Watch watch;
  StoreReply<NodeData> reply;
};
struct ExistsOp {
  std::string path;
  Watch watch;
  StoreReply<Stat> reply;
};
struct ChildrenOp {
  std::string path;
  Watch watch;
  StoreReply<ChildList> reply;
};
struct SyncOp {
  StoreReply<void> reply;
};

struct Operation {
  SessionPtr session;
  std::variant<OpenOp, EndOp, CreateOp, SetOp, RemoveOp, MultiOp, GetOp, ExistsOp, ChildrenOp, SyncOp> what;
};

// What executing an operation gave; handed out after the commit.
struct Outcome {
  std::variant<std::monostate, StoreError, CreatedNode, Stat, NodeData, ChildList, MultiResult> value;
  bool sets_watch = false;
  bool on_children = false;
  std::vector<WatchEvent> events;
};

}  // namespace

class EmbeddedTree {
 public:
  EmbeddedTree(base::Runtime& runtime, std::unique_ptr<SqliteFile> file, NodeTree tree, int64_t zxid)
      : runtime_(runtime), file_(std::move(file)), tree_(std::move(tree)), zxid_(zxid), executor_(runtime.make_executor("metadata-store", 1)) {}

  void submit(Operation operation) {
    {
      base::MutexLock lock(mutex_);
      queue_.push_back(std::move(operation));
      if (std::exchange(drain_posted_, true)) return;
    }
    executor_->post([this] { drain(); });
  }
  void on_full_disk(std::function<bool()> make_room) {
    base::MutexLock lock(mutex_);
    make_room_ = std::move(make_room);
  }

 private:
  struct SetWatch {
    SessionPtr session;
    int64_t session_id;
    std::shared_ptr<Watch> watch;  // shared: an executor's task has to be able to hold it
  };
  using Watches = absl::flat_hash_map<std::string, std::vector<SetWatch>>;

  void drain() {
    std::vector<Operation> batch;
    {
      base::MutexLock lock(mutex_);
      while (!queue_.empty() && batch.size() < kMaxBatch) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      drain_posted_ = !queue_.empty();
    }
    run(batch);
    bool more;
    {
      base::MutexLock lock(mutex_);
      more = drain_posted_;
    }
    if (more) executor_->post([this] { drain(); });
  }

  // Everything is executed in memory, committed in one transaction, and only then handed out, in order.
  void run(std::vector<Operation>& batch) {
    int64_t zxid_before = zxid_;
    std::vector<Outcome> outcomes = execute(batch, true);
    if (auto committed = commit(); !committed) {
      log::error("metadata", "{}: changes are refused until it can be written again", committed.error().what);
      tree_.undo();
      tree_.take_events();
      zxid_ = zxid_before;
      outcomes = execute(batch, false);
    }
    tree_.accept();
    for (size_t i = 0; i < batch.size(); ++i) hand_out(batch[i], outcomes[i]);
  }

  Result<void> commit() {
    for (;;) {
      auto committed = commit_once();
      if (committed || committed.error().os_error != ENOSPC) return committed;
      std::function<bool()> make_room;
      {
        base::MutexLock lock(mutex_);
        make_room = make_room_;
      }
      if (!make_room || !make_room()) return committed;
    }
  }

  Result<void> commit_once() {
    if (file_ == nullptr || tree_.touched().empty()) return {};
    auto written = file_->begin();
    for (auto path = tree_.touched().begin(); written && path != tree_.touched().end(); ++path) {
      const NodeTree::Node* node = tree_.find(*path);
      written = node != nullptr && node->ephemeral_owner == 0 ? file_->put(*path, *node) : file_->erase(*path);
    }
    if (written) written = file_->commit(zxid_);
    if (!written) file_->rollback();
    return written;
  }

  std::vector<Outcome> execute(std::vector<Operation>& batch, bool changes_allowed) {
    std::vector<Outcome> outcomes(batch.size());
    // State of sessions as this batch sees it: an end takes effect for the operations behind it.
    absl::flat_hash_map<const Session*, SessionState> states;
    for (size_t i = 0; i < batch.size(); ++i) {
      Session& session = *batch[i].session;
      auto state = states.try_emplace(&session, session.state.load(std::memory_order_acquire)).first;
      Outcome& outcome = outcomes[i];
      if (std::holds_alternative<OpenOp>(batch[i].what)) {
        if (state->second == SessionState::kConnecting || state->second == SessionState::kExpired) {
          state->second = SessionState::kConnected;
          // Not persisted: random, so that no two sessions of two processes are taken for one.
          session.id.store(static_cast<int64_t>(runtime_.random().next() >> 1) | 1, std::memory_order_release);
          outcome.value = Stat{};
        }
        continue;
      }
      if (auto* end = std::get_if<EndOp>(&batch[i].what)) {
        if (state->second == SessionState::kConnected) {
          end_session(session.id.load(), outcome);
          state->second = end->as;
        } else if (end->as == SessionState::kClosed) {
          state->second = SessionState::kClosed;
        }
        continue;
      }
      if (state->second != SessionState::kConnected) {
        outcome.value = state->second == SessionState::kExpired ? StoreError::kSessionExpired
                        : state->second == SessionState::kClosed ? StoreError::kClosed
                                                                 : StoreError::kConnectionLoss;
        continue;
      }
      execute_one(batch[i], outcome, changes_allowed);
      outcome.events = tree_.take_events();
    }
    return outcomes;
  }

  void end_session(int64_t id, Outcome& outcome) {
    auto paths = tree_.ephemerals_of(id);
    if (!paths.empty()) ++zxid_;
    for (const std::string& path : paths) {
      auto removed = tree_.remove(path, kAnyVersion, context(id));
      CHECK(removed);
    }
    outcome.events = tree_.take_events();
  }

  NodeTree::Context context(int64_t session) { return {zxid_, runtime_.clock().wall_ms(), session}; }

  template <class T>
  static void keep(Outcome& outcome, StoreResult<T> result) {
    if (result) {
      outcome.value = std::move(*result);
    } else {
      outcome.value = result.error();
    }
  }

  // As ZooKeeper refuses it: a tree can move there.
  static bool is_too_large(const Operation& operation) {
    if (auto* op = std::get_if<CreateOp>(&operation.what)) return request_bytes(op->path, op->data) > kMaxRequestBytes;
    if (auto* op = std::get_if<SetOp>(&operation.what)) return request_bytes(op->path, op->data) > kMaxRequestBytes;
    auto* multi = std::get_if<MultiOp>(&operation.what);
    if (multi == nullptr) return false;
    size_t bytes = 0;
    for (const StoreOp& op : multi->ops) bytes += request_bytes(op.path, op.data);
    return bytes > kMaxRequestBytes;
  }

  void execute_one(Operation& operation, Outcome& outcome, bool changes_allowed) {
    int64_t session = operation.session->id.load(std::memory_order_relaxed);
    if (is_too_large(operation)) {
      outcome.value = StoreError::kTooLarge;
      if (std::holds_alternative<MultiOp>(operation.what)) outcome.value = MultiResult(tl::unexpected(MultiFailure{StoreError::kTooLarge, -1}));
      return;
    }
    auto change = [&] {
      if (changes_allowed) {
        ++zxid_;
      } else {
        outcome.value = StoreError::kStorage;
      }
      return changes_allowed;
    };
    // The data is copied: the batch may have to be executed again.
    if (auto* op = std::get_if<CreateOp>(&operation.what)) {
      if (change()) keep(outcome, tree_.create(op->path, op->data, op->mode, context(session)));
    } else if (auto* op = std::get_if<SetOp>(&operation.what)) {
      if (change()) keep(outcome, tree_.set(op->path, op->data, op->version, context(session)));
    } else if (auto* op = std::get_if<RemoveOp>(&operation.what)) {
      if (!change()) return;
      auto removed = tree_.remove(op->path, op->version, context(session));
      outcome.value = removed ? StoreError::kNone : removed.error();
    } else if (auto* op = std::get_if<MultiOp>(&operation.what)) {
      if (change()) {
        outcome.value = tree_.multi(op->ops, context(session));
      } else {
        outcome.value = MultiResult(tl::unexpected(MultiFailure{StoreError::kStorage, -1}));
      }
    } else if (auto* op = std::get_if<GetOp>(&operation.what)) {
      if (const NodeTree::Node* node = tree_.find(op->path)) {
        outcome.value = NodeData{node->data, node->stat()};
        outcome.sets_watch = true;
      } else {
        outcome.value = StoreError::kNoNode;
      }
    } else if (auto* op = std::get_if<ExistsOp>(&operation.what)) {
      outcome.sets_watch = true;
      if (const NodeTree::Node* node = tree_.find(op->path)) {
        outcome.value = node->stat();
      } else {
        outcome.value = StoreError::kNoNode;
      }
    } else if (auto* op = std::get_if<ChildrenOp>(&operation.what)) {
      if (const NodeTree::Node* node = tree_.find(op->path)) {
        outcome.value = ChildList{{node->children.begin(), node->children.end()}, node->stat()};
        outcome.sets_watch = outcome.on_children = true;
      } else {
        outcome.value = StoreError::kNoNode;
      }
    } else {
      outcome.value = StoreError::kNone;
    }
  }

  template <class T>
  static void answer(Session& session, StoreReply<T> reply, Outcome& outcome) {
    StoreResult<T> result = tl::unexpected(StoreError::kNone);
    if (auto* error = std::get_if<StoreError>(&outcome.value)) {
      if constexpr (std::is_void_v<T>) {
        if (*error == StoreError::kNone) {
          result = {};
        } else {
          result = tl::unexpected(*error);
        }
      } else {
        result = tl::unexpected(*error);
      }
    } else {
      if constexpr (!std::is_void_v<T>) result = std::move(std::get<T>(outcome.value));
    }
    session.post([reply = std::move(reply), result = std::move(result)]() mutable { reply(std::move(result)); });
  }

  void hand_out(Operation& operation, Outcome& outcome) {
    for (const WatchEvent& event : outcome.events) fire(event);
    SessionPtr& session = operation.session;
    if (std::holds_alternative<OpenOp>(operation.what)) {
      if (std::holds_alternative<Stat>(outcome.value)) session->tell(SessionState::kConnected);
    } else if (auto* op = std::get_if<EndOp>(&operation.what)) {
      if (session->state.load() != SessionState::kClosed && (op->as == SessionState::kClosed || session->state.load() == SessionState::kConnected)) {
        drop_watches(*session);
        session->tell(op->as);
      }
      if (op->done) session->post(std::move(op->done));
    } else if (auto* op = std::get_if<CreateOp>(&operation.what)) {
      answer(*session, std::move(op->reply), outcome);
    } else if (auto* op = std::get_if<SetOp>(&operation.what)) {
      answer(*session, std::move(op->reply), outcome);
    } else if (auto* op = std::get_if<RemoveOp>(&operation.what)) {
      answer(*session, std::move(op->reply), outcome);
    } else if (auto* op = std::get_if<MultiOp>(&operation.what)) {
      MultiResult result = tl::unexpected(MultiFailure{});
      if (auto* error = std::get_if<StoreError>(&outcome.value)) {
        result = tl::unexpected(MultiFailure{*error, -1});
      } else {
        result = std::move(std::get<MultiResult>(outcome.value));
      }
      session->post([reply = std::move(op->reply), result = std::move(result)]() mutable { reply(std::move(result)); });
    } else if (auto* op = std::get_if<GetOp>(&operation.what)) {
      set_watch(session, op->path, std::move(op->watch), outcome);
      answer(*session, std::move(op->reply), outcome);
    } else if (auto* op = std::get_if<ExistsOp>(&operation.what)) {
      set_watch(session, op->path, std::move(op->watch), outcome);
      answer(*session, std::move(op->reply), outcome);
    } else if (auto* op = std::get_if<ChildrenOp>(&operation.what)) {
      set_watch(session, op->path, std::move(op->watch), outcome);
      answer(*session, std::move(op->reply), outcome);
    } else if (auto* op = std::get_if<SyncOp>(&operation.what)) {
      answer(*session, std::move(op->reply), outcome);
    }
  }

  void set_watch(const SessionPtr& session, const std::string& path, Watch watch, const Outcome& outcome) {
    if (!outcome.sets_watch || !watch) return;
    Watches& watches = outcome.on_children ? child_watches_ : data_watches_;
    watches[path].push_back({session, session->id.load(), std::make_shared<Watch>(std::move(watch))});
  }

  void fire(const WatchEvent& event) {
    auto from = [&](Watches& watches) {
      auto found = watches.find(event.path);
      if (found == watches.end()) return;
      std::vector<SetWatch> set = std::move(found->second);
      watches.erase(found);
      for (SetWatch& one : set) one.session->post([watch = std::move(one.watch), event] { (*watch)(event); });
    };
    if (event.kind != WatchKind::kChildrenChanged) from(data_watches_);
    if (event.kind == WatchKind::kChildrenChanged || event.kind == WatchKind::kDeleted) from(child_watches_);
  }

  void drop_watches(const Session& session) {
    int64_t id = session.id.load();
    for (Watches* watches : {&data_watches_, &child_watches_}) {
      for (auto entry = watches->begin(); entry != watches->end();) {
        std::erase_if(entry->second, [&](const SetWatch& set) { return set.session.get() == &session && set.session_id == id; });
        entry->second.empty() ? watches->erase(entry++) : static_cast<void>(++entry);
      }
    }
  }

  base::Runtime& runtime_;
  std::unique_ptr<SqliteFile> file_;
  NodeTree tree_;
  int64_t zxid_;
  Watches data_watches_, child_watches_;

  base::Mutex mutex_;
  std::deque<Operation> queue_ GUARDED_BY(mutex_);
  bool drain_posted_ GUARDED_BY(mutex_) = false;
  std::function<bool()> make_room_ GUARDED_BY(mutex_);
  std::unique_ptr<base::Executor> executor_;  // last: its end waits for what is queued
};

namespace {

class EmbeddedStore final : public Store {
 public:
  EmbeddedStore(std::shared_ptr<EmbeddedTree> tree, base::Executor& callbacks) : tree_(std::move(tree)), session_(std::make_shared<Session>(callbacks)) {}
  ~EmbeddedStore() override {
    session_->detach();
    tree_->submit({session_, EndOp{SessionState::kClosed, {}}});
  }

  void open(SessionListener listener) override {
    // Only between sessions, when nothing tells the former listener anything.
    if (listener) *session_->listener = std::move(listener);
    tree_->submit({session_, OpenOp{}});
  }
  void close(Task done) override { tree_->submit({session_, EndOp{SessionState::kClosed, std::move(done)}}); }
  void on_full_disk(std::function<bool()> make_room) { tree_->on_full_disk(std::move(make_room)); }
  void expire() { tree_->submit({session_, EndOp{SessionState::kExpired, {}}}); }
  SessionState state() const override { return session_->state.load(std::memory_order_acquire); }
  int64_t session_id() const override { return session_->id.load(std::memory_order_acquire); }

  void create(std::string path, Bytes data, CreateMode mode, StoreReply<CreatedNode> reply) override {
    tree_->submit({session_, CreateOp{std::move(path), std::move(data), mode, std::move(reply)}});
  }
  void get(std::string path, Watch watch, StoreReply<NodeData> reply) override {
    tree_->submit({session_, GetOp{std::move(path), std::move(watch), std::move(reply)}});
  }
  void exists(std::string path, Watch watch, StoreReply<Stat> reply) override {
    tree_->submit({session_, ExistsOp{std::move(path), std::move(watch), std::move(reply)}});
  }
  void children(std::string path, Watch watch, StoreReply<ChildList> reply) override {
    tree_->submit({session_, ChildrenOp{std::move(path), std::move(watch), std::move(reply)}});
  }
  void set(std::string path, Bytes data, int32_t expected_version, StoreReply<Stat> reply) override {
    tree_->submit({session_, SetOp{std::move(path), std::move(data), expected_version, std::move(reply)}});
  }
  void remove(std::string path, int32_t expected_version, StoreReply<void> reply) override {
    tree_->submit({session_, RemoveOp{std::move(path), expected_version, std::move(reply)}});
  }
  void multi(std::vector<StoreOp> ops, MultiReply reply) override { tree_->submit({session_, MultiOp{std::move(ops), std::move(reply)}}); }
  void sync(StoreReply<void> reply) override { tree_->submit({session_, SyncOp{std::move(reply)}}); }

 private:
  std::shared_ptr<EmbeddedTree> tree_;
  SessionPtr session_;
};

}  // namespace

Result<std::shared_ptr<EmbeddedTree>> open_embedded_tree(base::Runtime& runtime, const std::string& path) {
  NodeTree tree;
  int64_t zxid = 0;
  std::unique_ptr<SqliteFile> file;
  if (!path.empty()) {
    auto opened = SqliteFile::open(path);
    if (!opened) return fail(opened.error());
    file = std::move(*opened);
    auto loaded = file->load([&](const std::string& node_path, NodeTree::Node node) { return tree.load(node_path, std::move(node)); }, zxid);
    if (!loaded) return fail(loaded.error());
  }
  return std::make_shared<EmbeddedTree>(runtime, std::move(file), std::move(tree), zxid);
}

std::unique_ptr<Store> make_embedded_store(std::shared_ptr<EmbeddedTree> tree, base::Executor& callbacks) {
  return std::make_unique<EmbeddedStore>(std::move(tree), callbacks);
}

Result<std::unique_ptr<Store>> make_embedded_store(base::Runtime& runtime, base::Executor& callbacks, const std::string& path) {
  auto tree = open_embedded_tree(runtime, path);
  if (!tree) return fail(tree.error());
  return make_embedded_store(std::move(*tree), callbacks);
}

void on_full_disk(Store& store, std::function<bool()> make_room) {
  if (auto* embedded = dynamic_cast<EmbeddedStore*>(&store)) embedded->on_full_disk(std::move(make_room));
}

void expire_session(Store& embedded_store) { dynamic_cast<EmbeddedStore&>(embedded_store).expire(); }

}  // namespace odradek::metadata
