// Start: the dirs are locked, what is in them is found and loaded, while what is loaded is served. Stop.
#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"
#include "storage/files/meta_properties.h"
#include "storage/files/partition_folder.h"
#include "storage/log_manager_impl.h"

namespace odradek::storage {

namespace {

constexpr std::string_view kCleanShutdownContent = "{\"version\":0,\"brokerEpoch\":-1}";

}  // namespace

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
  // Twins are settled, and none can come back.
  if (all_dirs_known() && runtime.files().exists(newer_marker(folder))) (void)runtime.files().remove(newer_marker(folder));
  auto log = std::make_shared<Log>(dir.dir, tp, folder, config, std::move(*loaded));
  if (!register_log(log)) return false;
  if (!save_what_is_less(dir, load, *log)) return false;
  // They may have changed while it was not yet among those that are told.
  if (auto now = config_of(tp.topic); now != config) log->update_config(std::move(now));
  log->note_loaded();
  return true;
}

// The log ends below what the checkpoints say. What comes behind its end is not on the disk yet, nor replicated.
bool LogManager::Impl::save_what_is_less(Dir& dir, const LoadOptions& checkpointed, const Log& log) {
  if (log.high_watermark() < checkpointed.high_watermark) dir.dir->changed(Changed::kHighWatermark);
  if (log.recovery_point() >= checkpointed.recovery_point) return true;
  auto written = checkpoint(dir, Changed::kRecoveryPoint);
  if (!written) dir.dir->fail(written.error());
  return dir.dir->online();
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
  // Whoever fails from now on finds all of them in `loading`.
  dir.listed.store(dir.dir->online(), std::memory_order_release);
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
      if (lock.error().os_error == EDEADLK) {
        return fail(ErrorCode::kInvalidConfig, "log.dirs names one directory twice: " + dir->dir->path() + " is another name of one before it");
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
        if (auto done = impl.settle_twins(first->second + "/" + entry.name, dir->dir->path() + "/" + entry.name, &settled); !done) return done;
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

}  // namespace odradek::storage
