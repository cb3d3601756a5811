#include "metadata/zookeeper_store.h"

#define THREADED
#include <zookeeper/zookeeper.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <unordered_set>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "model/error_code.h"

namespace odradek::metadata {

namespace {

constexpr int64_t kReopenMs = 1000;

Stat stat_of(const ::Stat* from) {
  Stat stat;
  if (from == nullptr) return stat;
  stat.czxid = from->czxid;
  stat.mzxid = from->mzxid;
  stat.pzxid = from->pzxid;
  stat.ctime_ms = from->ctime;
  stat.mtime_ms = from->mtime;
  stat.version = from->version;
  stat.cversion = from->cversion;
  stat.ephemeral_owner = from->ephemeralOwner;
  stat.data_length = from->dataLength;
  stat.num_children = from->numChildren;
  return stat;
}

void to_log(const char* message) {
  // "2026-11-23 02:00:00,000:123(0x..):ZOO_WARN@function@123: text"
  std::string_view line(message);
  size_t text = line.find("ZOO_");
  bool warning = line.find("ZOO_ERROR") != std::string_view::npos || line.find("ZOO_WARN") != std::string_view::npos;
  line = line.substr(text == std::string_view::npos ? 0 : text);
  log::at("metadata", warning ? log::Level::kWarn : log::Level::kDebug, "{}", line);
}

const char* data_or_null(const Bytes& data) { return data.empty() ? nullptr : reinterpret_cast<const char*>(data.data()); }
int length_or_null(const Bytes& data) { return data.empty() ? -1 : static_cast<int>(data.size()); }

int mode_of(CreateMode mode) {
  switch (mode) {
    case CreateMode::kPersistent: return ZOO_PERSISTENT;
    case CreateMode::kEphemeral: return ZOO_EPHEMERAL;
    case CreateMode::kPersistentSequential: return ZOO_PERSISTENT_SEQUENTIAL;
    case CreateMode::kEphemeralSequential: return ZOO_EPHEMERAL_SEQUENTIAL;
  }
  return ZOO_PERSISTENT;
}

class ZooKeeperStore final : public Store {
 public:
  ZooKeeperStore(base::Runtime& runtime, base::Executor& callbacks, std::string hosts, std::string chroot, int32_t timeout_ms)
      : runtime_(runtime), callbacks_(callbacks), hosts_(std::move(hosts)), chroot_(std::move(chroot)), timeout_ms_(timeout_ms),
        executor_(runtime.make_executor("zookeeper", 1)) {}
  ~ZooKeeperStore() override {
    executor_->post([this] { end_handle(); });
    executor_.reset();  // waits
  }

  // --- session ----------------------------------------------------------------------------------------------------------------------------

  void open(SessionListener listener) override {
    if (listener) {
      base::MutexLock lock(mutex_);
      listener_ = std::make_shared<SessionListener>(std::move(listener));
    }
    executor_->post([this] { start_handle(); });
  }
  void close(Task done) override {
    executor_->post([this, done = std::move(done)]() mutable {
      closed_.store(true);
      bool was_open = state_.exchange(SessionState::kClosed) != SessionState::kClosed;
      end_handle();
      if (was_open) tell(SessionState::kClosed);
      callbacks_.post(std::move(done));
    });
  }
  SessionState state() const override { return state_.load(); }
  int64_t session_id() const override { return session_id_.load(); }

  // The session is taken over by another handle and closed. This handle takes it back at once when it can, so it is tried until the
  // server says that the session is no more.
  void expire() {
    clientid_t id;
    {
      base::MutexLock lock(mutex_);
      id = *zoo_client_id(handle_);
    }
    struct Taken {
      base::Mutex mutex;
      std::condition_variable changed;
      int state = 0;
    };
    auto watcher = [](zhandle_t*, int type, int state, const char*, void* context) {
      if (type != ZOO_SESSION_EVENT || (state != ZOO_CONNECTED_STATE && state != ZOO_EXPIRED_SESSION_STATE)) return;
      auto* waiting = static_cast<Taken*>(context);
      base::MutexLock lock(waiting->mutex);
      waiting->state = state;
      waiting->changed.notify_all();
    };
    for (bool gone = false; !gone;) {
      Taken taken;
      zhandle_t* other = zookeeper_init2(hosts_.c_str(), watcher, timeout_ms_, &id, &taken, 0, to_log);
      {
        base::MutexLock lock(taken.mutex);
        while (taken.state == 0) lock.wait(taken.changed);
        gone = taken.state == ZOO_EXPIRED_SESSION_STATE;
      }
      zookeeper_close(other);
    }
  }

