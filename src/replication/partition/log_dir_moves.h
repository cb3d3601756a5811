// Replicas that move from one log dir of this broker to another: their copies are filled, a chunk after the other, within
// replica.alter.log.dirs.io.max.bytes.per.second, until they can take the place of the logs.
// A move ends when it is done, when its partition or copy has gone, or when a log dir fails; an error that may pass (a full disk) is
// tried again.
// Thread: any. Copies run on num.replica.alter.log.dirs.threads threads `move-log-dirs`, which exist from the first move on.
#pragma once

#include <map>
#include <memory>

#include "base/executor.h"
#include "base/mutex.h"
#include "quota/replication_quota.h"
#include "replication/partition/partition.h"
#include "storage/log_manager.h"

namespace odradek::replication {

class LogDirMoves {
 public:
  LogDirMoves(base::Runtime& runtime, storage::LogManager& logs, quota::ReplicationQuota& quota, int32_t threads);
  ~LogDirMoves();

  // Fills partition->future(). Nothing happens if that is under way.
  void start(const std::shared_ptr<Partition>& partition);
  // The copy is not touched any more when this returns; it stays where it is.
  void cancel(const TopicPartition& tp);
  void stop();

 private:
  struct Move {
    std::shared_ptr<Partition> partition;  // shared with the ReplicaManager
    base::Mutex mutex;                     // a step runs
    bool cancelled GUARDED_BY(mutex) = false;
  };
  void step(const std::shared_ptr<Move>& move);
  void again(const std::shared_ptr<Move>& move, int64_t delay_ms);
  void ended(const std::shared_ptr<Move>& move);

  base::Runtime& runtime_;
  storage::LogManager& logs_;
  quota::ReplicationQuota& quota_;
  const int32_t threads_;
  base::Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::map<TopicPartition, std::shared_ptr<Move>> moves_ GUARDED_BY(mutex_);  // shared with their steps
  std::unique_ptr<base::Executor> executor_ GUARDED_BY(mutex_);
};

}  // namespace odradek::replication
