#include "storage/log_manager.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/registry.h"
#include "storage/checkpoint.h"
#include "storage/flusher.h"
#include "storage/load_queue.h"
#include "storage/log_dir.h"
#include "storage/log_loader.h"
#include "storage/meta_properties.h"
#include "storage/partition_folder.h"
#include "storage/slice_reader.h"

namespace odradek::storage {
namespace {

constexpr std::string_view kCleanShutdownContent = "{\"version\":0,\"brokerEpoch\":-1}";
constexpr std::string_view kDeleteSuffix = "-delete";
constexpr size_t kLongestName = 255;
constexpr int64_t kRoomCheckMs = 250;  // while a dir is full
constexpr int kRoundsOfRetention = 20;

}  // namespace

struct LogManager::Impl final : LogDir::Owner {
  // One log dir with what the manager knows of it.
  struct Dir {
    std::shared_ptr<LogDir> dir;  // shared with its logs, see Log
    std::unique_ptr<base::FileLock> lock;
    bool was_clean = false;
    std::atomic<bool> close_failed{false};  // of some log here
    base::Mutex checkpoint_mutex;  // one writer of the checkpoint files at a time
    // Names that stand in some checkpoint file, and what the files say (to write them only when they change).
    absl::flat_hash_set<TopicPartition> checkpointed GUARDED_BY(checkpoint_mutex);
    std::string written[4] GUARDED_BY(checkpoint_mutex);
    std::atomic<bool> timer_set[4]{};
    std::atomic<int> partitions{0};
  };
  using Changed = LogDir::Changed;
  struct Alive {
    base::Mutex mutex;
    bool stopped GUARDED_BY(mutex) = false;
  };

  Impl(base::Runtime& runtime, LogManagerOptions options, metrics::Registry& metrics);
  ~Impl() override;

  std::string file_in(const Dir& dir, std::string_view name) const { return dir.dir->path() + "/" + std::string(name); }
  Dir& entry_of(const LogDir& dir) { return *dirs[dir.number()]; }
  std::vector<std::shared_ptr<Log>> logs_in(const LogDir& dir) const;
  std::vector<std::shared_ptr<Log>> all() const;

  Result<void> find_logs(Dir& dir, base::Executor& loaders);
  void load_next(Dir& dir);
  // False: its dir has failed.
  bool load_one(Dir& dir, const UnloadedLog& found);
  void loaded(Dir& dir, const TopicPartition& tp);
  void end_loaders();
  std::shared_ptr<const LogConfig> config_of(const std::string& topic);
  // False: its dir has failed meanwhile.
  bool register_log(std::shared_ptr<Log> log);
  bool any_online() const {
    return std::any_of(log_dirs.begin(), log_dirs.end(), [](const auto& dir) { return dir->online(); });
  }
  OffsetMap unloaded_offsets(const Dir& dir, Changed what) const;
  void load_future(Dir& dir, const TopicPartition& tp, const std::string& folder, const LoadOptions& load, std::shared_ptr<const LogConfig> config);
  std::vector<std::shared_ptr<Log>> futures_in(const LogDir& dir) const;
  Result<void> settle_swap(const std::string& a, const std::string& b, bool* settled);
  std::string free_name(const TopicPartition& tp, std::string_view kind);
  Result<void> rename_away(Dir& dir, const TopicPartition& tp, const std::string& path, int64_t delay_ms, Log* log);
  void checkpoint_soon(Dir& dir);
  void delete_folder_later(Dir& dir, const std::string& path, int64_t delay_ms);
  Result<void> checkpoint(Dir& dir, Changed what);
  Result<void> checkpoint_all(Dir& dir);
  void on_change(LogDir& dir, Changed what) override;
  void on_failure(LogDir& dir) override;
  void on_full(LogDir& dir) override;
  void look_for_room(LogDir& dir, int rounds);
  void make_room(LogDir& dir);
  Result<void> checkpoint(LogDir& dir, Changed what) override { return checkpoint(entry_of(dir), what); }
  void retention();
  void expire_producers();

  base::Runtime& runtime;
  const LogManagerOptions options;
  const std::shared_ptr<FileCache> cache;  // shared with the dirs
  std::shared_ptr<Alive> alive = std::make_shared<Alive>();  // shared with timers that may outlive this
  std::vector<std::shared_ptr<LogDir>> log_dirs;
  std::vector<std::unique_ptr<Dir>> dirs;
  SliceReader reader{log_dirs};

  mutable base::SharedMutex map_mutex;
  absl::flat_hash_map<TopicPartition, std::shared_ptr<Log>> logs GUARDED_BY(map_mutex);  // shared: partitions use them
  absl::flat_hash_set<TopicPartition> lost GUARDED_BY(map_mutex);                        // were in a dir that failed
  absl::flat_hash_map<TopicPartition, std::shared_ptr<Log>> futures GUARDED_BY(map_mutex);  // shared: as the logs
  absl::flat_hash_map<TopicPartition, std::string> preferred GUARDED_BY(map_mutex);      // dirs of logs that do not exist yet

  LoadQueue loading;  // a log is in `logs` before it leaves this
  base::Mutex loaders_mutex;
  std::vector<std::unique_ptr<base::Executor>> loaders GUARDED_BY(loaders_mutex);  // while something loads
  int64_t began_ms = 0;

  // Settings of topics while logs load: one object for all logs of a topic.
  base::Mutex config_mutex;
  ConfigResolver resolver GUARDED_BY(config_mutex);
  absl::flat_hash_map<std::string, std::shared_ptr<const LogConfig>> configs GUARDED_BY(config_mutex);  // shared by the logs
  uint64_t config_changes GUARDED_BY(config_mutex) = 0;

  base::Mutex create_mutex;  // one creation or deletion at a time
  bool locked = false;
  bool started = false;
  bool stopped = false;

  base::Mutex listener_mutex;
  DirOffline offline_listener GUARDED_BY(listener_mutex);
  base::Mutex loaded_mutex;
  Loaded loaded_listener GUARDED_BY(loaded_mutex);
  std::function<void()> room_listener GUARDED_BY(listener_mutex);