  // --- operations -------------------------------------------------------------------------------------------------------------------------

  void create(std::string path, Bytes data, CreateMode mode, StoreReply<CreatedNode> reply) override {
    auto* call = new Call<CreatedNode>{this, std::move(reply), nullptr};
    submit(path, call, [&](zhandle_t* handle) {
      return zoo_acreate2(handle, full(path).c_str(), data_or_null(data), length_or_null(data), &ZOO_OPEN_ACL_UNSAFE, mode_of(mode), on_created, call);
    });
  }
  void get(std::string path, Watch watch, StoreReply<NodeData> reply) override {
    auto* call = new Call<NodeData>{this, std::move(reply), keep(std::move(watch))};
    submit(path, call, [&](zhandle_t* handle) {
      return zoo_awget(handle, full(path).c_str(), call->watch ? on_watch : nullptr, call->watch, on_data, call);
    });
  }
  void exists(std::string path, Watch watch, StoreReply<Stat> reply) override {
    auto* call = new Call<Stat>{this, std::move(reply), keep(std::move(watch))};
    submit(path, call, [&](zhandle_t* handle) {
      return zoo_awexists(handle, full(path).c_str(), call->watch ? on_watch : nullptr, call->watch, on_exists, call);
    });
  }
  void children(std::string path, Watch watch, StoreReply<ChildList> reply) override {
    auto* call = new Call<ChildList>{this, std::move(reply), keep(std::move(watch))};
    submit(path, call, [&](zhandle_t* handle) {
      return zoo_awget_children2(handle, full(path).c_str(), call->watch ? on_watch : nullptr, call->watch, on_children, call);
    });
  }
  void set(std::string path, Bytes data, int32_t expected_version, StoreReply<Stat> reply) override {
    auto* call = new Call<Stat>{this, std::move(reply), nullptr};
    submit(path, call, [&](zhandle_t* handle) {
      return zoo_aset(handle, full(path).c_str(), data_or_null(data), length_or_null(data), expected_version, on_set, call);
    });
  }
  void remove(std::string path, int32_t expected_version, StoreReply<void> reply) override {
    auto* call = new Call<void>{this, std::move(reply), nullptr};
    submit(path, call, [&](zhandle_t* handle) { return zoo_adelete(handle, full(path).c_str(), expected_version, on_removed, call); });
  }
  void sync(StoreReply<void> reply) override {
    auto* call = new Call<void>{this, std::move(reply), nullptr};
    submit("/", call, [&](zhandle_t* handle) { return zoo_async(handle, full("/").c_str(), on_synced, call); });
  }

  void multi(std::vector<StoreOp> ops, MultiReply reply) override {
    auto* call = new MultiCall{this, std::move(reply), std::move(ops)};
    size_t count = call->ops.size();
    call->paths.resize(count);
    call->buffers.resize(count);
    call->stats.resize(count);
    call->requests.resize(count);
    call->results.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const StoreOp& op = call->ops[i];
      call->paths[i] = full(op.path);
      const char* path = call->paths[i].c_str();
      switch (op.kind) {
        case StoreOp::Kind::kCheck: zoo_check_op_init(&call->requests[i], path, op.version); break;
        case StoreOp::Kind::kCreate:
          call->buffers[i].resize(call->paths[i].size() + 16);  // room for the number
          zoo_create_op_init(&call->requests[i], path, data_or_null(op.data), length_or_null(op.data), &ZOO_OPEN_ACL_UNSAFE, mode_of(op.mode),
                             call->buffers[i].data(), static_cast<int>(call->buffers[i].size()));
          break;
        case StoreOp::Kind::kSet:
          zoo_set_op_init(&call->requests[i], path, data_or_null(op.data), length_or_null(op.data), op.version, &call->stats[i]);
          break;
        case StoreOp::Kind::kRemove: zoo_delete_op_init(&call->requests[i], path, op.version); break;
      }
    }
    int code = ZINVALIDSTATE;
    {
      base::MutexLock lock(mutex_);
      if (handle_ != nullptr) code = zoo_amulti(handle_, static_cast<int>(count), call->requests.data(), call->results.data(), on_multi, call);
    }
    if (code != ZOK) on_multi(code, call);
  }

