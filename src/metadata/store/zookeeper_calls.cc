// The operations of the store on ZooKeeper: what is sent in which order, answers, watches.
#include <algorithm>
#include <utility>

#include "metadata/store/zookeeper_store_impl.h"

namespace odradek::metadata {

namespace {

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

}  // namespace

// --- calls --------------------------------------------------------------------------------------------------------------------------------

template <class T>
struct ZooKeeperStore::Call final : Operation {
  Call(ZooKeeperStore& s, std::string p, StoreReply<T> r) : Operation(s), path(std::move(p)), reply(std::move(r)) {}

  StoreError fault() const override {
    if (!is_legal_path(path)) return StoreError::kInvalidArguments;
    return this->store.chroot_.size() + request_bytes(path, data) > kMaxRequestBytes ? StoreError::kTooLarge : StoreError::kNone;
  }
  int send(zhandle_t* handle) override {
    std::string full = this->store.full(path);
    if (watch) set = this->store.keep(std::move(watch), {std::is_same_v<T, ChildList>, full});
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
    if (set != nullptr && !watch_is_set) this->store.drop(set);
    this->store.post([reply = std::move(reply), result = std::move(result)]() mutable { reply(std::move(result)); });
  }

  // The library's answers.
  template <class... Value>
  static void answer(const void* data, int code, bool watch_is_set, Value&&... value) {
    std::unique_ptr<Call> call(static_cast<Call*>(const_cast<void*>(data)));
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
    self.answered(*call);
  }
  static void on_created(int code, const char* path, const ::Stat* stat, const void* data) {
    auto& self = static_cast<const Call*>(data)->store;
    answer(data, code, false, code == ZOK ? self.without_chroot(path) : std::string(), stat_of(stat));
  }
  static void on_data(int code, const char* value, int length, const ::Stat* stat, const void* data) {
    Bytes bytes;
    if (code == ZOK && length > 0) bytes.assign(value, value + length);
    answer(data, code, code == ZOK, std::move(bytes), stat_of(stat));
  }
  static void on_exists(int code, const ::Stat* stat, const void* data) { answer(data, code, code == ZOK || code == ZNONODE, stat_of(stat)); }
  static void on_stat(int code, const ::Stat* stat, const void* data) { answer(data, code, false, stat_of(stat)); }
  static void on_removed(int code, const void* data) { answer(data, code, false); }
  static void on_synced(int code, const char*, const void* data) { answer(data, code, false); }
  static void on_children(int code, const String_vector* names, const ::Stat* stat, const void* data) {
    std::vector<std::string> list;
    if (code == ZOK) {
      for (int32_t i = 0; i < names->count; ++i) list.emplace_back(names->data[i]);
      std::sort(list.begin(), list.end());
    }
    answer(data, code, code == ZOK, std::move(list), stat_of(stat));
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

struct ZooKeeperStore::MultiCall final : Operation {
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
  static void on_multi(int code, const void* data) {
    std::unique_ptr<MultiCall> call(static_cast<MultiCall*>(const_cast<void*>(data)));
    ZooKeeperStore& self = call->store;
    MultiResult result = call->result_of(code);
    base::MutexLock lock(self.mutex_);
    call->give(std::move(result));
    self.answered(*call);
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

void ZooKeeperStore::create(std::string path, Bytes data, CreateMode mode, StoreReply<CreatedNode> reply) {
  auto call = std::make_unique<Call<CreatedNode>>(*this, std::move(path), std::move(reply));
  call->data = std::move(data);
  call->mode = mode_of(mode);
  submit(std::move(call));
}

void ZooKeeperStore::get(std::string path, Watch watch, StoreReply<NodeData> reply) {
  auto call = std::make_unique<Call<NodeData>>(*this, std::move(path), std::move(reply));
  call->watch = std::move(watch);
  submit(std::move(call));
}

void ZooKeeperStore::exists(std::string path, Watch watch, StoreReply<Stat> reply) {
  auto call = std::make_unique<Call<Stat>>(*this, std::move(path), std::move(reply));
  call->watch = std::move(watch);
  submit(std::move(call));
}

void ZooKeeperStore::children(std::string path, Watch watch, StoreReply<ChildList> reply) {
  auto call = std::make_unique<Call<ChildList>>(*this, std::move(path), std::move(reply));
  call->watch = std::move(watch);
  submit(std::move(call));
}

void ZooKeeperStore::set(std::string path, Bytes data, int32_t expected_version, StoreReply<Stat> reply) {
  auto call = std::make_unique<Call<Stat>>(*this, std::move(path), std::move(reply));
  call->is_set = true;
  call->data = std::move(data);
  call->version = expected_version;
  submit(std::move(call));
}

void ZooKeeperStore::remove(std::string path, int32_t expected_version, StoreReply<void> reply) {
  auto call = std::make_unique<Call<void>>(*this, std::move(path), std::move(reply));
  call->version = expected_version;
  submit(std::move(call));
}

void ZooKeeperStore::sync(StoreReply<void> reply) {
  auto call = std::make_unique<Call<void>>(*this, "/", std::move(reply));
  call->is_sync = true;
  submit(std::move(call));
}

void ZooKeeperStore::multi(std::vector<StoreOp> ops, MultiReply reply) { submit(std::make_unique<MultiCall>(*this, std::move(ops), std::move(reply))); }

void ZooKeeperStore::submit(std::unique_ptr<Operation> operation) {
  base::MutexLock lock(mutex_);
  operation->session_number = session_number_;
  waiting_.push_back(std::move(operation));
  pump();
}

void ZooKeeperStore::pump() {
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

void ZooKeeperStore::answered(const Operation& operation) {
  sent_.erase(operation.sent_number);
  pump();
}

// --- names and codes ----------------------------------------------------------------------------------------------------------------------

std::string ZooKeeperStore::full(std::string_view path) const {
  if (path == "/") return chroot_.empty() ? "/" : chroot_;
  return chroot_ + std::string(path);
}

std::string ZooKeeperStore::without_chroot(std::string_view path) const {
  if (path.substr(0, chroot_.size()) == chroot_) path.remove_prefix(chroot_.size());
  return path.empty() ? "/" : std::string(path);
}

StoreError ZooKeeperStore::error_of(int code) const {
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

// --- watches ------------------------------------------------------------------------------------------------------------------------------

namespace {
size_t bytes_in_request(const std::string& path) { return 4 + path.size(); }
}  // namespace

ZooKeeperStore::SetWatch* ZooKeeperStore::keep(Watch watch, Watched of) {
  if (++watched_[of] == 1) watched_bytes_ += bytes_in_request(of.second);
  auto kept = std::make_unique<SetWatch>(*this, std::move(watch), std::move(of));
  SetWatch* raw = kept.get();
  watches_.emplace(raw, std::move(kept));
  return raw;
}

void ZooKeeperStore::drop(SetWatch* watch) {
  auto found = watches_.find(watch);
  if (found == watches_.end()) return;
  auto watched = watched_.find(watch->of);
  if (--watched->second == 0) {
    watched_bytes_ -= bytes_in_request(watched->first.second);
    watched_.erase(watched);
  }
  watches_.erase(found);
}

void ZooKeeperStore::on_watch(zhandle_t*, int type, int, const char* path, void* context) {
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
  self.drop(set);
}

}  // namespace odradek::metadata
