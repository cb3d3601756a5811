// The tree of the embedded store in memory: what each operation does to nodes and their Stat, without sessions, watches or a file.
// Every change can be undone, so that a multi or a whole commit can fail without a trace.
// Thread: none of this is shared; one thread works on it.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "metadata/store/store.h"

namespace odradek::metadata {

class NodeTree {
 public:
  struct Node {
    Bytes data;
    int64_t czxid = 0, mzxid = 0, pzxid = 0, ctime_ms = 0, mtime_ms = 0;
    int32_t version = 0;
    int32_t children_created = 0;  // the number of the next sequential child; cversion follows from it
    int64_t ephemeral_owner = 0;
    std::set<std::string, std::less<>> children;  // last path elements
    Stat stat() const;
  };

  NodeTree();  // just "/"

  // Who and when: zxid of the transaction, wall clock, session.
  struct Context {
    int64_t zxid = 0;
    int64_t now_ms = 0;
    int64_t session = 0;
  };

  const Node* find(std::string_view path) const;
  StoreResult<CreatedNode> create(const std::string& path, Bytes data, CreateMode mode, const Context& context);
  StoreResult<Stat> set(const std::string& path, Bytes data, int32_t expected_version, const Context& context);
  StoreResult<void> remove(const std::string& path, int32_t expected_version, const Context& context);
  MultiResult multi(const std::vector<StoreOp>& ops, const Context& context);
  // Paths of the session's ephemeral nodes, sorted.
  std::vector<std::string> ephemerals_of(int64_t session) const;

  // What happened since the last take_events(), in order.
  std::vector<WatchEvent> take_events();
  // Paths whose node was created, changed, given another child, or removed since the last accept().
  const absl::flat_hash_set<std::string>& touched() const { return touched_; }
  // Everything since the last accept() is kept / taken back (also the events).
  void accept();
  void undo();

  // Loading: a node as it was stored; its parent must be there.
  bool load(const std::string& path, Node node);

 private:
  struct Undo {
    enum class Kind : uint8_t { kCreated, kSet, kRemoved } kind;
    std::string path;
    Node before;  // kSet: without children; kRemoved: the node
    int64_t parent_pzxid = 0;
    int32_t parent_created = 0;
  };
  void undo_to(size_t mark, size_t event_mark);
  Node* find_mutable(std::string_view path);

  absl::flat_hash_map<std::string, Node> nodes_;
  std::vector<Undo> undo_;
  std::vector<WatchEvent> events_;
  absl::flat_hash_set<std::string> touched_;
};

}  // namespace odradek::metadata
