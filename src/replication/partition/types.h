// What a partition takes and gives.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file_slice.h"
#include "model/error_code.h"
#include "model/types.h"
#include "storage/log/types.h"

namespace odradek::replication {

// What LeaderAndIsr says about one partition.
struct PartitionState {
  BrokerId leader = kNoBroker;
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
  int32_t partition_epoch = -1;
  std::vector<BrokerId> isr;
  std::vector<BrokerId> replicas;
  std::vector<BrokerId> adding;
  std::vector<BrokerId> removing;
  bool is_new = false;
  bool recovering = false;  // leader_recovery_state 1: elected uncleanly
};

enum class Role : uint8_t { kNone, kLeader, kFollower, kOffline };

// How far a reader may see.
enum class ReadBound : uint8_t { kLogEnd, kHighWatermark, kLastStable };

struct ReadParams {
  Offset from;
  int32_t max_bytes = 0;
  bool at_least_one_batch = false;  // the first batch comes whole even if larger than max_bytes
  ReadBound bound = ReadBound::kHighWatermark;
  LeaderEpoch current_leader_epoch = kNoLeaderEpoch;  // -1: no fencing
  LeaderEpoch last_fetched_epoch = kNoLeaderEpoch;    // -1: no check for divergence
  bool leader_only = true;                            // false: a follower may answer too (KIP-392)
  bool may_wait_for_disk = true;                      // false: what is not in the page cache comes as ReadResult::cold
};

struct EpochEnd {
  LeaderEpoch epoch = kNoLeaderEpoch;
  Offset end{-1};
};

// On an error only `error` (and what is known of the leader) means something.
struct ReadResult {
  ErrorCode error = ErrorCode::kNone;
  Offset high_watermark{-1};
  Offset last_stable_offset{-1};
  Offset log_start_offset{-1};
  Offset log_end_offset{-1};  // when the read began
  Offset upper_bound{-1};     // first offset that the reader may not see
  std::optional<EpochEnd> diverging;
  base::FileSlice records;  // size 0: nothing
  Offset next_offset{-1};   // behind the records
  base::FileSlice cold;     // to be loaded before trying again; nothing was read
  BrokerId preferred_replica = kNoBroker;  // nearer to the reader, who asks there from now on; nothing was read
};

// A replica in sync from which a consumer could read.
struct ReplicaView {
  BrokerId id;
  Offset log_end{-1};
  int64_t caught_up_ms_ago = 0;
};

// What the answer to an append waits for.
struct AckNeed {
  // Whose disks must hold the records (flush.before.ack).
  enum class Flushed : uint8_t { kNowhere, kHere, kInSync };

  Offset required{0};                            // behind the last record
  LeaderEpoch appended_in = kNoLeaderEpoch;
  bool high_watermark = false;                   // acks=all
  Flushed flushed = Flushed::kNowhere;
  std::optional<uint64_t> held_since;            // the log is in debt: its flush_count() must exceed this
};

struct LeaderAppend {
  storage::AppendInfo info;
  AckNeed need;
  bool high_watermark_advanced = false;
};

struct ListedOffset {
  int64_t timestamp = kNoTimestamp;
  Offset offset{-1};
  LeaderEpoch epoch = kNoLeaderEpoch;
};

// What became of a follower's log that departs from its leader's.
struct FollowerCut {
  Offset from, to;         // its end before and now; `to` below `from` or not, if the log began anew
  bool restarted = false;  // nothing of it was left
  bool changed = false;    // its records or its epochs
};

struct FollowerAppend {
  storage::AppendInfo info;
  bool high_watermark_advanced = false;
};

// A wish of the leader for another ISR, for the controller's AlterPartition.
struct IsrChange {
  LeaderEpoch leader_epoch;
  int32_t partition_epoch = -1;
  std::vector<BrokerId> isr;
};

// What a follower's fetch says of its log.
struct FollowerState {
  Offset log_end;
  Offset log_start{-1};
  std::optional<Offset> flushed;  // nullopt: it does not say what is on its disk
  bool flushed_is_to_come = false;  // it says it with its next fetch, if at all
  int64_t broker_epoch = -1;      // -1: it does not say
  LeaderEpoch leader_epoch = kNoLeaderEpoch;  // in which its log is known to be a part of the leader's; -1: whatever it is now
  int64_t held_ms = 0;            // that this broker took to look at the fetch although there were records for it
};

struct FollowerFetchEffect {
  ErrorCode error = ErrorCode::kNone;
  bool high_watermark_advanced = false;
  bool low_watermark_moved = false;
  bool flushed_moved = false;
  std::optional<IsrChange> change;
};

// "[1,2,3]"
std::string to_text(const std::vector<BrokerId>& ids);

}  // namespace odradek::replication
