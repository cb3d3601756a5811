// What a log takes and gives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file_slice.h"
#include "model/error_code.h"
#include "model/types.h"
#include "record/validate.h"
#include "storage/index/entries.h"

namespace odradek::storage {

class Segment;

using record::AppendError;

struct AppendOptions {
  record::AppendOrigin origin = record::AppendOrigin::kClient;
  int16_t produce_version = 11;
  bool earlier_may_be_on_the_way = false;  // what a former leader refuses comes here yet: a producer unknown to this log begins at sequence 0
};

struct AppendInfo {
  Offset first_offset{-1};
  Offset last_offset{-1};
  int64_t log_append_time_ms = kNoTimestamp;  // -1 unless the topic is LogAppendTime (a duplicate: the time of the first append)
  int64_t max_timestamp = kNoTimestamp;
  Offset log_start_offset{0};
  int32_t record_count = 0;
  int64_t size_bytes = 0;
  bool rewritten = false;  // to another format or codec than the producer sent
  bool duplicate = false;  // the batch was there already; the offsets are those of the first append
};

struct LogRead {
  base::FileSlice slice;    // whole batches; size 0: nothing
  Offset next_offset{-1};   // behind the last batch of the slice; where the read began if there is none
};

// What a producer appended last.
struct LastRecord {
  Offset data_offset{-1};  // last offset of its last batch of records; -1: none since its epoch rose
  int16_t producer_epoch = -1;
};

// What DescribeProducers shows of one producer.
struct ProducerStateEntry {
  ProducerId producer_id;
  int16_t producer_epoch = -1;
  int32_t last_sequence = -1;
  int64_t last_timestamp = kNoTimestamp;
  int32_t coordinator_epoch = -1;
  Offset current_txn_first_offset{-1};  // -1: none
  Offset last_offset{-1};               // of its last batch of records; -1: none is known
};

// What of a log could be compacted now, with Kafka's rules.
struct CleanPlan {
  std::vector<std::shared_ptr<Segment>> segments;  // all below `end`, from the log's first one on; shared with the log
  Offset first_dirty{0};     // below it everything has been compacted
  Offset end{0};             // a segment's base; nothing from here on is touched
  int64_t clean_bytes = 0;
  int64_t dirty_bytes = 0;
  int64_t overdue_ms = 0;    // by max.compaction.lag.ms
  uint64_t truncations = 0;  // the log's, when this was made

  double dirty_ratio() const { return dirty_bytes == 0 ? 0 : static_cast<double>(dirty_bytes) / static_cast<double>(clean_bytes + dirty_bytes); }
};

}  // namespace odradek::storage
