#include "metadata/store/zookeeper_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "metadata/store/zookeeper_store_impl.h"
#include "model/error_code.h"

namespace odradek::metadata {

namespace {

constexpr int64_t kReopenMs = 1000;
// The library names all watches in one request when it is connected again. A server takes 1,048,575 bytes (jute.maxbuffer); of a larger one it
// closes the connection, and the library tries again for ever, which keeps the session alive.
constexpr size_t kMostWatchedBytes = 900 << 10;

void to_log(const char* message) {
  // "2026-11-23 02:00:00,000:123(0x..):ZOO_WARN@function@123: text"
  std::string_view line(message);
  size_t text = line.find("ZOO_");
  // Some lines a second while there is no connection, which the session's own states tell: for those who look closer.
  log::at("metadata", log::Level::kDebug, "{}", line.substr(text == std::string_view::npos ? 0 : text));
}

}  // namespace

ZooKeeperStore::ZooKeeperStore(base::Runtime& runtime, base::Executor& callbacks, std::string hosts, std::string chroot, const ZooKeeperOptions& options)
    : runtime_(runtime), callbacks_(callbacks), hosts_(std::move(hosts)), chroot_(std::move(chroot)), timeout_ms_(options.session_timeout_ms),
      max_in_flight_(static_cast<size_t>(std::max(options.max_in_flight, 0))), executor_(runtime.make_executor("zookeeper", 1)) {
  base::MutexLock lock(retry_->mutex);
  retry_->store = this;
}

ZooKeeperStore::~ZooKeeperStore() {
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

void ZooKeeperStore::open(SessionListener listener) {
  base::MutexLock lock(mutex_);
  if (detached_ || state_.load() == SessionState::kClosed) return;
  if (listener) listener_ = std::make_shared<SessionListener>(std::move(listener));
  state_.store(SessionState::kConnecting);
  ++session_number_;
  executor_->post([this] { start_handle(); });
}

void ZooKeeperStore::close(Task done) {
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

// The session is taken over by another handle and closed. This handle takes it back at once when it can, so it is tried until the
// server says that the session is no more.
void ZooKeeperStore::expire() {
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

// --- the handle: made and ended on executor_ ------------------------------------------------------------------------------------------------

void ZooKeeperStore::start_handle() {
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

void ZooKeeperStore::end_handle() {
  zhandle_t* handle = nullptr;
  {
    base::MutexLock lock(mutex_);
    ready_ = false;
    handle = std::exchange(handle_, nullptr);
  }
  end_handle(handle);
}

void ZooKeeperStore::end_handle(zhandle_t* handle) {
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
  watched_.clear();
  watched_bytes_ = 0;
}

void ZooKeeperStore::give_up_session() {
  log::warn("metadata", "the session ends with its connection: its watches are {} bytes, more than a server takes when it is connected again", watched_bytes_);
  // Ended before another one is opened; of its events none counts any more.
  executor_->post([this, handle = std::exchange(handle_, nullptr)] {
    end_handle(handle);
    base::MutexLock lock(mutex_);
    pump();
  });
  state_.store(SessionState::kExpired);
  tell(SessionState::kExpired);
  pump();
}

void ZooKeeperStore::on_session(zhandle_t* handle, int type, int state, const char*, void* context) {
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
    if (self->watched_bytes_ > kMostWatchedBytes && !self->opening_) self->give_up_session();
  }
}

void ZooKeeperStore::connected() {
  state_.store(SessionState::kConnected);
  ready_ = true;
  tell(SessionState::kConnected);
  pump();
}

void ZooKeeperStore::make_chroot(size_t done) {
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
