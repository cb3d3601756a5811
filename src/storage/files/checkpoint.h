// The small text files of a log dir: first line "0" (version), second the number of entries, then one entry per line.
//   recovery-point-offset-checkpoint, log-start-offset-checkpoint, replication-offset-checkpoint, cleaner-offset-checkpoint:
//     "topic partition offset"; a file of 0 bytes has no entries.
//   leader-epoch-checkpoint of a partition: see leader_epoch_cache.h.
// Written as <name>.tmp, synced, renamed, directory synced: blocks on the disk. Thread: one writer per file.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/file.h"
#include "model/types.h"

namespace odradek::storage {

inline constexpr std::string_view kRecoveryPointFile = "recovery-point-offset-checkpoint";
inline constexpr std::string_view kLogStartFile = "log-start-offset-checkpoint";
inline constexpr std::string_view kHighWatermarkFile = "replication-offset-checkpoint";
inline constexpr std::string_view kCleanerFile = "cleaner-offset-checkpoint";
inline constexpr std::string_view kLeaderEpochFile = "leader-epoch-checkpoint";

// Reads the fields of one line, separated by blanks.
class CheckpointFields {
 public:
  explicit CheckpointFields(std::string_view line) : rest_(line) {}
  bool word(std::string_view& word);
  bool number(int64_t& number);
  bool end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// Calls `line` for each entry; false from it: malformed. An empty file has no entries: Kafka creates the file before its first entry is there. Errors: kKafkaStorageError: another version, a wrong count, a malformed line.
Result<void> parse_checkpoint(ByteView content, const std::string& path, const std::function<bool(std::string_view)>& line);

using OffsetMap = absl::flat_hash_map<TopicPartition, Offset>;

// A missing file has no entries. Errors: as parse_checkpoint; the file cannot be read.
Result<OffsetMap> read_offsets(base::FileSystem& files, const std::string& path);
std::string encode_offsets(const OffsetMap& offsets);  // in order of topic and partition
Result<void> write_offsets(base::FileSystem& files, const std::string& path, const OffsetMap& offsets);

}  // namespace odradek::storage
