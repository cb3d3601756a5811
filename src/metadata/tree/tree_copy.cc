#include "metadata/tree/tree_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "metadata/store/embedded_store.h"
#include "metadata/store/sqlite_file.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::metadata {

namespace {

using Json = nlohmann::json;

// Set while a copy into a store is under way.
constexpr const char* kCopyMark = "/odradek/copying";
constexpr const char* kOwnRoot = "/odradek";
// Of one multi; a store takes kMaxRequestBytes.
constexpr size_t kChunkNodes = 200;
constexpr size_t kChunkBytes = kMaxRequestBytes / 2;
// A counter beyond this was not made by brokers that asked for an id.
constexpr int32_t kMaxSeqId = 100'000;

constexpr std::string_view kNotificationParents[] = {
    "/config/changes", "/isr_change_notification", "/log_dir_event_notification", "/kafka-acl-changes", "/kafka-acl-extended-changes",
    "/delegation_token/token_changes",
};

std::string hidden_file(const std::string& path) { return path + ".new"; }

Result<void> remove_store(base::FileSystem& files, const std::string& path) {
  for (const char* suffix : {"", "-wal", "-journal", "-shm"}) {
    if (auto removed = files.remove(path + suffix); !removed) return removed;
  }
  return {};
}

}  // namespace

bool is_notification(std::string_view path) {
  std::string_view parent = parent_of(path);
  return std::any_of(std::begin(kNotificationParents), std::end(kNotificationParents), [&](std::string_view each) { return each == parent; });
}

void put_node(TreeContent& tree, const std::string& path, Bytes data, int32_t version) {
  for (std::string_view parent = parent_of(path); parent.size() > 1; parent = parent_of(parent)) {
    if (!tree.try_emplace(std::string(parent)).second) break;
  }
  tree[path] = {std::move(data), version};
}

Result<std::string> cluster_id_of(const TreeContent& tree) {
  auto node = tree.find(paths::kClusterId);
  if (node == tree.end()) return fail(ErrorCode::kInvalidConfig, "the metadata has no /cluster/id: no cluster was ever started on it");
  return decode_cluster_id(node->second.data);
}

