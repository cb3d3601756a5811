#include "record/down_convert.h"

#include <algorithm>

#include "base/check.h"

namespace odradek::record {

Result<bool> DownConverter::convert(const Frame& frame, Bytes& out, size_t limit) {
  if (frame.magic() <= magic_) {
    if (!out.empty() && out.size() + frame.size_in_bytes() > limit) return false;
    out.insert(out.end(), frame.bytes().begin(), frame.bytes().end());
    return true;
  }
  const size_t before = out.size();
  auto done = [&]() -> Result<bool> {
    if (!frame.is_batch()) return convert_message(frame.message(), out, limit);
    const BatchView batch = frame.batch();
    if (batch.is_control() || batch.count() == 0) return true;
    if (batch.codec() == Codec::kZstd) {
      return fail(ErrorCode::kUnsupportedCompressionType, "Down-conversion of zstandard-compressed batches is not supported, " + batch.where());
    }
    return batch.is_compressed() ? convert_compressed(batch, out, limit) : convert_plain(batch, out, limit);
  }();
  if (!done) out.resize(before);
  return done;
}

Result<bool> DownConverter::convert_plain(const BatchView& batch, Bytes& out, size_t limit) {
  auto reader = RecordReader::open(batch, decompressor_, kMaxDecompressedBytes);
  if (!reader) return fail(std::move(reader.error()));
  const uint8_t attributes = type_bit(batch.timestamp_type());
  RecordView record;
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) return true;
    if (record.offset < from_) continue;
    if (!out.empty() && out.size() + message_size(magic_, record.key, record.value) > limit) return false;
    put_message(out, magic_, record.offset, record.timestamp, attributes, record.key, record.value);
    ++records_;
  }
}

Result<bool> DownConverter::convert_compressed(const BatchView& batch, Bytes& out, size_t limit) {
  auto reader = RecordReader::open(batch, decompressor_, kMaxDecompressedBytes);
  if (!reader) return fail(std::move(reader.error()));
  const uint8_t attributes = type_bit(batch.timestamp_type());
  inner_.clear();
  int64_t first = -1;
  Offset last;
  int64_t greatest = kNoTimestamp;
  RecordView record;
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
    if (first < 0) first = record.offset.value;
    last = record.offset;
    greatest = std::max(greatest, record.timestamp);
    const Offset inner{magic_ == kMagicV0 ? record.offset.value : record.offset.value - first};
    // An old message says more in front of its fields than a record does.
    if (inner_.size() + message_size(magic_, record.key, record.value) > 2 * kMaxDecompressedBytes) {
      return fail(ErrorCode::kMessageTooLarge, "too much to convert in the " + batch.where());
    }
    put_message(inner_, magic_, inner, record.timestamp, attributes, record.key, record.value);
    ++records_;
  }
  return put_wrapper(out, limit, batch.codec(), last, greatest, batch.timestamp_type());
}

// v1 to v0.
Result<bool> DownConverter::convert_message(const MessageView& message, Bytes& out, size_t limit) {
  auto reader = MessageReader::open(message, decompressor_, kMaxDecompressedBytes);
  if (!reader) return fail(std::move(reader.error()));
  MessageRecord record;
  inner_.clear();
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
    put_message(inner_, magic_, record.offset, kNoTimestamp, 0, record.key, record.value);
    ++records_;
  }
  if (message.is_wrapper()) return put_wrapper(out, limit, message.codec(), message.offset(), kNoTimestamp, TimestampType::kCreateTime);
  if (message.offset() < from_) return true;
  if (!out.empty() && out.size() + inner_.size() > limit) return false;
  out.insert(out.end(), inner_.begin(), inner_.end());
  return true;
}

bool DownConverter::put_wrapper(Bytes& out, size_t limit, Codec codec, Offset offset, int64_t timestamp, TimestampType type) {
  static thread_local Compressor compressor;
  const size_t start = out.size();
  const size_t value_at = start + message_header_size(magic_) + 8;
  const auto attributes = static_cast<uint8_t>(static_cast<uint8_t>(codec) | type_bit(type));
  put_message(out, magic_, offset, timestamp, attributes, std::nullopt, ByteView());
  compressor.start(codec, default_level(codec), out, size_t{INT32_MAX} / 2, inner_.size(), magic_);
  auto written = compressor.write(inner_);
  if (written) written = compressor.finish();
  CHECK(written.has_value());  // compression adds little to what is bounded
  if (inner_.capacity() > (size_t{1} << 20)) Bytes().swap(inner_);
  if (start != 0 && out.size() > limit) {
    out.resize(start);
    return false;
  }
  extend_value(MutableByteView(out).subspan(start), value_at - start);
  return true;
}

}  // namespace odradek::record