  std::unique_ptr<base::Executor> scheduler;
  std::unique_ptr<base::PeriodicTask> retention_task, expiry_task;
  std::vector<metrics::Registration> registrations;
};

LogManager::Impl::Impl(base::Runtime& r, LogManagerOptions o, metrics::Registry& metrics)
    : runtime(r), options(std::move(o)), cache(std::make_shared<FileCache>(std::min(options.max_open_files, runtime.files().max_open_files() / 4))), scheduler(runtime.make_executor("log-scheduler", 1)) {
  LogDir::Options dir_options;
  dir_options.flush_threads = options.flush_threads_per_dir;
  dir_options.flush_debt_factor = options.flush_debt_factor;
  dir_options.reserve_bytes = options.reserve_bytes;
  dir_options.producer_id_expiration_ms = options.producer_id_expiration_ms;
  dir_options.flush_time = metrics.histogram(metrics::kLogFlushTime);
  for (const std::string& path : options.dirs) {
    dir_options.dir_flush_time = metrics.histogram(metrics::kLogDirFlushTime, {path});
    auto number = static_cast<uint32_t>(log_dirs.size());
    log_dirs.push_back(std::make_shared<LogDir>(runtime, path, number, cache, dir_options, *this));
    dirs.push_back(std::make_unique<Dir>());
    dirs.back()->dir = log_dirs.back();
  }
  registrations.push_back(metrics.callback(metrics::kOfflineLogDirectoryCount, {}, [this] {
    return static_cast<double>(std::count_if(log_dirs.begin(), log_dirs.end(), [](const auto& dir) { return !dir->online(); }));
  }));
  registrations.push_back(metrics.collector({&metrics::kLogDirectoryFull, &metrics::kLogDirectoryReserve}, [this](std::vector<metrics::SampleSink*>& sinks) {
    for (const auto& dir : log_dirs) {
      sinks[0]->add({dir->path()}, int64_t{dir->full()});
      sinks[1]->add({dir->path()}, dir->reserve().bytes());
    }
  }));
  registrations.push_back(metrics.collector(metrics::kRemainingLogsToRecover, [this](metrics::SampleSink& sink) {
    for (const auto& dir : log_dirs) sink.add({dir->path()}, static_cast<int64_t>(loading.size(dir->number())));
  }));
  registrations.push_back(metrics.collector(metrics::kLogDirectoryOffline, [this](metrics::SampleSink& sink) {
    for (const auto& dir : log_dirs) sink.add({dir->path()}, int64_t{!dir->online()});
  }));
  registrations.push_back(metrics.collector(
      {&metrics::kLogSize, &metrics::kLogEndOffset, &metrics::kLogStartOffset, &metrics::kLogSegments, &metrics::kLogFlushes,
       &metrics::kLogUnflushedMessages, &metrics::kLogFlushDebt},
      [this](std::vector<metrics::SampleSink*>& sinks) {
        for (const auto& log : all()) {
          std::string partition = std::to_string(log->name().partition);
          sinks[0]->add({log->name().topic, partition}, log->size_bytes());
          sinks[1]->add({log->name().topic, partition}, log->log_end_offset().value);
          sinks[2]->add({log->name().topic, partition}, log->log_start_offset().value);
          sinks[3]->add({log->name().topic, partition}, static_cast<int64_t>(log->segment_count()));
          sinks[4]->add({log->name().topic, partition}, static_cast<int64_t>(log->flush_count()));
          sinks[5]->add({log->name().topic, partition}, log->log_end_offset() - std::min(log->flushed_offset(), log->log_end_offset()));
          const auto config = log->config();
          if (config->flush_messages != INT64_MAX || config->flush_ms != INT64_MAX) sinks[6]->add({log->name().topic, partition}, log->debt_ratio());
        }
      }));
}

LogManager::Impl::~Impl() {
  registrations.clear();
  {
    base::MutexLock lock(alive->mutex);
    alive->stopped = true;
  }
  retention_task.reset();
  expiry_task.reset();
  loading.cancel();
  end_loaders();
  for (auto& dir : log_dirs) dir->detach();
  scheduler.reset();
}

std::vector<std::shared_ptr<Log>> LogManager::Impl::all() const {
  base::ReaderLock lock(map_mutex);
  std::vector<std::shared_ptr<Log>> all;
  all.reserve(logs.size());
  for (const auto& [tp, log] : logs) all.push_back(log);
  return all;
}

std::vector<std::shared_ptr<Log>> LogManager::Impl::logs_in(const LogDir& dir) const {
  base::ReaderLock lock(map_mutex);
  std::vector<std::shared_ptr<Log>> found;
  for (const auto& [tp, log] : logs) {
    if (&log->dir() == &dir) found.push_back(log);
  }
  return found;
}

std::vector<std::shared_ptr<Log>> LogManager::Impl::futures_in(const LogDir& dir) const {
  base::ReaderLock lock(map_mutex);
  std::vector<std::shared_ptr<Log>> found;
  for (const auto& [tp, log] : futures) {
    if (&log->dir() == &dir) found.push_back(log);
  }
  return found;
}

bool LogManager::Impl::register_log(std::shared_ptr<Log> log) {
  base::WriterLock lock(map_mutex);
  // Under the lock: on_failure() comes behind it and finds the log, or has set the dir offline before.
  if (!log->dir().online()) return false;
  logs[log->name()] = std::move(log);
  return true;
}

// --- start ------------------------------------------------------------------------------------------------------------------

std::shared_ptr<const LogConfig> LogManager::Impl::config_of(const std::string& topic) {
  uint64_t changes;
  ConfigResolver resolve;
  {
    base::MutexLock lock(config_mutex);
    if (auto known = configs.find(topic); known != configs.end()) return known->second;
    changes = config_changes;
    resolve = resolver;
  }
  auto config = resolve(topic);
  base::MutexLock lock(config_mutex);
  if (changes != config_changes) return config;
  return configs.try_emplace(topic, std::move(config)).first->second;
}

void LogManager::Impl::load_next(Dir& dir) {
  auto next = loading.take(dir.dir->number());
  if (!next) return;
  if (load_one(dir, *next)) return loaded(dir, next->name);
  loading.give_up(next->name);  // on_failure() comes and tells of it
}

bool LogManager::Impl::load_one(Dir& dir, const UnloadedLog& found) {
  if (!dir.dir->online()) return false;
  const TopicPartition& tp = found.name;
  const std::string folder = dir.dir->path() + "/" + tp.to_string();
  const LoadOptions load{dir.was_clean, found.recovery_point.value_or(Offset{0}), found.log_start.value_or(Offset{0}), found.high_watermark.value_or(Offset{0}),
                         found.cleaned.value_or(Offset{-1})};
  auto config = config_of(tp.topic);
  auto loaded = dir.dir->with_reserve([&] { return load_log(dir.dir, folder, *config, load); });
  if (!loaded) {
    // A file that is not what it should be: nothing here may be believed.
    Error error = loaded.error();
    if (!is_disk_failure(error)) error.os_error = EIO;
    dir.dir->fail(error);
    return false;
  }
  auto log = std::make_shared<Log>(dir.dir, tp, folder, config, std::move(*loaded));
  if (!register_log(log)) return false;
  // They may have changed while it was not yet among those that are told.
  if (auto now = config_of(tp.topic); now != config) log->update_config(std::move(now));
  log->note_loaded();
  return true;
}

void LogManager::Impl::loaded(Dir& dir, const TopicPartition& tp) {
  const bool last = loading.done(tp);
  if (last) log::info("storage", "log dir {}: all logs loaded after {} ms", dir.dir->path(), runtime.clock().monotonic_ms() - began_ms);
  {
    base::MutexLock lock(loaded_mutex);
    if (loaded_listener) loaded_listener(tp);
  }
  if (loading.empty()) scheduler->post([this] { end_loaders(); });
}

// Waits for what they do.
void LogManager::Impl::end_loaders() {
  std::vector<std::unique_ptr<base::Executor>> ending;
  {
    base::MutexLock lock(loaders_mutex);
    ending = std::move(loaders);
    loaders.clear();
  }
  ending.clear();
  base::MutexLock lock(config_mutex);
  configs.clear();
}

void LogManager::Impl::load_future(Dir& dir, const TopicPartition& tp, const std::string& folder, const LoadOptions& load,
                                   std::shared_ptr<const LogConfig> config) {
  if (!dir.dir->online()) return;
  (void)runtime.files().remove(folder + "/" + std::string(kMovedMarker));
  auto loaded = dir.dir->with_reserve([&] { return load_log(dir.dir, folder, *config, load); });
  if (!loaded) {
    if (is_disk_failure(loaded.error())) return dir.dir->fail(loaded.error());
    log::warn("storage", "{}: {}; the copy is given up", folder, loaded.error().what);
    return delete_folder_later(dir, folder, 0);
  }
  auto log = std::make_shared<Log>(dir.dir, tp, folder, std::move(config), std::move(*loaded));
  {
    base::WriterLock lock(map_mutex);
    if (auto [at, added] = futures.try_emplace(tp, log); !added) {
      log::warn("storage", "{} is a second copy of {} that is being moved: given up", folder, tp.to_string());
      return delete_folder_later(dir, folder, 0);
    }
  }
  log->note_loaded();
}

// A process died between the two renames of a swap: the folder with the marker is whole, the other one goes.
Result<void> LogManager::Impl::settle_swap(const std::string& a, const std::string& b, bool* settled) {
  base::FileSystem& files = runtime.files();
  const std::string marker = "/" + std::string(kMovedMarker);
  const bool in_a = files.exists(a + marker), in_b = files.exists(b + marker);
  *settled = in_a != in_b;
  if (!*settled) return {};
  const std::string& kept = in_a ? a : b;
  const std::string& old = in_a ? b : a;
  TopicPartition tp;
  (void)parse_folder(old.substr(old.rfind('/') + 1), tp);
  const std::string dir = old.substr(0, old.rfind('/'));
  auto done = files.rename(old, dir + "/" + free_name(tp, kDeleteSuffix));
  if (done) done = files.sync_directory(dir);
  if (done) done = files.remove(kept + marker);
  if (done) log::info("storage", "{} takes the place of {}, as was about to be done before", kept, old);
  return done;
}

Result<void> LogManager::Impl::find_logs(Dir& dir, base::Executor& loaders) {
  base::FileSystem& files = runtime.files();
  // The marker counts once: it is gone for good before a log is touched.
  std::string marker = file_in(dir, kCleanShutdownFile);
  dir.was_clean = files.exists(marker);
  if (dir.was_clean) {
    auto removed = files.remove(marker);
    if (removed) removed = files.sync_directory(dir.dir->path());
    if (!removed) return removed;
  } else if (auto synced = files.sync_directory(dir.dir->path()); !synced) {
    // The former process may have died before it made the names of new partitions durable; flushes from here on rely on them.
    return synced;
  }
  auto checkpointed = [&](std::string_view name) {
    auto offsets = read_offsets(files, file_in(dir, name));
    if (offsets) return std::move(*offsets);
    log::warn("storage", "{}: counts as empty", offsets.error().what);
    return OffsetMap{};
  };
  OffsetMap recovery_points = checkpointed(kRecoveryPointFile);
  OffsetMap log_starts = checkpointed(kLogStartFile);
  OffsetMap high_watermarks = checkpointed(kHighWatermarkFile);
  OffsetMap cleaned = checkpointed(kCleanerFile);
  {
    base::MutexLock lock(dir.checkpoint_mutex);
    if (!cleaned.empty()) dir.written[static_cast<size_t>(Changed::kCleaned)] = encode_offsets(cleaned);
    for (const OffsetMap* map : {&recovery_points, &log_starts, &high_watermarks, &cleaned}) {
      for (const auto& [tp, offset] : *map) dir.checkpointed.insert(tp);
    }
  }
  for (auto name : {kRecoveryPointFile, kLogStartFile, kHighWatermarkFile, kCleanerFile}) {
    if (files.exists(file_in(dir, name))) continue;
    if (auto made = files.open(file_in(dir, name), base::OpenMode::kCreate); !made) return fail(std::move(made.error()));
  }
  auto entries = files.list(dir.dir->path());
  if (!entries) return fail(std::move(entries.error()));
  auto offset_in = [](const OffsetMap& map, const TopicPartition& tp) {
    auto found = map.find(tp);
    return found == map.end() ? std::nullopt : std::optional(found->second);
  };
  size_t count = 0;
  for (const auto& entry : *entries) {
    if (!entry.is_directory) continue;
    TopicPartition tp;
    switch (parse_folder(entry.name, tp)) {
      case FolderKind::kLive:
        loading.add({tp, dir.dir->number(), offset_in(recovery_points, tp), offset_in(log_starts, tp), offset_in(high_watermarks, tp), offset_in(cleaned, tp)});
        ++count;
        break;
      case FolderKind::kDeleted: delete_folder_later(dir, dir.dir->path() + "/" + entry.name, 0); break;
      case FolderKind::kFuture:  // few, and wanted as soon as their log is served: loaded here
        load_future(dir, tp, dir.dir->path() + "/" + entry.name, {dir.was_clean, offset_in(recovery_points, tp).value_or(Offset{0}), Offset{0}, Offset{0}},
                    config_of(tp.topic));
        break;
      case FolderKind::kStray: log::warn("storage", "{}/{} is left as it is: nobody asked for this replica", dir.dir->path(), entry.name); break;
      case FolderKind::kIgnored:
      case FolderKind::kForeign: break;
    }
  }
  dir.partitions.store(static_cast<int>(count), std::memory_order_relaxed);
  for (size_t i = 0; i < count; ++i) loaders.post([this, &dir] { load_next(dir); });
  return {};
}

LogManager::LogManager(base::Runtime& runtime, LogManagerOptions options, metrics::Registry& metrics)
    : impl_(std::make_unique<Impl>(runtime, std::move(options), metrics)) {}
LogManager::~LogManager() = default;

Result<void> LogManager::lock_dirs() {
  Impl& impl = *impl_;
  if (impl.locked) return {};
  impl.locked = true;
  base::FileSystem& files = impl.runtime.files();
  bool any = false;
  std::string last_error = "log.dirs names no directory";
  for (auto& dir : impl.dirs) {
    Result<void> made;
    if (const std::string& path = dir->dir->path(); !files.exists(path)) {
      made = files.create_directories(path);
      size_t slash = path.find_last_of('/');
      if (made) made = files.sync_directory(slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash));
    }
    if (made) {
      auto lock = files.lock(impl.file_in(*dir, kLockFile));
      if (lock) {
        dir->lock = std::move(*lock);
        dir->dir->reserve().open();
        any = true;
        continue;
      }
      if (lock.error().os_error == EAGAIN || lock.error().os_error == EACCES) {
        return fail(ErrorCode::kKafkaStorageError, "log dir " + dir->dir->path() + " is in use by another process (" + lock.error().what +
                                                       "): stop that broker or choose another log.dirs");
      }
      made = fail(std::move(lock.error()));
    }
    last_error = made.error().what;
    if (is_disk_full(made.error())) made.error().os_error = EIO;  // without its lock it cannot be used
    dir->dir->fail(made.error());
  }
  if (!any) return fail(ErrorCode::kKafkaStorageError, "no log dir can be used: " + last_error);
  return {};
}

