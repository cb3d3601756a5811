#include "record/validate_messages.h"

#include <algorithm>

#include "base/varint.h"

namespace odradek::record {
namespace {

using Rejected = tl::unexpected<AppendError>;

// No wrapper may hold more: its content stands in memory as a whole. Far above what an honest one of legal size has.
constexpr size_t kLeastDecompressedBytes = size_t{64} << 20;
constexpr size_t kDecompressedPerByte = 16;

Decompressor& thread_decompressor() {
  static thread_local Decompressor decompressor;
  return decompressor;
}
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
  Rejected reject(Error error) const;
  std::string in_partition() const { return " in topic partition " + std::string(options_.partition); }
  // Judges the record; what is wrong is noted. False: the batch is refused, no more is written.
  bool judge(const MessageView& entry, const MessageRecord& record);
  Result<void> write(const MessageRecord& record);
  Result<void> take_entry(const MessageView& entry);

  const ValidateOptions& options_;
  ByteView records_;
  std::unique_ptr<Bytes> out_ = std::make_unique<Bytes>();
  int32_t count_ = 0;
  int32_t index_ = 0;  // of the record in its message or wrapper
  int64_t base_timestamp_ = kNoTimestamp;
  int64_t max_timestamp_ = kNoTimestamp;
  bool bad_timestamp_ = false;
  std::vector<RecordError> wrong_;
};

Rejected Up::reject(Error error) const {
  if (error.code == ErrorCode::kMessageTooLarge) {
    error.what = "Message batch in append to partition " + std::string(options_.partition) + " exceeds the maximum configured size of " +
                 std::to_string(options_.max_message_bytes) + " once it is converted.";
  }
  return Rejected(AppendError{std::move(error), {}});
}

bool Up::judge(const MessageView& entry, const MessageRecord& record) {
  auto add = [&](std::string why) {
    if (wrong_.size() < kMaxRecordErrors) wrong_.push_back({index_, std::move(why)});
  };
  if (options_.compacted && !record.key) {
    add("Compacted topic cannot accept message without key" + in_partition());
  } else if (options_.timestamp_type == TimestampType::kCreateTime && record.timestamp != kNoTimestamp) {
    const int64_t age = wrapping_subtract(options_.now_ms, record.timestamp);
    if (age > options_.before_max_ms || wrapping_subtract(0, age) > options_.after_max_ms) {
      bad_timestamp_ = true;
      add("Timestamp " + std::to_string(record.timestamp) + " of message with offset " + std::to_string(record.offset.value) +
          " is out of range. The timestamp should be within [" + std::to_string(wrapping_subtract(options_.now_ms, options_.before_max_ms)) +
          ", " + std::to_string(wrapping_add(options_.now_ms, options_.after_max_ms)) + "]");
    }
  } else if (entry.timestamp_type() == TimestampType::kLogAppendTime) {
    bad_timestamp_ = true;
    add("Invalid timestamp type in message at offset " + std::to_string(record.offset.value) +
        ". Producer should not set timestamp type to LogAppendTime.");
  }
  ++index_;
  return wrong_.empty();
}

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

Result<void> Up::take_entry(const MessageView& entry) {
  const auto most = static_cast<size_t>(std::max(options_.max_message_bytes, 0));
  const size_t limit = std::min(options_.max_decompressed_bytes, std::max(kLeastDecompressedBytes, kDecompressedPerByte * most));
  auto reader = MessageReader::open(entry, thread_decompressor(), limit);
  if (!reader) return fail(std::move(reader.error()));
  index_ = 0;
  MessageRecord record;
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) return {};
    if (entry.is_wrapper() && !record.inner.crc_matches()) {
      return fail(ErrorCode::kCorruptMessage, "Record is corrupt (stored crc = " + std::to_string(record.inner.crc()) + ")" + in_partition() + ".");
    }
    if (!judge(entry, record)) continue;
    if (auto written = write(record); !written) return written;
  }
}

tl::expected<ValidatedRecords, AppendError> Up::run() {
  const MessageView first(records_.first(peek_frame(records_)->value().total_size));
  const Codec codec = options_.target_codec.value_or(first.codec());
  if (codec > Codec::kZstd) {
    return reject({ErrorCode::kInvalidRecord, "Invalid compression type " + std::to_string(static_cast<int>(codec)) + in_partition(), 0});
  }
  const int level = options_.target_codec && options_.level ? *options_.level : default_level(codec);
  const auto most = static_cast<size_t>(std::max(options_.max_message_bytes, 0));
  out_->reserve(std::min(most, records_.size() + kBatchHeaderSize));
  out_->resize(kBatchHeaderSize);
  thread_compressor().start(codec, level, *out_, most - std::min(most, kBatchHeaderSize), records_.size() * (first.is_wrapper() ? 8 : 1));
  ByteView rest = records_;
  while (!rest.empty()) {
    const MessageView entry(rest.first(peek_frame(rest)->value().total_size));
    rest = rest.subspan(entry.size_in_bytes());
    if (auto taken = take_entry(entry); !taken) return reject(std::move(taken.error()));
    if (wrong_.empty()) continue;
    return Rejected(AppendError{{bad_timestamp_ ? ErrorCode::kInvalidTimestamp : ErrorCode::kInvalidRecord,
                                 "One or more records have been rejected: " + wrong_.front().message, 0},
                                std::move(wrong_)});
  }
  if (auto ended = thread_compressor().finish(); !ended) return reject(std::move(ended.error()));

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
