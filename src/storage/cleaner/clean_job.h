// One cleaning of one log: the keys of its dirty part go into a map, then each group of segments is written again without what the map
// says is out of date, and swapped in. In steps of one I/O buffer, so that the caller can limit the rate, and stop between any two.
// Memory: the map, two buffers that grow to the largest batch, and what one batch holds decompressed.
// A crash, an error or abandon() leaves the log as it was, or with some groups swapped.
// Thread: one at a time; blocks on the disk.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "storage/cleaner/batch_filter.h"
#include "storage/cleaner/key_offsets.h"
#include "storage/log/log.h"

namespace odradek::storage {

struct CleanLimits {
  int64_t map_bytes = 128 << 20;
  double load_factor = 0.9;
  int64_t buffer_bytes = 256 << 10;  // for reading, and as much for writing
};

struct CleanStats {
  int64_t map_bytes_read = 0;
  int64_t bytes_read = 0;  // when writing again
  int64_t bytes_written = 0;
  FilterCounts records;
  double map_utilization = 0;
  int segments_before = 0, segments_after = 0;
};

class CleanJob {
 public:
  CleanJob(std::shared_ptr<Log> log, CleanPlan plan, const CleanLimits& limits, base::Clock& clock, base::Random& random);
  ~CleanJob();

  enum class Outcome { kMore, kDone, kLogChanged };
  struct Step {
    Outcome outcome = Outcome::kMore;
    int64_t bytes = 0;  // read and written
  };
  // kDone: the log's cleaned offset has moved. kLogChanged: it was cut, closed or dropped from; nothing is wrong.
  // Errors: kCorruptMessage, kInvalidRecord and the readers' others: a batch that cannot be read; kKafkaStorageError: I/O (a failed
  // write, fsync or rename also takes the dir offline, but not a full disk). The job ends.
  Result<Step> step();
  // Removes the output that is not swapped in.
  void abandon();

  Log& log() { return *log_; }
  const std::shared_ptr<Log>& shared_log() const { return log_; }
  const CleanPlan& plan() const { return plan_; }
  CleanStats stats() const;

 private:
  using Group = std::vector<std::shared_ptr<Segment>>;
  // Gives a segment's frames, as many as a buffer holds at a time.
  class Source;

  Result<Step> prepare();
  Result<Step> read_keys();
  Result<void> next_dirty_segment();
  void map_is_complete();
  Result<void> make_groups();
  Result<Step> write_again();
  Result<void> start_source();
  Result<void> write_out(Bytes& out);
  Result<Step> finish_group();
  Error disk_error(Error error) const;

  const std::shared_ptr<Log> log_;  // shared: it may be dropped meanwhile
  const CleanPlan plan_;
  const CleanLimits limits_;
  base::Clock& clock_;
  base::Random& random_;
  const std::shared_ptr<const LogConfig> config_;

  enum class Phase { kPrepare, kReadKeys, kWriteAgain, kFinished } phase_ = Phase::kPrepare;
  std::optional<KeyOffsets> keys_;
  CleanedTransactions dirty_transactions_;
  record::Decompressor decompressor_;
  size_t dirty_at_ = 0;  // of plan_.segments
  std::unique_ptr<Source> source_;

  absl::flat_hash_map<int64_t, LastRecord> last_records_;
  std::optional<BatchFilter> filter_;
  int64_t old_horizon_ms_ = 0;  // segments last changed later keep tombstones of v0 and v1
  std::deque<Group> groups_;    // still to do; the first one is under way if output_ is there
  size_t group_at_ = 0;
  std::shared_ptr<Segment> output_;  // shared: the log takes it over
  bool output_differs_ = false;
  Bytes out_;
  CleanStats stats_;
};

}  // namespace odradek::storage