Result<Identity> LogManager::read_identity() {
  Impl& impl = *impl_;
  Identity identity;
  std::string cluster_from, broker_from;
  for (auto& dir : impl.dirs) {
    if (!dir->dir->online()) continue;
    auto properties = read_meta_properties(impl.runtime.files(), dir->dir->path());
    if (!properties) return fail(std::move(properties.error()));
    if (!*properties) continue;
    const std::string path = impl.file_in(*dir, kMetaPropertiesFile);
    if (const auto& id = (*properties)->cluster_id) {
      if (identity.cluster_id && *identity.cluster_id != *id) {
        return fail(ErrorCode::kInconsistentClusterId, path + " says cluster.id " + *id + ", but " + cluster_from + " says " + *identity.cluster_id);
      }
      identity.cluster_id = *id;
      cluster_from = path;
    }
    if (const auto& id = (*properties)->broker_id) {
      if (identity.broker_id && *identity.broker_id != *id) {
        return fail(ErrorCode::kInvalidConfig, path + " says broker.id " + std::to_string(id->value) + ", but " + broker_from + " says " +
                                                   std::to_string(identity.broker_id->value));
      }
      identity.broker_id = *id;
      broker_from = path;
    }
  }
  return identity;
}

Result<void> LogManager::write_identity(const std::string& cluster_id, BrokerId broker_id) {
  Impl& impl = *impl_;
  for (auto& dir : impl.dirs) {
    if (!dir->dir->online()) continue;
    auto known = read_meta_properties(impl.runtime.files(), dir->dir->path());
    if (!known) return fail(std::move(known.error()));
    MetaProperties properties = *known ? **known : MetaProperties{};
    const std::string path = impl.file_in(*dir, kMetaPropertiesFile);
    if (properties.cluster_id && *properties.cluster_id != cluster_id) {
      return fail(ErrorCode::kInconsistentClusterId, path + " belongs to cluster " + *properties.cluster_id + ", not to " + cluster_id);
    }
    if (properties.broker_id && *properties.broker_id != broker_id) {
      return fail(ErrorCode::kInvalidConfig, path + " belongs to broker " + std::to_string(properties.broker_id->value) + ", not to " +
                                                 std::to_string(broker_id.value));
    }
    if (properties.cluster_id && properties.broker_id) continue;
    properties.cluster_id = cluster_id;
    properties.broker_id = broker_id;
    if (auto written = write_meta_properties(impl.runtime.files(), dir->dir->path(), properties); !written) dir->dir->fail(written.error());
  }
  return {};
}

