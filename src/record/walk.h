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

namespace walk {

// One record whatever its shape; see walk_records. Returns its end; nullptr: not whole before `end`, or `fault` is set.
const uint8_t* any_record(const uint8_t* at, const uint8_t* end, RawRecord& record, RecordFault& fault);

// A raw varint of one or two bytes; false: it is longer.
[[gnu::always_inline]] inline bool short_varint(const uint8_t*& at, uint32_t& raw) {
  raw = at[0];
  if (raw < 0x80) {
    ++at;
    return true;
  }
  uint32_t second = at[1];
  raw = (raw & 0x7f) | (second << 7);
  at += 2;
  return second < 0x80;
}

// The shape of nearly all records: numbers of at most two bytes, no headers, not at the very end of the bytes. Returns the record's
// end, or nullptr: any_record must look at it. May read 16 bytes from `at` and never beyond `end`.
[[gnu::always_inline]] inline const uint8_t* usual_record(const uint8_t* at, const uint8_t* end, RawRecord& record) {
  if (end - at < 16) return nullptr;
  uint32_t raw;
  if (!short_varint(at, raw)) return nullptr;
  ptrdiff_t size = base::unzigzag(raw);
  if (size > end - at) return nullptr;
  const uint8_t* record_end = at + size;
  record.attributes = static_cast<int8_t>(*at++);
  if (!short_varint(at, raw)) return nullptr;
  record.timestamp_delta = base::unzigzag(raw);
  if (!short_varint(at, raw)) return nullptr;
  record.offset_delta = base::unzigzag(raw);
  if (!short_varint(at, raw)) return nullptr;
  record.key_size = base::unzigzag(raw);
  ptrdiff_t skipped = record.key_size > 0 ? record.key_size : 0;
  if (skipped + 3 > record_end - at) return nullptr;
  at += skipped;
  if (!short_varint(at, raw)) return nullptr;
  record.value_size = base::unzigzag(raw);
  skipped = record.value_size > 0 ? record.value_size : 0;
  // What is left is the value and one byte, a header count of zero.
  if (skipped + 1 != record_end - at || at[skipped] != 0) return nullptr;
  record.header_count = 0;
  return record_end;
}

}  // namespace walk

// Visits up to `left` records from `at`, counting `left` down, and stops at the first that is not whole before `end`.
// Returns where it stopped. `fault` is set if a record is not legal. `visit(const RawRecord&)`: a small struct, copied in and out
// so that what it gathers stays in registers.
template <class Visit>
const uint8_t* walk_records(const uint8_t* at, const uint8_t* end, int32_t& left, RecordFault& fault, Visit& visit) {
  Visit here = visit;
  int32_t todo = left;
  while (todo > 0) {
    RawRecord record;
    const uint8_t* next = walk::usual_record(at, end, record);
    if (next == nullptr) [[unlikely]] {
      RawRecord slow;  // another one: its address escapes
      next = walk::any_record(at, end, slow, fault);
      if (next == nullptr) break;
      record = slow;
    }
    here(record);
    at = next;
    --todo;
  }
  left = todo;
  visit = here;
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
  Result<void> walk(int32_t count, Visit& visit) {
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
      visit(record);
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
