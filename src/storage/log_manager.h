// All logs of this broker: its log dirs, what is loaded and recovered at start, checkpoints, retention, deletion, clean stop.
//   lock_dirs() → read_identity() → write_identity() → begin() → ... → stop()
// After begin() the logs are loaded and recovered in the background, and each one is here for use as soon as it is ready; what the
// checkpoints say of the others stays in them. A stop meanwhile leaves what was not looked at as it was.
// A log dir that fails I/O goes offline for good: its logs refuse everything, the callback names them, the other dirs go on.
// Files: disk.md §1-§5. Thread: find() from any, without waiting for a disk; the rest as said.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "base/slice_loader.h"
#include "storage/log/log.h"
#include "storage/segment/log_config.h"

namespace odradek::config {
class BrokerConfig;
}
namespace odradek::metrics {
class Registry;
}

namespace odradek::storage {

class LogDir;

struct LogManagerOptions {
  std::vector<std::string> dirs;
  int recovery_threads_per_dir = 1;
  int flush_threads_per_dir = 16;
  int flush_debt_factor = 4;
  int64_t reserve_bytes = 0;  // in each dir
  int64_t retention_check_interval_ms = 300'000;
  int64_t recovery_point_checkpoint_interval_ms = 60'000;
  int64_t start_offset_checkpoint_interval_ms = 60'000;
  int64_t high_watermark_checkpoint_interval_ms = 5'000;
  int64_t producer_id_expiration_ms = 86'400'000;
  int64_t producer_expiry_check_interval_ms = 600'000;
  int64_t cold_read_cache_bytes = 256 << 20;  // of records that readers have brought from the disk: how much stays cached, for each dir
  size_t max_open_files = 4096;  // of segments without unflushed data; no more than a quarter of what the process may open
};
LogManagerOptions make_log_manager_options(const config::BrokerConfig& config);

// What the meta.properties of the dirs say. Absent: no dir has one yet.
struct Identity {
  std::optional<std::string> cluster_id;
  std::optional<BrokerId> broker_id;
};

struct LogDirDescription {
  struct Replica {
    TopicPartition partition;
    int64_t size_bytes = 0;
    bool is_future = false;  // a copy that is to replace the log in another dir
    Offset log_end{0};
  };
  std::string path;
  ErrorCode error = ErrorCode::kNone;  // kKafkaStorageError: offline
  int64_t total_bytes = -1;
  int64_t usable_bytes = -1;
  std::vector<Replica> replicas;
};

class LogManager {
 public:
  using ConfigResolver = std::function<std::shared_ptr<const LogConfig>(const std::string& topic)>;
  // A log that was found at start is ready. On a recovery thread.
  using Loaded = std::function<void(const TopicPartition& tp)>;
  // Called once per failed dir, on the scheduler's thread, with the partitions that were in it, loaded or not.
  using DirOffline = std::function<void(const std::string& path, const std::vector<TopicPartition>& partitions, bool any_dir_left)>;

  LogManager(base::Runtime& runtime, LogManagerOptions options, metrics::Registry& metrics);
  // Without stop(): as after a crash, nothing is written.
  ~LogManager();
  LogManager(const LogManager&) = delete;

  // Creates missing dirs and takes their `.lock`s. Errors: another process holds one; no dir can be used. A dir that fails I/O only
  // goes offline. Once; start() does it if it was not done.
  Result<void> lock_dirs();
  // Errors: dirs that contradict each other; a meta.properties that cannot be read.
  Result<Identity> read_identity();
  // Into each dir that has none. Errors: kInconsistentClusterId or another broker id: the text says which file.
  Result<void> write_identity(const std::string& cluster_id, BrokerId broker_id);

  // Finds the logs that are here, lets the recovery threads load them (and recover those that need it), starts the periodic tasks. Reads
  // the listings and checkpoints of the dirs, no log. `resolver`: from any thread, until all logs are loaded.
  // Errors: no dir is left; a folder that is no partition's; one partition in two dirs.
  Result<void> begin(ConfigResolver resolver);
  // begin(), and waits until all is loaded. Error also: every dir has failed meanwhile.
  Result<void> start(ConfigResolver resolver);
  // Found at start and not ready yet. Ask this before find(): a log that gets ready is found before it stops loading.
  bool is_loading(const TopicPartition& tp) const;
  size_t loading() const;
  // Somebody asks for it: it is loaded before the others (groups' and other internal topics come next).
  void hasten(const TopicPartition& tp);
  // Null: no more; none runs then.
  void on_loaded(Loaded callback);
  // The resolver would now say something else. Before the logs of all() are given new settings.
  void configs_changed();
  // Flushes and closes all logs and writes checkpoints and the clean-shutdown marker (not for a dir that had none and was not recovered
  // as a whole). No append may come after it. Blocks.
  void stop();