Result<void> LogManager::start(ConfigResolver resolver) {
  if (auto begun = begin(std::move(resolver)); !begun) return begun;
  Impl& impl = *impl_;
  impl.end_loaders();  // all is loaded then; what is not was in a dir that has failed
  if (!impl.any_online()) return fail(ErrorCode::kKafkaStorageError, "every log dir has failed; server.log says why");
  log::info("storage", "{} logs loaded in {} ms", size(), impl.runtime.clock().monotonic_ms() - impl.began_ms);
  return {};
}

Result<void> LogManager::begin(ConfigResolver resolver) {
  Impl& impl = *impl_;
  CHECK(!impl.started);
  if (auto locked = lock_dirs(); !locked) return locked;
  impl.began_ms = impl.runtime.clock().monotonic_ms();
  {
    base::MutexLock lock(impl.config_mutex);
    impl.resolver = std::move(resolver);
  }

  // A partition in two dirs: nobody knows which one counts.
  absl::flat_hash_map<std::string, std::string> seen;
  for (auto& dir : impl.dirs) {
    if (!dir->dir->online()) continue;
    auto entries = impl.runtime.files().list(dir->dir->path());
    if (!entries) {
      dir->dir->fail(entries.error());
      continue;
    }
    for (const auto& entry : *entries) {
      TopicPartition tp;
      if (!entry.is_directory) continue;
      const FolderKind kind = parse_folder(entry.name, tp);
      if (kind == FolderKind::kForeign) {
        return fail(ErrorCode::kKafkaStorageError, "the directory '" + entry.name + "' in log dir " + dir->dir->path() +
                                                       " is no partition (<topic>-<number>): move it elsewhere");
      }
      if (kind != FolderKind::kLive) continue;
      auto [first, is_new] = seen.emplace(entry.name, dir->dir->path());
      bool settled = false;
      if (!is_new) {
        if (auto done = impl.settle_swap(first->second + "/" + entry.name, dir->dir->path() + "/" + entry.name, &settled); !done) return done;
      }
      if (!is_new && !settled) {
        return fail(ErrorCode::kKafkaStorageError, "partition " + entry.name + " is in two log dirs, " + first->second + " and " +
                                                       dir->dir->path() + ": remove one of them");
      }
    }
  }
  for (auto& dir : impl.dirs) {
    if (!dir->dir->online()) continue;
    auto loaders = impl.runtime.make_executor("log-recovery-" + std::to_string(dir->dir->number()), impl.options.recovery_threads_per_dir);
    auto found = impl.find_logs(*dir, *loaders);
    if (!found) {
      if (is_disk_full(found.error())) found.error().os_error = EIO;  // not even what a start needs fits
      dir->dir->fail(found.error());
    }
    base::MutexLock lock(impl.loaders_mutex);
    impl.loaders.push_back(std::move(loaders));
  }
  if (!impl.any_online()) return fail(ErrorCode::kKafkaStorageError, "every log dir has failed; server.log says why");
  impl.started = true;
  auto every = [](int64_t ms) { return std::chrono::milliseconds(ms); };
  impl.retention_task = std::make_unique<base::PeriodicTask>(impl.runtime, *impl.scheduler, every(impl.options.retention_check_interval_ms),
                                                             [&impl] { impl.retention(); });
  impl.expiry_task = std::make_unique<base::PeriodicTask>(impl.runtime, *impl.scheduler, every(impl.options.producer_expiry_check_interval_ms),
                                                          [&impl] { impl.expire_producers(); });
  // No log at all: else the last one ends them.
  if (impl.loading.empty()) impl.scheduler->post([&impl] { impl.end_loaders(); });
  return {};
}

