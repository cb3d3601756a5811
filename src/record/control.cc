#include "record/control.h"

#include <array>

#include "record/batch_builder.h"

namespace odradek::record {

std::string_view name_of(ControlType type) {
  switch (type) {
    case ControlType::kAbort: return "ABORT";
    case ControlType::kCommit: return "COMMIT";
    case ControlType::kLeaderChange: return "LEADER_CHANGE";
    case ControlType::kSnapshotHeader: return "SNAPSHOT_HEADER";
    case ControlType::kSnapshotFooter: return "SNAPSHOT_FOOTER";
    case ControlType::kKRaftVersion: return "KRAFT_VERSION";
    case ControlType::kKRaftVoters: return "KRAFT_VOTERS";
    case ControlType::kUnknown: break;
  }
  return "UNKNOWN";
}

Result<ControlType> parse_control_type(const std::optional<ByteView>& key) {
  if (!key || key->size() < 4) {
    return fail(ErrorCode::kInvalidRecord, "Invalid value size found for end control record key. Must have at least 4 bytes, but found only " +
                                               std::to_string(key ? key->size() : 0));
  }
  auto version = base::load_be<int16_t>(key->data());
  if (version < 0) {
    return fail(ErrorCode::kInvalidRecord,
                "Invalid version found for control record: " + std::to_string(version) + ". May indicate data corruption");
  }
  auto type = base::load_be<int16_t>(key->data() + 2);
  return type >= 0 && type <= 6 ? static_cast<ControlType>(type) : ControlType::kUnknown;
}

Result<EndTxnMarker> parse_end_txn_marker(const RecordView& record) {
  auto type = parse_control_type(record.key);
  if (!type) return fail(std::move(type.error()));
  if (*type != ControlType::kAbort && *type != ControlType::kCommit) {
    return fail(ErrorCode::kInvalidRecord, "control record of type " + std::string(name_of(*type)) + " is no end of a transaction");
  }
  if (!record.value || record.value->size() < 6) {
    return fail(ErrorCode::kInvalidRecord, "Invalid value size found for end transaction marker. Must have at least 6 bytes, but found only " +
                                               std::to_string(record.value ? record.value->size() : 0));
  }
  auto version = base::load_be<int16_t>(record.value->data());
  if (version < 0) {
    return fail(ErrorCode::kInvalidRecord,
                "Invalid version found for end transaction marker: " + std::to_string(version) + ". May indicate data corruption");
  }
  return EndTxnMarker{*type, base::load_be<int32_t>(record.value->data() + 2)};
}

Result<EndTxnMarker> parse_end_txn_marker(const BatchView& batch) {
  if (batch.is_compressed()) return fail(ErrorCode::kInvalidRecord, "a compressed control batch");
  Decompressor unused;
  auto reader = RecordReader::open(batch, unused);
  if (!reader) return fail(std::move(reader.error()));
  RecordView record;
  auto found = reader->next(record);
  if (!found) return fail(std::move(found.error()));
  if (!*found) return fail(ErrorCode::kInvalidRecord, "a control batch without a record");
  return parse_end_txn_marker(record);
}

Bytes build_end_txn_marker(const EndTxnMarker& marker, int64_t timestamp, ProducerId producer, int16_t producer_epoch,
                           LeaderEpoch leader_epoch) {
  std::array<uint8_t, 4> key{};
  base::store_be<int16_t>(key.data() + 2, static_cast<int16_t>(marker.type));
  std::array<uint8_t, 6> value{};
  base::store_be<int32_t>(value.data() + 2, marker.coordinator_epoch);
  BatchBuilder builder({.leader_epoch = leader_epoch,
                        .producer_id = producer,
                        .producer_epoch = producer_epoch,
                        .transactional = true,
                        .control = true});
  builder.append(timestamp, ByteView(key), ByteView(value));
  return builder.build();
}

}  // namespace odradek::record
