#include "record/batch.h"

#include "base/crc.h"

namespace odradek::record {

std::string_view name_of(Codec codec) {
  switch (codec) {
    case Codec::kNone: return "none";
    case Codec::kGzip: return "gzip";
    case Codec::kSnappy: return "snappy";
    case Codec::kLz4: return "lz4";
    case Codec::kZstd: return "zstd";
  }
  return "unknown";
}

std::string_view name_of(TimestampType type) { return type == TimestampType::kCreateTime ? "CreateTime" : "LogAppendTime"; }

Result<std::optional<FrameHeader>> peek_frame(ByteView bytes) {
  if (bytes.size() < kFrameOverhead) return std::nullopt;
  int32_t size = base::load_be<int32_t>(bytes.data() + kSizeAt);
  constexpr int32_t kSmallest = static_cast<int32_t>(kSmallestV0 - kFrameOverhead);
  if (size < kSmallest) {
    return fail(ErrorCode::kCorruptMessage,
                "Record size " + std::to_string(size) + " is less than the minimum record overhead (" + std::to_string(kSmallest) + ")");
  }
  if (bytes.size() < kFrameHeaderSize) return std::nullopt;
  FrameHeader frame{.offset = base::load_be<int64_t>(bytes.data()),
                    .total_size = static_cast<size_t>(size) + kFrameOverhead,
                    .magic = static_cast<int8_t>(bytes[kMagicAt])};
  if (frame.magic < kMagicV0 || frame.magic > kMagicV2) {
    return fail(ErrorCode::kCorruptMessage, "Invalid magic found in record: " + std::to_string(frame.magic));
  }
  size_t smallest = frame.magic == kMagicV0 ? kSmallestV0 : frame.magic == kMagicV1 ? kSmallestV1 : kBatchHeaderSize;
  if (frame.total_size < smallest) {
    return fail(ErrorCode::kCorruptMessage, "Record size " + std::to_string(size) + " is too small for magic " + std::to_string(frame.magic));
  }
  return frame;
}

uint32_t BatchView::computed_crc() const { return base::crc32c(bytes().subspan(kAttributesAt)); }

std::string BatchView::where() const {
  return "batch at offset " + std::to_string(base_offset().value) + ", " + std::to_string(size_in_bytes()) + " bytes";
}

Result<BatchView> next_batch(ByteView& rest) {
  auto frame = peek_frame(rest);
  if (!frame) return fail(std::move(frame.error()));
  if (!*frame || (*frame)->total_size > rest.size()) return BatchView();
  if ((*frame)->magic != kMagicV2) {
    return fail(ErrorCode::kUnsupportedForMessageFormat, "message at offset " + std::to_string((*frame)->offset) + " has the old format " +
                                                            std::to_string((*frame)->magic));
  }
  BatchView batch(rest.first((*frame)->total_size));
  rest = rest.subspan((*frame)->total_size);
  return batch;
}

void set_crc(MutableByteView batch) {
  base::store_be<uint32_t>(batch.data() + kCrcAt, base::crc32c(ByteView(batch).subspan(kAttributesAt)));
}

void set_max_timestamp(MutableByteView batch, TimestampType type, int64_t max_timestamp) {
  BatchHeader header(batch.data());
  if (header.timestamp_type() == type && header.max_timestamp() == max_timestamp) return;
  auto attributes = static_cast<int16_t>(header.attributes() & ~kLogAppendTimeBit);
  if (type == TimestampType::kLogAppendTime) attributes = static_cast<int16_t>(attributes | kLogAppendTimeBit);
  base::store_be<int16_t>(batch.data() + kAttributesAt, attributes);
  base::store_be<int64_t>(batch.data() + kMaxTimestampAt, max_timestamp);
  set_crc(batch);
}

}  // namespace odradek::record
