// What happens to a partition folder at start: unfinished swaps and deletions, the segments, the log end, recovery after an unclean stop,
// leader epochs, producer state. Order and rules: disk.md §5.
// Thread: one per log; many logs in parallel. Blocks on the disk.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "storage/files/leader_epoch_cache.h"
#include "storage/log/producer_snapshots.h"
#include "storage/log/producer_state.h"
#include "storage/segment/log_config.h"
#include "storage/segment/segment.h"

namespace odradek::storage {

struct LoadOptions {
  bool clean = false;         // the dir had its clean-shutdown marker
  Offset recovery_point{0};   // from the checkpoints; 0: unknown
  Offset log_start{0};
  Offset high_watermark{0};
  Offset cleaned{-1};         // see Log::cleaned_offset()
};

// What a Log begins with.
struct LoadedLog {
  std::vector<std::shared_ptr<Segment>> segments;  // never empty; shared: see Log
  LeaderEpochCache epochs;
  bool epochs_changed = false;
  ProducerStateManager producers;
  std::vector<Offset> snapshots;  // files that exist, rising
  Uuid topic_id;
  Offset log_start{0};
  Offset log_end{0};
  Offset recovery_point{0};
  Offset high_watermark{0};
  Offset cleaned{-1};
  bool directory_changed = false;
  std::vector<std::string> unsynced_files;  // that may not be on the disk yet, and are relied on
};

// Errors: kKafkaStorageError: I/O, or a leader-epoch-checkpoint or partition.metadata that is broken.
Result<LoadedLog> load_log(const std::shared_ptr<LogDir>& dir, const std::string& folder, const LogConfig& config, const LoadOptions& options);
// A folder that does not exist yet. Nothing is synced.
Result<LoadedLog> create_log(const std::shared_ptr<LogDir>& dir, const std::string& folder, const LogConfig& config);

}  // namespace odradek::storage