std::string encode_tree(const TreeContent& tree) {
  Json nodes = Json::object();
  for (const auto& [path, node] : tree) {
    Json json = {{"version", node.version}};
    std::string text(as_text(node.data));
    if (node.data.empty()) {
      // No data: no field.
    } else if (base::is_utf8(text)) {
      json["data"] = std::move(text);
    } else {
      json["data_base64"] = base::to_base64(text);
    }
    nodes[path] = std::move(json);
  }
  Json whole = {{"format", "odradek-metadata"}, {"version", 1}, {"nodes", std::move(nodes)}};
  return whole.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<TreeContent> decode_tree(ByteView text) {
  auto refuse = [](const std::string& why) { return fail(ErrorCode::kInvalidConfig, "not a file of `odradek metadata export`: " + why); };
  try {
    Json whole = Json::parse(text.begin(), text.end());
    if (whole.at("format") != "odradek-metadata") return refuse("another format");
    if (whole.at("version") != 1) return refuse("version " + whole.at("version").dump() + " is not known to this release");
    TreeContent tree;
    for (const auto& [path, json] : whole.at("nodes").items()) {
      if (!is_legal_path(path) || path == "/") return refuse("the path '" + path + "' is not legal");
      Bytes data;
      if (json.contains("data_base64")) {
        auto raw = base::from_base64(json.at("data_base64").get<std::string>());
        if (!raw) return refuse("data of " + path + " is no base64");
        data.assign(raw->begin(), raw->end());
      } else if (json.contains("data")) {
        auto raw = json.at("data").get<std::string>();
        data.assign(raw.begin(), raw.end());
      }
      put_node(tree, path, std::move(data), json.value("version", 0));
    }
    return tree;
  } catch (const std::exception& error) {
    return refuse(error.what());
  }
}

Result<TreeContent> read_store_file(base::FileSystem& files, const std::string& path) {
  TreeContent tree;
  if (!files.exists(path)) return tree;
  auto file = SqliteFile::open(path);
  if (!file) return fail(file.error());
  int64_t zxid = 0;
  auto loaded = (*file)->load(
      [&](const std::string& at, NodeTree::Node node) {
        if (at == "/" || node.ephemeral_owner != 0 || is_notification(at)) return true;
        if (parent_of(at) != "/" && !tree.contains(std::string(parent_of(at)))) return false;
        tree[at] = {std::move(node.data), node.version};
        return true;
      },
      zxid);
  if (!loaded) return fail(loaded.error());
  return tree;
}

Result<void> write_store_file(base::FileSystem& files, const std::string& path, const TreeContent& tree, int64_t now_ms) {
  auto before = read_store_file(files, path);
  if (!before) return fail(before.error());
  if (auto id = cluster_id_of(*before)) {
    return fail(ErrorCode::kInvalidConfig, fmt::format("{} already holds the metadata of cluster {}: move it away first", path, *id));
  }
  const std::string hidden = hidden_file(path);
  if (auto removed = remove_store(files, hidden); !removed) return removed;
  {
    auto file = SqliteFile::open(hidden);
    if (!file) return fail(file.error());
    NodeTree made;
    int64_t zxid = 0;
    for (const auto& [at, node] : tree) {
      auto created = made.create(at, node.data, CreateMode::kPersistent, {++zxid, now_ms, 0});
      if (!created) return fail(ErrorCode::kInvalidConfig, fmt::format("{}: {}", at, name_of(created.error())));
    }
    if (auto done = (*file)->begin(); !done) return done;
    if (auto done = (*file)->put("/", *made.find("/")); !done) return done;
    for (const auto& [at, node] : tree) {
      NodeTree::Node row = *made.find(at);
      row.version = node.version;
      if (auto done = (*file)->put(at, row); !done) return done;
    }
    if (auto done = (*file)->commit(zxid); !done) return done;
  }
  // Closed: the write-ahead log is in the file and gone.
  for (const char* suffix : {"-wal", "-journal", "-shm"}) {
    if (auto removed = files.remove(path + suffix); !removed) return removed;
  }
  if (auto renamed = files.rename(hidden, path); !renamed) return renamed;
  return files.sync_directory(path.find('/') == std::string::npos ? "." : path.substr(0, path.rfind('/')));
}

namespace {

// Everything below `path` that is copied.
Async<StoreResult<TreeContent>> collect(TreeClient& client) {
  TreeContent tree;
  std::vector<std::string> parents{"/"};
  while (!parents.empty()) {
    std::string parent = std::move(parents.back());
    parents.pop_back();
    auto names = co_await client.children(parent);
    if (!names) {
      if (names.error() == StoreError::kNoNode) continue;
      co_return tl::unexpected(names.error());
    }
    std::vector<std::string> paths;
    for (const std::string& name : names->names) {
      std::string path = parent == "/" ? "/" + name : parent + "/" + name;
      // ZooKeeper's own nodes, where the tree has no chroot.
      if (path != "/zookeeper" && !is_notification(path)) paths.push_back(std::move(path));
    }
    std::vector<std::string> asked = paths;
    auto nodes = co_await client.get_all(std::move(asked));
    for (size_t i = 0; i < paths.size(); ++i) {
      if (!nodes[i]) {
        if (nodes[i].error() == StoreError::kNoNode) continue;
        co_return tl::unexpected(nodes[i].error());
      }
      if (nodes[i]->stat.ephemeral_owner != 0) continue;
      if (nodes[i]->stat.num_children > 0) parents.push_back(paths[i]);
      tree[paths[i]] = {std::move(nodes[i]->data), nodes[i]->stat.version};
    }
  }
  co_return tree;
}

Async<Result<void>> check_nobody(TreeClient& client) {
  auto brokers = co_await client.children(paths::kBrokerIds);
  if (!brokers) {
    if (brokers.error() == StoreError::kNoNode) co_return Result<void>();
    co_return fail(to_error(brokers.error(), "list the brokers"));
  }
  if (brokers->names.empty()) co_return Result<void>();
  std::string alive;
  for (const std::string& name : brokers->names) alive += (alive.empty() ? "" : ", ") + name;
  co_return fail(ErrorCode::kInvalidConfig, fmt::format("broker {} is alive in that tree (after a crash: until its session ends): stop it first", alive));
}

Async<void> run_read(TreeClient client, UniqueFunction<void(Result<TreeContent>)> done) {
  auto nobody = co_await check_nobody(client);
  if (!nobody) co_return done(fail(nobody.error()));
  auto tree = co_await collect(client);
  if (!tree) co_return done(fail(to_error(tree.error(), "read the tree")));
  done(std::move(*tree));
}

// Makes the nodes, or gives them this data where they are there.
Async<Result<void>> put_each(TreeClient& client, std::vector<StoreOp> creates) {
  for (StoreOp& op : creates) {
    Bytes copy = op.data;
    auto created = co_await client.create(op.path, std::move(copy));
    if (created) continue;
    if (created.error() == StoreError::kNodeExists) {
      auto set = co_await client.set(op.path, std::move(op.data), kAnyVersion);
      if (set) continue;
      co_return fail(to_error(set.error(), "set " + op.path));
    }
    co_return fail(to_error(created.error(), "create " + op.path));
  }
  co_return Result<void>();
}

Async<Result<void>> write_all(TreeClient& client, TreeContent& tree) {
  auto cluster = tree.find(paths::kClusterId);
  if (cluster == tree.end()) co_return fail(ErrorCode::kInvalidConfig, "the metadata has no /cluster/id: no cluster was ever started on it");
  auto nobody = co_await check_nobody(client);
  if (!nobody) co_return nobody;
  auto there = co_await client.get(paths::kClusterId);
  if (there) {
    auto id = decode_cluster_id(there->data);
    co_return fail(ErrorCode::kInvalidConfig, fmt::format("that tree already belongs to cluster {}: choose another chroot, or remove it", id ? *id : "?"));
  }
  if (there.error() != StoreError::kNoNode) co_return fail(to_error(there.error(), "read /cluster/id"));
  auto mark = co_await client.exists(kCopyMark);
  if (!mark) {
    auto topics = co_await client.children(paths::kTopics);
    if (topics && !topics->names.empty()) {
      co_return fail(ErrorCode::kInvalidConfig, "that tree has topics but no cluster id: choose another chroot, or remove it");
    }
    auto made = co_await client.ensure(kCopyMark);
    if (!made) co_return fail(to_error(made.error(), "begin the copy"));
  }
  std::vector<std::vector<StoreOp>> chunks(1);
  size_t bytes = 0;
  for (const auto& [path, node] : tree) {
    if (path == paths::kClusterId) continue;
    size_t size = request_bytes(path, node.data);
    if (chunks.back().size() >= kChunkNodes || bytes + size > kChunkBytes) {
      chunks.emplace_back();
      bytes = 0;
    }
    chunks.back().push_back(StoreOp::create(path, node.data));
    bytes += size;
  }
  for (auto& chunk : chunks) {
    std::vector<StoreOp> copy = chunk;
    auto made = co_await client.multi(std::move(copy));
    if (made) continue;
    // Base paths are there already, or a former try has come this far.
    if (made.error().error != StoreError::kNodeExists) co_return fail(to_error(made.error().error, "create nodes"));
    auto put = co_await put_each(client, std::move(chunk));
    if (!put) co_return put;
  }
  if (auto seqid = tree.find(paths::kBrokerSeqId); seqid != tree.end()) {
    auto now = co_await client.exists(paths::kBrokerSeqId);
    int32_t wanted = std::min(seqid->second.version, kMaxSeqId);
    for (int32_t version = now ? now->version : wanted; version < wanted;) {
      auto set = co_await client.set(paths::kBrokerSeqId, Bytes(), kAnyVersion);
      if (!set) co_return fail(to_error(set.error(), "set /brokers/seqid"));
      version = set->version;
    }
  }
  auto back = co_await collect(client);
  if (!back) co_return fail(to_error(back.error(), "read the copy back"));
  for (const auto& [path, node] : tree) {
    if (path == paths::kClusterId) continue;
    auto found = back->find(path);
    if (found == back->end() || found->second.data != node.data) {
      co_return fail(ErrorCode::kUnknownServerError, path + " did not arrive as it was: is somebody else writing there?");
    }
  }
  Bytes id = cluster->second.data;
  auto parent = co_await client.ensure(std::string(parent_of(paths::kClusterId)));
  if (!parent) co_return fail(to_error(parent.error(), "create /cluster"));
  std::vector<StoreOp> last;
  last.push_back(StoreOp::create(paths::kClusterId, std::move(id)));
  last.push_back(StoreOp::remove(kCopyMark, kAnyVersion));
  if (!tree.contains(kOwnRoot)) last.push_back(StoreOp::remove(kOwnRoot, kAnyVersion));
  auto made = co_await client.multi(std::move(last));
  // After a lost connection its own traces: then the node is there.
  if (!made && made.error().error != StoreError::kNodeExists) co_return fail(to_error(made.error().error, "create /cluster/id"));
  co_return Result<void>();
}

Async<void> run_write(TreeClient client, TreeContent tree, UniqueFunction<void(Result<void>)> done) {
  auto written = co_await write_all(client, tree);
  done(std::move(written));
}

}  // namespace

void read_tree(TreeClient client, UniqueFunction<void(Result<TreeContent>)> done) { spawn(run_read(client, std::move(done))); }
void write_tree(TreeClient client, TreeContent tree, UniqueFunction<void(Result<void>)> done) {
  spawn(run_write(client, std::move(tree), std::move(done)));
}

}  // namespace odradek::metadata
