// Inside the store on ZooKeeper: the session and its handle (zookeeper_store.cc); the operations, their order, their answers and watches
// (zookeeper_calls.cc). One lock for both: whether an operation may leave depends on the session.
// Thread: any for Store's methods; the handle is made and ended on `zookeeper`; callbacks of the library on a thread of its own.
#pragma once

#define THREADED
#include <zookeeper/zookeeper.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "metadata/store/store.h"
#include "metadata/store/zookeeper_store.h"

namespace odradek::metadata {

class ZooKeeperStore final : public Store {
 public:
  ZooKeeperStore(base::Runtime& runtime, base::Executor& callbacks, std::string hosts, std::string chroot, const ZooKeeperOptions& options);
  ~ZooKeeperStore() override;

  void open(SessionListener listener) override;
  void close(Task done) override;
  SessionState state() const override { return state_.load(); }
  int64_t session_id() const override { return session_id_.load(); }
  // See expire_zookeeper_session().
  void expire();

  void create(std::string path, Bytes data, CreateMode mode, StoreReply<CreatedNode> reply) override;
  void get(std::string path, Watch watch, StoreReply<NodeData> reply) override;
  void exists(std::string path, Watch watch, StoreReply<Stat> reply) override;
  void children(std::string path, Watch watch, StoreReply<ChildList> reply) override;
  void set(std::string path, Bytes data, int32_t expected_version, StoreReply<Stat> reply) override;
  void remove(std::string path, int32_t expected_version, StoreReply<void> reply) override;
  void sync(StoreReply<void> reply) override;
  void multi(std::vector<StoreOp> ops, MultiReply reply) override;

 private:
  // --- calls (zookeeper_calls.cc) ---------------------------------------------------------------------------------------------------------

  // What the library names to the server when it is connected again: a path once for its children, once for the node itself.
  using Watched = std::pair<bool, std::string>;  // of its children, full path
  // A set watch; the library holds its address until it fires or the session ends.
  struct SetWatch {
    ZooKeeperStore& store;
    Watch watch;
    Watched of;
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
  struct Call;
  struct MultiCall;

  void submit(std::unique_ptr<Operation> operation);
  // Sends what may be sent and refuses what never will be, in the order of the calls.
  void pump() REQUIRES(mutex_);
  // The library has answered: the next may leave.
  void answered(const Operation& operation) REQUIRES(mutex_);
  // Only while there is a handle: its end drops what it left.
  SetWatch* keep(Watch watch, Watched of) NO_THREAD_SAFETY_ANALYSIS;
  void drop(SetWatch* watch) NO_THREAD_SAFETY_ANALYSIS;
  static void on_watch(zhandle_t* handle, int type, int state, const char* path, void* context);
  std::string full(std::string_view path) const;
  std::string without_chroot(std::string_view path) const;
  StoreError error_of(int code) const;

  // --- session (zookeeper_store.cc) -------------------------------------------------------------------------------------------------------

  void start_handle();
  void end_handle();
  void end_handle(zhandle_t* handle);
  // The session as one that the server has ended: its handle connects no more, and the server ends it after its timeout.
  void give_up_session() REQUIRES(mutex_);
  void post(Task task) REQUIRES(mutex_) {
    if (!detached_) callbacks_.post(std::move(task));
  }
  void tell(SessionState now) REQUIRES(mutex_) {
    if (listener_) post([listener = listener_, now] { (*listener)(now); });
  }
  static void on_session(zhandle_t* handle, int type, int state, const char* path, void* context);
  void connected() REQUIRES(mutex_);
  // Creates the chroot's nodes from the top; `done`: how much of the path exists. After a lost connection: again when it is back.
  void make_chroot(size_t done) REQUIRES(mutex_);

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
  std::map<Watched, size_t> watched_ GUARDED_BY(mutex_);  // by how many of watches_
  size_t watched_bytes_ GUARDED_BY(mutex_) = 0;           // of watched_ in one request
  std::shared_ptr<SessionListener> listener_ GUARDED_BY(mutex_);  // shared with what is posted
  std::shared_ptr<Retry> retry_ = std::make_shared<Retry>();  // shared with timers
  std::unique_ptr<base::Executor> executor_;
};

}  // namespace odradek::metadata
