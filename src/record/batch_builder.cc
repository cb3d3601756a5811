#include "record/batch_builder.h"

#include <algorithm>
#include <climits>

#include "base/check.h"
#include "base/varint.h"

namespace odradek::record {
namespace {

constexpr size_t kMaxBatchBytes = size_t{INT_MAX};

uint8_t* put_field(uint8_t* at, const std::optional<ByteView>& field) {
  if (!field) return at + base::encode_varint(at, -1);
  at += base::encode_varlong(at, static_cast<int64_t>(field->size()));
  if (!field->empty()) std::memcpy(at, field->data(), field->size());
  return at + field->size();
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
  size_t size = 0;
  for (const HeaderView& header : headers) size += field_size(as_bytes(header.key)) + field_size(header.value);
  scratch_.resize(size);
  uint8_t* at = scratch_.data();
  for (const HeaderView& header : headers) at = put_field(put_field(at, as_bytes(header.key)), header.value);
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
  int64_t timestamp_delta = wrapping_subtract(timestamp, base_timestamp_);
  size_t size = 1 + base::uvarint_size(base::zigzag(timestamp_delta)) + base::uvarint_size(base::zigzag(offset_delta)) + field_size(key) +
                field_size(value) + base::uvarint_size(base::zigzag(header_count)) + headers.size();
  CHECK(size < kMaxBatchBytes && records_.size() + size + 5 + kBatchHeaderSize < kMaxBatchBytes);
  size_t start = records_.size();
  records_.resize(start + base::uvarint_size(base::zigzag(static_cast<int64_t>(size))) + size);
  uint8_t* at = records_.data() + start;
  at += base::encode_varlong(at, static_cast<int64_t>(size));
  *at++ = 0;  // attributes: none are defined
  at += base::encode_varlong(at, timestamp_delta);
  at += base::encode_varlong(at, offset_delta);
  at = put_field(at, key);
  at = put_field(at, value);
  at += base::encode_varint(at, header_count);
  if (!headers.empty()) std::memcpy(at, headers.data(), headers.size());
  CHECK(at + headers.size() == records_.data() + records_.size());
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
