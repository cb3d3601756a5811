#include "coordinator/group/shard_log.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "base/log.h"

namespace odradek::coordinator {

ErrorCode commit_error_for_client(ErrorCode error) {
  switch (error) {
    case ErrorCode::kUnknownTopicOrPartition:
    case ErrorCode::kNotEnoughReplicas:
    case ErrorCode::kNotEnoughReplicasAfterAppend:
    case ErrorCode::kRequestTimedOut:
      return ErrorCode::kCoordinatorNotAvailable;
    case ErrorCode::kNotLeaderOrFollower:
    case ErrorCode::kFencedLeaderEpoch:
    case ErrorCode::kUnknownLeaderEpoch:
    case ErrorCode::kKafkaStorageError:
      return ErrorCode::kNotCoordinator;
    case ErrorCode::kMessageTooLarge:
    case ErrorCode::kRecordListTooLarge:
    case ErrorCode::kInvalidFetchSize:
      return ErrorCode::kInvalidCommitOffsetSize;
    default:
      return error;
  }
}

ErrorCode group_write_error_for_client(ErrorCode error) {
  switch (ErrorCode mapped = commit_error_for_client(error); mapped) {
    case ErrorCode::kInvalidCommitOffsetSize:
      return ErrorCode::kUnknownServerError;
    default:
      return mapped;
  }
}

ShardLog::ShardLog(base::Runtime& runtime, LogAccess& log, const GroupConfig& config, std::shared_ptr<Strand> strand, TopicPartition tp,
                   LeaderEpoch epoch)
    : runtime_(runtime), log_(log), config_(config), strand_(std::move(strand)), tp_(std::move(tp)), epoch_(epoch) {}

record::BatchBuilder ShardLog::new_batch() const {
  record::BuilderOptions options;
  options.codec = static_cast<record::Codec>(config_.offsets_codec);
  return record::BatchBuilder(options);
}

Result<uint64_t> ShardLog::append(record::BatchBuilder& builder, Offset* first) {
  // Where the high watermark stands at the end of the log (one replica in the ISR) the log calls back before append() returns. That is
  // told apart from a call on another thread by who comes first.
  enum State : int { kInCall, kReturned, kCommitted };
  struct Shared {
    std::atomic<int> state{kInCall};
    ErrorCode error = ErrorCode::kNone;
  };
  auto shared = std::make_shared<Shared>();
  const uint64_t number = outbox_.next_append();
  auto appended = log_.append(tp_, epoch_, builder.build(), [shared, number, strand = strand_, weak = weak_from_this()](ErrorCode error) {
    shared->error = error;
    if (shared->state.exchange(kCommitted, std::memory_order_acq_rel) == kInCall) return;
    strand->post([weak, number, error] {
      if (auto self = weak.lock()) self->on_committed(number, error);
    });
  });
  const bool called = shared->state.exchange(kReturned, std::memory_order_acq_rel) == kCommitted;
  if (!appended) return fail(std::move(appended.error()));
  if (first != nullptr) *first = *appended;
  if (called && shared->error == ErrorCode::kNone) {
    outbox_.committed(number, ErrorCode::kNone);
  } else if (called) {
    // Not within the caller's change of state: after it.
    strand_->post([weak = weak_from_this(), number, error = shared->error] {
      if (auto self = weak.lock()) self->on_committed(number, error);
    });
  }
  return number;
}

void ShardLog::on_committed(uint64_t append, ErrorCode error) {
  if (dead_) return;
  switch (error) {
    case ErrorCode::kNone:
    case ErrorCode::kNotEnoughReplicasAfterAppend:  // it stands, with fewer copies than asked for
      return outbox_.committed(append, commit_error_for_client(error));
    default:
      // Leadership is gone; the listener will drop this shard. Until then nothing that stands on the lost append may leave.
      log::info("group", "{}: an append was lost: {}", tp_.to_string(), name_of(error));
      return outbox_.fail_all(ErrorCode::kNotCoordinator);
  }
}

void ShardLog::die(ErrorCode why) {
  dead_ = true;
  if (timer_ != 0) runtime_.timers().cancel(std::exchange(timer_, 0));
  outbox_.fail_all(why);
}

void ShardLog::send_after(uint64_t append, Answer answer) {
  outbox_.send_after(append, runtime_.clock().monotonic_ms() + config_.commit_timeout_ms, std::move(answer));
  arm_timer();
}

void ShardLog::arm_timer() {
  auto deadline = outbox_.deadline();
  if (!deadline || timer_ != 0 || dead_) return;
  const int64_t delay = std::max<int64_t>(*deadline - runtime_.clock().monotonic_ms(), 0);
  timer_ = runtime_.timers().after(std::chrono::milliseconds(delay), [strand = strand_, weak = weak_from_this()] {
    strand->post([weak] {
      auto self = weak.lock();
      if (!self || self->dead_) return;
      self->timer_ = 0;
      self->outbox_.expire(self->runtime_.clock().monotonic_ms(), ErrorCode::kCoordinatorNotAvailable);
      self->arm_timer();
    });
  });
}

}  // namespace odradek::coordinator
