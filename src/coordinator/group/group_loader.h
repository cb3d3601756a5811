// Reads one partition of __consumer_offsets, batch after batch, into groups and their offsets. Later records win; offsets of a
// transaction count from its COMMIT marker on. Also what a Kafka broker wrote.
// Memory: the state itself and the batches of one read.
// Thread: one (a loading thread); blocks on the disk.
#pragma once

#include <memory>

#include "base/result.h"
#include "base/string_map.h"
#include "coordinator/group/group_config.h"
#include "coordinator/group/group_records.h"
#include "coordinator/runtime/log_access.h"

namespace odradek::coordinator {

struct LoadedGroup {
  std::optional<Group::Stored> stored;  // nullopt: offsets only
  GroupOffsets offsets;
};

struct LoadedState {
  base::StringMap<LoadedGroup> groups;
  Offset end;              // first offset that was not read
  int64_t records = 0;
  int64_t unreadable = 0;  // records that are not what their key says; each was logged
};

class GroupLoader {
 public:
  // `tp` only for log lines.
  explicit GroupLoader(TopicPartition tp) : tp_(std::move(tp)) {}

  // Whole batches. Errors: kUnsupportedVersion (a value that something newer wrote: its group would be served wrongly), kCorruptMessage and
  // others for bytes that are no batches.
  Result<void> add(ByteView batches);
  // Behind the last batch that was added.
  Offset next_offset() const { return state_.end; }
  LoadedState finish() &&;

 private:
  void add_record(StoredRecord record, Offset at, bool transactional, ProducerId producer);

  TopicPartition tp_;
  LoadedState state_;
  absl::flat_hash_map<int64_t, base::StringSet> open_;  // producer id → groups that its open transaction wrote to
};

// Reads from the log's start to its end as it is now. `go_on` is asked before each read; when it says no: kNotCoordinator.
Result<LoadedState> load_groups(LogAccess& log, const TopicPartition& tp, LeaderEpoch epoch, int32_t buffer_bytes,
                                UniqueFunction<bool()> go_on);

}  // namespace odradek::coordinator
