// What one shard has appended to its partition, and the answers that stand on it: they leave when the high watermark has passed the append,
// or with COORDINATOR_NOT_AVAILABLE after offsets.commit.timeout.ms. When an append is lost all who wait get NOT_COORDINATOR: nothing that
// stands on it may leave, and the next leader loads the log.
// Thread: the shard's strand; every method runs on it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/result.h"
#include "coordinator/group/group_config.h"
#include "coordinator/runtime/log_access.h"
#include "coordinator/runtime/outbox.h"
#include "coordinator/runtime/strand.h"
#include "model/error_code.h"
#include "model/types.h"
#include "record/batch_builder.h"

namespace odradek::coordinator {

class ShardLog : public std::enable_shared_from_this<ShardLog> {
 public:
  // Shared: appends on their way and the timer refer to it weakly. Everything passed by reference outlives it.
  ShardLog(base::Runtime& runtime, LogAccess& log, const GroupConfig& config, std::shared_ptr<Strand> strand, TopicPartition tp, LeaderEpoch epoch);

  record::BatchBuilder new_batch() const;
  // Appends one batch: its number, counted from 1, or why nothing was appended. The first offset of it goes to `first`.
  Result<uint64_t> append(record::BatchBuilder& builder, Offset* first = nullptr);
  std::optional<int32_t> max_batch_bytes() { return log_.max_batch_bytes(tp_); }
  // The high watermark has passed `append` (0: nothing).
  bool is_committed(uint64_t append) const { return outbox_.is_committed(append); }
  // At once if it has.
  void send_after(uint64_t append, Answer answer);
  // All who wait get `why`; afterwards nothing is called any more.
  void die(ErrorCode why);

 private:
  void on_committed(uint64_t append, ErrorCode error);
  void arm_timer();

  base::Runtime& runtime_;
  LogAccess& log_;
  const GroupConfig& config_;
  const std::shared_ptr<Strand> strand_;  // shared with the shard
  const TopicPartition tp_;
  const LeaderEpoch epoch_;
  Outbox outbox_;
  base::TimerId timer_ = 0;
  bool dead_ = false;
};

// What a client is told when an append failed with `error`: for offsets, for group state.
ErrorCode commit_error_for_client(ErrorCode error);
ErrorCode group_write_error_for_client(ErrorCode error);

}  // namespace odradek::coordinator
