// Finds out where lost partitions go on: where the target's log ends, and what the map says stands there.
// Thread: as Cluster, one at a time.
#pragma once

#include "client/cluster.h"
#include "mirror/copying/partition.h"
#include "mirror/options.h"
#include "mirror/positions.h"

namespace odradek::mirror {

// From where in the source to look for what the other mirror, whose positions are `before`, did not write: it wrote everything between its
// first run and here. Not its newest run: runs are durable before their records are sent, and stay where those never came.
Offset known_of_the_other(const StoredPositions& before, const TopicPartition& name, Offset source_start, Offset source_end);

class Placing {
 public:
  // `before`: the positions of the mirror in the other direction (start=after:<name>).
  Placing(client::Cluster& source, client::Cluster& target, const MirrorOptions& options, Identity identity, const StoredPositions* before)
      : source_(source), target_(target), options_(options), identity_(identity), before_(before) {}

  // Places those of `partitions` that are lost and whose pause is over. What cannot be placed now stays lost and knows why.
  // Errors: none of one partition; only those of a cluster that cannot be reached.
  Result<void> place(const std::vector<std::shared_ptr<Partition>>& partitions);
  // Source offsets that were gone before they could be copied.
  int64_t missed() const { return missed_.load(std::memory_order_relaxed); }
  // Partitions that ended because the source's log had been cut below what was copied.
  int64_t cut() const { return cut_.load(std::memory_order_relaxed); }

 private:
  struct Ends {
    Offset source_start, source_end, target_start, target_end;
  };
  void place_one(Partition& partition, const Ends& ends);
  // Why the source's log is not (any more) the one whose records up to `source`, the last one of leader epoch `epoch`, were copied. An empty
  // text: it is, or it cannot say.
  Result<std::string> departed(const TopicPartition& name, Offset source, LeaderEpoch epoch);
  Result<Offset> first_source(const TopicPartition& name, const Ends& ends);
  // Source offset of the first record behind what the other mirror is known to have written that it did not write.
  Result<Offset> behind_the_other(const TopicPartition& name, const Ends& ends);
  // Whether our batch ends the target's log. An empty text: yes, or nothing is there to tell.
  Result<std::string> foreign_end(const TopicPartition& name, Offset target_end);
  // What `cluster` has at `from`; `keep` holds the bytes.
  Result<MutableByteView> fetch(client::Cluster& cluster, const TopicPartition& name, Offset from, int32_t bytes, Bytes& keep);

  client::Cluster& source_;
  client::Cluster& target_;
  const MirrorOptions& options_;
  const Identity identity_;
  const StoredPositions* const before_;
  std::map<TopicPartition, int> beyond_;  // how often the source's log seemed to have been cut below what was copied of a partition
  std::atomic<int64_t> missed_{0}, cut_{0};
};

}  // namespace odradek::mirror
