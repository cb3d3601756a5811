// What a log takes and gives.
#pragma once

#include <cstdint>
#include <string>

#include "base/file_slice.h"
#include "model/error_code.h"
#include "model/types.h"
#include "record/validate.h"
#include "storage/index/entries.h"

namespace odradek::storage {

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

}  // namespace odradek::storage
