// The walk over raw records, shared by validation and the reader. Two forms of one grammar (record.h):
// walk_records: over bytes that lie in one piece, fast; RecordStream: over decompressed pieces, where a record may straddle two.
// Thread: one walk, one thread. No allocation.
#pragma once

#include <algorithm>

#include "base/varint.h"
#include "record/compression.h"

namespace odradek::record {

// What a walk tells of each record.
struct RawRecord {
  int64_t timestamp_delta = 0;
  int32_t offset_delta = 0;
  int32_t key_size = 0;    // negative: null
  int32_t value_size = 0;  // negative: null
  int32_t header_count = 0;
  int8_t attributes = 0;
};

// Why records are not legal, in Kafka's words. nullptr: no fault.
using RecordFault = const char*;
inline constexpr RecordFault kEndsEarly = "Incorrect declared batch size, premature EOF reached";
inline constexpr RecordFault kBytesLeft = "Incorrect declared batch size, records still remaining in file";
inline constexpr RecordFault kBadStructure = "Found invalid record structure";
inline constexpr RecordFault kBadSize = "Invalid record size: the fields of a record do not end where the record ends";
inline constexpr RecordFault kBadHeaderCount = "Found invalid number of record headers";
inline constexpr RecordFault kBadHeaderKey = "Invalid negative header key size";

namespace walk {

// Varints of one and two bytes, by far the most, inline.
inline bool varint(const uint8_t*& at, const uint8_t* end, int32_t& value) {
  if (end - at >= 2) [[likely]] {
    uint32_t first = at[0];
    if (first < 0x80) {
      value = base::unzigzag(first);
      ++at;
      return true;
    }
    uint32_t second = at[1];
    if (second < 0x80) {
      value = base::unzigzag((first & 0x7f) | (second << 7));
      at += 2;
      return true;
    }
  }
  size_t used = base::decode_varint(at, end, value);
  at += used;
  return used != 0;
}

inline bool varlong(const uint8_t*& at, const uint8_t* end, int64_t& value) {
  if (end - at >= 2) [[likely]] {
    uint64_t first = at[0];
    if (first < 0x80) {
      value = base::unzigzag(first);
      ++at;
      return true;
    }
    uint64_t second = at[1];
    if (second < 0x80) {
      value = base::unzigzag((first & 0x7f) | (second << 7));
      at += 2;
      return true;
    }
  }
  size_t used = base::decode_varlong(at, end, value);
  at += used;
  return used != 0;
}

// Skips `size` bytes; a negative size is a null and takes none.
inline bool skip(const uint8_t*& at, const uint8_t* end, int32_t size) {
  if (size <= 0) return true;
  if (end - at < size) return false;
  at += size;
  return true;
}

// Checks `count` headers, which must end exactly at `end`.
RecordFault check_headers(const uint8_t* at, const uint8_t* end, int32_t count);

// The fields behind the length of a record that ends at `end`, up to the headers, to which `at` is moved.
// `key` and `value`: where they start.
inline RecordFault fields(const uint8_t*& at, const uint8_t* end, RawRecord& record, const uint8_t*& key, const uint8_t*& value) {
  if (at == end) return kBadStructure;
  record.attributes = static_cast<int8_t>(*at++);
  if (!varlong(at, end, record.timestamp_delta)) return kBadStructure;
  if (!varint(at, end, record.offset_delta)) return kBadStructure;
  if (!varint(at, end, record.key_size)) return kBadStructure;
  key = at;
  if (!skip(at, end, record.key_size)) return kBadStructure;
  if (!varint(at, end, record.value_size)) return kBadStructure;
  value = at;
  if (!skip(at, end, record.value_size)) return kBadStructure;
  if (!varint(at, end, record.header_count)) return kBadStructure;
  return nullptr;
}

}  // namespace walk

// Visits up to `left` records from `at`, counting `left` down, and stops at the first that is not whole before `end`.
// Returns where it stopped. `fault` is set if a record is not legal. `visit(const RawRecord&)`.
template <class Visit>
const uint8_t* walk_records(const uint8_t* at, const uint8_t* end, int32_t& left, RecordFault& fault, Visit&& visit) {
  RawRecord record;
  const uint8_t* key;
  const uint8_t* value;
  while (left > 0) {
    const uint8_t* start = at;
    int32_t size;
    if (!walk::varint(at, end, size)) {
      if (end - start >= 5) fault = kBadStructure;
      return start;
    }
    if (size < 0) {
      fault = kBadSize;
      return start;
    }
    if (end - at < size) return start;
    const uint8_t* record_end = at + size;
    fault = walk::fields(at, record_end, record, key, value);
    if (fault == nullptr && (record.header_count != 0 || at != record_end)) [[unlikely]] {
      fault = walk::check_headers(at, record_end, record.header_count);
    }
    if (fault != nullptr) [[unlikely]] return start;
    visit(static_cast<const RawRecord&>(record));
    at = record_end;
    --left;
  }
  return at;
}

// Records that come in pieces out of a decompressor.
class RecordStream {
 public:
  // `stream` has been started.
  explicit RecordStream(Decompressor& stream) : stream_(stream) {}

  // Visits exactly `count` records, behind which the stream must end.
  // Errors: those of Decompressor::next; kInvalidRecord.
  template <class Visit>
  Result<void> walk(int32_t count, Visit&& visit) {
    int32_t left = count;
    RecordFault fault = nullptr;
    while (left > 0) {
      at_ = walk_records(at_, end_, left, fault, visit);
      if (fault != nullptr) return fail(ErrorCode::kInvalidRecord, fault);
      if (left == 0) break;
      // The next record is not whole in this piece.
      if (at_ == end_) {
        if (!refill()) return stopped();
        continue;
      }
      RawRecord record;
      if (!straddling(record)) return stopped();
      visit(static_cast<const RawRecord&>(record));
      --left;
    }
    if (at_ != end_ || refill()) return fail(ErrorCode::kInvalidRecord, kBytesLeft);
    return error_.code == ErrorCode::kNone ? Result<void>() : fail(std::move(error_));
  }

  // Byte by byte, over piece borders. False: the stream ended, or failed (stopped() says which).
  bool byte(uint8_t& value) {
    if (at_ == end_ && !refill()) return false;
    value = *at_++;
    return true;
  }
  // A piece of at most `most` bytes, none at the end.
  ByteView piece(size_t most) {
    if (at_ == end_ && !refill()) return {};
    size_t size = std::min<size_t>(most, static_cast<size_t>(end_ - at_));
    ByteView view(at_, size);
    at_ += size;
    return view;
  }
  tl::unexpected<Error> stopped() {
    if (error_.code != ErrorCode::kNone) return fail(std::move(error_));
    return fail(ErrorCode::kInvalidRecord, fault_ != nullptr ? fault_ : kEndsEarly);
  }

 private:
  // The next piece; false at the end or on an error (then error_ has a code).
  bool refill();
  // A record that lies in more than one piece.
  bool straddling(RawRecord& record);

  Decompressor& stream_;
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  RecordFault fault_ = nullptr;
  Error error_{ErrorCode::kNone, {}};
};

}  // namespace odradek::record
