// Reads and writes the fields of Kafka's messages. The generated codecs (protocol/messages/*.h, from src/protocol/schema by
// tools/protogen.py) are made of these steps; rooms use decode_body, encode_body and header.h.
// Shape: big-endian. Not flexible: string int16 length, bytes, records and array int32 length, -1 = null. Flexible: unsigned
// varint of length + 1, 0 = null, and a tag section at the end of each struct. A string has at most 32,767 bytes in both forms: Kafka's
// generated classes read and write no longer ones. Source: Kafka's protocol guide, KIP-482, its MessageDataGenerator.
// Safety: each length is checked against what is left of the message before memory is taken; the nesting is that of the schema; what is
// made of a message takes no more than some times its size, however small its elements are.
// Thread: none of this is shared.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/output.h"
#include "base/result.h"
#include "base/uuid.h"
#include "model/error_code.h"

namespace odradek::protocol {

// A tagged field that the schema does not know (in this version): kept and written again.
struct UnknownTag {
  uint32_t tag = 0;
  Bytes payload;
  friend bool operator==(const UnknownTag&, const UnknownTag&) = default;
};

// Record batches inside a message; owns nothing. Decoded: a view into the frame, which must outlive it.
// To be encoded: `bytes`, or if there are any, `slices` (sent from their files).
struct Records {
  bool null = false;
  MutableByteView bytes;
  std::vector<base::FileSlice> slices;

  size_t size() const;
  // Same bytes or same file ranges.
  friend bool operator==(const Records& a, const Records& b);
};

// The first failure sticks: every later read gives zero or empty, and result() tells what failed.
class Reader {
 public:
  // Elements of arrays and unknown tags may take this much memory, and kRoomPerByte for each byte of the message. An element of two or
  // three bytes becomes a struct of a hundred; no real message has so many of these, but one could be made of nothing else.
  static constexpr size_t kLeastRoom = size_t{64} << 20;
  static constexpr size_t kRoomPerByte = 4;

  explicit Reader(MutableByteView bytes)
      : begin_(bytes.data()), at_(begin_), end_(begin_ + bytes.size()), room_(kLeastRoom + kRoomPerByte * bytes.size()) {}

  size_t remaining() const { return static_cast<size_t>(end_ - at_); }
  size_t used() const { return static_cast<size_t>(at_ - begin_); }
  bool failed() const { return why_ != nullptr; }
  // Error: kInvalidRequest, "<message>.<field> <what is wrong>".
  Result<void> result(std::string_view message) const;
  // `field` and `why` are literals.
  [[gnu::noinline, gnu::cold]] void fail(const char* field, const char* why);

  template <class T>
  void number(T& to, const char* field) {
    if (remaining() < sizeof(T)) [[unlikely]] return fail(field, "ends early");
    to = base::load_be<T>(at_);
    at_ += sizeof(T);
  }
  void number(bool& to, const char* field) {
    uint8_t byte = 0;
    number(byte, field);
    to = byte != 0;
  }
  void number(double& to, const char* field);
  void number(Uuid& to, const char* field);

  // `flexible`: the compact form. The nullable forms take null only if `nullable`.
  void string(std::string& to, bool flexible, const char* field);
  void string(std::optional<std::string>& to, bool flexible, bool nullable, const char* field);
  void bytes(Bytes& to, bool flexible, const char* field);
  void bytes(std::optional<Bytes>& to, bool flexible, bool nullable, const char* field);
  void records(Records& to, bool flexible, bool nullable, const char* field);

  // Arrays; `smallest`: bytes that one element takes at least (1 or more).
  template <class T>
  void array(std::vector<T>& to, bool flexible, int16_t version, size_t smallest, const char* field) {
    int64_t count = array_count(flexible, smallest, field);
    if (count < 0) return failed() ? void() : fail(field, "is null");
    elements(to, static_cast<size_t>(count), flexible, version, field);
  }
  template <class T>
  void array(std::optional<std::vector<T>>& to, bool flexible, bool nullable, int16_t version, size_t smallest, const char* field) {
    int64_t count = array_count(flexible, smallest, field);
    if (count < 0) {
      to.reset();
      return nullable || failed() ? void() : fail(field, "is null");
    }
    elements(to.emplace(), static_cast<size_t>(count), flexible, version, field);
  }
  // A struct behind a presence byte: -1 null, 1 present; inside a tag 0 null, 1 present.
  template <class T>
  void structure(std::optional<T>& to, bool nullable, bool in_tag, int16_t version, const char* field) {
    if (present(in_tag, field)) {
      to.emplace(T{}).read(*this, version);  // T{}: clang 16 takes emplace() of a nested struct with initialisers for ill-formed
    } else {
      to.reset();
      if (!nullable && !failed()) fail(field, "is null");
    }
  }

