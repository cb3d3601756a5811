#include "adopt/adoption.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "adopt/plan.h"
#include "base/clock.h"
#include "base/random.h"
#include "config/topic_config.h"
#include "metadata/store/embedded_store.h"
#include "metrics/registry.h"
#include "record/batch_builder.h"
#include "storage/files/partition_folder.h"
#include "storage/log_manager.h"
#include "storage/segment/log_config.h"

namespace odradek::adopt {

namespace {

constexpr size_t kBatchBytes = 256 * 1024;
constexpr int64_t kMaxSmallFile = 1 << 20;

// The locks of the dirs that exist, without making any.
Result<std::vector<std::unique_ptr<base::FileLock>>> lock_dirs(base::FileSystem& files, const config::BrokerConfig& config) {
  std::vector<std::unique_ptr<base::FileLock>> locks;
  for (const std::string& dir : config.log_dirs()) {
    if (!files.exists(dir)) continue;
    auto lock = files.lock(dir + "/" + std::string(storage::kLockFile));
    if (!lock && (lock.error().os_error == EAGAIN || lock.error().os_error == EACCES)) {
      return fail(ErrorCode::kKafkaStorageError, "log dir " + dir + " is in use by another process: stop that broker first");
    }
    if (!lock) return fail(lock.error());
    locks.push_back(std::move(*lock));
  }
  return locks;
}

Result<void> rewrite(storage::LogManager& logs, const TopicPartition& tp, const std::vector<Rewritten>& records) {
  auto log = logs.find(tp);
  if (log == nullptr) return fail(ErrorCode::kKafkaStorageError, tp.to_string() + " could not be loaded");
  LeaderEpoch epoch{std::max(0, log->latest_epoch().value)};
  record::BatchBuilder builder({.leader_epoch = epoch});
  auto append = [&]() -> Result<void> {
    if (builder.empty()) return {};
    Bytes batch = builder.build();
    auto appended = log->append_as_leader(batch, epoch, {record::AppendOrigin::kCoordinator});
    if (!appended) return fail(appended.error().error);
    return {};
  };
  for (const Rewritten& each : records) {
    builder.append(each.timestamp, ByteView(each.key), each.value ? std::optional<ByteView>(*each.value) : std::nullopt);
    if (builder.size_in_bytes() >= kBatchBytes) {
      if (auto done = append(); !done) return done;
    }
  }
  return append();
}

// Everything but the report, and the store at the very end.
class Execution {
 public:
  Execution(base::Runtime& runtime, const config::BrokerConfig& config, storage::LogManager& logs, Plan& plan)
      : runtime_(runtime), files_(runtime.files()), config_(config), logs_(logs), plan_(plan) {}

  Result<void> run() {
    if (auto made = files_.create_directories(plan_.mark_file.substr(0, plan_.mark_file.rfind('/'))); !made) return made;
    if (auto done = base::write_file_atomically(files_, plan_.mark_file, as_bytes(plan_.kraft ? "kraft\n" : "zookeeper\n")); !done) return done;
    if (auto done = keep_properties(); !done) return done;
    if (auto done = rename_strays(); !done) return done;
    if (auto done = logs_.start([this](const std::string& topic) { return log_config(topic); }); !done) return done;
    for (const auto& dir : logs_.describe_dirs()) {
      if (dir.error != ErrorCode::kNone) return fail(ErrorCode::kKafkaStorageError, "log dir " + dir.path + " failed; the log above says why");
    }
    for (const auto& [tp, records] : plan_.rewritten) {
      if (auto done = rewrite(logs_, tp, records); !done) return done;
    }
    logs_.stop();
    if (logs_.has_offline_dir()) return fail(ErrorCode::kKafkaStorageError, "a log dir failed; the log above says why");
    if (auto done = write_properties(); !done) return done;
    if (auto done = metadata::write_store_file(files_, plan_.store_file, plan_.tree, runtime_.clock().wall_ms()); !done) return done;
    return files_.remove(plan_.mark_file);
  }

 private:
  std::shared_ptr<const storage::LogConfig> log_config(const std::string& topic) {
    auto planned = plan_.topics.find(topic);
    return std::make_shared<const storage::LogConfig>(
        storage::make_log_config(config::effective_topic_config(config_, planned == plan_.topics.end() ? config::Properties() : planned->second.config)));
  }