 private:
  struct SetWatch {
    ZooKeeperStore* store;
    Watch watch;
  };
  template <class T>
  struct Call {
    ZooKeeperStore* store;
    StoreReply<T> reply;
    SetWatch* watch;  // null: none
  };
  struct MultiCall {
    ZooKeeperStore* store;
    MultiReply reply;
    std::vector<StoreOp> ops;
    // The library reads and writes these until the answer.
    std::vector<std::string> paths;
    std::vector<std::vector<char>> buffers;
    std::vector<::Stat> stats;
    std::vector<zoo_op_t> requests;
    std::vector<zoo_op_result_t> results;
  };

  std::string full(std::string_view path) const {
    if (path == "/") return chroot_.empty() ? "/" : chroot_;
    return chroot_ + std::string(path);
  }
  std::string without_chroot(std::string_view path) const {
    if (path.substr(0, chroot_.size()) == chroot_) path.remove_prefix(chroot_.size());
    return path.empty() ? "/" : std::string(path);
  }

  StoreError error_of(int code) const {
    switch (code) {
      case ZOK: return StoreError::kNone;
      case ZNONODE: return StoreError::kNoNode;
      case ZNODEEXISTS: return StoreError::kNodeExists;
      case ZBADVERSION: return StoreError::kBadVersion;
      case ZNOTEMPTY: return StoreError::kNotEmpty;
      case ZNOCHILDRENFOREPHEMERALS: return StoreError::kNoChildrenForEphemerals;
      case ZBADARGUMENTS: return StoreError::kInvalidArguments;
      case ZSESSIONEXPIRED: return StoreError::kSessionExpired;
      case ZCLOSING:
      case ZINVALIDSTATE:
        if (closed_.load()) return StoreError::kClosed;
        return state_.load() == SessionState::kExpired ? StoreError::kSessionExpired : StoreError::kConnectionLoss;
      case ZCONNECTIONLOSS:
      case ZOPERATIONTIMEOUT:
      case ZSESSIONMOVED: return StoreError::kConnectionLoss;
      default: return StoreError::kStorage;
    }
  }

  // --- the handle: made and ended on executor_ ------------------------------------------------------------------------------------------------

  void start_handle() {
    if (closed_.load()) return;
    end_handle();
    state_.store(SessionState::kConnecting);
    chroot_ready_.store(false);
    zoo_set_debug_level(ZOO_LOG_LEVEL_WARN);
    // The handle is needed under the lock before its first event can be worked off.
    base::MutexLock lock(mutex_);
    handle_ = zookeeper_init2(hosts_.c_str(), on_session, timeout_ms_, nullptr, this, 0, to_log);
    if (handle_ == nullptr) {
      log::error("metadata", "no ZooKeeper session with {}: errno {}; it is tried again", hosts_, errno);
      runtime_.timers().after(std::chrono::milliseconds(kReopenMs), [this] { executor_->post([this] { start_handle(); }); });
    }
  }
  void end_handle() {
    zhandle_t* handle = nullptr;
    {
      base::MutexLock lock(mutex_);
      handle = std::exchange(handle_, nullptr);
    }
    // Answers what is open, joins the library's threads.
    if (handle != nullptr) zookeeper_close(handle);
    std::unordered_set<SetWatch*> left;
    {
      base::MutexLock lock(watch_mutex_);
      left.swap(watches_);
    }
    for (SetWatch* watch : left) delete watch;
  }

  void tell(SessionState now) {
    std::shared_ptr<SessionListener> listener;
    {
      base::MutexLock lock(mutex_);
      listener = listener_;
    }
    if (listener) callbacks_.post([listener, now] { (*listener)(now); });
  }

  static void on_session(zhandle_t* handle, int type, int state, const char*, void* context) {
    auto* self = static_cast<ZooKeeperStore*>(context);
    if (type != ZOO_SESSION_EVENT) return;
    if (state == ZOO_CONNECTED_STATE) {
      self->session_id_.store(zoo_client_id(handle)->client_id);
      if (self->chroot_ready_.load()) {
        self->connected();
      } else {
        self->make_chroot(handle, 0);
      }
    } else if (state == ZOO_EXPIRED_SESSION_STATE) {
      self->state_.store(SessionState::kExpired);
      self->tell(SessionState::kExpired);
    } else if (state == ZOO_AUTH_FAILED_STATE) {
      log::error("metadata", "ZooKeeper refused the authentication");
    } else if (self->state_.load() == SessionState::kConnected) {
      self->state_.store(SessionState::kConnecting);
      self->tell(SessionState::kConnecting);
    }
  }
  void connected() {
    if (closed_.load()) return;
    state_.store(SessionState::kConnected);
    tell(SessionState::kConnected);
  }