bool LogManager::is_loading(const TopicPartition& tp) const { return impl_->loading.contains(tp); }
size_t LogManager::loading() const { return impl_->loading.size(); }
void LogManager::hasten(const TopicPartition& tp) { impl_->loading.hasten(tp); }

void LogManager::on_loaded(Loaded callback) {
  base::MutexLock lock(impl_->loaded_mutex);
  impl_->loaded_listener = std::move(callback);
}

void LogManager::configs_changed() {
  base::MutexLock lock(impl_->config_mutex);
  ++impl_->config_changes;
  impl_->configs.clear();
}

std::vector<TopicPartition> LogManager::partitions() const {
  // In this order: what is loaded meanwhile is in both.
  absl::flat_hash_set<TopicPartition> names;
  for (const auto& dir : impl_->log_dirs) {
    for (auto& log : impl_->loading.of(dir->number())) names.insert(std::move(log.name));
  }
  for (const auto& log : impl_->all()) names.insert(log->name());
  return {names.begin(), names.end()};
}

// --- stop -------------------------------------------------------------------------------------------------------------------

void LogManager::stop() {
  Impl& impl = *impl_;
  if (impl.stopped || !impl.started) return;
  impl.stopped = true;
  impl.retention_task.reset();
  impl.expiry_task.reset();
  {
    base::MutexLock lock(impl.alive->mutex);
    impl.alive->stopped = true;
  }
  // What was not begun stays as the former process left it.
  impl.loading.cancel();
  impl.end_loaders();
  {
    std::vector<std::unique_ptr<base::Executor>> closers;
    for (auto& dir : impl.dirs) {
      if (!dir->dir->online()) continue;
      closers.push_back(impl.runtime.make_executor("log-close-" + std::to_string(dir->dir->number()),
                                                   std::max(impl.options.recovery_threads_per_dir, impl.options.flush_threads_per_dir)));
      auto closing = impl.logs_in(*dir->dir);
      for (auto& future : impl.futures_in(*dir->dir)) closing.push_back(future);
      for (auto& log : closing) {
        closers.back()->post([log, dir = dir.get()] {
          auto closed = log->close_cleanly();
          if (closed) return;
          log::error("storage", "{}: {}", log->name().to_string(), closed.error().what);
          dir->close_failed = true;  // no marker: recovered at the next start
        });
      }
    }
  }
  for (auto& dir : impl.dirs) {
    if (!dir->dir->online()) continue;
    auto written = impl.checkpoint_all(*dir);
    // A log that was not looked at is as clean as its dir was.
    const bool clean = !dir->close_failed && (dir->was_clean || impl.loading.size(dir->dir->number()) == 0);
    if (!clean) log::warn("storage", "log dir {} was not recovered as a whole: the next start goes on with it", dir->dir->path());
    if (written && clean) {
      written = base::write_file_atomically(impl.runtime.files(), impl.file_in(*dir, kCleanShutdownFile), as_bytes(kCleanShutdownContent));
    }
    if (!written) dir->dir->fail(written.error());
    dir->lock.reset();
  }
}

// --- checkpoints ------------------------------------------------------------------------------------------------------------

OffsetMap LogManager::Impl::unloaded_offsets(const Dir& dir, Changed what) const {
  OffsetMap offsets;
  for (const UnloadedLog& log : loading.of(dir.dir->number())) {
    const std::optional<Offset>* offset = nullptr;
    switch (what) {
      case Changed::kHighWatermark: offset = &log.high_watermark; break;
      case Changed::kRecoveryPoint: offset = &log.recovery_point; break;
      case Changed::kLogStart: offset = &log.log_start; break;
      case Changed::kCleaned: offset = &log.cleaned; break;
    }
    if (offset->has_value()) offsets[log.name] = **offset;
  }
  return offsets;
}

Result<void> LogManager::Impl::checkpoint(Dir& dir, Changed what) {
  base::MutexLock lock(dir.checkpoint_mutex);
  dir.dir->clear_changed(what);  // before the offsets are read: a later change asks for another checkpoint
  // In this order: a log that is loaded meanwhile is in both, and knows better.
  OffsetMap offsets = unloaded_offsets(dir, what);
  for (const auto& log : logs_in(*dir.dir)) {
    offsets.erase(log->name());
    switch (what) {
      case Changed::kHighWatermark: offsets[log->name()] = log->high_watermark(); break;
      case Changed::kRecoveryPoint: offsets[log->name()] = log->recovery_point(); break;
      case Changed::kLogStart:
        if (log->log_start_offset() > log->first_segment_base()) offsets[log->name()] = log->log_start_offset();
        break;
      case Changed::kCleaned:
        if (log->cleaned_offset().value >= 0) offsets[log->name()] = log->cleaned_offset();
        break;
    }
  }
  if (what == Changed::kRecoveryPoint) {
    for (const auto& future : futures_in(*dir.dir)) offsets.try_emplace(future->name(), future->recovery_point());
  }
  for (const auto& [tp, offset] : offsets) dir.checkpointed.insert(tp);
  std::string text = encode_offsets(offsets);
  std::string& before = dir.written[static_cast<size_t>(what)];
  if (text == before) return {};
  if (what == Changed::kCleaned && offsets.empty() && before.empty()) return {};  // the file stays as it was made: empty
  static constexpr std::string_view kNames[] = {kHighWatermarkFile, kRecoveryPointFile, kLogStartFile, kCleanerFile};
  auto written = dir.dir->with_reserve(
      [&] { return base::write_file_atomically(runtime.files(), file_in(dir, kNames[static_cast<size_t>(what)]), as_bytes(text)); });
  if (written) before = std::move(text);
  return written;
}

