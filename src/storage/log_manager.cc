// The logs of all dirs: found, created, deleted; retention; what happens when a dir fails or is full.
#include <algorithm>

#include "base/log.h"
#include "base/random.h"
#include "storage/dir/flusher.h"
#include "storage/log_manager_impl.h"
#include "storage/files/partition_folder.h"

namespace odradek::storage {

namespace {

constexpr int64_t kRoomCheckMs = 250;  // while a dir is full
constexpr int kRoundsOfRetention = 20;

}  // namespace

LogManager::Impl::Impl(base::Runtime& r, LogManagerOptions o, metrics::Registry& metrics)
    : runtime(r), options(std::move(o)), cache(std::make_shared<FileCache>(std::min(options.max_open_files, runtime.files().max_open_files() / 4))), reader(log_dirs, options.cold_read_cache_bytes, metrics.counter(metrics::kColdReadBytes), metrics.counter(metrics::kColdReadDroppedBytes)),
      scheduler(runtime.make_executor("log-scheduler", 1)) {
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
  reader.start();
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

bool LogManager::Impl::may_be_offline(const TopicPartition& tp) const {
  base::ReaderLock lock(map_mutex);
  if (lost.contains(tp)) return true;
  return !removed.contains(tp) && !all_dirs_known();
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
  // A name out of a request becomes that of a folder: none leads out of the log dir, or stands there so that no start could read it.
  if (TopicPartition read_again; parse_folder(tp.to_string(), read_again) != FolderKind::kLive || read_again != tp) {
    return fail(ErrorCode::kInvalidTopicException, "'" + tp.to_string() + "' is no name of a partition");
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
  const std::string folder = target->dir->path() + "/" + tp.to_string();
  const bool twin_possible = !impl.all_dirs_known();
  auto log = [&]() -> Result<std::shared_ptr<Log>> {
    if (twin_possible) {
      if (auto made = impl.make_newer_folder(*target, tp); !made) return fail(std::move(made.error()));
    }
    return impl.make_log(*target, tp, folder, topic_id, std::move(config));
  }();
  if (!log) {
    if (target->dir->online()) {
      if (twin_possible) (void)impl.runtime.files().remove_all(folder);
    } else {
      // What there is of it now keeps it from being made in another dir.
      base::WriterLock lock(impl.map_mutex);
      impl.lost.insert(tp);
    }
    return log;
  }
  if (!impl.register_log(*log)) return fail(ErrorCode::kKafkaStorageError, "log dir " + target->dir->path() + " is offline");
  target->partitions.fetch_add(1, std::memory_order_relaxed);
  return log;
}

// Whoever asks for a partition as a new one does so because the replica that was here before is not needed any more (it was reassigned
// away and back, or its topic deleted). Its folder may be in a dir that cannot be read now and be back with it.
Result<void> LogManager::Impl::make_newer_folder(Dir& dir, const TopicPartition& tp) {
  base::FileSystem& files = runtime.files();
  const std::string staged = dir.dir->path() + "/" + free_name(tp, kDeleteSuffix);
  auto made = dir.dir->with_reserve([&]() -> Result<void> {
    if (auto folder = files.create_directories(staged); !folder) return folder;
    if (auto marker = files.open(newer_marker(staged), base::OpenMode::kCreate); !marker) return fail(std::move(marker.error()));
    if (auto synced = files.sync_directory(staged); !synced) return synced;
    return files.rename(staged, dir.dir->path() + "/" + tp.to_string());
  });
  if (made) return {};
  dir.dir->fail(made.error());
  if (dir.dir->online()) (void)files.remove_all(staged);
  return fail(ErrorCode::kKafkaStorageError, made.error().what, made.error().os_error);
}

// A new, empty one. Where that fails nothing stays of it, unless its dir has failed.
Result<std::shared_ptr<Log>> LogManager::Impl::make_log(Dir& dir, const TopicPartition& tp, const std::string& folder, const Uuid& topic_id,
                                                        std::shared_ptr<const LogConfig> config) {
  auto failed = [&](Error error) {
    dir.dir->fail(error);
    error.code = ErrorCode::kKafkaStorageError;
    return fail(std::move(error));
  };
  bool named;
  {
    base::MutexLock lock(dir.checkpoint_mutex);
    named = dir.checkpointed.contains(tp);
  }
  // What the checkpoints say of a log of this name that was here once must not be taken for the new one's. (Rare: it blocks on the disk.)
  if (named) {
    if (auto written = checkpoint_all(dir); !written) return failed(std::move(written.error()));
  }
  auto created = dir.dir->with_reserve([&] { return create_log(dir.dir, folder, *config); });
  if (!created) return failed(std::move(created.error()));
  auto log = std::make_shared<Log>(dir.dir, tp, folder, std::move(config), std::move(*created), true);
  if (auto set = log->set_topic_id(topic_id); !set) {
    log.reset();
    if (dir.dir->online()) (void)runtime.files().remove_all(folder);
    return failed(std::move(set.error()));
  }
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
  if (log == nullptr && !unloaded) {
    // Somebody who hears that it is gone gives its name to another topic, and it would come back with its dir.
    if (impl.may_be_offline(tp)) return fail(ErrorCode::kKafkaStorageError, tp.to_string() + " may be in a log dir that is offline");
    return {};
  }
  Impl::Dir& dir = unloaded ? *impl.dirs[unloaded->dir] : impl.entry_of(log->dir());
  const std::string folder = unloaded ? dir.dir->path() + "/" + tp.to_string() : log->path();
  // One that may have a twin in a dir that is not known is not gone for good.
  const bool all_known = impl.all_dirs_known();
  const bool twin_possible = !all_known && impl.runtime.files().exists(newer_marker(folder));
  {
    base::WriterLock lock(impl.map_mutex);
    if (log != nullptr) impl.logs.erase(tp);
    // It was here, so it is not there: who asks again hears the same.
    if (!all_known && !twin_possible) impl.removed.insert(tp);
  }
  dir.partitions.fetch_sub(1, std::memory_order_relaxed);
  const int64_t delay_ms = (unloaded ? impl.config_of(tp.topic) : log->config())->file_delete_delay_ms;
  if (auto away = impl.rename_away(dir, tp, folder, delay_ms, log.get()); !away) {
    // Its folder is still there, and no other dir may get one of this name.
    base::WriterLock lock(impl.map_mutex);
    impl.lost.insert(tp);
    impl.removed.erase(tp);
    return away;
  }
  if (twin_possible) return fail(ErrorCode::kKafkaStorageError, tp.to_string() + " may also be in a log dir that is offline");
  return {};
}

Result<void> LogManager::make_removals_durable() {
  Result<void> result;
  for (auto& dir : impl_->dirs) {
    if (!dir->removals_unsynced.exchange(false, std::memory_order_acq_rel)) continue;
    Result<void> synced = fail(ErrorCode::kKafkaStorageError, "log dir " + dir->dir->path() + " is offline");
    if (dir->dir->online()) synced = impl_->runtime.files().sync_directory(dir->dir->path());
    if (synced) continue;
    dir->dir->fail(synced.error());
    if (dir->dir->online()) dir->removals_unsynced.store(true, std::memory_order_release);
    result = fail(ErrorCode::kKafkaStorageError, synced.error().what, synced.error().os_error);
  }
  return result;
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
  dir.removals_unsynced.store(true, std::memory_order_release);
  if (log != nullptr) log->renamed_to(renamed);
  checkpoint_soon(dir);
  delete_folder_later(dir, renamed, delay_ms);
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
