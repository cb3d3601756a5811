// The records of a v2 batch, read one after the other over the raw bytes.
//   length varint | attributes i8 | timestamp delta varlong | offset delta varint | key length varint (-1 null), key |
//   value length varint (-1 null), value | header count varint, { key length varint, key, value length varint (-1 null), value }*
// No allocation per record: everything is a view. Thread: one reader, one thread.
#pragma once

#include <optional>

#include "record/batch.h"
#include "record/compression.h"

namespace odradek::record {

struct HeaderView {
  std::string_view key;
  std::optional<ByteView> value;
};

// The headers of one record, already checked: walking them cannot fail.
class Headers {
 public:
  Headers() = default;
  Headers(int32_t count, ByteView bytes) : count_(count), rest_(bytes) {}
  int32_t count() const { return count_; }
  // Each as it stands in the record.
  ByteView bytes() const { return rest_; }

  class Iterator {
   public:
    Iterator(int32_t left, ByteView rest) : left_(left), rest_(rest) { read(); }
    const HeaderView& operator*() const { return current_; }
    const HeaderView* operator->() const { return &current_; }
    Iterator& operator++() {
      --left_;
      read();
      return *this;
    }
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    void read();
    int32_t left_;
    ByteView rest_;
    HeaderView current_;
  };
  Iterator begin() const { return {count_, rest_}; }
  Iterator end() const { return {0, {}}; }

 private:
  int32_t count_ = 0;
  ByteView rest_;
};

struct RecordView {
  Offset offset;
  int64_t timestamp = kNoTimestamp;  // of a LogAppendTime batch: the batch's max timestamp
  int32_t sequence = -1;             // -1 if the batch has none
  int32_t offset_delta = 0;
  int64_t timestamp_delta = 0;       // as it stands
  int8_t attributes = 0;
  std::optional<ByteView> key;       // nullopt: null
  std::optional<ByteView> value;     // nullopt: null, a tombstone
  Headers headers;
  size_t size_in_bytes = 0;          // with its length varint, uncompressed
};

class RecordReader {
 public:
  // Views point into the batch, or into `decompressor`'s buffer if it is compressed: valid until its next use.
  // Errors: those of Decompressor::all; kInvalidRecord: negative count.
  static Result<RecordReader> open(const BatchView& batch, Decompressor& decompressor, size_t limit = kMaxDecompressedBytes);

  // true: `record` is the next one; false: all have been read.
  // Errors: kInvalidRecord: the bytes do not hold exactly count() legal records.
  Result<bool> next(RecordView& record);

  int32_t count() const { return header_.count(); }
  // All records as they stand, uncompressed.
  ByteView bytes() const { return bytes_; }

 private:
  RecordReader(BatchHeader header, ByteView bytes);
  BatchHeader header_;
  ByteView bytes_;
  const uint8_t* at_ = nullptr;
  int32_t read_ = 0;
};

}  // namespace odradek::record