Result<void> LogManager::Impl::checkpoint_all(Dir& dir) {
  for (Changed what : {Changed::kRecoveryPoint, Changed::kLogStart, Changed::kHighWatermark, Changed::kCleaned}) {
    if (auto written = checkpoint(dir, what); !written) return written;
  }
  base::MutexLock lock(dir.checkpoint_mutex);
  dir.checkpointed.clear();
  for (const auto& log : loading.of(dir.dir->number())) dir.checkpointed.insert(log.name);
  for (const auto& log : logs_in(*dir.dir)) dir.checkpointed.insert(log->name());
  return {};
}

// The first change after a checkpoint sets the timer for the next one: without changes nothing wakes up.
void LogManager::Impl::on_change(LogDir& log_dir, Changed what) {
  Dir& dir = entry_of(log_dir);
  auto& timer_set = dir.timer_set[static_cast<size_t>(what)];
  if (timer_set.exchange(true, std::memory_order_acq_rel)) return;
  int64_t delay = what == Changed::kHighWatermark   ? options.high_watermark_checkpoint_interval_ms
                  : what == Changed::kRecoveryPoint ? options.recovery_point_checkpoint_interval_ms
                                                    : options.start_offset_checkpoint_interval_ms;
  runtime.timers().after(std::chrono::milliseconds(delay), [this, alive = alive, &dir, &timer_set, what] {
    base::MutexLock lock(alive->mutex);
    if (alive->stopped) return;
    scheduler->post([this, &dir, &timer_set, what] {
      timer_set.store(false, std::memory_order_seq_cst);
      if (!dir.dir->online()) return;
      if (auto written = checkpoint(dir, what); !written) dir.dir->fail(written.error());
    });
  });
}

void LogManager::write_checkpoints() {
  for (auto& dir : impl_->dirs) {
    if (!dir->dir->online()) continue;
    if (auto written = impl_->checkpoint_all(*dir); !written) dir->dir->fail(written.error());
  }
}

std::optional<Offset> LogManager::high_watermark_checkpoint(const TopicPartition& tp) const {
  auto log = find(tp);
  if (log == nullptr) return std::nullopt;
  return log->high_watermark();
}

// --- logs -------------------------------------------------------------------------------------------------------------------

