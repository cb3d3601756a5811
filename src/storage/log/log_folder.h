// What a partition's folder holds at a start, once what a former process left half done is settled: deletions that were begun end, a
// cleaner's or split's output takes its place if all of it was marked `.swap`, else it goes. Rules: disk.md §5.
// Thread: one per folder. Blocks on the disk.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "model/types.h"

namespace odradek::storage {

struct LogFolder {
  struct Kinds {
    bool log = false, index = false, time_index = false, txn_index = false;
  };
  std::map<Offset, Kinds> segments;  // each has its log
  std::vector<Offset> snapshots;     // of producers, rising
  bool has_epochs = false;           // a leader-epoch-checkpoint
  bool has_metadata = false;         // a partition.metadata
  bool changed = false;              // names were changed that may not be on the disk yet
};

// Errors: kKafkaStorageError: I/O; kCorruptMessage: a swap that holds something else than batches.
Result<LogFolder> settle_folder(base::FileSystem& files, const std::string& folder);

}  // namespace odradek::storage
