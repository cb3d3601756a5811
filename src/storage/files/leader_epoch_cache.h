// Where each leader epoch began in this log: epochs and start offsets, both rising. File `leader-epoch-checkpoint`: text, "0", the
// number of entries, then "epoch start" each.
// Thread: one at a time (the Log guards it).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "model/types.h"

namespace odradek::storage {

struct EpochEntry {
  LeaderEpoch epoch;
  Offset start;
  friend bool operator==(const EpochEntry&, const EpochEntry&) = default;
};

class LeaderEpochCache {
 public:
  // A newer epoch from `start` on. Entries that contradict it (same or higher epoch, same or higher start) go first. True: changed.
  bool assign(LeaderEpoch epoch, Offset start);
  // A batch of that epoch stands from `base` to `last`: entries that say otherwise go, also those that begin within it; one that is
  // missing comes. For what a leader sent, and for what is found at a start, where the file may be older than the log. True: changed.
  bool note_batch(LeaderEpoch epoch, Offset base, Offset last);
  LeaderEpoch latest() const { return entries_.empty() ? kNoLeaderEpoch : entries_.back().epoch; }
  // The epoch of the record at `offset`; -1: unknown.
  LeaderEpoch epoch_for(Offset offset) const;
  // The largest known epoch at or below `epoch` and the offset where the next one begins (`log_end` for the latest). An epoch below
  // all known ones: itself and the first start. Unknown, or above all: {-1, -1}.
  std::pair<LeaderEpoch, Offset> end_offset_for(LeaderEpoch epoch, Offset log_end) const;
  // Entries that begin at or beyond `end` go. True: changed.
  bool truncate_from_end(Offset end);
  // Entries below `start` go; the last one at or below stays and begins at `start`. True: changed.
  bool truncate_from_start(Offset start);
  void clear() { entries_.clear(); }
  const std::vector<EpochEntry>& entries() const { return entries_; }

  std::string encode() const;
  // Errors: kKafkaStorageError: not the format above.
  static Result<LeaderEpochCache> decode(ByteView content, const std::string& path);

 private:
  std::vector<EpochEntry> entries_;
};

}  // namespace odradek::storage
