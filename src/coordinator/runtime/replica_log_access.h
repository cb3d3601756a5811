// LogAccess on the broker's own partitions.
#pragma once

#include "coordinator/runtime/log_access.h"

namespace odradek::replication {
class ReplicaManager;
}

namespace odradek::coordinator {

class ReplicaLogAccess : public LogAccess {
 public:
  explicit ReplicaLogAccess(replication::ReplicaManager& replicas) : replicas_(replicas) {}

  Result<Offset> append(const TopicPartition& tp, LeaderEpoch epoch, Bytes batch, UniqueFunction<void(ErrorCode)> committed) override;
  Result<LogBounds> bounds(const TopicPartition& tp, LeaderEpoch epoch) override;
  std::optional<int32_t> max_batch_bytes(const TopicPartition& tp) override;
  Result<Bytes> read(const TopicPartition& tp, LeaderEpoch epoch, Offset from, int32_t max_bytes) override;

 private:
  replication::ReplicaManager& replicas_;
};

}  // namespace odradek::coordinator
