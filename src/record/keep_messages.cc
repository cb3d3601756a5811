#include "record/keep_messages.h"

#include <algorithm>

#include "base/crc.h"
#include "record/message_rules.h"

namespace odradek::record {
namespace {

Compressor& thread_compressor() {
  static thread_local Compressor compressor;
  return compressor;
}

void set_offset(uint8_t* message, Offset offset) { base::store_be<int64_t>(message, offset.value); }

// Of a v1 message; its CRC follows if anything changes.
void set_time(MutableByteView message, int64_t timestamp, TimestampType type) {
  const MessageView view{ByteView(message)};
  if (view.timestamp() == timestamp && view.timestamp_type() == type) return;
  base::store_be<int64_t>(message.data() + kMessageTimestampAt, timestamp);
  uint8_t& attributes = message[kMessageAttributesAt];
  attributes = static_cast<uint8_t>((attributes & ~kLogAppendTimeBit) | (type == TimestampType::kLogAppendTime ? kLogAppendTimeBit : 0));
  base::store_be<uint32_t>(message.data() + kMessageCrcAt, base::crc32(message.subspan(kMessageCrcFrom)));
}

// Calls `visit(message, index)` for each of whole messages.
template <class Visit>
void for_each_message(MutableByteView messages, Visit&& visit) {
  for (int32_t index = 0; !messages.empty(); ++index) {
    MutableByteView message = messages.first(peek_frame(messages)->value().total_size);
    messages = messages.subspan(message.size());
    visit(message, index);
  }
}

// One wrapper of `messages` in `out`.
Result<void> wrap(ByteView messages, const UnplacedWrapper& as, Offset offset, Bytes& out) {
  const auto attributes = static_cast<uint8_t>(static_cast<uint8_t>(as.codec) | (as.type == TimestampType::kLogAppendTime ? kLogAppendTimeBit : 0));
  out.clear();
  put_message(out, as.magic, offset, as.timestamp, attributes, std::nullopt, ByteView());
  const size_t value_at = out.size();
  Compressor& compressor = thread_compressor();
  compressor.start(as.codec, as.level, out, as.max_bytes - std::min(as.max_bytes, out.size()), messages.size(), as.magic);
  auto written = compressor.write(messages);
  if (written) written = compressor.finish();
  if (written) extend_value(out, value_at);
  return written;
}

}  // namespace

tl::expected<ValidatedRecords, AppendError> keep_messages(MutableByteView records, const ValidateOptions& options) {
  const MessageView first = first_message(records);
  const int8_t magic = first.magic();
  const Codec codec = options.target_codec.value_or(first.codec());
  if (codec >= Codec::kZstd) return convert_messages_up(records, options);
  const bool append_time = magic == kMagicV1 && options.timestamp_type == TimestampType::kLogAppendTime;
  const TimestampType type = append_time ? TimestampType::kLogAppendTime : TimestampType::kCreateTime;

  ValidatedRecords valid;
  valid.bytes = records;
  bool consecutive = true;
  auto judged = judge_messages(records, options, [&](const MessageView&, const MessageRecord& record) -> Result<void> {
    consecutive = consecutive && record.inner.offset().value == valid.record_count;
    valid.max_timestamp = std::max(valid.max_timestamp, record.timestamp);
    ++valid.record_count;
    return {};
  });
  if (!judged) return tl::unexpected<AppendError>(std::move(judged.error()));
  if (append_time) valid.max_timestamp = valid.log_append_time_ms = options.now_ms;
  valid.first_offset = {0};
  valid.last_offset = {valid.record_count - 1};

  const bool wrapped = codec != Codec::kNone;
  if (codec == first.codec() && !wrapped) {
    for_each_message(records, [&](MutableByteView message, int32_t) {
      if (magic == kMagicV1) set_time(message, append_time ? options.now_ms : MessageView(ByteView(message)).timestamp(), type);
    });
  } else if (codec == first.codec() && magic == kMagicV1 && consecutive) {
    set_time(records, valid.max_timestamp, type);
  } else {
    Bytes messages;
    int32_t index = 0;
    const uint8_t bit = append_time ? kLogAppendTimeBit : 0;
    auto put = [&](const MessageView&, const MessageRecord& record) -> Result<void> {
      put_message(messages, magic, {index++}, append_time ? options.now_ms : record.timestamp, bit, record.key, record.value);
      return {};
    };
    if (judged = judge_messages(records, options, put); !judged) return tl::unexpected<AppendError>(std::move(judged.error()));
    const auto most = static_cast<size_t>(std::max(options.max_message_bytes, 0));
    valid.rebuilt = std::make_unique<Bytes>();
    if (!wrapped) {
      bool too_large = false;
      for_each_message(messages, [&](MutableByteView message, int32_t) { too_large = too_large || message.size() > most; });
      if (too_large) return reject_messages({ErrorCode::kMessageTooLarge, "", 0}, options);
      *valid.rebuilt = std::move(messages);
    } else {
      const int level = options.target_codec && options.level ? *options.level : default_level(codec);
      UnplacedWrapper wrapper{magic, codec, level, valid.max_timestamp, type, most, {}};
      if (auto made = wrap(messages, wrapper, valid.last_offset, *valid.rebuilt); !made) return reject_messages(std::move(made.error()), options);
      if (magic == kMagicV0) {
        wrapper.messages = std::move(messages);
        valid.unplaced = std::make_unique<UnplacedWrapper>(std::move(wrapper));
      }
    }
    valid.bytes = *valid.rebuilt;
  }
  if (valid.max_timestamp > kNoTimestamp) valid.offset_of_max_timestamp = valid.last_offset;
  return valid;
}

Result<void> place(ValidatedRecords& valid, Offset first) {
  if (valid.bytes.empty()) return {};
  valid.first_offset = first;
  valid.last_offset = first + (valid.record_count - 1);
  if (valid.offset_of_max_timestamp.value >= 0) valid.offset_of_max_timestamp = valid.last_offset;
  if (valid.is_batch()) {
    set_base_offset(valid.bytes, first);
    return {};
  }
  if (!valid.unplaced) {
    if (MessageView(ByteView(valid.bytes).first(peek_frame(valid.bytes)->value().total_size)).is_wrapper()) {
      set_offset(valid.bytes.data(), valid.last_offset);
    } else {
      for_each_message(valid.bytes, [&](MutableByteView message, int32_t index) { set_offset(message.data(), first + index); });
    }
    return {};
  }
  for_each_message(valid.unplaced->messages, [&](MutableByteView message, int32_t index) { set_offset(message.data(), first + index); });
  auto made = wrap(valid.unplaced->messages, *valid.unplaced, valid.last_offset, *valid.rebuilt);
  valid.bytes = *valid.rebuilt;
  return made;
}

}  // namespace odradek::record
