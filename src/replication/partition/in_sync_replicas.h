// Who of a partition's replicas is in sync: the committed ISR, the change of it that is in flight, and, where this broker leads, what it knows
// of the followers.
// A state machine without lock, clock and log: fetches and times (monotonic ms) come in, wishes for another ISR go out as IsrChange.
// Rules: a follower joins with all below the high watermark and from the epoch's start on, alive, and, with flush.before.ack, with that on its
// disk. It leaves when it has not caught up for replica.lag.time.max.ms, or at once when it has lost records below the high watermark.
// At most one change is in flight; until it is answered the larger ISR counts. Source: interbroker.md §6, §7.
// Thread: one at a time (the Partition's lock).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/types.h"
#include "replication/partition/log_end_history.h"
#include "replication/partition/types.h"

namespace odradek::replication {

// Asked before a follower enters the ISR.
class LiveBrokers {
 public:
  virtual ~LiveBrokers() = default;
  virtual bool is_alive(BrokerId broker) const = 0;
};

class InSyncReplicas {
 public:
  // `live` outlives it; `lag_ms`: replica.lag.time.max.ms.
  InSyncReplicas(BrokerId self, const LiveBrokers& live, int64_t lag_ms) : self_(self), live_(live), lag_ms_(lag_ms), ends_(lag_ms) {}

  // --- what LeaderAndIsr says: no change is in flight any more ------------------------------------------------------------
  // `led_before`: the epoch before too, without a break; what its followers have said goes on to hold. `log_end`: of this broker's log.
  void lead(const PartitionState& state, bool led_before, Offset log_end, int64_t now_ms);
  void follow(const PartitionState& state);
  void stop();

  const std::vector<BrokerId>& isr() const { return isr_; }  // the committed one
  const std::vector<BrokerId>& replicas() const { return replicas_; }
  int32_t partition_epoch() const { return partition_epoch_; }
  bool has_in_isr(BrokerId id) const;
  // Latest time heard of as leader.
  int64_t now_ms() const { return now_ms_; }

  // --- what a follower says -----------------------------------------------------------------------------------------------
  // What whoever joins must have.
  struct Committed {
    Offset high_watermark{0};
    Offset epoch_start{0};        // where the log ended when the leader's epoch began
    bool wants_flushed = false;  // flush.before.ack: on its disk, too
  };
  struct Recorded {
    FollowerFetchEffect effect;  // without high_watermark_advanced
    bool may_advance = false;    // the follower has moved: the high watermark may, too
  };
  // A fetch of `follower`, read when the leader's log ended at `leader_end`. Errors: kUnknownLeaderEpoch: it is not among the replicas known
  // here; kNotLeaderOrFollower: of a former life of it.
  Recorded record_fetch(BrokerId follower, const FollowerState& state, Offset leader_end, const Committed& committed, int64_t now_ms);
  // This broker holds its fetch from now until release(), or until the next one is recorded.
  void hold(BrokerId follower, int64_t now_ms);
  void release(BrokerId follower, int64_t now_ms);

  // --- the ISR ------------------------------------------------------------------------------------------------------------
  // Who has caught up and could not be proposed at once. It need not fetch again: a pipelined one that has nothing new to say of this
  // partition does not name it.
  std::optional<IsrChange> expand(const Committed& committed);
  // Without those who have not caught up in time. `why`: in words, for the log.
  std::optional<IsrChange> shrink(Offset leader_end, int64_t now_ms, std::string* why);
  // The controller has taken the change in flight, or made another. False: an older one than the committed.
  bool commit(const std::vector<BrokerId>& isr, int32_t partition_epoch);
  // wait_for_controller: a new LeaderAndIsr will say what holds, nothing is proposed until then; else the committed ISR holds.
  void refuse(bool wait_for_controller);

  // --- what follows from it -----------------------------------------------------------------------------------------------
  // Smallest log end of the larger ISR (`leader_end`: this broker's), and of who is about to join: else the high watermark would run ahead of
  // it for ever.
  Offset smallest_end(Offset leader_end) const;
  // An acks=all that waits for the disks counts every member of the committed ISR that tells what it has flushed, and waits for those that
  // are about to join too: they may lead right after. A member that does not tell is no flushed copy, but does not hold the answer back either.
  struct Flushed {
    int32_t copies = 1;             // this broker's too
    int64_t elsewhere = INT64_MAX;  // the smallest of what the others have said
  };
  Flushed flushed() const;
  // The followers in sync that hold `from`.
  std::vector<ReplicaView> holding(Offset from, int64_t now_ms) const;
  // Smallest log start, `own` and those of the live followers.
  Offset smallest_start(Offset own) const;

 private:
  struct Remote {
    BrokerId id;
    Offset log_end{-1};  // -1: has not fetched in this epoch
    Offset log_start{-1};
    std::optional<Offset> flushed;  // nullopt: it has not said since it was out of sync, or since this broker leads
    std::optional<int64_t> flushed_is_to_come_ms;  // since when that is waited for
    int64_t broker_epoch = -1;
    int64_t last_caught_up_ms = 0;
    int64_t last_fetch_ms = 0;
    Offset last_fetch_leader_end{0};
    int64_t held_ms = 0;                        // by this broker, since it had caught up
    std::optional<int64_t> holding_since_ms;
    bool begins = true;  // it has not fetched in this epoch of the leader
    bool has_fetched = false;  // as `flushed`: and could have said what is flushed
    // In the ISR every replica has what is below the high watermark. Who began without it has lost it (a power cut, another disk) and must not
    // lead: it leaves the ISR at once, not when it lags for too long (Kafka's goes on counting it).
    bool lacks_committed = false;
    bool waits_to_join = false;  // it had caught up, but another change was in flight (also one that puts it out), or it was not known to be alive
    bool was_refused = false;    // its entry, by the controller: it waits to join from the next shrink() on
  };

  void take(const PartitionState& state);
  Remote* find(BrokerId id);
  bool in_larger_isr(BrokerId id) const;  // the committed one and the change in flight
  bool may_propose() const { return !proposed_ && !waiting_for_controller_; }
  bool caught_up(const Remote& remote, Offset leader_end) const;
  bool may_join(const Remote& remote, const Committed& committed) const;
  // When it had the end of the log last, by what this fetch says.
  int64_t caught_up_ms(const Remote& remote, Offset log_end, Offset leader_end, int64_t now_ms) const;
  IsrChange propose(std::vector<BrokerId> isr);

  const BrokerId self_;
  const LiveBrokers& live_;
  const int64_t lag_ms_;

  LeaderEpoch leader_epoch_ = kNoLeaderEpoch;
  int32_t partition_epoch_ = -1;
  std::vector<BrokerId> replicas_;
  std::vector<BrokerId> isr_;
  std::optional<std::vector<BrokerId>> proposed_;  // the change in flight
  bool waiting_for_controller_ = false;
  std::vector<Remote> remotes_;
  LogEndHistory ends_;
  int64_t now_ms_ = 0;
};

}  // namespace odradek::replication
