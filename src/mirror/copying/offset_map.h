// Where each record of a source partition lies in the target partition.
// Shape: runs in order. In a run source and target offsets rise together by one; a run ends where the next one begins. What the source
// has between two runs (markers, aborted records, what compaction removed) is not in the target. The last run has no end: the record that
// follows the last one copied will be its next, unless a new run is begun.
// Runs have numbers, which rise and are never used again for another place in the list: chunks of kChunk of them are what the positions
// topic stores.
// With them go the leader epochs of the source's log, as a follower would keep them: which one the last record copied is of tells whether the
// source's log still is the one that was copied (Partition). Only those are kept that an answer may still need.
// Thread: one at a time.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/types.h"

namespace odradek::mirror {

struct Run {
  Offset source;  // of its first record
  Offset target;
  friend bool operator==(const Run&, const Run&) = default;
};

// An epoch holds from `start` to the next entry. kNoLeaderEpoch: formats before v2, which do not say.
struct SourceEpoch {
  LeaderEpoch epoch = kNoLeaderEpoch;
  Offset start;
  friend bool operator==(const SourceEpoch&, const SourceEpoch&) = default;
};

class OffsetMap {
 public:
  static constexpr int64_t kChunk = 256;

  bool empty() const { return runs_.empty(); }
  size_t size() const { return runs_.size(); }
  const Run& first() const { return runs_.front(); }
  const Run& last() const { return runs_.back(); }

  // Id of the source's topic as text; empty: not known. Another one: the topic was made anew, its runs begin anew too, in new chunks.
  const std::string& topic_id() const { return topic_id_; }
  void set_topic_id(const std::string& id);
  // `count` records go from `source` to `target`. False: so the map says already, also by runs that a former life announced and perhaps
  // never wrote. True: it was changed, in its last chunk or by dropping later ones; runs that begin behind `target` are gone.
  bool extend(Offset source, Offset target, int64_t count = 1);
  // Source offset of the record at `target`, or of the one that would be written there next. nullopt: before the first run.
  std::optional<Offset> source_at(Offset target) const;
  // Target offset of the first record whose source offset is `source` or later. Before the first run: its start. nullopt: empty.
  std::optional<Offset> target_at(Offset source) const;
  // The same topic without its runs; new ones go into new chunks.
  OffsetMap begun_anew() const;
  // The target's log starts here: runs that end at or before it are forgotten.
  void forget_below(Offset target_start);

  // The source has batches of `epoch` from `first` to `last`. True: that is new.
  bool note_epoch(LeaderEpoch epoch, Offset first, Offset last);
  // Of the source's record before `source`; kNoLeaderEpoch: not known.
  LeaderEpoch epoch_before(Offset source) const;
  // Nobody asks for an offset below `source` any more.
  void forget_epochs_below(Offset source);
  const std::deque<SourceEpoch>& epochs() const { return epochs_; }

  // --- chunks, by number (run number / kChunk)
  int64_t first_chunk() const { return base_ / kChunk; }
  int64_t end_chunk() const { return (base_ + static_cast<int64_t>(runs_.size()) + kChunk - 1) / kChunk; }
  int64_t last_chunk() const { return end_chunk() - 1; }  // of the last run
  // {"first": number of its first run, "runs": [source, target, then differences to the former run ...], "topic": id,
  //  "epochs": [epoch, start, ...]}
  std::string encode_chunk(int64_t chunk) const;
  // Takes the runs of a chunk, and the epochs of the last one; chunks come in order. Those of a topic that was made anew replace all before. Errors: kCorruptMessage: not such a text, or runs that do not rise.
  Result<void> decode_chunk(std::string_view text);

 private:
  std::deque<Run> runs_;
  std::deque<SourceEpoch> epochs_;
  int64_t base_ = 0;  // number of runs_[0]
  std::string topic_id_;
};

}  // namespace odradek::mirror
