// What a coordinator needs of the partition that holds its state: append as the leader of one epoch, read back when loading.
// Narrow on purpose: ReplicaLogAccess is the real one, tests and the simulation bring their own.
// Thread: any.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/function.h"
#include "base/result.h"
#include "model/types.h"

namespace odradek::coordinator {

struct LogBounds {
  Offset start;
  Offset high_watermark;
  Offset end;
};

class LogAccess {
 public:
  virtual ~LogAccess() = default;

  // Appends one v2 batch as the leader of `epoch`, or of a later one if the leadership went on unbroken since, and returns its first offset;
  // on an error nothing was appended. `committed` runs exactly once:
  // with the same error, or kNone when the high watermark has passed the batch, or kNotEnoughReplicasAfterAppend (it is in the log
  // and the high watermark passed it, but with too few replicas), or kNotLeaderOrFollower / kKafkaStorageError when leadership is
  // gone. It may run before append() returns, and on any thread; no lock is held.
  virtual Result<Offset> append(const TopicPartition& tp, LeaderEpoch epoch, Bytes batch, UniqueFunction<void(ErrorCode)> committed) = 0;

  // Errors: kNotLeaderOrFollower (or an epoch error) when this broker does not lead `tp` in `epoch`.
  virtual Result<LogBounds> bounds(const TopicPartition& tp, LeaderEpoch epoch) = 0;

  // The largest batch that append() takes now: max.message.bytes of the topic. nullopt: this broker does not lead `tp`.
  virtual std::optional<int32_t> max_batch_bytes(const TopicPartition& tp) = 0;

  // Whole batches from the one that holds `from`, up to `max_bytes` (the first one whole even if larger), up to the log end. Empty
  // at the end. Blocks on the disk: only for loading threads. Errors: as bounds(), kOffsetOutOfRange, kKafkaStorageError.
  virtual Result<Bytes> read(const TopicPartition& tp, LeaderEpoch epoch, Offset from, int32_t max_bytes) = 0;
};

}  // namespace odradek::coordinator
