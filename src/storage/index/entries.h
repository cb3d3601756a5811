// What the entries of a time index and of a transaction index say.
#pragma once

#include "model/types.h"

namespace odradek::storage {

struct TimestampOffset {
  int64_t timestamp = kNoTimestamp;
  Offset offset{-1};
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
};

// One entry of a `.txnindex`.
struct AbortedTransaction {
  ProducerId producer_id;
  Offset first_offset;
  Offset last_offset;         // of the abort marker
  Offset last_stable_offset;  // when the marker was appended
  friend bool operator==(const AbortedTransaction&, const AbortedTransaction&) = default;
};

}  // namespace odradek::storage
