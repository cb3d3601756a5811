#include "record/validate_messages.h"

#include <algorithm>

#include "base/varint.h"
#include "record/message_rules.h"

namespace odradek::record {
namespace {

using Rejected = tl::unexpected<AppendError>;

Compressor& thread_compressor() {
  static thread_local Compressor compressor;
  return compressor;
}

// Writes one v2 batch record by record.
class Up {
 public:
  Up(const ValidateOptions& options, ByteView records) : options_(options), records_(records) {}

  tl::expected<ValidatedRecords, AppendError> run();

 private:
  Result<void> write(const MessageRecord& record);

  const ValidateOptions& options_;
  ByteView records_;
  std::unique_ptr<Bytes> out_ = std::make_unique<Bytes>();
  int32_t count_ = 0;
  int64_t base_timestamp_ = kNoTimestamp;
  int64_t max_timestamp_ = kNoTimestamp;
};

Result<void> Up::write(const MessageRecord& record) {
  if (count_ == 0) base_timestamp_ = record.timestamp;
  max_timestamp_ = std::max(max_timestamp_, record.timestamp);
  auto field_size = [](const std::optional<ByteView>& field) {
    return field ? base::uvarint_size(base::zigzag(static_cast<int64_t>(field->size()))) + field->size() : 1;
  };
  const int64_t timestamp_delta = wrapping_subtract(record.timestamp, base_timestamp_);
  const size_t size = 1 + base::uvarint_size(base::zigzag(timestamp_delta)) + base::uvarint_size(base::zigzag(count_)) +
                      field_size(record.key) + field_size(record.value) + 1;
  // The numbers in front of the key: length, attributes, timestamp, offset, the key's length.
  uint8_t head[48];
  size_t used = base::encode_varlong(head, static_cast<int64_t>(size));
  head[used++] = 0;
  used += base::encode_varlong(head + used, timestamp_delta);
  used += base::encode_varlong(head + used, count_);
  ++count_;
  Compressor& to = thread_compressor();
  auto put = [&](const std::optional<ByteView>& field) {
    used += base::encode_varlong(head + used, field ? static_cast<int64_t>(field->size()) : -1);
    auto written = to.write({head, used});
    used = 0;
    if (written && field && !field->empty()) written = to.write(*field);
    return written;
  };
  auto written = put(record.key);
  if (written) written = put(record.value);
  const uint8_t no_headers = 0;
  if (written) written = to.write({&no_headers, 1});
  return written;
}

tl::expected<ValidatedRecords, AppendError> Up::run() {
  const MessageView first = first_message(records_);
  const Codec codec = options_.target_codec.value_or(first.codec());
  if (codec > Codec::kZstd) {
    return reject_messages({ErrorCode::kInvalidRecord, "Invalid compression type " + std::to_string(static_cast<int>(codec)) + " in topic partition " +
                                                           std::string(options_.partition), 0}, options_);
  }
  const int level = options_.target_codec && options_.level ? *options_.level : default_level(codec);
  const auto most = static_cast<size_t>(std::max(options_.max_message_bytes, 0));
  out_->reserve(std::min(most, records_.size() + kBatchHeaderSize));
  out_->resize(kBatchHeaderSize);
  thread_compressor().start(codec, level, *out_, most - std::min(most, kBatchHeaderSize), records_.size() * (first.is_wrapper() ? 8 : 1));
  auto judged = judge_messages(records_, options_, [this](const MessageView&, const MessageRecord& record) { return write(record); });
  if (!judged) return Rejected(std::move(judged.error()));
  if (auto ended = thread_compressor().finish(); !ended) return reject_messages(std::move(ended.error()), options_);

  const bool append_time = options_.timestamp_type == TimestampType::kLogAppendTime;
  ValidatedRecords valid;
  valid.record_count = count_;
  valid.first_offset = options_.first_offset;
  valid.last_offset = options_.first_offset + (count_ - 1);
  valid.max_timestamp = append_time ? options_.now_ms : max_timestamp_;
  if (valid.max_timestamp > kNoTimestamp) valid.offset_of_max_timestamp = valid.last_offset;
  if (append_time) valid.log_append_time_ms = options_.now_ms;

  uint8_t* at = out_->data();
  base::store_be<int64_t>(at + kBaseOffsetAt, valid.first_offset.value);
  base::store_be<int32_t>(at + kSizeAt, static_cast<int32_t>(out_->size() - kFrameOverhead));
  base::store_be<int32_t>(at + kLeaderEpochAt, options_.leader_epoch.value);
  at[kMagicAt] = kMagicV2;
  base::store_be<int16_t>(at + kAttributesAt, static_cast<int16_t>(static_cast<int16_t>(codec) | (append_time ? kLogAppendTimeBit : 0)));
  base::store_be<int32_t>(at + kLastOffsetDeltaAt, count_ - 1);
  base::store_be<int64_t>(at + kBaseTimestampAt, base_timestamp_);
  base::store_be<int64_t>(at + kMaxTimestampAt, valid.max_timestamp);
  base::store_be<int64_t>(at + kProducerIdAt, kNoProducer.value);
  base::store_be<int16_t>(at + kProducerEpochAt, kNoProducerEpoch);
  base::store_be<int32_t>(at + kBaseSequenceAt, kNoSequence);
  base::store_be<int32_t>(at + kCountAt, count_);
  set_crc(*out_);
  valid.rebuilt = std::move(out_);
  valid.bytes = *valid.rebuilt;
  return valid;
}

}  // namespace

tl::expected<ValidatedRecords, AppendError> convert_messages_up(ByteView records, const ValidateOptions& options) { return Up(options, records).run(); }

}  // namespace odradek::record