  // Raw parts.
  uint32_t uvarint(const char* field);
  MutableByteView raw(size_t size, const char* field);

  // A tag section without tags known to the schema.
  void unknown_tags(std::vector<UnknownTag>& to) {
    if (at_ < end_ && *at_ == 0) [[likely]] {
      ++at_;
    } else {
      keep_all_tags(to);
    }
  }

  // The tag section of a struct: `while (tags.next()) switch (tags.tag()) ...`, each tag ends with end() or keep().
  // Tags must rise; the reader is confined to the tag's payload in between.
  class Tags {
   public:
    explicit Tags(Reader& reader);
    bool next();
    uint32_t tag() const { return tag_; }
    void end();
    void keep(std::vector<UnknownTag>& to);

   private:
    Reader& reader_;
    uint32_t left_ = 0;
    int64_t last_ = -1;
    uint32_t tag_ = 0;
    uint8_t* outer_end_ = nullptr;
  };

 private:
  // -1: null (or failed).
  int64_t array_count(bool flexible, size_t smallest, const char* field);
  int64_t length(bool flexible, bool short_length, const char* field);
  int64_t string_length(bool flexible, const char* field);
  bool present(bool in_tag, const char* field);
  bool take_room(size_t size, const char* field) {
    if (room_ < size) [[unlikely]] {
      fail(field, "takes more memory than a message of its size may");
      return false;
    }
    room_ -= size;
    return true;
  }
  void keep_all_tags(std::vector<UnknownTag>& to);

  template <class T>
  void elements(std::vector<T>& to, size_t count, bool flexible, int16_t version, const char* field) {
    to.clear();
    if constexpr (std::is_integral_v<T>) {
      // `count` elements of this size are there: array_count has checked it.
      to.resize(count);
      for (T& element : to) number(element, field);
    } else {
      // A short message may claim many elements: room is taken as they turn out to be there.
      to.reserve(std::min<size_t>(count, 1 + 16384 / sizeof(T)));
      for (size_t i = 0; i < count && !failed(); ++i) {
        if (!take_room(sizeof(T), field)) return;
        T& element = to.emplace_back();
        if constexpr (std::is_same_v<T, std::string>) {
          string(element, flexible, field);
        } else if constexpr (std::is_same_v<T, Uuid>) {
          number(element, field);
        } else if constexpr (std::is_same_v<T, Bytes>) {
          bytes(element, flexible, field);
        } else {
          element.read(*this, version);
        }
      }
    }
  }

  uint8_t* begin_;
  uint8_t* at_;
  uint8_t* end_;
  size_t room_;
  const char* field_ = nullptr;
  const char* why_ = nullptr;
};

// Appends to one growing buffer (it doubles).
class Writer {
 public:
  explicit Writer(size_t expected_size = 256);

  size_t size() const { return static_cast<size_t>(at_ - buffer_.data()); }
  base::Output finish() &&;

  template <class T>
  void number(T value) {
    base::store_be<T>(room(sizeof(T)), value);
    at_ += sizeof(T);
  }
  void number(bool value) { number(static_cast<uint8_t>(value)); }
  void number(double value) { number(std::bit_cast<uint64_t>(value)); }
  void number(const Uuid& value) { raw(value.bytes); }

  // Null where the version does not allow it is written as empty. Longer than the format allows (a string of more than 32,767 bytes,
  // anything of 2 GiB): cut off for a string (at a character, if it is UTF-8; Kafka fails, and closes the connection), CHECK for the rest.
  void string(std::string_view value, bool flexible);
  void string(const std::optional<std::string>& value, bool flexible, bool nullable);
  void bytes(ByteView value, bool flexible);
  void bytes(const std::optional<Bytes>& value, bool flexible, bool nullable);
  void records(const Records& value, bool flexible, bool nullable);

