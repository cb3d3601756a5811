// Record batches (format v2) as views of the bytes they stand in: in a request, on disk, in a response.
// A log, a Produce field and a Fetch response are plain concatenations of frames; a v2 batch is one frame:
//   base offset i64 | size i32 (bytes behind it) | leader epoch i32 | magic i8 | crc u32 | attributes i16 | last offset delta i32 |
//   base timestamp i64 | max timestamp i64 | producer id i64 | producer epoch i16 | base sequence i32 | count i32 | records
// Base offset and leader epoch are outside the CRC (CRC-32C over attributes..end), so a leader sets them in place.
// Frames of the older formats (magic 0, 1: offset i64 | size i32 | crc u32 | magic i8 | ...) are recognised by peek_frame.
// Thread: views and free functions; any thread that may read the bytes. No allocation except in errors.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "model/error_code.h"
#include "model/types.h"
#include "record/codec.h"

namespace odradek::record {

// Places of the fields in a v2 batch.
inline constexpr size_t kBaseOffsetAt = 0;
inline constexpr size_t kSizeAt = 8;
inline constexpr size_t kLeaderEpochAt = 12;
inline constexpr size_t kMagicAt = 16;  // in every format
inline constexpr size_t kCrcAt = 17;
inline constexpr size_t kAttributesAt = 21;
inline constexpr size_t kLastOffsetDeltaAt = 23;
inline constexpr size_t kBaseTimestampAt = 27;
inline constexpr size_t kMaxTimestampAt = 35;
inline constexpr size_t kProducerIdAt = 43;
inline constexpr size_t kProducerEpochAt = 51;
inline constexpr size_t kBaseSequenceAt = 53;
inline constexpr size_t kCountAt = 57;
inline constexpr size_t kBatchHeaderSize = 61;

inline constexpr size_t kFrameOverhead = 12;    // offset and size, not counted in the size field
inline constexpr size_t kFrameHeaderSize = 17;  // up to and with the magic byte: what peek_frame needs

inline constexpr int8_t kMagicV0 = 0;
inline constexpr int8_t kMagicV1 = 1;
inline constexpr int8_t kMagicV2 = 2;
// Smallest frames of each format, with the 12 bytes of overhead.
inline constexpr size_t kSmallestV0 = 26;
inline constexpr size_t kSmallestV1 = 34;

// Bits of the attributes.
inline constexpr int16_t kCodecMask = 0x07;
inline constexpr int16_t kLogAppendTimeBit = 0x08;
inline constexpr int16_t kTransactionalBit = 0x10;
inline constexpr int16_t kControlBit = 0x20;
inline constexpr int16_t kDeleteHorizonBit = 0x40;

inline constexpr int16_t kNoProducerEpoch = -1;
inline constexpr int32_t kNoSequence = -1;

// Sequence numbers run 0..2147483647 and go on at 0.
constexpr int32_t add_sequence(int32_t sequence, int32_t delta) {
  return static_cast<int32_t>((static_cast<int64_t>(sequence) + delta) & 0x7fffffff);
}

// Numbers of a foreign batch may pass the ends of an int64: then they wrap, as in Java.
constexpr int64_t wrapping_add(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
constexpr int64_t wrapping_subtract(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b)); }

// The first 17 bytes of any frame.
struct FrameHeader {
  int64_t offset = 0;     // v0, v1: the message's offset, of a wrapper its last message's; v2: the base offset
  size_t total_size = 0;  // whole frame, with the 12 bytes in front
  int8_t magic = 0;
};
// The frame at the start of `bytes`, which may be longer or shorter than it. nullopt: fewer than 17 bytes are there (with 12 or
// more, the size is still checked). Errors: kCorruptMessage: size below the smallest of its format, or magic not 0, 1, 2.
Result<std::optional<FrameHeader>> peek_frame(ByteView bytes);

// The 61 bytes of a v2 header; `at` must have them and hold a frame that peek_frame accepted with magic 2.
class BatchHeader {
 public:
  BatchHeader() = default;
  explicit BatchHeader(const uint8_t* at) : at_(at) {}
  explicit operator bool() const { return at_ != nullptr; }