  Result<void> keep_properties() {
    for (const PlannedDir& dir : plan_.dirs) {
      const std::string former = dir.path + "/" + std::string(kFormerProperties);
      if (!dir.properties || dir.properties->version == 0 || files_.exists(former)) continue;
      auto content = base::read_file(files_, dir.path + "/" + std::string(storage::kMetaPropertiesFile), kMaxSmallFile);
      if (!content) return fail(content.error());
      if (auto written = base::write_file_atomically(files_, former, *content); !written) return written;
    }
    return {};
  }

  Result<void> rename_strays() {
    constexpr size_t kLongestName = 255;
    for (const std::string& path : plan_.strays) {
      size_t slash = path.rfind('/');
      std::string suffix = "." + base::random_uuid(runtime_.random()).to_hex() + "-stray";
      std::string name = path.substr(slash + 1, kLongestName - suffix.size());
      if (auto renamed = files_.rename(path, path.substr(0, slash + 1) + name + suffix); !renamed) return renamed;
      if (auto synced = files_.sync_directory(path.substr(0, slash)); !synced) return synced;
    }
    return {};
  }

  Result<void> write_properties() {
    for (const PlannedDir& dir : plan_.dirs) {
      storage::MetaProperties properties = dir.properties.value_or(storage::MetaProperties());
      if (properties.version == 0 && properties.cluster_id && properties.broker_id) continue;
      properties.version = 0;
      properties.cluster_id = plan_.cluster_id;
      properties.broker_id = plan_.broker;
      if (auto written = storage::write_meta_properties(files_, dir.path, properties); !written) return written;
    }
    return {};
  }

  base::Runtime& runtime_;
  base::FileSystem& files_;
  const config::BrokerConfig& config_;
  storage::LogManager& logs_;
  Plan& plan_;
};

}  // namespace

Result<bool> adopt(base::Runtime& runtime, const config::BrokerConfig& config, const Options& options, const Print& print) {
  auto locks = lock_dirs(runtime.files(), config);
  if (!locks) return fail(locks.error());
  auto plan = inspect(runtime, config, options.allow_open_transactions);
  if (!plan) return fail(plan.error());
  if (plan->finished) {
    if (options.execute) {
      if (auto removed = runtime.files().remove(plan->mark_file); !removed) return fail(removed.error());
    }
    print("a former run adopted everything; start odradek-server");
    return true;
  }
  if (!plan->cluster_id.empty()) {
    print(fmt::format("Apache Kafka, {}: cluster {}, broker {}", plan->kraft ? "KRaft" : "ZooKeeper mode", plan->cluster_id, plan->broker.value));
  }
  for (const std::string& line : plan->facts) print("  " + line);
  for (const std::string& line : plan->notes) print("note: " + line);
  for (const std::string& line : plan->refusals) print("refused: " + line);
  if (!plan->refusals.empty()) {
    print("nothing was changed");
    return false;
  }
  if (!options.execute) {
    print("nothing was changed; the same command with --yes adopts");
    return true;
  }
  // From here on files are made, those of the log manager too: its own locks take over.
  metrics::Registry registry(runtime.clock());
  storage::LogManager logs(runtime, storage::make_log_manager_options(config), registry);
  locks->clear();
  if (auto locked = logs.lock_dirs(); !locked) return fail(locked.error());
  if (auto done = Execution(runtime, config, logs, *plan).run(); !done) {
    print("broken off: " + done.error().what);
    print("the same command repeats it");
    return fail(done.error());
  }
  print("adopted; start odradek-server with the same properties");
  return true;
}

std::string unadopted(base::FileSystem& files, const config::BrokerConfig& config) {
  const std::string store = config.metadata_log_dir() + "/" + metadata::kEmbeddedStoreFile;
  if (files.exists(config.metadata_log_dir() + "/" + std::string(kMarkFile))) {
    return "an adoption was broken off: repeat `odradek-server --adopt --yes`";
  }
  if (files.exists(store)) return {};
  for (const std::string& dir : config.log_dirs()) {
    auto properties = storage::read_meta_properties(files, dir);
    if (!properties || !*properties || !(*properties)->cluster_id) continue;
    auto entries = files.list(dir);
    if (!entries) continue;
    for (const auto& entry : *entries) {
      TopicPartition tp;
      if (!entry.is_directory || storage::parse_folder(entry.name, tp) != storage::FolderKind::kLive) continue;
      return fmt::format("log dir {} holds partitions of cluster {}, but there is no metadata store at {}: `odradek-server --adopt` takes over the log dirs of an Apache "
                         "Kafka, `odradek metadata import` metadata from ZooKeeper; if the store was in another folder, set metadata.log.dir to it",
                         dir, *(*properties)->cluster_id, store);
    }
  }
  return {};
}

}  // namespace odradek::adopt