  // Creates the chroot's nodes from the top; `done`: how much of the path exists.
  void make_chroot(zhandle_t* handle, size_t done) {
    if (done >= chroot_.size()) {
      chroot_ready_.store(true);
      return connected();
    }
    size_t end = std::min(chroot_.find('/', done + 1), chroot_.size());
    struct Step {
      ZooKeeperStore* self;
      zhandle_t* handle;
      size_t end;
    };
    auto* step = new Step{this, handle, end};
    auto made = [](int code, const char*, const void* data) {
      std::unique_ptr<const Step> taken(static_cast<const Step*>(data));
      if (code == ZOK || code == ZNODEEXISTS) {
        taken->self->make_chroot(taken->handle, taken->end);
      } else if (code != ZCONNECTIONLOSS && code != ZCLOSING && code != ZSESSIONEXPIRED) {
        log::error("metadata", "the chroot {} cannot be made: {}", taken->self->chroot_, zerror(code));
      }
      // After a lost connection: again when it is back.
    };
    int code = zoo_acreate(handle, chroot_.substr(0, end).c_str(), nullptr, -1, &ZOO_OPEN_ACL_UNSAFE, 0, made, step);
    if (code != ZOK) delete step;
  }

  // --- watches ------------------------------------------------------------------------------------------------------------------------------

  SetWatch* keep(Watch watch) {
    if (!watch) return nullptr;
    auto* kept = new SetWatch{this, std::move(watch)};
    base::MutexLock lock(watch_mutex_);
    watches_.insert(kept);
    return kept;
  }
  // Null: the session's end was faster.
  std::unique_ptr<SetWatch> take(SetWatch* watch) {
    base::MutexLock lock(watch_mutex_);
    return std::unique_ptr<SetWatch>(watches_.erase(watch) != 0 ? watch : nullptr);
  }
  static void on_watch(zhandle_t*, int type, int, const char* path, void* context) {
    if (type == ZOO_SESSION_EVENT || type == ZOO_NOTWATCHING_EVENT) return;
    auto* set = static_cast<SetWatch*>(context);
    ZooKeeperStore* self = set->store;
    std::unique_ptr<SetWatch> taken = self->take(set);
    if (taken == nullptr) return;
    WatchEvent event;
    event.path = self->without_chroot(path);
    event.kind = type == ZOO_CREATED_EVENT   ? WatchKind::kCreated
                 : type == ZOO_DELETED_EVENT ? WatchKind::kDeleted
                 : type == ZOO_CHANGED_EVENT ? WatchKind::kDataChanged
                                             : WatchKind::kChildrenChanged;
    self->callbacks_.post([watch = std::move(taken->watch), event = std::move(event)]() mutable { watch(event); });
  }

  // --- calls and answers ----------------------------------------------------------------------------------------------------------------------

  template <class T, class Send>
  void submit(const std::string& path, Call<T>* call, Send&& send) {
    int code = ZINVALIDSTATE;
    {
      base::MutexLock lock(mutex_);
      // The library checks the rest; this the chroot would hide from it.
      if (path.empty() || path[0] != '/') {
        code = ZBADARGUMENTS;
      } else if (handle_ != nullptr) {
        code = send(handle_);
      }
    }
    if (code != ZOK) answer<T>(call, code, false);
  }

