// Moves of logs between dirs: copies in `-future` folders that take the place of their logs.

#include "base/log.h"
#include "base/random.h"
#include "storage/files/partition_folder.h"
#include "storage/log_manager_impl.h"

namespace odradek::storage {

void LogManager::Impl::load_future(Dir& dir, const TopicPartition& tp, const std::string& folder, const LoadOptions& load,
                                   std::shared_ptr<const LogConfig> config) {
  if (!dir.dir->online()) return;
  (void)runtime.files().remove(newer_marker(folder));
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
  if (save_what_is_less(dir, load, *log)) log->note_loaded();
}

// A process died between the two renames of a swap, or a log dir is back that could not be read for a while: the folder with the marker
// counts, the other one goes.
Result<void> LogManager::Impl::settle_twins(const std::string& a, const std::string& b, bool* settled) {
  base::FileSystem& files = runtime.files();
  const bool in_a = files.exists(newer_marker(a)), in_b = files.exists(newer_marker(b));
  *settled = in_a != in_b;
  if (!*settled) return {};
  const std::string& kept = in_a ? a : b;
  const std::string& old = in_a ? b : a;
  TopicPartition tp;
  (void)parse_folder(old.substr(old.rfind('/') + 1), tp);
  const std::string dir = old.substr(0, old.rfind('/'));
  auto done = files.rename(old, dir + "/" + free_name(tp, kDeleteSuffix));
  if (done) done = files.sync_directory(dir);
  if (done) done = files.remove(newer_marker(kept));
  if (done) log::info("storage", "{} has taken the place of {}, which goes", kept, old);
  return done;
}

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
    auto future = impl.make_log(*dir, tp, path + "/" + tp.to_string() + suffix, log->topic_id(), std::move(config));
    if (!future) return future;
    base::WriterLock lock(impl.map_mutex);
    // As register_log().
    if (!dir->dir->online()) return fail(ErrorCode::kKafkaStorageError, "log dir " + path + " is offline");
    impl.futures[tp] = *future;
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
  auto done = [&]() -> Result<void> {
    // Of a former move; only one of two folders may have it.
    if (files.exists(newer_marker(log->path()))) {
      auto gone = files.remove(newer_marker(log->path()));
      if (gone) gone = files.sync_directory(log->path());
      if (!gone) return gone;
    }
    if (auto made = files.open(newer_marker(future->path()), base::OpenMode::kCreate); !made) return fail(std::move(made.error()));
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
  if (away && impl.all_dirs_known()) away = files.remove(newer_marker(folder));
  if (!away) log::error("storage", "{}: {}", folder, away.error().what);
  return {};
}

}  // namespace odradek::storage
