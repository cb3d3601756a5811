#include "record/batch_builder.h"

#include <algorithm>
#include <climits>

#include "base/check.h"
#include "base/varint.h"

namespace odradek::record {
namespace {

constexpr size_t kMaxBatchBytes = size_t{INT_MAX};

void put_number(Bytes& to, uint64_t raw) {
  uint8_t buffer[10];
  size_t size = base::encode_uvarint(buffer, raw);
  to.insert(to.end(), buffer, buffer + size);
}

void put_field(Bytes& to, const std::optional<ByteView>& field) {
  if (!field) {
    put_number(to, base::zigzag(int32_t{-1}));
    return;
  }
  put_number(to, base::zigzag(static_cast<int64_t>(field->size())));
  to.insert(to.end(), field->begin(), field->end());
}

size_t field_size(const std::optional<ByteView>& field) {
  return field ? base::uvarint_size(base::zigzag(static_cast<int64_t>(field->size()))) + field->size() : 1;
}

}  // namespace

BatchBuilder::BatchBuilder(const BuilderOptions& options) : options_(options) {}

void BatchBuilder::append(int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value, std::span<const HeaderView> headers) {
  append_at(options_.base_offset + (static_cast<int64_t>(last_offset_delta_) + 1), timestamp, key, value, headers);
}

void BatchBuilder::append_at(Offset offset, int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value,
                             std::span<const HeaderView> headers) {
  scratch_.clear();
  for (const HeaderView& header : headers) {
    put_field(scratch_, as_bytes(header.key));
    put_field(scratch_, header.value);
  }
  put(offset, timestamp, key, value, static_cast<int32_t>(headers.size()), scratch_);
}

void BatchBuilder::append_at(Offset offset, int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value,
                             const Headers& headers) {
  put(offset, timestamp, key, value, headers.count(), headers.bytes());
}

void BatchBuilder::put(Offset offset, int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value, int32_t header_count,
                       ByteView headers) {
  int64_t offset_delta = offset - options_.base_offset;
  CHECK(offset_delta > last_offset_delta_ && offset_delta <= INT_MAX);
  if (count_ == 0) base_timestamp_ = options_.delete_horizon_ms.value_or(timestamp);
  max_timestamp_ = std::max(max_timestamp_, timestamp);
  // Wraps for timestamps further apart than an int64 can say; readers add with the same wrap.
  uint64_t timestamp_delta = base::zigzag(static_cast<int64_t>(static_cast<uint64_t>(timestamp) - static_cast<uint64_t>(base_timestamp_)));
  uint64_t wire_offset = base::zigzag(offset_delta);
  uint64_t wire_count = base::zigzag(static_cast<int64_t>(header_count));
  size_t size = 1 + base::uvarint_size(timestamp_delta) + base::uvarint_size(wire_offset) + field_size(key) + field_size(value) +
                base::uvarint_size(wire_count) + headers.size();
  CHECK(size < kMaxBatchBytes && records_.size() + size + 5 + kBatchHeaderSize < kMaxBatchBytes);
  put_number(records_, base::zigzag(static_cast<int64_t>(size)));
  records_.push_back(0);  // attributes: none are defined
  put_number(records_, timestamp_delta);
  put_number(records_, wire_offset);
  put_field(records_, key);
  put_field(records_, value);
  put_number(records_, wire_count);
  records_.insert(records_.end(), headers.begin(), headers.end());
  last_offset_delta_ = static_cast<int32_t>(offset_delta);
  ++count_;
}

void BatchBuilder::set_last_offset(Offset offset) {
  int64_t delta = offset - options_.base_offset;
  CHECK(delta >= last_offset_delta_ && delta <= INT_MAX);
  last_offset_delta_ = static_cast<int32_t>(delta);
}

Bytes BatchBuilder::build() {
  static thread_local Compressor compressor;
  Bytes batch;
  batch.reserve(kBatchHeaderSize + (options_.codec == Codec::kNone ? records_.size() : records_.size() / 2 + 64));
  batch.resize(kBatchHeaderSize);
  Codec codec = empty() ? Codec::kNone : options_.codec;
  if (codec == Codec::kNone) {
    batch.insert(batch.end(), records_.begin(), records_.end());
  } else {
    compressor.start(codec, options_.level.value_or(default_level(codec)), batch, kMaxBatchBytes - kBatchHeaderSize,
                     records_.size());
    auto written = compressor.write(records_);
    if (written) written = compressor.finish();
    CHECK(written.has_value());
  }

  auto attributes = static_cast<int16_t>(codec);
  if (options_.timestamp_type == TimestampType::kLogAppendTime) {
    attributes |= kLogAppendTimeBit;
    max_timestamp_ = options_.log_append_time_ms;
  }
  if (options_.transactional) attributes |= kTransactionalBit;
  if (options_.control) attributes |= kControlBit;
  if (options_.delete_horizon_ms) {
    attributes |= kDeleteHorizonBit;
    base_timestamp_ = *options_.delete_horizon_ms;
  }
  uint8_t* at = batch.data();
  base::store_be<int64_t>(at + kBaseOffsetAt, options_.base_offset.value);
  base::store_be<int32_t>(at + kSizeAt, static_cast<int32_t>(batch.size() - kFrameOverhead));
  base::store_be<int32_t>(at + kLeaderEpochAt, options_.leader_epoch.value);
  at[kMagicAt] = kMagicV2;
  base::store_be<int16_t>(at + kAttributesAt, attributes);
  base::store_be<int32_t>(at + kLastOffsetDeltaAt, last_offset_delta_);
  base::store_be<int64_t>(at + kBaseTimestampAt, base_timestamp_);
  base::store_be<int64_t>(at + kMaxTimestampAt, max_timestamp_);
  base::store_be<int64_t>(at + kProducerIdAt, options_.producer_id.value);
  base::store_be<int16_t>(at + kProducerEpochAt, options_.producer_epoch);
  base::store_be<int32_t>(at + kBaseSequenceAt, options_.base_sequence);
  base::store_be<int32_t>(at + kCountAt, count_);
  set_crc(batch);

  records_.clear();
  count_ = 0;
  base_timestamp_ = max_timestamp_ = kNoTimestamp;
  last_offset_delta_ = -1;
  return batch;
}

}  // namespace odradek::record