  // Null: not here (or its dir is offline).
  std::shared_ptr<Log> find(const TopicPartition& tp) const;
  // A new log goes to the online dir with the fewest partitions; no fsync on the calling thread. `is_new`: the partition was just
  // created; if not and some dir is offline, the log may be there: kKafkaStorageError. A new one counts even if a dir that could not be
  // read comes back with a former one of its name. A zero topic id: none.
  // A log that is being loaded is waited for. `config`: of a new log only.
  // Errors: kKafkaStorageError; kInconsistentTopicId: the log has another id.
  Result<std::shared_ptr<Log>> get_or_create(const TopicPartition& tp, const Uuid& topic_id, std::shared_ptr<const LogConfig> config,
                                             bool is_new = false);
  // Renames the folder to `-delete` at once; its files go after file.delete.delay.ms. Who holds the Log can still read.
  // Nothing to do if it is not here. Errors: kKafkaStorageError: its dir has failed, or it may (also) be in one that is offline.
  Result<void> remove_async(const TopicPartition& tp);
  // What was renamed away stays so after a power cut: before somebody is told that it is gone, who may give the name to another topic.
  // Blocks on the disks that have something of it. Errors: kKafkaStorageError: a dir has failed.
  Result<void> make_removals_durable();

  // --- moves between log dirs: a copy in a folder `<topic>-<partition>.<id>-future` of another dir, which the caller fills. All but the
  // first two: one call at a time for a partition.
  // kNone; kLogDirNotFound: not one of log.dirs; kKafkaStorageError: offline.
  ErrorCode check_dir(const std::string& path) const;
  // The copy, also one that the former process began. Null: none.
  std::shared_ptr<Log> find_future(const TopicPartition& tp) const;
  // A log that does not exist yet will be created in dir `path`.
  void prefer_dir(const TopicPartition& tp, const std::string& path);
  // An empty copy in dir `path`. Errors: kInvalidTopicException: the name would be too long; kKafkaStorageError.
  Result<std::shared_ptr<Log>> create_future(const TopicPartition& tp, const std::string& path, std::shared_ptr<const LogConfig> config);
  // Gives the copy up; as remove_async().
  Result<void> remove_future(const TopicPartition& tp);
  // The copy takes the place of the log, whose folder goes as in remove_async(). Nobody appends to either. Blocks on the disks.
  // A crash at any point leaves one of the two at the next start. Error: kKafkaStorageError: the copy's dir failed, the log is as before.
  Result<void> replace_with_future(const TopicPartition& tp);

  // Those that are loaded.
  std::vector<std::shared_ptr<Log>> all() const;
  // All that are here, loaded or not; in no order.
  std::vector<TopicPartition> partitions() const;
  std::vector<std::string> dir_paths() const;
  size_t size() const;

  // The checkpointed high watermark, capped to the log; from then on what update_high_watermark said. nullopt: no such log.
  std::optional<Offset> high_watermark_checkpoint(const TopicPartition& tp) const;

  // For DescribeLogDirs. Asks the file systems for their space.
  std::vector<LogDirDescription> describe_dirs() const;
  // Null: no more; none runs then. The same for on_room.
  void on_dir_offline(DirOffline callback);
  // Called on a flush thread when a dir that was full has room again and meanwhile something had to be given up for want of it: perhaps a partition.
  void on_room(std::function<void()> callback);
  // A user of the disk of log dir `path` has no room: gives it some of the reserve. False: there is none (left).
  bool make_room(const std::string& path);
  // Whether some dir is offline.
  bool has_offline_dir() const;

  // For `net`: brings cold slices of log files into the page cache, one thread per log dir.
  base::SliceLoader& slice_loader();

  // For tests and tools: what the periodic tasks do, now, on this thread. Blocks on the disks.
  void run_retention();
  void write_checkpoints();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace odradek::storage
