#include "metadata/store/node_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace odradek::metadata {

namespace {
std::string_view name_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }
}  // namespace

Stat NodeTree::Node::stat() const {
  Stat stat;
  stat.czxid = czxid;
  stat.mzxid = mzxid;
  stat.pzxid = pzxid;
  stat.ctime_ms = ctime_ms;
  stat.mtime_ms = mtime_ms;
  stat.version = version;
  // Creations plus removals; removals are creations less those still there.
  stat.cversion = children_created * 2 - static_cast<int32_t>(children.size());
  stat.ephemeral_owner = ephemeral_owner;
  stat.data_length = static_cast<int32_t>(data.size());
  stat.num_children = static_cast<int32_t>(children.size());
  return stat;
}

NodeTree::NodeTree() { nodes_.try_emplace("/"); }

const NodeTree::Node* NodeTree::find(std::string_view path) const {
  // Debian's Abseil has a string_view of its own.
  auto found = nodes_.find(absl::string_view(path.data(), path.size()));
  return found == nodes_.end() ? nullptr : &found->second;
}
NodeTree::Node* NodeTree::find_mutable(std::string_view path) { return const_cast<Node*>(find(path)); }

StoreResult<CreatedNode> NodeTree::create(const std::string& path, Bytes data, CreateMode mode, const Context& context) {
  bool sequential = mode == CreateMode::kPersistentSequential || mode == CreateMode::kEphemeralSequential;
  bool ephemeral = mode == CreateMode::kEphemeral || mode == CreateMode::kEphemeralSequential;
  // The number makes a legal name of "/a/" too.
  if (path == "/" ? !sequential : !is_legal_path(sequential ? path + "0" : path)) return tl::unexpected(StoreError::kInvalidArguments);
  std::string parent_path(path.substr(0, std::max<size_t>(path.rfind('/'), 1)));
  Node* parent = find_mutable(parent_path);
  if (parent == nullptr) return tl::unexpected(StoreError::kNoNode);
  if (parent->ephemeral_owner != 0) return tl::unexpected(StoreError::kNoChildrenForEphemerals);
  std::string full = sequential ? fmt::format("{}{:010}", path, parent->children_created) : path;
  if (nodes_.contains(full)) return tl::unexpected(StoreError::kNodeExists);

  undo_.push_back({Undo::Kind::kCreated, full, {}, parent->pzxid, parent->children_created});
  ++parent->children_created;
  parent->pzxid = context.zxid;
  parent->children.emplace(name_part(full));
  Node node;
  node.data = std::move(data);
  node.czxid = node.mzxid = node.pzxid = context.zxid;
  node.ctime_ms = node.mtime_ms = context.now_ms;
  node.ephemeral_owner = ephemeral ? context.session : 0;
  Stat stat = node.stat();
  nodes_.emplace(full, std::move(node));  // `parent` is no longer valid
  touched_.insert(full);
  touched_.insert(parent_path);
  events_.push_back({WatchKind::kCreated, full});
  events_.push_back({WatchKind::kChildrenChanged, std::move(parent_path)});
  return CreatedNode{std::move(full), stat};
}

StoreResult<Stat> NodeTree::set(const std::string& path, Bytes data, int32_t expected_version, const Context& context) {
  Node* node = find_mutable(path);
  if (node == nullptr) return tl::unexpected(StoreError::kNoNode);
  if (expected_version != kAnyVersion && expected_version != node->version) return tl::unexpected(StoreError::kBadVersion);
  Undo undo{Undo::Kind::kSet, path, {}};
  undo.before.data = std::move(node->data);
  undo.before.mzxid = node->mzxid;
  undo.before.mtime_ms = node->mtime_ms;
  undo.before.version = node->version;
  undo_.push_back(std::move(undo));
  node->data = std::move(data);
  node->mzxid = context.zxid;
  node->mtime_ms = context.now_ms;
  ++node->version;
  touched_.insert(path);
  events_.push_back({WatchKind::kDataChanged, path});
  return node->stat();
}

