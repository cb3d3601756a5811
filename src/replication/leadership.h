// Who is told when this broker starts or stops to lead a partition: the coordinators, whose state lives in partitions.
#pragma once

#include "model/types.h"

namespace odradek::replication {

// Called in the order of the changes, on the thread that applies the controller's request and after the partition has its new
// role; no lock of a partition is held. Must be short: hand over to an executor. Called for every topic: filter by name.
class LeadershipListener {
 public:
  virtual ~LeadershipListener() = default;
  // This broker leads `tp` in `epoch`. Comes again, with a higher epoch, when it goes on leading in a new epoch.
  virtual void on_leader(const TopicPartition& tp, LeaderEpoch epoch) = 0;
  // This broker leads `tp` in `epoch`, but its log is still being loaded: on_leader() with the same epoch follows, or one of the others.
  virtual void on_loading(const TopicPartition&, LeaderEpoch) {}
  // Another broker (or nobody) leads `tp`; this one keeps a copy.
  virtual void on_follower(const TopicPartition& tp, LeaderEpoch epoch) = 0;
  // The replica is gone from here: stopped by the controller, deleted, or its log dir failed.
  virtual void on_stopped(const TopicPartition& tp) = 0;
};

}  // namespace odradek::replication