std::shared_ptr<Log> LogManager::find(const TopicPartition& tp) const {
  base::ReaderLock lock(impl_->map_mutex);
  auto found = impl_->logs.find(tp);
  return found == impl_->logs.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<Log>> LogManager::all() const { return impl_->all(); }

std::vector<std::string> LogManager::dir_paths() const { return impl_->options.dirs; }

size_t LogManager::size() const {
  base::ReaderLock lock(impl_->map_mutex);
  return impl_->logs.size();
}

Result<std::shared_ptr<Log>> LogManager::get_or_create(const TopicPartition& tp, const Uuid& topic_id, std::shared_ptr<const LogConfig> config,
                                                       bool is_new) {
  Impl& impl = *impl_;
  base::MutexLock creating(impl.create_mutex);
  impl.loading.hasten(tp);
  impl.loading.wait_for(tp);
  if (impl.loading.contains(tp)) return fail(ErrorCode::kKafkaStorageError, tp.to_string() + " is not loaded any more: the broker stops");
  if (auto log = find(tp)) {
    if (!topic_id.is_zero() && !log->topic_id().is_zero() && log->topic_id() != topic_id) {
      return fail(ErrorCode::kInconsistentTopicId, tp.to_string() + " has topic id " + log->topic_id().to_string() + " on the disk, not " +
                                                       topic_id.to_string());
    }
    return log;
  }
  {
    base::ReaderLock lock(impl.map_mutex);
    if (impl.lost.contains(tp) || (!is_new && has_offline_dir())) {
      return fail(ErrorCode::kKafkaStorageError, tp.to_string() + " may be in a log dir that is offline");
    }
  }
  Impl::Dir* target = nullptr;
  std::string wanted;
  {
    base::WriterLock lock(impl.map_mutex);
    if (auto found = impl.preferred.find(tp); found != impl.preferred.end()) {
      wanted = std::move(found->second);
      impl.preferred.erase(found);
    }
  }
  for (auto& dir : impl.dirs) {
    if (!dir->dir->online()) continue;
    if (dir->dir->path() == wanted) {
      target = dir.get();
      break;
    }
    // One with room before a full one, then the one with fewer partitions.
    auto rank = [](const Impl::Dir& d) { return std::pair(d.dir->full(), d.partitions.load(std::memory_order_relaxed)); };
    if (target == nullptr || rank(*dir) < rank(*target)) target = dir.get();
  }
  if (target == nullptr) return fail(ErrorCode::kKafkaStorageError, "no log dir is online");
  bool named;
  {
    base::MutexLock lock(target->checkpoint_mutex);
    named = target->checkpointed.contains(tp);
  }
  auto failed = [&](Error error) {
    target->dir->fail(error);
    error.code = ErrorCode::kKafkaStorageError;
    return fail(std::move(error));
  };
  // What the checkpoints say of a deleted log of this name must not be taken for the new one's. (Rare: it blocks on the disk.)
  if (named) {
    if (auto written = impl.checkpoint_all(*target); !written) return failed(std::move(written.error()));
  }
  const std::string folder = target->dir->path() + "/" + tp.to_string();
  auto created = target->dir->with_reserve([&] { return create_log(target->dir, folder, *config); });
  if (!created) return failed(std::move(created.error()));
  auto log = std::make_shared<Log>(target->dir, tp, folder, std::move(config), std::move(*created), true);
  if (auto set = log->set_topic_id(topic_id); !set) return fail(std::move(set.error()));
  if (!impl.register_log(log)) return fail(ErrorCode::kKafkaStorageError, "log dir " + target->dir->path() + " is offline");
  target->partitions.fetch_add(1, std::memory_order_relaxed);
  return log;
}

void LogManager::Impl::delete_folder_later(Dir& dir, const std::string& path, int64_t delay_ms) {
  dir.dir->flusher().post_deletion(dir.dir->full() ? 0 : delay_ms, [this, path, log_dir = dir.dir] {
    if (!log_dir->online()) return;
    auto removed = runtime.files().remove_all(path);
    if (!removed) return log_dir->fail(removed.error());
    log::info("storage", "{} deleted", path);
  });
}

Result<void> LogManager::remove_async(const TopicPartition& tp) {
  Impl& impl = *impl_;
  base::MutexLock creating(impl.create_mutex);
  std::optional<UnloadedLog> unloaded = impl.loading.claim(tp);
  if (unloaded && impl.loading.empty()) impl.scheduler->post([&impl] { impl.end_loaders(); });
  auto log = unloaded ? nullptr : find(tp);
  if (log == nullptr && !unloaded) return {};
  Impl::Dir& dir = unloaded ? *impl.dirs[unloaded->dir] : impl.entry_of(log->dir());
  if (log != nullptr) {
    base::WriterLock lock(impl.map_mutex);
    impl.logs.erase(tp);
  }
  dir.partitions.fetch_sub(1, std::memory_order_relaxed);
  if (unloaded) return impl.rename_away(dir, tp, dir.dir->path() + "/" + tp.to_string(), impl.config_of(tp.topic)->file_delete_delay_ms, nullptr);
  return impl.rename_away(dir, tp, log->path(), log->config()->file_delete_delay_ms, log.get());
}

// "<topic>-<partition>.<32 hex><kind>", cut to what a folder may be called.
std::string LogManager::Impl::free_name(const TopicPartition& tp, std::string_view kind) {
  std::string suffix = "." + base::random_uuid(runtime.random()).to_hex() + std::string(kind);
  return tp.topic.substr(0, kLongestName - suffix.size() - std::to_string(tp.partition).size() - 1) + "-" + std::to_string(tp.partition) + suffix;
}

void LogManager::Impl::checkpoint_soon(Dir& dir) {
  dir.dir->flusher().post([this, &dir] {
    auto synced = runtime.files().sync_directory(dir.dir->path());
    if (synced) synced = checkpoint_all(dir);
    if (!synced) dir.dir->fail(synced.error());
  });
}

// Out of the maps already. `log` null: it was never loaded.
Result<void> LogManager::Impl::rename_away(Dir& dir, const TopicPartition& tp, const std::string& path, int64_t delay_ms, Log* log) {
  if (log != nullptr) log->stop_appends();
  const std::string renamed = dir.dir->path() + "/" + free_name(tp, kDeleteSuffix);
  if (auto done = runtime.files().rename(path, renamed); !done) {
    dir.dir->fail(done.error());
    return fail(ErrorCode::kKafkaStorageError, done.error().what, done.error().os_error);
  }
  if (log != nullptr) log->renamed_to(renamed);
  checkpoint_soon(dir);
  delete_folder_later(dir, renamed, delay_ms);
  return {};
}

// --- moves between log dirs -------------------------------------------------------------------------------------------------

ErrorCode LogManager::check_dir(const std::string& path) const {
  for (const auto& dir : impl_->log_dirs) {
    if (dir->path() == path) return dir->online() ? ErrorCode::kNone : ErrorCode::kKafkaStorageError;
  }
  return ErrorCode::kLogDirNotFound;
}

std::shared_ptr<Log> LogManager::find_future(const TopicPartition& tp) const {
  base::ReaderLock lock(impl_->map_mutex);
  auto found = impl_->futures.find(tp);
  return found == impl_->futures.end() ? nullptr : found->second;
}

void LogManager::prefer_dir(const TopicPartition& tp, const std::string& path) {
  base::WriterLock lock(impl_->map_mutex);
  if (!impl_->logs.contains(tp) && !impl_->loading.contains(tp)) impl_->preferred[tp] = path;
}

Result<std::shared_ptr<Log>> LogManager::create_future(const TopicPartition& tp, const std::string& path, std::shared_ptr<const LogConfig> config) {
  Impl& impl = *impl_;
  base::MutexLock creating(impl.create_mutex);
  auto log = find(tp);
  if (log == nullptr) return fail(ErrorCode::kKafkaStorageError, tp.to_string() + " is not here");
  const std::string suffix = "." + base::random_uuid(impl.runtime.random()).to_hex() + "-future";
  if (tp.to_string().size() + suffix.size() > kLongestName) return fail(ErrorCode::kInvalidTopicException, "The topic name is too long.");
  for (auto& dir : impl.dirs) {
    if (dir->dir->path() != path) continue;
    bool named;
    {
      base::MutexLock lock(dir->checkpoint_mutex);
      named = dir->checkpointed.contains(tp);
    }
    auto written = named ? impl.checkpoint_all(*dir) : Result<void>();  // of a log that was here once
    if (!written) {
      dir->dir->fail(written.error());
      return fail(ErrorCode::kKafkaStorageError, written.error().what, written.error().os_error);
    }
    const std::string folder = path + "/" + tp.to_string() + suffix;
    auto created = dir->dir->with_reserve([&] { return create_log(dir->dir, folder, *config); });
    if (!created) {
      dir->dir->fail(created.error());
      return fail(ErrorCode::kKafkaStorageError, created.error().what, created.error().os_error);
    }
    auto future = std::make_shared<Log>(dir->dir, tp, folder, std::move(config), std::move(*created), true);
    if (auto set = future->set_topic_id(log->topic_id()); !set) return fail(std::move(set.error()));
    base::WriterLock lock(impl.map_mutex);
    impl.futures[tp] = future;
    return future;
  }
  return fail(ErrorCode::kLogDirNotFound, path);
}

Result<void> LogManager::remove_future(const TopicPartition& tp) {
  Impl& impl = *impl_;
  base::MutexLock creating(impl.create_mutex);
  auto future = find_future(tp);
  if (future == nullptr) return {};
  {
    base::WriterLock lock(impl.map_mutex);
    impl.futures.erase(tp);
  }
  return impl.rename_away(impl.entry_of(future->dir()), tp, future->path(), future->config()->file_delete_delay_ms, future.get());
}

// The new folder gets its name before the old one loses it, as in Kafka, so that the log is never away. Between the two a start finds
// both; the marker says which one counts.
Result<void> LogManager::replace_with_future(const TopicPartition& tp) {
  Impl& impl = *impl_;
  base::FileSystem& files = impl.runtime.files();
  base::MutexLock creating(impl.create_mutex);
  auto log = find(tp);
  auto future = find_future(tp);
  if (log == nullptr || future == nullptr) return fail(ErrorCode::kKafkaStorageError, tp.to_string() + ": the log or its copy has gone");
  Impl::Dir& to = impl.entry_of(future->dir());
  const std::string folder = to.dir->path() + "/" + tp.to_string();
  const std::string marker = "/" + std::string(kMovedMarker);
  auto done = [&]() -> Result<void> {
    // Of a former move; only one of two folders may have it.
    if (files.exists(log->path() + marker)) {
      auto gone = files.remove(log->path() + marker);
      if (gone) gone = files.sync_directory(log->path());
      if (!gone) return gone;
    }
    if (auto made = files.open(future->path() + marker, base::OpenMode::kCreate); !made) return fail(std::move(made.error()));
    if (auto synced = files.sync_directory(future->path()); !synced) return synced;
    return files.rename(future->path(), folder);
  }();
  if (!done) {
    to.dir->fail(done.error());
    return fail(ErrorCode::kKafkaStorageError, done.error().what, done.error().os_error);
  }
  future->relocated_to(folder);
  {
    base::WriterLock lock(impl.map_mutex);
    impl.logs[tp] = future;
    impl.futures.erase(tp);
  }
  to.partitions.fetch_add(1, std::memory_order_relaxed);
  impl.entry_of(log->dir()).partitions.fetch_sub(1, std::memory_order_relaxed);
  // High watermark and log start are known there before the old folder goes.
  done = files.sync_directory(to.dir->path());
  if (done) done = impl.checkpoint_all(to);
  if (!done) to.dir->fail(done.error());
  if (!done) return {};  // the dir is offline, and the partition with it; the old folder stays for who repairs it
  auto away = impl.rename_away(impl.entry_of(log->dir()), tp, log->path(), log->config()->file_delete_delay_ms, log.get());
  if (away) away = files.sync_directory(log->dir().path());
  if (away) away = files.remove(folder + marker);
  if (!away) log::error("storage", "{}: {}", folder, away.error().what);
  return {};
}

// --- retention, failures, descriptions --------------------------------------------------------------------------------------

void LogManager::Impl::retention() {
  for (const auto& log : all()) {
    if (!log->dir().online()) continue;
    if (auto deleted = log->delete_old_segments(); !deleted) log::error("storage", "{}: {}", log->name().to_string(), deleted.error().what);
  }
}

void LogManager::Impl::expire_producers() {
  const int64_t now_ms = runtime.clock().wall_ms();
  for (const auto& log : all()) log->expire_producers(now_ms);
}

void LogManager::run_retention() { impl_->retention(); }

void LogManager::Impl::on_failure(LogDir& dir) {
  scheduler->post([this, &dir] {
    std::vector<TopicPartition> partitions;
    {
      base::WriterLock lock(map_mutex);
      for (auto log = logs.begin(); log != logs.end();) {
        if (&log->second->dir() != &dir) {
          ++log;
          continue;
        }
        partitions.push_back(log->first);
        lost.insert(log->first);
        logs.erase(log++);
      }
      for (const UnloadedLog& log : loading.of(dir.number())) {
        if (lost.insert(log.name).second) partitions.push_back(log.name);
      }
      absl::erase_if(futures, [&](const auto& future) { return &future.second->dir() == &dir; });
    }
    loading.drop(dir.number());
    std::sort(partitions.begin(), partitions.end());
    bool any_left = std::any_of(log_dirs.begin(), log_dirs.end(), [](const auto& d) { return d->online(); });
    {
      base::MutexLock lock(listener_mutex);
      if (offline_listener) offline_listener(dir.path(), partitions, any_left);
    }
    if (loading.empty()) end_loaders();
  });
}

// May be called under the lock of a log: only posts.
void LogManager::Impl::on_full(LogDir& dir) {
  scheduler->post([this, &dir] { make_room(dir); });
  dir.flusher().hasten_deletions();
  dir.flusher().post_after(kRoomCheckMs, [this, &dir] { look_for_room(dir, 1); });
}

void LogManager::Impl::make_room(LogDir& dir) {
  for (const auto& log : logs_in(dir)) {
    if (auto deleted = log->delete_old_segments(); !deleted) log::error("storage", "{}: {}", log->name().to_string(), deleted.error().what);
  }
}

void LogManager::Impl::look_for_room(LogDir& dir, int rounds) {
  if (!dir.online()) return;
  if (!dir.look_for_room()) {
    if (rounds % kRoundsOfRetention == 0) scheduler->post([this, &dir] { make_room(dir); });
    return dir.flusher().post_after(kRoomCheckMs, [this, &dir, rounds] { look_for_room(dir, rounds + 1); });
  }
  scheduler->post([this, &dir] {
    if (!dir.online()) return;
    if (auto written = checkpoint_all(entry_of(dir)); !written) dir.fail(written.error());
  });
  if (!dir.take_starved()) return;
  base::MutexLock lock(listener_mutex);
  if (room_listener) room_listener();
}

void LogManager::on_room(std::function<void()> callback) {
  base::MutexLock lock(impl_->listener_mutex);
  impl_->room_listener = std::move(callback);
}

bool LogManager::make_room(const std::string& path) {
  for (const auto& dir : impl_->log_dirs) {
    if (dir->path() == path) return dir->release_reserve({ErrorCode::kKafkaStorageError, "the metadata store in " + path + " has no room", ENOSPC});
  }
  return false;
}

void LogManager::on_dir_offline(DirOffline callback) {
  base::MutexLock lock(impl_->listener_mutex);
  impl_->offline_listener = std::move(callback);
}

bool LogManager::has_offline_dir() const {
  return std::any_of(impl_->log_dirs.begin(), impl_->log_dirs.end(), [](const auto& dir) { return !dir->online(); });
}

std::vector<LogDirDescription> LogManager::describe_dirs() const {
  std::vector<LogDirDescription> described;
  for (const auto& dir : impl_->log_dirs) {
    LogDirDescription& entry = described.emplace_back();
    entry.path = dir->path();
    if (!dir->online()) {
      entry.error = ErrorCode::kKafkaStorageError;
      continue;
    }
    if (auto space = impl_->runtime.files().disk_space(dir->path())) {
      entry.total_bytes = space->total_bytes;
      entry.usable_bytes = space->available_bytes;
    }
    for (const auto& log : impl_->logs_in(*dir)) entry.replicas.push_back({log->name(), log->size_bytes(), false, log->log_end_offset()});
    for (const auto& log : impl_->futures_in(*dir)) entry.replicas.push_back({log->name(), log->size_bytes(), true, log->log_end_offset()});
    std::sort(entry.replicas.begin(), entry.replicas.end(), [](const auto& a, const auto& b) { return a.partition < b.partition; });
  }
  return described;
}

base::SliceLoader& LogManager::slice_loader() { return impl_->reader; }

}  // namespace odradek::storage
