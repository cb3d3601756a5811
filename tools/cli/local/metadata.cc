// `metadata export` and `metadata import`: the whole tree between the embedded store of a stopped broker, a file and ZooKeeper.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <future>

#include "base/clock.h"
#include "base/log.h"
#include "cli/common/session.h"
#include "cli/local/commands.h"
#include "config/config.h"
#include "metadata/store/embedded_store.h"
#include "metadata/store/zookeeper_store.h"
#include "metadata/tree/tree_copy.h"
#include "storage/files/meta_properties.h"

namespace odradek::cli {
namespace {

using metadata::TreeContent;

constexpr int64_t kMaxTreeFile = 4ll << 30;
constexpr int64_t kMaxPropertiesBytes = 16 << 20;

struct Command {
  explicit Command(std::string n) : name(std::move(n)) {}
  const std::string name;
  std::string properties;              // server.properties
  std::vector<std::string> overrides;  // key=value
  std::string file, zookeeper;
  int timeout_s = 30;
  std::unique_ptr<base::Runtime> runtime = base::make_system_runtime();
  std::vector<std::unique_ptr<base::FileLock>> locks;  // of the log dirs
  std::vector<std::string> dirs;
  std::string store_file;

  int refused(const Error& error) const {
    fmt::print(stderr, "odradek {}: {}\n", name, error.what);
    return kRefused;
  }
  Result<void> take_dirs();
  Result<void> check_identity(const std::string& cluster_id) const;
};

// Finds the store and sees to it that no broker works on it.
Result<void> Command::take_dirs() {
  base::FileSystem& files = runtime->files();
  std::optional<std::string> content;
  if (!properties.empty()) {
    auto read = base::read_file(files, properties, kMaxPropertiesBytes);
    if (!read) return fail(read.error());
    content = std::string(as_text(*read));
  }
  auto config = config::load_broker_config(content, overrides);
  if (!config) return fail(config.error());
  dirs = (*config)->log_dirs();
  std::string folder = (*config)->metadata_log_dir();
  store_file = folder + "/" + metadata::kEmbeddedStoreFile;
  for (const std::string& dir : dirs) {
    if (!files.exists(dir)) continue;
    auto lock = files.lock(dir + "/.lock");
    if (!lock) {
      if (lock.error().os_error == EAGAIN || lock.error().os_error == EACCES) {
        return fail(ErrorCode::kInvalidConfig, "log dir " + dir + " is in use: a broker runs on it; stop it first");
      }
      return fail(lock.error());
    }
    locks.push_back(std::move(*lock));
  }
  return {};
}

Result<void> Command::check_identity(const std::string& cluster_id) const {
  for (const std::string& dir : dirs) {
    auto known = storage::read_meta_properties(runtime->files(), dir);
    if (!known) return fail(known.error());
    if (*known && (*known)->cluster_id && *(*known)->cluster_id != cluster_id) {
      return fail(ErrorCode::kInconsistentClusterId,
                  fmt::format("the metadata is of cluster {}, but {}/meta.properties says {}: they do not belong together", cluster_id, dir, *(*known)->cluster_id));
    }
  }
  return {};
}

// Opens a session, calls `work` with a client and waits for its answer.
template <class T, class Work>
Result<T> with_zookeeper(Command& command, Work work) {
  auto executor = command.runtime->make_executor("metadata", 1);
  metadata::ZooKeeperOptions options;
  options.connect = command.zookeeper;
  auto store = metadata::make_zookeeper_store(*command.runtime, *executor, options);
  if (!store) return fail(store.error());
  auto connected = std::make_shared<std::promise<bool>>();  // shared: the listener outlives a wait that was given up
  auto once = std::make_shared<std::atomic<bool>>(false);
  auto is_connected = connected->get_future();
  (*store)->open([connected, once](metadata::SessionState now) {
    if (now != metadata::SessionState::kConnecting && !once->exchange(true)) connected->set_value(now == metadata::SessionState::kConnected);
  });
  Result<T> result = fail(ErrorCode::kRequestTimedOut, fmt::format("ZooKeeper at {} did not answer within {} s: is it running, and is that its address?",
                                                                   command.zookeeper, command.timeout_s));
  if (is_connected.wait_for(std::chrono::seconds(command.timeout_s)) == std::future_status::ready && is_connected.get()) {
    std::promise<Result<T>> answer;
    executor->post([&] { work(metadata::TreeClient(*command.runtime, *executor, **store), [&](Result<T> got) { answer.set_value(std::move(got)); }); });
    result = answer.get_future().get();
  }
  std::promise<void> closed;
  (*store)->close([&] { closed.set_value(); });
  closed.get_future().get();
  return result;
}

std::string summary(const TreeContent& tree) {
  auto below = [&](std::string_view parent) {
    return std::count_if(tree.begin(), tree.end(), [&](const auto& node) { return metadata::parent_of(node.first) == parent; });
  };
  auto id = metadata::cluster_id_of(tree);
  return fmt::format("cluster {}, {} topics, {} nodes", id ? *id : "?", below("/brokers/topics"), tree.size());
}

int export_tree(Command& command) {
  base::FileSystem& files = command.runtime->files();
  if (auto taken = command.take_dirs(); !taken) return command.refused(taken.error());
  if (!files.exists(command.store_file)) {
    return command.refused({ErrorCode::kInvalidConfig, "there is no metadata store at " + command.store_file + ": log.dirs or metadata.log.dir names another folder", 0});
  }
  auto tree = metadata::read_store_file(files, command.store_file);
  if (!tree) return command.refused(tree.error());
  auto id = metadata::cluster_id_of(*tree);
  if (!id) return command.refused(id.error());
  if (auto fits = command.check_identity(*id); !fits) return command.refused(fits.error());
  if (!command.file.empty()) {
    ::umask(077);  // it holds the users' keys
    if (files.exists(command.file)) return command.refused({ErrorCode::kInvalidConfig, command.file + " exists: choose another name", 0});
    if (auto written = base::write_file_atomically(files, command.file, as_bytes(metadata::encode_tree(*tree))); !written) return command.refused(written.error());
    fmt::print("{}: to {}\n", summary(*tree), command.file);
    return kDone;
  }
  auto written = with_zookeeper<void>(command, [&](metadata::TreeClient client, auto reply) { metadata::write_tree(client, *tree, std::move(reply)); });
  if (!written) return command.refused(written.error());
  fmt::print("{}: to ZooKeeper at {}\n", summary(*tree), command.zookeeper);
  return kDone;
}

int import_tree(Command& command) {
  base::FileSystem& files = command.runtime->files();
  if (auto taken = command.take_dirs(); !taken) return command.refused(taken.error());
  Result<TreeContent> tree;
  if (!command.file.empty()) {
    auto text = base::read_file(files, command.file, kMaxTreeFile);
    if (!text) return command.refused(text.error());
    tree = metadata::decode_tree(*text);
  } else {
    tree = with_zookeeper<TreeContent>(command, [](metadata::TreeClient client, auto reply) { metadata::read_tree(client, std::move(reply)); });
  }
  if (!tree) return command.refused(tree.error());
  auto id = metadata::cluster_id_of(*tree);
  if (!id) return command.refused(id.error());
  if (auto fits = command.check_identity(*id); !fits) return command.refused(fits.error());
  if (auto made = files.create_directories(command.store_file.substr(0, command.store_file.rfind('/'))); !made) return command.refused(made.error());
  auto written = metadata::write_store_file(files, command.store_file, *tree, command.runtime->clock().wall_ms());
  if (!written) return command.refused(written.error());
  fmt::print("{}: to {}\n", summary(*tree), command.store_file);
  return kDone;
}

void add_one(CLI::App& parent, int& exit_code, const char* verb, const char* preposition, const char* what, const char* example, int (*run)(Command&)) {
  auto command = std::make_shared<Command>(std::string("metadata ") + verb);  // shared: the callback below keeps it
  CLI::App* app = parent.add_subcommand(verb, what);
  app->add_option("properties", command->properties, "The broker's server.properties")->check(CLI::ExistingFile);
  app->add_option("--override", command->overrides, "key=value above the file, as with odradek-server: --override log.dirs=/var/lib/odradek");
  auto* target = app->add_option_group("target");
  target->add_option(std::string("--") + preposition + "-file", command->file, "A JSON file");
  target->add_option(std::string("--") + preposition + "-zookeeper", command->zookeeper, "host:port[,host:port...][/chroot]");
  target->require_option(1);
  app->add_option("--timeout", command->timeout_s, "Seconds to wait for ZooKeeper")->capture_default_str()->check(CLI::Range(1, 3600));
  app->footer(std::string("Example: ") + example);
  app->callback([command, run, &exit_code] {
    log::Options quiet;
    quiet.level = log::Level::kWarn;
    log::configure(quiet);
    exit_code = run(*command);
  });
}

}  // namespace

void add_metadata(CLI::App& app, int& exit_code) {
  CLI::App* metadata = app.add_subcommand("metadata", "The metadata of a stopped broker: to and from a file or ZooKeeper");
  metadata->require_subcommand(1);
  add_one(*metadata, exit_code, "export", "to",
          "Copies the embedded store of a stopped broker: cluster id, topics, epochs, configs, ACLs, users",
          "odradek metadata export server.properties --to-zookeeper 127.0.0.1:2181/kafka", &export_tree);
  add_one(*metadata, exit_code, "import", "from", "Fills the embedded store of a stopped broker, which holds no cluster yet",
          "odradek metadata import server.properties --from-file metadata.json", &import_tree);
}

}  // namespace odradek::cli