  template <class T, class... Value>
  static void answer(const void* data, int code, bool watch_set, Value&&... value) {
    std::unique_ptr<Call<T>> call(static_cast<Call<T>*>(const_cast<void*>(data)));
    if (call->watch != nullptr && !watch_set) call->store->take(call->watch);
    StoreResult<T> result = tl::unexpected(call->store->error_of(code));
    if (code == ZOK) {
      if constexpr (std::is_void_v<T>) {
        result = {};
      } else {
        result = T{std::forward<Value>(value)...};
      }
    }
    call->store->callbacks_.post([reply = std::move(call->reply), result = std::move(result)]() mutable { reply(std::move(result)); });
  }
  static void on_created(int code, const char* path, const ::Stat* stat, const void* data) {
    auto* self = static_cast<const Call<CreatedNode>*>(data)->store;
    answer<CreatedNode>(data, code, false, code == ZOK ? self->without_chroot(path) : std::string(), stat_of(stat));
  }
  static void on_data(int code, const char* value, int length, const ::Stat* stat, const void* data) {
    Bytes bytes;
    if (code == ZOK && length > 0) bytes.assign(value, value + length);
    answer<NodeData>(data, code, code == ZOK, std::move(bytes), stat_of(stat));
  }
  static void on_exists(int code, const ::Stat* stat, const void* data) { answer<Stat>(data, code, code == ZOK || code == ZNONODE, stat_of(stat)); }
  static void on_set(int code, const ::Stat* stat, const void* data) { answer<Stat>(data, code, false, stat_of(stat)); }
  static void on_removed(int code, const void* data) { answer<void>(data, code, false); }
  static void on_synced(int code, const char*, const void* data) { answer<void>(data, code, false); }
  static void on_children(int code, const String_vector* names, const ::Stat* stat, const void* data) {
    std::vector<std::string> list;
    if (code == ZOK) {
      for (int32_t i = 0; i < names->count; ++i) list.emplace_back(names->data[i]);
      std::sort(list.begin(), list.end());
    }
    answer<ChildList>(data, code, code == ZOK, std::move(list), stat_of(stat));
  }
  static MultiResult result_of(int code, const MultiCall& call) {
    const ZooKeeperStore& self = *call.store;
    if (code != ZOK) {
      for (size_t i = 0; i < call.results.size(); ++i) {
        int error = call.results[i].err;
        if (error != ZOK && error != ZRUNTIMEINCONSISTENCY) return tl::unexpected(MultiFailure{self.error_of(error), static_cast<int32_t>(i)});
      }
      return tl::unexpected(MultiFailure{self.error_of(code), -1});
    }
    std::vector<OpResult> parts(call.ops.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      if (call.ops[i].kind == StoreOp::Kind::kCreate) parts[i].path = self.without_chroot(call.buffers[i].data());
      if (call.ops[i].kind == StoreOp::Kind::kSet) parts[i].stat = stat_of(&call.stats[i]);
    }
    return parts;
  }
  static void on_multi(int code, const void* data) {
    std::unique_ptr<MultiCall> call(static_cast<MultiCall*>(const_cast<void*>(data)));
    base::Executor& callbacks = call->store->callbacks_;
    callbacks.post([reply = std::move(call->reply), result = result_of(code, *call)]() mutable { reply(std::move(result)); });
  }

  base::Runtime& runtime_;
  base::Executor& callbacks_;
  const std::string hosts_;
  const std::string chroot_;  // "" or "/a/b"
  const int32_t timeout_ms_;

  std::atomic<SessionState> state_{SessionState::kConnecting};
  std::atomic<int64_t> session_id_{0};
  std::atomic<bool> closed_{false};
  std::atomic<bool> chroot_ready_{false};
  base::Mutex mutex_;
  zhandle_t* handle_ GUARDED_BY(mutex_) = nullptr;
  std::shared_ptr<SessionListener> listener_ GUARDED_BY(mutex_);
  base::Mutex watch_mutex_;
  std::unordered_set<SetWatch*> watches_ GUARDED_BY(watch_mutex_);
  std::unique_ptr<base::Executor> executor_;
};

}  // namespace

Result<std::unique_ptr<Store>> make_zookeeper_store(base::Runtime& runtime, base::Executor& callbacks, const ZooKeeperOptions& options) {
  size_t slash = std::min(options.connect.find('/'), options.connect.size());
  std::string hosts = options.connect.substr(0, slash);
  std::string chroot = options.connect.substr(slash);
  if (chroot == "/") chroot.clear();
  if (hosts.empty() || (!chroot.empty() && !is_legal_path(chroot))) {
    return fail(ErrorCode::kInvalidConfig, fmt::format("zookeeper.connect={} is not of the form host:port,host:port/chroot", options.connect));
  }
  return std::make_unique<ZooKeeperStore>(runtime, callbacks, std::move(hosts), std::move(chroot), options.session_timeout_ms);
}

void expire_zookeeper_session(Store& zookeeper_store) { dynamic_cast<ZooKeeperStore&>(zookeeper_store).expire(); }

}  // namespace odradek::metadata
