// Control batches: records of the broker's own in a client's partition. Key: version i16 (0) | type i16.
// Value of a transaction marker: version i16 (0) | coordinator epoch i32. They take an offset; consumers never see them.
#pragma once

#include "record/batch.h"
#include "record/record.h"

namespace odradek::record {

enum class ControlType : int16_t {
  kAbort = 0,
  kCommit = 1,
  kLeaderChange = 2,  // 2..6: only in Kafka's Raft log
  kSnapshotHeader = 3,
  kSnapshotFooter = 4,
  kKRaftVersion = 5,
  kKRaftVoters = 6,
  kUnknown = -1,  // any other: readers skip it
};
std::string_view name_of(ControlType type);

struct EndTxnMarker {
  ControlType type = ControlType::kUnknown;  // kAbort or kCommit
  int32_t coordinator_epoch = 0;
};

// Errors: kInvalidRecord: shorter than 4 bytes, null, or a negative version.
Result<ControlType> parse_control_type(const std::optional<ByteView>& key);
// Errors: kInvalidRecord: not a marker, shorter than 6 bytes, null, or a negative version. Later versions are read as version 0.
Result<EndTxnMarker> parse_end_txn_marker(const RecordView& record);
// The marker of a control batch, which holds one record. Errors: as above, and the record's own.
Result<EndTxnMarker> parse_end_txn_marker(const BatchView& batch);

// A marker batch as the leader appends it (base offset 0, sequence -1, never compressed).
Bytes build_end_txn_marker(const EndTxnMarker& marker, int64_t timestamp, ProducerId producer, int16_t producer_epoch,
                           LeaderEpoch leader_epoch = kNoLeaderEpoch);

}  // namespace odradek::record
