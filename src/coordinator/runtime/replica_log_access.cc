#include "coordinator/runtime/replica_log_access.h"

#include <algorithm>

#include "base/file_slice.h"
#include "replication/replica_manager.h"

namespace odradek::coordinator {

Result<Offset> ReplicaLogAccess::append(const TopicPartition& tp, LeaderEpoch epoch, Bytes batch, UniqueFunction<void(ErrorCode)> committed) {
  return replicas_.append_internal(tp, std::move(batch), epoch,
                                   [committed = std::move(committed)](ErrorCode error, Offset) mutable { committed(error); });
}

Result<LogBounds> ReplicaLogAccess::bounds(const TopicPartition& tp, LeaderEpoch epoch) {
  auto partition = replicas_.leader_or_error(tp, epoch);
  if (!partition) return fail(std::move(partition.error()));
  auto log = (*partition)->log();
  if (!log) return fail(ErrorCode::kNotLeaderOrFollower, tp.to_string() + " has no log here");
  return LogBounds{log->log_start_offset(), (*partition)->high_watermark(), log->log_end_offset()};
}

std::optional<int32_t> ReplicaLogAccess::max_batch_bytes(const TopicPartition& tp) {
  auto partition = replicas_.leader_or_error(tp, kNoLeaderEpoch);
  auto log = partition ? (*partition)->log() : nullptr;
  if (!log) return std::nullopt;
  return log->config()->max_message_bytes;
}

Result<Bytes> ReplicaLogAccess::read(const TopicPartition& tp, LeaderEpoch epoch, Offset from, int32_t max_bytes) {
  auto partition = replicas_.leader_or_error(tp, epoch);
  if (!partition) return fail(std::move(partition.error()));
  replication::ReadParams params;
  params.from = from;
  params.max_bytes = max_bytes;
  params.at_least_one_batch = true;
  params.bound = replication::ReadBound::kLogEnd;
  params.current_leader_epoch = epoch;
  replication::ReadResult read = (*partition)->read(params);
  if (read.error != ErrorCode::kNone) return fail(read.error, tp.to_string());
  Bytes bytes(static_cast<size_t>(read.records.size));
  // In steps, because a truncation waits for the reader of the moment (base/file_slice.h).
  constexpr size_t kStep = 256 * 1024;
  for (size_t at = 0; at < bytes.size();) {
    size_t step = std::min(kStep, bytes.size() - at);
    if (!read.records.file->begin_send(read.records.generation)) return fail(ErrorCode::kNotLeaderOrFollower, tp.to_string() + " was truncated");
    auto got = read.records.file->file().pread(read.records.position + static_cast<int64_t>(at), MutableByteView(bytes).subspan(at, step));
    read.records.file->end_send();
    if (!got) return fail(std::move(got.error()));
    if (*got == 0) return fail(ErrorCode::kKafkaStorageError, tp.to_string() + " ends early");
    at += *got;
  }
  return bytes;
}

}  // namespace odradek::coordinator
