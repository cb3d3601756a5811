// The tree that the cluster keeps its metadata in: nodes with data and versions, ephemeral and sequential nodes, one-shot watches,
// atomic multi-operations with checks, and a session. Exactly ZooKeeper's semantics, because ZooKeeper is one implementation
// (zookeeper_store.h); the other keeps the tree in one file (embedded_store.h). One test suite runs on both (store_test.cc).
//
// Order: operations of one session take effect, and are answered, in the order in which they were called. A watch that an operation
// sets off runs before the answer of any later read of this session that shows the change.
// Replies and watches run on the callback executor given to the implementation, one at a time if it has one thread.
// Every operation is answered exactly once, also when the session ends (kSessionExpired) or the store is closed (kClosed).
// Errors: kConnectionLoss means that the operation may or may not have taken effect: repeat it and expect its own traces.
// Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/function.h"
#include "base/result.h"

namespace odradek::metadata {

enum class StoreError : uint8_t {
  kNone,
  kNoNode,
  kNodeExists,
  kBadVersion,
  kNotEmpty,                 // remove of a node with children
  kNoChildrenForEphemerals,  // create below an ephemeral node
  kInvalidArguments,         // not a legal path
  kTooLarge,                 // beyond kMaxRequestBytes
  kConnectionLoss,           // see above; comes back by itself
  kSessionExpired,           // open() a new session
  kClosed,
  kStorage,                  // the store's own disk or server failed; what it means for clients: retriable
};
std::string_view name_of(StoreError error);
// For who answers a client: a lost connection, session or disk is kRequestTimedOut (retriable), kTooLarge is kInvalidRequest, the rest
// kUnknownServerError.
Error to_error(StoreError error, std::string_view doing_what);

struct Stat {
  int64_t czxid = 0;  // transaction that created the node
  int64_t mzxid = 0;  // ... that last set its data
  int64_t pzxid = 0;  // ... that last added or removed a child
  int64_t ctime_ms = 0;
  int64_t mtime_ms = 0;
  int32_t version = 0;   // number of changes of the data
  int32_t cversion = 0;  // number of changes of the children
  int64_t ephemeral_owner = 0;  // session id; 0: persistent
  int32_t data_length = 0;
  int32_t num_children = 0;
};

struct NodeData {
  Bytes data;  // null and empty data are the same
  Stat stat;
};
struct ChildList {
  std::vector<std::string> names;  // sorted; last path elements
  Stat stat;
};
struct CreatedNode {
  std::string path;  // with the number of a sequential node
  Stat stat;
};

template <class T>
using StoreResult = tl::expected<T, StoreError>;
template <class T>
using StoreReply = UniqueFunction<void(StoreResult<T>)>;

enum class CreateMode : uint8_t { kPersistent, kEphemeral, kPersistentSequential, kEphemeralSequential };

inline constexpr int32_t kAnyVersion = -1;

// Most bytes of one operation or one multi, as counted by request_bytes(): what a ZooKeeper server takes by default (its jute.maxbuffer).
inline constexpr size_t kMaxRequestBytes = 1'048'000;
inline size_t request_bytes(std::string_view path, const Bytes& data) { return path.size() + data.size() + 64; }

// One part of a multi.
struct StoreOp {
  enum class Kind : uint8_t { kCheck, kCreate, kSet, kRemove };
  Kind kind = Kind::kCheck;
  std::string path;
  Bytes data;
  CreateMode mode = CreateMode::kPersistent;
  int32_t version = kAnyVersion;

  static StoreOp check(std::string path, int32_t version) { return {Kind::kCheck, std::move(path), {}, CreateMode::kPersistent, version}; }
  static StoreOp create(std::string path, Bytes data, CreateMode mode = CreateMode::kPersistent) {
    return {Kind::kCreate, std::move(path), std::move(data), mode, kAnyVersion};
  }
  static StoreOp set(std::string path, Bytes data, int32_t version) {
    return {Kind::kSet, std::move(path), std::move(data), CreateMode::kPersistent, version};
  }
  static StoreOp remove(std::string path, int32_t version) { return {Kind::kRemove, std::move(path), {}, CreateMode::kPersistent, version}; }
};
struct OpResult {
  std::string path;  // create
  Stat stat;         // set; create where the store knows it
};
// Which part made the whole multi fail; nothing of it took effect. op -1: the multi as a whole (connection, session).
struct MultiFailure {
  StoreError error = StoreError::kNone;
  int32_t op = -1;
};
using MultiResult = tl::expected<std::vector<OpResult>, MultiFailure>;
using MultiReply = UniqueFunction<void(MultiResult)>;

enum class WatchKind : uint8_t { kCreated, kDeleted, kDataChanged, kChildrenChanged };
struct WatchEvent {
  WatchKind kind = WatchKind::kCreated;
  std::string path;
};
// Runs at most once. Watches that are still set when the session ends never run: the session listener is told instead.
using Watch = UniqueFunction<void(const WatchEvent&)>;

enum class SessionState : uint8_t { kConnecting, kConnected, kExpired, kClosed };
std::string_view name_of(SessionState state);
using SessionListener = UniqueFunction<void(SessionState)>;

class Store {
 public:
  virtual ~Store() = default;

  // Starts a session; also a new one after kExpired. The listener (kept for the life of the store) hears kConnected and everything
  // after it. Operations called meanwhile wait for the connection.
  virtual void open(SessionListener listener) = 0;
  // The session ends: its ephemeral nodes are gone when `done` runs. Nothing else is answered after that.
  virtual void close(Task done) = 0;
  virtual SessionState state() const = 0;
  // 0 before kConnected.
  virtual int64_t session_id() const = 0;

  // The parent must exist. Errors: kNodeExists, kNoNode (parent), kNoChildrenForEphemerals.
  virtual void create(std::string path, Bytes data, CreateMode mode, StoreReply<CreatedNode> reply) = 0;
  // The watch (may be empty) is set only if the node exists; fires on kDataChanged, kDeleted.
  virtual void get(std::string path, Watch watch, StoreReply<NodeData> reply) = 0;
  // kNoNode if missing; the watch is set in both cases: kCreated, kDataChanged, kDeleted.
  virtual void exists(std::string path, Watch watch, StoreReply<Stat> reply) = 0;
  // The watch is set only if the node exists: kChildrenChanged, kDeleted.
  virtual void children(std::string path, Watch watch, StoreReply<ChildList> reply) = 0;
  virtual void set(std::string path, Bytes data, int32_t expected_version, StoreReply<Stat> reply) = 0;
  virtual void remove(std::string path, int32_t expected_version, StoreReply<void> reply) = 0;
  virtual void multi(std::vector<StoreOp> ops, MultiReply reply) = 0;
  // Answered when everything that other sessions were answered before the call is visible to this one.
  virtual void sync(StoreReply<void> reply) = 0;
};

// Whether `path` is legal: starts with /, no empty element, no trailing / (but "/" itself), no . or .. element, no control character.
bool is_legal_path(std::string_view path);
// "/" for "/a"; "" for "/".
std::string_view parent_of(std::string_view path);

}  // namespace odradek::metadata
