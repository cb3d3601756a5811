// Makes messages of an older format of what a log holds, for clients that cannot read it (Fetch v0-v1: v0; v2-v3: v1).
//   Left out: control batches, empty batches, headers, producer ids, transactional marks; in v0 timestamps too. Offsets and the codec stay.
//   Uncompressed: records below the offset that was asked for are left out. Compressed: the wrapper holds all; the client skips.
// Thread: one converter, one thread. Source: Apache Kafka 3.9's behaviour at its sockets.
#pragma once

#include "record/frame.h"
#include "record/record.h"

namespace odradek::record {

class DownConverter {
 public:
  // `magic`: of the messages made, 0 or 1. `from`: the offset asked for.
  DownConverter(int8_t magic, Offset from) : magic_(magic), from_(from) {}

  // No compressed batch may hold more than this: its content stands in memory as a whole.
  static constexpr size_t kMaxDecompressedBytes = size_t{128} << 20;

  // Appends the messages of `frame` to `out`, but not beyond `limit` bytes of `out`; the first message or wrapper that `out` takes
  // is appended whole, whatever its size. A frame whose format the client reads already is copied.
  // true: the whole frame was taken; false: the limit stood before its end, the client asks for the rest.
  // Errors (`out` as it was): kUnsupportedCompressionType: zstd. kInvalidRecord, kCorruptMessage: not legal records.
  // kMessageTooLarge: a compressed batch of more than kMaxDecompressedBytes.
  Result<bool> convert(const Frame& frame, Bytes& out, size_t limit);

  // Records in the messages made so far, without copied frames.
  int64_t records() const { return records_; }

 private:
  Result<bool> convert_plain(const BatchView& batch, Bytes& out, size_t limit);
  Result<bool> convert_compressed(const BatchView& batch, Bytes& out, size_t limit);
  Result<bool> convert_message(const MessageView& message, Bytes& out, size_t limit);
  // Puts `inner_`, compressed, as the value of one wrapper.
  bool put_wrapper(Bytes& out, size_t limit, Codec codec, Offset offset, int64_t timestamp, TimestampType type);
  uint8_t type_bit(TimestampType type) const {
    return magic_ != kMagicV0 && type == TimestampType::kLogAppendTime ? static_cast<uint8_t>(kLogAppendTimeBit) : uint8_t{0};
  }

  const int8_t magic_;
  const Offset from_;
  int64_t records_ = 0;
  Decompressor decompressor_;
  Bytes inner_;
};

}  // namespace odradek::record
