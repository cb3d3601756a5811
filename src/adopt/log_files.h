// Reads the logs of a stopped broker without changing anything: whole frames (batches, old messages) whose CRC is right, in the order of
// the segments. A broken or cut-off frame is the end, as it will be for the recovery.
// Thread: any; blocks on the disk.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "record/batch.h"
#include "record/compression.h"
#include "storage/log/producer_state.h"

namespace odradek::adopt {

// One record of any format.
struct LogRecord {
  Offset offset;
  int64_t timestamp = kNoTimestamp;
  std::optional<ByteView> key, value;
};

// Base offsets of the segments in a folder, rising.
Result<std::vector<int64_t>> segment_bases(base::FileSystem& files, const std::string& folder);
// "<20 digits><suffix>" of a base offset.
std::string segment_file(int64_t base, std::string_view suffix);

// Every frame from the first segment on; false from `each` ends it. The bytes are valid during the call.
Result<void> each_frame(base::FileSystem& files, const std::string& folder, const std::function<Result<bool>(ByteView frame)>& each);
// The frames of one file.
Result<void> each_frame_of_file(base::FileSystem& files, const std::string& path, const std::function<Result<bool>(ByteView frame)>& each);
// Every record of a frame, markers too. Errors: those of the readers of record/.
Result<void> each_record(ByteView frame, record::Decompressor& decompressor, const std::function<Result<void>(const LogRecord&)>& each);

// What the end of a partition's log says, from the newest producer snapshot on.
struct LogTail {
  Offset start{0};  // of the first segment
  Offset end{0};
  LeaderEpoch epoch = kNoLeaderEpoch;  // greatest of the batches read and of leader-epoch-checkpoint
  int64_t size_bytes = 0;
  bool broken = false;  // bytes behind the end that are no frame
  bool keyless = false;  // the newest batch of records that was met has one without a key: Kafka takes none into a compacted topic
  std::vector<storage::ProducerStateEntry> producers;
};
Result<LogTail> read_tail(base::FileSystem& files, const std::string& folder);

}  // namespace odradek::adopt
