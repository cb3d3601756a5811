// The inside of LogManager, for its own files: log_manager.cc (logs, retention, failures of dirs), log_manager_start.cc (start and stop),
// log_manager_checkpoints.cc, log_manager_moves.cc (moves between log dirs).
#pragma once

#include "storage/log_manager.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include "metrics/registry.h"
#include "storage/dir/log_dir.h"
#include "storage/dir/slice_reader.h"
#include "storage/files/checkpoint.h"
#include "storage/load_queue.h"
#include "storage/log/log_loader.h"

namespace odradek::storage {

inline constexpr std::string_view kDeleteSuffix = "-delete";
inline constexpr size_t kLongestName = 255;

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
    std::atomic<bool> removals_unsynced{false};  // folders were renamed away since make_removals_durable()
    std::atomic<bool> listed{false};             // which logs are here is known, also when it fails later
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
  // False: its dir has failed.
  bool save_what_is_less(Dir& dir, const LoadOptions& checkpointed, const Log& log);
  void loaded(Dir& dir, const TopicPartition& tp);
  void end_loaders();
  std::shared_ptr<const LogConfig> config_of(const std::string& topic);
  Result<std::shared_ptr<Log>> make_log(Dir& dir, const TopicPartition& tp, const std::string& folder, const Uuid& topic_id,
                                        std::shared_ptr<const LogConfig> config);
  // A partition that may also be in a dir that could not be listed: an empty folder, marked before it has its name. Blocks on the disk.
  Result<void> make_newer_folder(Dir& dir, const TopicPartition& tp);
  // Which logs are in which dir is known.
  bool all_dirs_known() const {
    return std::all_of(dirs.begin(), dirs.end(), [](const auto& dir) { return dir->listed.load(std::memory_order_acquire); });
  }
  // One that is not here: was it in a dir that failed, or may it be in one that was offline at the start?
  bool may_be_offline(const TopicPartition& tp) const;
  // False: its dir has failed meanwhile.
  bool register_log(std::shared_ptr<Log> log);
  bool any_online() const {
    return std::any_of(log_dirs.begin(), log_dirs.end(), [](const auto& dir) { return dir->online(); });
  }
  OffsetMap unloaded_offsets(const Dir& dir, Changed what) const;
  void load_future(Dir& dir, const TopicPartition& tp, const std::string& folder, const LoadOptions& load, std::shared_ptr<const LogConfig> config);
  std::vector<std::shared_ptr<Log>> futures_in(const LogDir& dir) const;
  Result<void> settle_twins(const std::string& a, const std::string& b, bool* settled);
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
  SliceReader reader;

  mutable base::SharedMutex map_mutex;
  absl::flat_hash_map<TopicPartition, std::shared_ptr<Log>> logs GUARDED_BY(map_mutex);  // shared: partitions use them
  absl::flat_hash_set<TopicPartition> lost GUARDED_BY(map_mutex);                        // were in a dir that failed
  absl::flat_hash_set<TopicPartition> removed GUARDED_BY(map_mutex);                     // in this life, and were in no dir that is not known
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

}  // namespace odradek::storage
