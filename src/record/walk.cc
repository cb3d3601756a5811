#include "record/walk.h"

namespace odradek::record {

RecordFault walk::check_headers(const uint8_t* at, const uint8_t* end, int32_t count) {
  if (count < 0 || count > end - at) return kBadHeaderCount;
  for (int32_t i = 0; i < count; ++i) {
    int32_t size;
    if (!varint(at, end, size)) return kBadStructure;
    if (size < 0) return kBadHeaderKey;
    if (!skip(at, end, size)) return kBadStructure;
    if (!varint(at, end, size) || !skip(at, end, size)) return kBadStructure;
  }
  return at == end ? nullptr : kBadSize;
}

const uint8_t* walk::any_record(const uint8_t* at, const uint8_t* end, RawRecord& record, RecordFault& fault) {
  const uint8_t* start = at;
  int32_t size;
  if (!varint(at, end, size)) {
    if (end - start >= 5) fault = kBadStructure;
    return nullptr;
  }
  if (size < 0) {
    fault = kBadSize;
    return nullptr;
  }
  if (end - at < size) return nullptr;
  const uint8_t* record_end = at + size;
  const uint8_t* key;
  const uint8_t* value;
  fault = fields(at, record_end, record, key, value);
  if (fault == nullptr && (record.header_count != 0 || at != record_end)) fault = check_headers(at, record_end, record.header_count);
  return fault == nullptr ? record_end : nullptr;
}

bool RecordStream::refill() {
  auto piece = stream_.next();
  if (!piece) {
    error_ = std::move(piece.error());
    return false;
  }
  at_ = piece->data();
  end_ = at_ + piece->size();
  return !piece->empty();
}

namespace {

// The fields of one record through RecordStream::byte, never beyond the record's own size.
class Straddler {
 public:
  Straddler(RecordStream& stream, RecordFault& fault) : stream_(stream), fault_(fault) {}

  bool length() {
    left_ = 5;  // the length itself
    int64_t size;
    if (!number(size, 5)) return false;
    if (size < 0) return wrong(kBadSize);
    left_ = size;
    return true;
  }
  bool number(int64_t& value, int most = 5) {
    uint64_t raw = 0;
    for (int i = 0; i < most; ++i) {
      uint8_t byte;
      if (left_ == 0) return wrong(kBadStructure);
      if (!stream_.byte(byte)) return false;
      --left_;
      if (i == most - 1 && (byte & (most == 5 ? 0xf0 : 0xfe)) != 0) return wrong(kBadStructure);
      raw |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) {
        value = base::unzigzag(raw);
        return true;
      }
    }
    return wrong(kBadStructure);
  }
  bool number(int32_t& value) {
    int64_t wide;
    if (!number(wide)) return false;
    value = static_cast<int32_t>(wide);
    return true;
  }
  bool skip(int64_t size) {
    if (size > left_) return wrong(kBadStructure);
    while (size > 0) {
      ByteView piece = stream_.piece(static_cast<size_t>(size));
      if (piece.empty()) return false;
      size -= static_cast<int64_t>(piece.size());
      left_ -= static_cast<int64_t>(piece.size());
    }
    return true;
  }
  bool record(RawRecord& record) {
    uint8_t attributes;
    if (!length()) return false;
    if (left_ == 0) return wrong(kBadStructure);
    if (!stream_.byte(attributes)) return false;
    --left_;
    record.attributes = static_cast<int8_t>(attributes);
    if (!number(record.timestamp_delta, 10) || !number(record.offset_delta) || !number(record.key_size) || !skip(record.key_size) ||
        !number(record.value_size) || !skip(record.value_size) || !number(record.header_count)) {
      return false;
    }
    if (record.header_count < 0 || record.header_count > left_) return wrong(kBadHeaderCount);
    for (int32_t i = 0; i < record.header_count; ++i) {
      int32_t size;
      if (!number(size)) return false;
      if (size < 0) return wrong(kBadHeaderKey);
      if (!skip(size) || !number(size) || !skip(size)) return false;
    }
    return left_ == 0 ? true : wrong(kBadSize);
  }

 private:
  bool wrong(RecordFault fault) {
    fault_ = fault;
    return false;
  }
  RecordStream& stream_;
  RecordFault& fault_;
  int64_t left_ = 0;  // of the record
};

}  // namespace

bool RecordStream::straddling(RawRecord& record) { return Straddler(*this, fault_).record(record); }

}  // namespace odradek::record