  template <class T>
  void array(const std::vector<T>& values, bool flexible, int16_t version) {
    array_length(static_cast<int64_t>(values.size()), flexible);
    for (const T& value : values) {
      if constexpr (std::is_integral_v<T> || std::is_same_v<T, Uuid>) {
        number(value);
      } else if constexpr (std::is_same_v<T, std::string>) {
        string(value, flexible);
      } else if constexpr (std::is_same_v<T, Bytes>) {
        bytes(value, flexible);
      } else {
        value.write(*this, version);
      }
    }
  }
  template <class T>
  void array(const std::optional<std::vector<T>>& values, bool flexible, bool nullable, int16_t version) {
    if (values) {
      array(*values, flexible, version);
    } else {
      array_length(nullable ? -1 : 0, flexible);
    }
  }
  template <class T>
  void structure(const std::optional<T>& value, bool nullable, bool in_tag, int16_t version) {
    if (value || !nullable) {
      number<int8_t>(1);
      value ? value->write(*this, version) : T{}.write(*this, version);
    } else {
      number<int8_t>(in_tag ? 0 : -1);
    }
  }

  void uvarint(uint32_t value);
  void raw(ByteView value);

  // A tag section without tags known to the schema.
  void unknown_tags(const std::vector<UnknownTag>& tags) {
    if (tags.empty()) [[likely]] return number<uint8_t>(0);
    Tags(*this, tags, 0).finish();
  }

  // The tag section of a struct; known tags in rising order between begin() and end(), unknown ones are set in between.
  class Tags {
   public:
    Tags(Writer& writer, const std::vector<UnknownTag>& unknown, uint32_t known);
    void begin(uint32_t tag);
    void end();
    void finish();

   private:
    void write_unknown();
    Writer& writer_;
    const std::vector<UnknownTag>& unknown_;
    size_t next_unknown_ = 0;
    size_t payload_ = 0;  // where the open tag's payload starts
  };

 private:
  uint8_t* room(size_t size) {
    if (static_cast<size_t>(end_ - at_) < size) [[unlikely]] grow(size);
    return at_;
  }
  [[gnu::noinline]] void grow(size_t size);
  void length(int64_t size, bool flexible, bool short_length);
  void array_length(int64_t count, bool flexible) { length(count, flexible, false); }

  Bytes buffer_;  // its size is the room; what is behind at_ is not yet written
  uint8_t* at_ = nullptr;
  uint8_t* end_ = nullptr;
  std::vector<base::Output::Insert> inserts_;
};

// kUnsupportedVersion with the message's name.
Result<void> unsupported(std::string_view message, int16_t version);

// The body of a message, without its header. Errors: kUnsupportedVersion, else kInvalidRequest with the field's name. Bytes
// behind the message are ignored, as Kafka does: librdkafka leaves three behind its Metadata request for all topics. Records in
// the message point into `body`.
template <class M>
Result<M> decode_body(MutableByteView body, int16_t version) {
  Reader reader(body);
  Result<M> message(tl::in_place);
  if (auto read = message->decode(reader, version); !read) return fail(std::move(read.error()));
  return message;
}

// For messages without file slices (CHECK).
template <class M>
Bytes encode_body(const M& message, int16_t version) {
  Writer writer;
  message.encode(writer, version);
  base::Output output = std::move(writer).finish();
  CHECK(output.inserts.empty());
  return std::move(output.bytes);
}

// Stored and embedded records: an int16 version stands in front of the body. Errors as decode_body.
template <class M>
Bytes encode_versioned(const M& message, int16_t version) {
  Writer writer;
  writer.number(version);
  message.encode(writer, version);
  return std::move(writer).finish().bytes;
}
template <class M>
Result<M> decode_versioned(ByteView bytes, int16_t* version_read = nullptr) {
  if (bytes.size() < 2) return fail(ErrorCode::kInvalidRequest, std::string(M::kName) + ": ends early");
  auto version = base::load_be<int16_t>(bytes.data());
  if (version_read != nullptr) *version_read = version;
  // No stored message has a field of type records, the only one that hands out views (protogen checks it).
  return decode_body<M>({const_cast<uint8_t*>(bytes.data()) + 2, bytes.size() - 2}, version);
}

}  // namespace odradek::protocol