StoreResult<void> NodeTree::remove(const std::string& path, int32_t expected_version, const Context& context) {
  if (path == "/") return tl::unexpected(StoreError::kInvalidArguments);
  auto found = nodes_.find(path);
  if (found == nodes_.end()) return tl::unexpected(StoreError::kNoNode);
  if (expected_version != kAnyVersion && expected_version != found->second.version) return tl::unexpected(StoreError::kBadVersion);
  if (!found->second.children.empty()) return tl::unexpected(StoreError::kNotEmpty);
  std::string parent_path(parent_of(path));
  Node* parent = find_mutable(parent_path);
  CHECK(parent != nullptr);
  undo_.push_back({Undo::Kind::kRemoved, path, std::move(found->second), parent->pzxid, parent->children_created});
  parent->pzxid = context.zxid;
  parent->children.erase(parent->children.find(name_part(path)));
  nodes_.erase(found);
  touched_.insert(path);
  touched_.insert(parent_path);
  events_.push_back({WatchKind::kDeleted, path});
  events_.push_back({WatchKind::kChildrenChanged, std::move(parent_path)});
  return {};
}

MultiResult NodeTree::multi(const std::vector<StoreOp>& ops, const Context& context) {
  size_t mark = undo_.size();
  size_t event_mark = events_.size();
  std::vector<OpResult> results;
  for (const StoreOp& op : ops) {
    StoreError error = StoreError::kNone;
    OpResult result;
    switch (op.kind) {
      case StoreOp::Kind::kCheck: {
        const Node* node = find(op.path);
        if (node == nullptr) {
          error = StoreError::kNoNode;
        } else if (op.version != kAnyVersion && op.version != node->version) {
          error = StoreError::kBadVersion;
        }
        break;
      }
      case StoreOp::Kind::kCreate: {
        auto made = create(op.path, op.data, op.mode, context);
        if (made) {
          result = {std::move(made->path), made->stat};
        } else {
          error = made.error();
        }
        break;
      }
      case StoreOp::Kind::kSet: {
        auto stat = set(op.path, op.data, op.version, context);
        if (stat) {
          result.stat = *stat;
        } else {
          error = stat.error();
        }
        break;
      }
      case StoreOp::Kind::kRemove: {
        auto removed = remove(op.path, op.version, context);
        if (!removed) error = removed.error();
        break;
      }
    }
    if (error != StoreError::kNone) {
      undo_to(mark, event_mark);
      return tl::unexpected(MultiFailure{error, static_cast<int32_t>(results.size())});
    }
    results.push_back(std::move(result));
  }
  return results;
}

std::vector<std::string> NodeTree::ephemerals_of(int64_t session) const {
  std::vector<std::string> paths;
  for (const auto& [path, node] : nodes_) {
    if (node.ephemeral_owner == session) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<WatchEvent> NodeTree::take_events() { return std::exchange(events_, {}); }

void NodeTree::accept() {
  undo_.clear();
  touched_.clear();
}

void NodeTree::undo() {
  undo_to(0, 0);
  touched_.clear();
}

void NodeTree::undo_to(size_t mark, size_t event_mark) {
  while (undo_.size() > mark) {
    Undo& last = undo_.back();
    std::string_view parent_path = parent_of(last.path);
    switch (last.kind) {
      case Undo::Kind::kCreated: {
        nodes_.erase(last.path);
        Node* parent = find_mutable(parent_path);
        parent->children.erase(parent->children.find(name_part(last.path)));
        parent->pzxid = last.parent_pzxid;
        parent->children_created = last.parent_created;
        break;
      }
      case Undo::Kind::kSet: {
        Node* node = find_mutable(last.path);
        node->data = std::move(last.before.data);
        node->mzxid = last.before.mzxid;
        node->mtime_ms = last.before.mtime_ms;
        node->version = last.before.version;
        break;
      }
      case Undo::Kind::kRemoved: {
        nodes_.emplace(last.path, std::move(last.before));
        Node* parent = find_mutable(parent_path);
        parent->children.emplace(name_part(last.path));
        parent->pzxid = last.parent_pzxid;
        break;
      }
    }
    undo_.pop_back();
  }
  events_.resize(std::min(events_.size(), event_mark));
}

bool NodeTree::load(const std::string& path, Node node) {
  if (path == "/") {
    node.children = std::move(nodes_["/"].children);
    nodes_["/"] = std::move(node);
    return true;
  }
  if (!is_legal_path(path)) return false;
  Node* parent = find_mutable(parent_of(path));
  if (parent == nullptr) return false;
  parent->children.emplace(name_part(path));
  nodes_.insert_or_assign(path, std::move(node));
  return true;
}

}  // namespace odradek::metadata
