#include "storage/cleaner/batch_filter.h"

#include <algorithm>
#include <climits>

#include "record/batch_builder.h"
#include "record/record.h"

namespace odradek::storage {
namespace {

constexpr size_t kLongestVarlong = 10;
constexpr size_t kLargestBatch = INT_MAX - (size_t{1} << 16);

void append(Bytes& out, ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

// The header alone: producer, sequences and offsets of a batch whose records are all gone.
void append_empty(Bytes& out, const record::BatchView& batch) {
  const size_t start = out.size();
  append(out, batch.bytes().first(record::kBatchHeaderSize));
  MutableByteView empty = MutableByteView(out).subspan(start);
  uint8_t* at = empty.data();
  base::store_be<int32_t>(at + record::kSizeAt, static_cast<int32_t>(record::kBatchHeaderSize - record::kFrameOverhead));
  base::store_be<int16_t>(at + record::kAttributesAt, static_cast<int16_t>(batch.attributes() & ~(record::kCodecMask | record::kDeleteHorizonBit)));
  base::store_be<int64_t>(at + record::kBaseTimestampAt, kNoTimestamp);
  base::store_be<int32_t>(at + record::kCountAt, 0);
  record::set_crc(empty);
}

}  // namespace

void BatchFilter::start_segment(const std::vector<AbortedTransaction>& aborted, bool keep_old_tombstones) {
  transactions_.add(aborted);
  keep_old_tombstones_ = keep_old_tombstones;
}

bool BatchFilter::keeps(const std::optional<ByteView>& key, bool has_value, Offset offset, bool keep_tombstone) {
  ++counts_.records_read;
  bool kept;
  if (offset > rules_.latest.latest()) {
    kept = true;  // not in the map any more
  } else if (!key) {
    ++counts_.records_without_key;
    kept = false;
  } else {
    kept = (has_value || keep_tombstone) && offset >= rules_.latest.find(*key);
  }
  counts_.records_kept += kept;
  return kept;
}

bool BatchFilter::is_last_of_producer(const record::BatchHeader& batch) const {
  if (!batch.has_producer()) return false;
  auto last = rules_.last_records.find(batch.producer_id().value);
  if (last == rules_.last_records.end()) return false;
  // A producer that is still known goes on behind its last sequence; if only a marker is known, that tells its epoch.
  if (last->second.data_offset.value >= 0) return batch.last_offset() == last->second.data_offset;
  return batch.is_control() && batch.producer_epoch() == last->second.producer_epoch;
}

Result<bool> BatchFilter::filter(const record::Frame& frame, Bytes& out) {
  return frame.is_batch() ? filter_batch(frame.batch(), out) : filter_messages(frame.message(), out);
}

Result<bool> BatchFilter::filter_batch(const record::BatchView& batch, Bytes& out) {
  const bool horizon_passed = batch.has_delete_horizon() && batch.base_timestamp() <= rules_.now_ms;
  bool drop_records;           // all of them
  bool marker_may_go = false;  // once its time has come
  if (batch.is_control()) {
    auto control = transactions_.read_control(batch);
    if (!control) return fail(std::move(control.error()));
    if (control->still) aborted_.push_back(*control->still);
    marker_may_go = control->may_go;
    drop_records = marker_may_go && horizon_passed;
  } else {
    drop_records = transactions_.read_data(batch);
  }
  const bool keep_empty = is_last_of_producer(batch) || batch.next_offset() == rules_.end;
  auto without_records = [&]() -> bool {
    if (keep_empty) append_empty(out, batch);
    return true;
  };
  if (drop_records) {
    counts_.records_read += std::max(batch.count(), 0);
    return without_records();
  }

  auto opened = record::RecordReader::open(batch, decompressor_);
  if (!opened) return fail(std::move(opened.error()));
  record::RecordReader reader = *opened;
  record::RecordView record;
  kept_.clear();
  size_t kept_count = 0;
  bool tombstones = false;
  Offset before = batch.base_offset() + -1;
  for (;;) {
    auto more = reader.next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
    if (record.offset <= before || record.offset > batch.last_offset()) return fail(ErrorCode::kInvalidRecord, "offsets do not rise in the " + batch.where());
    before = record.offset;
    bool kept = true;
    if (batch.is_control()) {
      ++counts_.records_read;
      ++counts_.records_kept;
    } else {
      kept = keeps(record.key, record.value.has_value(), record.offset, !horizon_passed);
    }
    kept_.push_back(kept);
    kept_count += kept;
    tombstones |= kept && !record.value;
  }
  if (kept_count == 0) return without_records();
  const bool set_horizon = (tombstones || marker_may_go) && !batch.has_delete_horizon();
  if (kept_count == kept_.size() && !set_horizon) {
    append(out, batch.bytes());
    return false;
  }
  // Times are told from another base: each may take more bytes.
  if (reader.bytes().size() + kept_count * kLongestVarlong + record::kBatchHeaderSize > kLargestBatch) {
    return fail(ErrorCode::kMessageTooLarge, "the " + batch.where() + " holds too much to be made again");
  }

  record::BuilderOptions options;
  options.codec = batch.codec();
  options.base_offset = batch.base_offset();
  options.leader_epoch = batch.leader_epoch();
  options.producer_id = batch.producer_id();
  options.producer_epoch = batch.producer_epoch();
  options.base_sequence = batch.base_sequence();
  options.transactional = batch.is_transactional();
  options.control = batch.is_control();
  options.timestamp_type = batch.timestamp_type();
  if (batch.timestamp_type() == record::TimestampType::kLogAppendTime) options.log_append_time_ms = batch.max_timestamp();
  if (set_horizon) {
    options.delete_horizon_ms = record::wrapping_add(rules_.now_ms, std::min(rules_.delete_retention_ms, INT64_MAX - rules_.now_ms));
  } else if (batch.has_delete_horizon()) {
    options.delete_horizon_ms = batch.base_timestamp();
  }
  record::BatchBuilder builder(options);
  reader = *opened;
  for (size_t i = 0; i < kept_.size(); ++i) {
    auto more = reader.next(record);
    if (!more || !*more) return fail(ErrorCode::kInvalidRecord, "the " + batch.where() + " is not the same when read again");
    if (kept_[i]) builder.append_at(record.offset, record.timestamp, record.key, record.value, record.headers);
  }
  // The producer's last sequence number comes from the last offset.
  builder.set_last_offset(batch.last_offset());
  append(out, builder.build());
  return true;
}

Result<bool> BatchFilter::filter_messages(const record::MessageView& entry, Bytes& out) {
  auto opened = record::MessageReader::open(entry, decompressor_);
  if (!opened) return fail(std::move(opened.error()));
  record::MessageReader reader = *opened;
  record::MessageRecord record;
  kept_.clear();
  size_t kept_count = 0;
  Offset before{-1};
  for (;;) {
    auto more = reader.next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
    if (record.offset <= before) return fail(ErrorCode::kInvalidRecord, "offsets do not rise in the " + entry.where());
    before = record.offset;
    kept_.push_back(keeps(record.key, record.value.has_value(), record.offset, keep_old_tombstones_));
    kept_count += kept_.back();
  }
  if (kept_count == 0) return true;
  if (kept_count == kept_.size()) {
    append(out, entry.bytes());
    return false;
  }

  // A wrapper of which a part stays. Offsets inside v1 count from the first message.
  const int8_t magic = entry.magic();
  const bool append_time = entry.timestamp_type() == record::TimestampType::kLogAppendTime;
  const uint8_t type_bit = append_time ? static_cast<uint8_t>(record::kLogAppendTimeBit) : uint8_t{0};
  Bytes inner;
  Offset first{-1}, last{-1};
  int64_t max_timestamp = kNoTimestamp;
  reader = *opened;
  for (size_t i = 0; i < kept_.size(); ++i) {
    auto more = reader.next(record);
    if (!more || !*more) return fail(ErrorCode::kInvalidRecord, "the " + entry.where() + " is not the same when read again");
    if (!kept_[i]) continue;
    if (first.value < 0) first = record.offset;
    last = record.offset;
    max_timestamp = std::max(max_timestamp, record.timestamp);
    const Offset place = magic == record::kMagicV0 ? record.offset : Offset{record.offset - first};
    record::put_message(inner, magic, place, record.timestamp, type_bit, record.key, record.value);
  }
  auto compressed = record::compress(entry.codec(), record::default_level(entry.codec()), inner, magic);
  if (!compressed) return fail(std::move(compressed.error()));
  record::put_message(out, magic, last, append_time ? entry.timestamp() : max_timestamp,
                      static_cast<uint8_t>(static_cast<uint8_t>(entry.codec()) | type_bit), std::nullopt, ByteView(*compressed));
  return true;
}

}  // namespace odradek::storage