  Offset base_offset() const { return {base::load_be<int64_t>(at_ + kBaseOffsetAt)}; }
  Offset last_offset() const { return {wrapping_add(base_offset().value, last_offset_delta())}; }
  Offset next_offset() const { return {wrapping_add(base_offset().value, int64_t{last_offset_delta()} + 1)}; }
  size_t size_in_bytes() const { return static_cast<size_t>(base::load_be<int32_t>(at_ + kSizeAt)) + kFrameOverhead; }
  LeaderEpoch leader_epoch() const { return {base::load_be<int32_t>(at_ + kLeaderEpochAt)}; }
  int8_t magic() const { return static_cast<int8_t>(at_[kMagicAt]); }
  uint32_t crc() const { return base::load_be<uint32_t>(at_ + kCrcAt); }
  int16_t attributes() const { return base::load_be<int16_t>(at_ + kAttributesAt); }
  // May be 5, 6 or 7 in a foreign batch: no such codec (see has_known_codec).
  Codec codec() const { return static_cast<Codec>(attributes() & kCodecMask); }
  bool has_known_codec() const { return (attributes() & kCodecMask) <= static_cast<int16_t>(Codec::kZstd); }
  bool is_compressed() const { return (attributes() & kCodecMask) != 0; }
  TimestampType timestamp_type() const { return static_cast<TimestampType>((attributes() & kLogAppendTimeBit) != 0); }
  bool is_transactional() const { return (attributes() & kTransactionalBit) != 0; }
  bool is_control() const { return (attributes() & kControlBit) != 0; }
  // Then base_timestamp() is the time after which tombstones and markers may go.
  bool has_delete_horizon() const { return (attributes() & kDeleteHorizonBit) != 0; }
  int32_t last_offset_delta() const { return base::load_be<int32_t>(at_ + kLastOffsetDeltaAt); }
  int64_t base_timestamp() const { return base::load_be<int64_t>(at_ + kBaseTimestampAt); }
  int64_t max_timestamp() const { return base::load_be<int64_t>(at_ + kMaxTimestampAt); }
  ProducerId producer_id() const { return {base::load_be<int64_t>(at_ + kProducerIdAt)}; }
  bool has_producer() const { return producer_id() > kNoProducer; }
  int16_t producer_epoch() const { return base::load_be<int16_t>(at_ + kProducerEpochAt); }
  int32_t base_sequence() const { return base::load_be<int32_t>(at_ + kBaseSequenceAt); }
  // kNoSequence if the base has none.
  int32_t last_sequence() const {
    int32_t first = base_sequence();
    return first < 0 ? kNoSequence : add_sequence(first, last_offset_delta());
  }
  int32_t count() const { return base::load_be<int32_t>(at_ + kCountAt); }

 protected:
  const uint8_t* at_ = nullptr;
};

// One whole v2 batch. False as a condition: no batch (what next_batch gives at the end).
class BatchView : public BatchHeader {
 public:
  BatchView() = default;
  // `bytes` is exactly one frame of magic 2, 61 bytes or more, whose size field agrees (next_batch guarantees it).
  explicit BatchView(ByteView bytes) : BatchHeader(bytes.data()), size_(bytes.size()) {}

  size_t size_in_bytes() const { return size_; }
  ByteView bytes() const { return {at_, size_}; }
  // What follows the header: the records, or one compressed stream of them.
  ByteView records() const { return {at_ + kBatchHeaderSize, size_ - kBatchHeaderSize}; }
  uint32_t computed_crc() const;
  bool crc_matches() const { return computed_crc() == crc(); }
  // For error texts: "batch at offset 12, 345 bytes".
  std::string where() const;

 private:
  size_t size_ = 0;
};

// Takes the batch at the front off `rest`. A false BatchView, with `rest` unchanged: the end, or a cut-off batch (readers drop it).
// The CRC is not checked. Errors (`rest` unchanged): kCorruptMessage as peek_frame; kUnsupportedForMessageFormat: a message of
// magic 0 or 1.
//   for (;;) { auto batch = next_batch(rest); if (!batch) return fail(batch.error()); if (!*batch) break; ... }
Result<BatchView> next_batch(ByteView& rest);

// Setters in place; `batch` is one whole v2 batch. Offset and leader epoch leave the CRC as it is.
inline void set_base_offset(MutableByteView batch, Offset offset) { base::store_be<int64_t>(batch.data() + kBaseOffsetAt, offset.value); }
inline void set_leader_epoch(MutableByteView batch, LeaderEpoch epoch) { base::store_be<int32_t>(batch.data() + kLeaderEpochAt, epoch.value); }
// Writes type and time and computes the CRC again, only if one of them differs.
void set_max_timestamp(MutableByteView batch, TimestampType type, int64_t max_timestamp);
// Writes the CRC of the bytes as they are.
void set_crc(MutableByteView batch);

}  // namespace odradek::record
