// Messages of the formats v0 and v1: what clients before 0.11 send and read, and what logs of that time hold.
//   offset i64 | size i32 (bytes behind it) | crc u32 | magic i8 | attributes i8 | timestamp i64 (v1 only) |
//   key length i32 (-1 null), key | value length i32 (-1 null), value
// The CRC is CRC-32 over magic..end. A message with a codec is a wrapper: its value is the compressed concatenation of whole
// messages of the same magic, none of which is a wrapper; its offset is that of the last of them. Inner offsets are absolute in v0;
// in v1 they are relative, and the last one stands for the wrapper's.
// Thread: views and free functions; any thread that may read the bytes.
#pragma once

#include <optional>

#include "record/batch.h"
#include "record/compression.h"

namespace odradek::record {

inline constexpr size_t kMessageCrcAt = 12;
inline constexpr size_t kMessageCrcFrom = 16;  // what the CRC covers begins here
inline constexpr size_t kMessageAttributesAt = 17;
inline constexpr size_t kMessageTimestampAt = 18;  // v1
constexpr size_t message_header_size(int8_t magic) { return magic == kMagicV0 ? 18 : 26; }  // up to the key's length

// One whole frame of magic 0 or 1. Offset, magic and attributes can be read of any; fields() checks the rest.
class MessageView {
 public:
  MessageView() = default;
  // `bytes` is exactly one frame that peek_frame accepted with magic 0 or 1.
  explicit MessageView(ByteView bytes) : bytes_(bytes) {}

  ByteView bytes() const { return bytes_; }
  size_t size_in_bytes() const { return bytes_.size(); }
  Offset offset() const { return {base::load_be<int64_t>(bytes_.data())}; }
  int8_t magic() const { return static_cast<int8_t>(bytes_[kMagicAt]); }
  uint32_t crc() const { return base::load_be<uint32_t>(bytes_.data() + kMessageCrcAt); }
  bool crc_matches() const;
  uint8_t attributes() const { return bytes_[kMessageAttributesAt]; }
  // May be one that these formats do not have (zstd, or no codec at all): the reader refuses it.
  Codec codec() const { return static_cast<Codec>(attributes() & kCodecMask); }
  bool is_wrapper() const { return (attributes() & kCodecMask) != 0; }
  // v0: kNoTimestamp, kCreateTime.
  int64_t timestamp() const { return magic() == kMagicV0 ? kNoTimestamp : base::load_be<int64_t>(bytes_.data() + kMessageTimestampAt); }
  TimestampType timestamp_type() const {
    return magic() != kMagicV0 && (attributes() & kLogAppendTimeBit) != 0 ? TimestampType::kLogAppendTime : TimestampType::kCreateTime;
  }

  struct Fields {
    std::optional<ByteView> key, value;  // nullopt: null
  };
  // Errors: kCorruptMessage: a length goes beyond the message. Bytes behind the value are let pass, as Kafka does.
  Result<Fields> fields() const;
  std::string where() const;

 private:
  ByteView bytes_;
};

// One record as a reader sees it.
struct MessageRecord {
  Offset offset;
  int64_t timestamp = kNoTimestamp;  // of a LogAppendTime wrapper: the wrapper's
  std::optional<ByteView> key, value;
  MessageView inner;                 // the message itself: CRC, magic
};

// The records of one message or wrapper, with absolute offsets.
class MessageReader {
 public:
  // Views point into `entry`, or into `decompressor`'s buffer if it is a wrapper: valid until its next use. A cut-off last inner message
  // is dropped. Errors: those of Decompressor::all; kInvalidRecord: a wrapper of no known codec, without a value, without a message,
  // with an inner one of another magic or with a codec, or with offsets below what they are relative to; kCorruptMessage: lengths.
  static Result<MessageReader> open(const MessageView& entry, Decompressor& decompressor, size_t limit = kMaxDecompressedBytes);

  // true: `record` is the next one; false: all have been read. Errors: kCorruptMessage: a length goes beyond the message.
  Result<bool> next(MessageRecord& record);

 private:
  MessageView entry_;
  ByteView rest_;
  int64_t first_ = 0;  // what inner offsets are relative to
};

// Size of a message with these fields, and the message at the end of `out`. `attributes`: codec and, in v1, timestamp type.
size_t message_size(int8_t magic, const std::optional<ByteView>& key, const std::optional<ByteView>& value);
void put_message(Bytes& out, int8_t magic, Offset offset, int64_t timestamp, uint8_t attributes, const std::optional<ByteView>& key,
                 const std::optional<ByteView>& value);

// `message`, put with an empty value, got more bytes behind it: they are its value, which begins at `value_at`. Sizes and CRC are mended.
void extend_value(MutableByteView message, size_t value_at);

}  // namespace odradek::record
