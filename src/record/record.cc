#include "record/record.h"

#include "record/walk.h"

namespace odradek::record {

void Headers::Iterator::read() {
  if (left_ == 0) return;
  const uint8_t* at = rest_.data();
  const uint8_t* end = at + rest_.size();
  auto field = [&]() -> std::optional<ByteView> {
    int32_t size = -1;
    walk::varint(at, end, size);
    if (size < 0) return std::nullopt;
    ByteView bytes(at, static_cast<size_t>(size));
    at += size;
    return bytes;
  };
  current_.key = as_text(field().value_or(ByteView()));
  current_.value = field();
  rest_ = {at, end};
}

RecordReader::RecordReader(BatchHeader header, ByteView bytes) : header_(header), bytes_(bytes), at_(bytes.data()) {}

Result<RecordReader> RecordReader::open(const BatchView& batch, Decompressor& decompressor, size_t limit) {
  if (batch.count() < 0) {
    return fail(ErrorCode::kInvalidRecord, "Found invalid record count " + std::to_string(batch.count()) + " in magic v2 batch");
  }
  if (!batch.is_compressed()) return RecordReader(batch, batch.records());
  // An empty batch may have kept its codec and have no stream behind the header.
  if (batch.count() == 0 && batch.records().empty()) return RecordReader(batch, {});
  auto bytes = decompressor.all(batch.codec(), batch.records(), limit);
  if (!bytes) return fail(std::move(bytes.error()));
  return RecordReader(batch, *bytes);
}

Result<bool> RecordReader::next(RecordView& record) {
  const uint8_t* end = bytes_.data() + bytes_.size();
  if (read_ == header_.count()) {
    if (at_ != end) return fail(ErrorCode::kInvalidRecord, kBytesLeft);
    return false;
  }
  const uint8_t* start = at_;
  const uint8_t* at = at_;
  int32_t size;
  if (!walk::varint(at, end, size)) return fail(ErrorCode::kInvalidRecord, kEndsEarly);
  if (size < 0 || end - at < size) return fail(ErrorCode::kInvalidRecord, size < 0 ? kBadSize : kEndsEarly);
  end = at + size;
  RawRecord raw;
  const uint8_t* key = nullptr;
  const uint8_t* value = nullptr;
  RecordFault fault = walk::fields(at, end, raw, key, value);
  if (fault == nullptr && (raw.header_count != 0 || at != end)) fault = walk::check_headers(at, end, raw.header_count);
  if (fault != nullptr) return fail(ErrorCode::kInvalidRecord, fault);

  record.offset_delta = raw.offset_delta;
  record.timestamp_delta = raw.timestamp_delta;
  record.offset = {wrapping_add(header_.base_offset().value, raw.offset_delta)};
  record.timestamp = header_.timestamp_type() == TimestampType::kLogAppendTime ? header_.max_timestamp()
                                                                               : wrapping_add(header_.base_timestamp(), raw.timestamp_delta);
  int32_t first_sequence = header_.base_sequence();
  record.sequence = first_sequence < 0 ? kNoSequence : add_sequence(first_sequence, raw.offset_delta);
  record.attributes = raw.attributes;
  record.key = raw.key_size < 0 ? std::nullopt : std::optional(ByteView(key, static_cast<size_t>(raw.key_size)));
  record.value = raw.value_size < 0 ? std::nullopt : std::optional(ByteView(value, static_cast<size_t>(raw.value_size)));
  record.headers = Headers(raw.header_count, ByteView(at, end));
  record.size_in_bytes = static_cast<size_t>(end - start);
  at_ = end;
  ++read_;
  return true;
}

}  // namespace odradek::record
