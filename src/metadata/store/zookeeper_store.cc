#include "metadata/store/zookeeper_store.h"

#define THREADED
#include <zookeeper/zookeeper.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/check.h"
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
  // Some lines a second while there is no connection, which the session's own states tell: for those who look closer.
  log::at("metadata", log::Level::kDebug, "{}", line.substr(text == std::string_view::npos ? 0 : text));
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
  ZooKeeperStore(base::Runtime& runtime, base::Executor& callbacks, std::string hosts, std::string chroot, const ZooKeeperOptions& options)
      : runtime_(runtime), callbacks_(callbacks), hosts_(std::move(hosts)), chroot_(std::move(chroot)), timeout_ms_(options.session_timeout_ms),
        max_in_flight_(static_cast<size_t>(std::max(options.max_in_flight, 0))), executor_(runtime.make_executor("zookeeper", 1)) {
    base::MutexLock lock(retry_->mutex);
    retry_->store = this;
  }
  ~ZooKeeperStore() override {
    {
      base::MutexLock lock(mutex_);
      detached_ = true;
      state_.store(SessionState::kClosed);
    }
    {
      base::MutexLock lock(retry_->mutex);
      retry_->store = nullptr;
    }
    executor_->post([this] { end_handle(); });
    executor_.reset();  // waits
  }

  // --- session ----------------------------------------------------------------------------------------------------------------------------

  void open(SessionListener listener) override {
    base::MutexLock lock(mutex_);
    if (detached_ || state_.load() == SessionState::kClosed) return;
    if (listener) listener_ = std::make_shared<SessionListener>(std::move(listener));
    state_.store(SessionState::kConnecting);
    ++session_number_;
    executor_->post([this] { start_handle(); });
  }
  void close(Task done) override {
    executor_->post([this, done = std::move(done)]() mutable {
      bool was_open;
      {
        base::MutexLock lock(mutex_);
        was_open = state_.exchange(SessionState::kClosed) != SessionState::kClosed;
        ready_ = false;
      }
      end_handle();
      base::MutexLock lock(mutex_);
      pump();
      if (was_open) tell(SessionState::kClosed);
      post(std::move(done));
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
      CHECK(handle_ != nullptr);
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
    auto call = std::make_unique<Call<CreatedNode>>(*this, std::move(path), std::move(reply));
    call->data = std::move(data);
    call->mode = mode_of(mode);
    submit(std::move(call));
  }
  void get(std::string path, Watch watch, StoreReply<NodeData> reply) override {
    auto call = std::make_unique<Call<NodeData>>(*this, std::move(path), std::move(reply));
    call->watch = std::move(watch);
    submit(std::move(call));
  }
  void exists(std::string path, Watch watch, StoreReply<Stat> reply) override {
    auto call = std::make_unique<Call<Stat>>(*this, std::move(path), std::move(reply));
    call->watch = std::move(watch);
    submit(std::move(call));
  }
  void children(std::string path, Watch watch, StoreReply<ChildList> reply) override {
    auto call = std::make_unique<Call<ChildList>>(*this, std::move(path), std::move(reply));
    call->watch = std::move(watch);
    submit(std::move(call));
  }
  void set(std::string path, Bytes data, int32_t expected_version, StoreReply<Stat> reply) override {
    auto call = std::make_unique<Call<Stat>>(*this, std::move(path), std::move(reply));
    call->is_set = true;
    call->data = std::move(data);
    call->version = expected_version;
    submit(std::move(call));
  }
  void remove(std::string path, int32_t expected_version, StoreReply<void> reply) override {
    auto call = std::make_unique<Call<void>>(*this, std::move(path), std::move(reply));
    call->version = expected_version;
    submit(std::move(call));
  }
  void sync(StoreReply<void> reply) override {
    auto call = std::make_unique<Call<void>>(*this, "/", std::move(reply));
    call->is_sync = true;
    submit(std::move(call));
  }
  void multi(std::vector<StoreOp> ops, MultiReply reply) override { submit(std::make_unique<MultiCall>(*this, std::move(ops), std::move(reply))); }

 private:
  // --- calls ------------------------------------------------------------------------------------------------------------------------------

  // A set watch; the library holds its address until it fires or the session ends.
  struct SetWatch {
    ZooKeeperStore& store;
    Watch watch;
  };
  // One operation. Owned by the queue, then by the library until its answer.
  struct Operation {
    explicit Operation(ZooKeeperStore& s) : store(s) {}
    virtual ~Operation() = default;
    // kNone: it can be sent.
    virtual StoreError fault() const = 0;
    virtual int send(zhandle_t* handle) = 0;  // this and the next: under the store's mutex
    virtual void refuse(StoreError error) = 0;
    ZooKeeperStore& store;
    uint64_t session_number = 0;
    uint64_t sent_number = 0;
  };

  template <class T>
  struct Call final : Operation {
    Call(ZooKeeperStore& s, std::string p, StoreReply<T> r) : Operation(s), path(std::move(p)), reply(std::move(r)) {}

    StoreError fault() const override {
      if (!is_legal_path(path)) return StoreError::kInvalidArguments;
      return this->store.chroot_.size() + request_bytes(path, data) > kMaxRequestBytes ? StoreError::kTooLarge : StoreError::kNone;
    }
    int send(zhandle_t* handle) override {
      std::string full = this->store.full(path);
      if (watch) set = this->store.keep(std::move(watch));
      watcher_fn watcher = set != nullptr ? on_watch : nullptr;
      if constexpr (std::is_same_v<T, CreatedNode>) {
        return zoo_acreate2(handle, full.c_str(), data_or_null(data), length_or_null(data), &ZOO_OPEN_ACL_UNSAFE, mode, on_created, this);
      } else if constexpr (std::is_same_v<T, NodeData>) {
        return zoo_awget(handle, full.c_str(), watcher, set, on_data, this);
      } else if constexpr (std::is_same_v<T, ChildList>) {
        return zoo_awget_children2(handle, full.c_str(), watcher, set, on_children, this);
      } else if constexpr (std::is_same_v<T, Stat>) {
        if (!is_set) return zoo_awexists(handle, full.c_str(), watcher, set, on_exists, this);
        return zoo_aset(handle, full.c_str(), data_or_null(data), length_or_null(data), version, on_stat, this);
      } else {
        return is_sync ? zoo_async(handle, full.c_str(), on_synced, this) : zoo_adelete(handle, full.c_str(), version, on_removed, this);
      }
    }
    void refuse(StoreError error) override { give(tl::unexpected(error), false); }
    void give(StoreResult<T> result, bool watch_is_set) NO_THREAD_SAFETY_ANALYSIS {
      if (set != nullptr && !watch_is_set) this->store.watches_.erase(set);
      this->store.post([reply = std::move(reply), result = std::move(result)]() mutable { reply(std::move(result)); });
    }

    std::string path;
    Bytes data;
    Watch watch;
    SetWatch* set = nullptr;  // in watches_, once sent
    int mode = 0;
    int32_t version = kAnyVersion;
    bool is_set = false;
    bool is_sync = false;
    StoreReply<T> reply;
  };

  struct MultiCall final : Operation {
    MultiCall(ZooKeeperStore& s, std::vector<StoreOp> o, MultiReply r) : Operation(s), ops(std::move(o)), reply(std::move(r)) {}

    StoreError fault() const override {
      size_t bytes = 0;
      for (const StoreOp& op : ops) {
        if (!is_legal_path(op.path)) return StoreError::kInvalidArguments;
        bytes += store.chroot_.size() + request_bytes(op.path, op.data);
      }
      return bytes > kMaxRequestBytes ? StoreError::kTooLarge : StoreError::kNone;
    }
    int send(zhandle_t* handle) override {
      size_t count = ops.size();
      paths.resize(count);
      buffers.resize(count);
      stats.resize(count);
      requests.resize(count);
      results.resize(count);
      for (size_t i = 0; i < count; ++i) {
        const StoreOp& op = ops[i];
        paths[i] = store.full(op.path);
        const char* path = paths[i].c_str();
        switch (op.kind) {
          case StoreOp::Kind::kCheck: zoo_check_op_init(&requests[i], path, op.version); break;
          case StoreOp::Kind::kCreate:
            buffers[i].resize(paths[i].size() + 16);  // room for the number
            zoo_create_op_init(&requests[i], path, data_or_null(op.data), length_or_null(op.data), &ZOO_OPEN_ACL_UNSAFE, mode_of(op.mode),
                               buffers[i].data(), static_cast<int>(buffers[i].size()));
            break;
          case StoreOp::Kind::kSet:
            zoo_set_op_init(&requests[i], path, data_or_null(op.data), length_or_null(op.data), op.version, &stats[i]);
            break;
          case StoreOp::Kind::kRemove: zoo_delete_op_init(&requests[i], path, op.version); break;
        }
      }
      return zoo_amulti(handle, static_cast<int>(count), requests.data(), results.data(), on_multi, this);
    }
    void refuse(StoreError error) override { give(tl::unexpected(MultiFailure{error, -1})); }
    void give(MultiResult result) NO_THREAD_SAFETY_ANALYSIS {
      store.post([reply = std::move(reply), result = std::move(result)]() mutable { reply(std::move(result)); });
    }
    MultiResult result_of(int code) const {
      if (code != ZOK) {
        for (size_t i = 0; i < results.size(); ++i) {
          int error = results[i].err;
          if (error != ZOK && error != ZRUNTIMEINCONSISTENCY) return tl::unexpected(MultiFailure{store.error_of(error), static_cast<int32_t>(i)});
        }
        return tl::unexpected(MultiFailure{store.error_of(code), -1});
      }
      std::vector<OpResult> parts(ops.size());
      for (size_t i = 0; i < parts.size(); ++i) {
        if (ops[i].kind == StoreOp::Kind::kCreate) parts[i].path = store.without_chroot(buffers[i].data());
        if (ops[i].kind == StoreOp::Kind::kSet) parts[i].stat = stat_of(&stats[i]);
      }
      return parts;
    }

    std::vector<StoreOp> ops;
    MultiReply reply;
    // The library reads and writes these until the answer.
    std::vector<std::string> paths;
    std::vector<std::vector<char>> buffers;
    std::vector<::Stat> stats;
    std::vector<zoo_op_t> requests;
    std::vector<zoo_op_result_t> results;
  };

  void submit(std::unique_ptr<Operation> operation) {
    base::MutexLock lock(mutex_);
    operation->session_number = session_number_;
    waiting_.push_back(std::move(operation));
    pump();
  }

  // Sends what may be sent and refuses what never will be, in the order of the calls.
  void pump() REQUIRES(mutex_) {
    while (!waiting_.empty()) {
      Operation& next = *waiting_.front();
      bool other_session = next.session_number != 0 && next.session_number != session_number_;
      StoreError error = StoreError::kNone;
      if (state_.load() == SessionState::kClosed) {
        error = StoreError::kClosed;
      } else if (state_.load() == SessionState::kExpired || other_session) {
        error = StoreError::kSessionExpired;
      } else {
        error = next.fault();
      }
      if (error != StoreError::kNone) {
        // Not before the answers of those in front.
        if (!sent_.empty()) return;
        next.refuse(error);
        waiting_.pop_front();
        continue;
      }
      if (!ready_ || (max_in_flight_ != 0 && sent_.size() >= max_in_flight_)) return;
      int code = next.send(handle_);
      if (code == ZOK) {
        next.sent_number = ++last_sent_;
        sent_.emplace(next.sent_number, &next);
        (void)waiting_.front().release();  // comes back with the answer
      } else {
        next.refuse(error_of(code));
      }
      waiting_.pop_front();
    }
  }

  template <class T, class... Value>
  static void answer(const void* data, int code, bool watch_is_set, Value&&... value) {
    std::unique_ptr<Call<T>> call(static_cast<Call<T>*>(const_cast<void*>(data)));
    ZooKeeperStore& self = call->store;
    StoreResult<T> result = tl::unexpected(self.error_of(code));
    if (code == ZOK) {
      if constexpr (std::is_void_v<T>) {
        result = {};
      } else {
        result = T{std::forward<Value>(value)...};
      }
    }
    base::MutexLock lock(self.mutex_);
    call->give(std::move(result), watch_is_set);
    self.sent_.erase(call->sent_number);
    self.pump();
  }
  static void on_created(int code, const char* path, const ::Stat* stat, const void* data) {
    auto& self = static_cast<const Call<CreatedNode>*>(data)->store;
    answer<CreatedNode>(data, code, false, code == ZOK ? self.without_chroot(path) : std::string(), stat_of(stat));
  }
  static void on_data(int code, const char* value, int length, const ::Stat* stat, const void* data) {
    Bytes bytes;
    if (code == ZOK && length > 0) bytes.assign(value, value + length);
    answer<NodeData>(data, code, code == ZOK, std::move(bytes), stat_of(stat));
  }
  static void on_exists(int code, const ::Stat* stat, const void* data) { answer<Stat>(data, code, code == ZOK || code == ZNONODE, stat_of(stat)); }
  static void on_stat(int code, const ::Stat* stat, const void* data) { answer<Stat>(data, code, false, stat_of(stat)); }
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
  static void on_multi(int code, const void* data) {
    std::unique_ptr<MultiCall> call(static_cast<MultiCall*>(const_cast<void*>(data)));
    ZooKeeperStore& self = call->store;
    MultiResult result = call->result_of(code);
    base::MutexLock lock(self.mutex_);
    call->give(std::move(result));
    self.sent_.erase(call->sent_number);
    self.pump();
  }

  // --- names and codes --------------------------------------------------------------------------------------------------------------------

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
        if (state_.load() == SessionState::kClosed) return StoreError::kClosed;
        return state_.load() == SessionState::kExpired ? StoreError::kSessionExpired : StoreError::kConnectionLoss;
      case ZCONNECTIONLOSS:
      case ZOPERATIONTIMEOUT:
      case ZSESSIONMOVED: return StoreError::kConnectionLoss;
      default: return StoreError::kStorage;
    }
  }

  // --- the handle: made and ended on executor_ ------------------------------------------------------------------------------------------------

  void start_handle() {
    end_handle();
    {
      base::MutexLock lock(mutex_);
      if (detached_ || state_.load() == SessionState::kClosed) return;
      chroot_ready_ = false;
      opening_ = true;
    }
    zoo_set_debug_level(ZOO_LOG_LEVEL_WARN);
    // Looks up names, so not under the lock. Its first event may come before it returns.
    zhandle_t* made = zookeeper_init2(hosts_.c_str(), on_session, timeout_ms_, nullptr, this, 0, to_log);
    int error = errno;
    base::MutexLock lock(mutex_);
    opening_ = false;
    handle_ = made;
    if (made == nullptr) {
      log::error("metadata", "no session with {}: {}; it is tried again", hosts_, std::strerror(error));
      runtime_.timers().after(std::chrono::milliseconds(kReopenMs), [retry = retry_] {
        base::MutexLock held(retry->mutex);
        if (ZooKeeperStore* store = retry->store) store->executor_->post([store] { store->start_handle(); });
      });
    }
  }
  void end_handle() {
    zhandle_t* handle = nullptr;
    {
      base::MutexLock lock(mutex_);
      ready_ = false;
      handle = std::exchange(handle_, nullptr);
    }
    // Answers what is under way, joins the library's threads.
    if (handle != nullptr) zookeeper_close(handle);
    base::MutexLock lock(mutex_);
    // Not all of it: an answer that came in just before is lost when the library's thread for answers ends first.
    for (const auto& [number, operation] : sent_) {
      std::unique_ptr<Operation> lost(operation);
      lost->refuse(error_of(ZCLOSING));
    }
    sent_.clear();
    watches_.clear();
  }

  void post(Task task) REQUIRES(mutex_) {
    if (!detached_) callbacks_.post(std::move(task));
  }
  void tell(SessionState now) REQUIRES(mutex_) {
    if (listener_) post([listener = listener_, now] { (*listener)(now); });
  }

  static void on_session(zhandle_t* handle, int type, int state, const char*, void* context) {
    auto* self = static_cast<ZooKeeperStore*>(context);
    if (type != ZOO_SESSION_EVENT) return;
    base::MutexLock lock(self->mutex_);
    if (self->opening_) self->handle_ = handle;
    if (self->state_.load() == SessionState::kClosed || self->handle_ != handle) return;
    if (state == ZOO_CONNECTED_STATE) {
      self->session_id_.store(zoo_client_id(handle)->client_id);
      if (self->chroot_ready_) {
        self->connected();
      } else {
        self->make_chroot(0);
      }
    } else if (state == ZOO_EXPIRED_SESSION_STATE) {
      self->ready_ = false;
      self->state_.store(SessionState::kExpired);
      self->tell(SessionState::kExpired);
      self->pump();
    } else if (state == ZOO_AUTH_FAILED_STATE) {
      log::error("metadata", "ZooKeeper refused the authentication");
    } else {
      self->ready_ = false;
      if (self->state_.exchange(SessionState::kConnecting) == SessionState::kConnected) self->tell(SessionState::kConnecting);
    }
  }
  void connected() REQUIRES(mutex_) {
    state_.store(SessionState::kConnected);
    ready_ = true;
    tell(SessionState::kConnected);
    pump();
  }

  // Creates the chroot's nodes from the top; `done`: how much of the path exists. After a lost connection: again when it is back.
  void make_chroot(size_t done) REQUIRES(mutex_) {
    if (done >= chroot_.size()) {
      chroot_ready_ = true;
      return connected();
    }
    struct Step {
      ZooKeeperStore* self;
      zhandle_t* handle;
      size_t end;
    };
    auto* step = new Step{this, handle_, std::min(chroot_.find('/', done + 1), chroot_.size())};
    auto made = [](int code, const char*, const void* data) {
      std::unique_ptr<const Step> taken(static_cast<const Step*>(data));
      ZooKeeperStore& self = *taken->self;
      base::MutexLock lock(self.mutex_);
      if (self.handle_ != taken->handle) return;
      if (code == ZOK || code == ZNODEEXISTS) {
        self.make_chroot(taken->end);
      } else if (code != ZCONNECTIONLOSS && code != ZCLOSING && code != ZSESSIONEXPIRED) {
        log::error("metadata", "the chroot {} cannot be made: {}", self.chroot_, zerror(code));
      }
    };
    int code = zoo_acreate(handle_, chroot_.substr(0, step->end).c_str(), nullptr, -1, &ZOO_OPEN_ACL_UNSAFE, 0, made, step);
    if (code != ZOK) delete step;
  }

  // --- watches ------------------------------------------------------------------------------------------------------------------------------

  // Only while there is a handle: its end drops what it left.
  SetWatch* keep(Watch watch) NO_THREAD_SAFETY_ANALYSIS {
    auto kept = std::make_unique<SetWatch>(*this, std::move(watch));
    SetWatch* raw = kept.get();
    watches_.emplace(raw, std::move(kept));
    return raw;
  }
  static void on_watch(zhandle_t*, int type, int, const char* path, void* context) {
    if (type == ZOO_SESSION_EVENT || type == ZOO_NOTWATCHING_EVENT) return;
    auto* set = static_cast<SetWatch*>(context);
    ZooKeeperStore& self = set->store;
    WatchEvent event;
    event.path = self.without_chroot(path);
    event.kind = type == ZOO_CREATED_EVENT   ? WatchKind::kCreated
                 : type == ZOO_DELETED_EVENT ? WatchKind::kDeleted
                 : type == ZOO_CHANGED_EVENT ? WatchKind::kDataChanged
                                             : WatchKind::kChildrenChanged;
    base::MutexLock lock(self.mutex_);
    auto found = self.watches_.find(set);
    if (found == self.watches_.end()) return;
    self.post([watch = std::move(found->second->watch), event = std::move(event)]() mutable { watch(event); });
    self.watches_.erase(found);
  }

  // What a timer may find of a store that is gone.
  struct Retry {
    base::Mutex mutex;
    ZooKeeperStore* store GUARDED_BY(mutex) = nullptr;
  };

  base::Runtime& runtime_;
  base::Executor& callbacks_;
  const std::string hosts_;
  const std::string chroot_;  // "" or "/a/b"
  const int32_t timeout_ms_;
  const size_t max_in_flight_;  // 0: no bound

  std::atomic<SessionState> state_{SessionState::kConnecting};  // changed under the mutex
  std::atomic<int64_t> session_id_{0};
  base::Mutex mutex_;
  zhandle_t* handle_ GUARDED_BY(mutex_) = nullptr;
  bool opening_ GUARDED_BY(mutex_) = false;
  bool ready_ GUARDED_BY(mutex_) = false;  // connected, the chroot exists
  bool chroot_ready_ GUARDED_BY(mutex_) = false;
  bool detached_ GUARDED_BY(mutex_) = false;
  uint64_t session_number_ GUARDED_BY(mutex_) = 0;  // of open(); 0 before the first
  std::map<uint64_t, Operation*> sent_ GUARDED_BY(mutex_);  // by their order; the library has them
  uint64_t last_sent_ GUARDED_BY(mutex_) = 0;
  std::deque<std::unique_ptr<Operation>> waiting_ GUARDED_BY(mutex_);
  std::unordered_map<SetWatch*, std::unique_ptr<SetWatch>> watches_ GUARDED_BY(mutex_);
  std::shared_ptr<SessionListener> listener_ GUARDED_BY(mutex_);  // shared with what is posted
  std::shared_ptr<Retry> retry_ = std::make_shared<Retry>();  // shared with timers
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
  return std::make_unique<ZooKeeperStore>(runtime, callbacks, std::move(hosts), std::move(chroot), options);
}

void expire_zookeeper_session(Store& zookeeper_store) { dynamic_cast<ZooKeeperStore&>(zookeeper_store).expire(); }

}  // namespace odradek::metadata
