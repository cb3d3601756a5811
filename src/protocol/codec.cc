#include "protocol/codec.h"

#include <limits>

#include "base/varint.h"

namespace odradek::protocol {

namespace {
constexpr size_t kLongestString = std::numeric_limits<int16_t>::max();
}

size_t Records::size() const {
  if (slices.empty()) return bytes.size();
  size_t total = 0;
  for (const base::FileSlice& slice : slices) total += static_cast<size_t>(slice.size);
  return total;
}

bool operator==(const Records& a, const Records& b) {
  if (a.null != b.null || a.slices.size() != b.slices.size() || a.size() != b.size()) return false;
  for (size_t i = 0; i < a.slices.size(); ++i) {
    const base::FileSlice &x = a.slices[i], &y = b.slices[i];
    if (x.file != y.file || x.position != y.position || x.size != y.size) return false;
  }
  return !a.slices.empty() || std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin());
}

// ---- Reader

Result<void> Reader::result(std::string_view message) const {
  if (!failed()) return {};
  return odradek::fail(ErrorCode::kInvalidRequest, std::string(message) + "." + field_ + " " + why_);
}

void Reader::fail(const char* field, const char* why) {
  if (failed()) return;
  field_ = field;
  why_ = why;
  at_ = end_;  // nothing is left to read
}

void Reader::number(double& to, const char* field) {
  uint64_t bits = 0;
  number(bits, field);
  to = std::bit_cast<double>(bits);
}

void Reader::number(Uuid& to, const char* field) {
  if (remaining() < to.bytes.size()) return fail(field, "ends early");
  std::memcpy(to.bytes.data(), at_, to.bytes.size());
  at_ += to.bytes.size();
}

uint32_t Reader::uvarint(const char* field) {
  uint32_t value = 0;
  size_t size = base::decode_uvarint(at_, end_, value);
  if (size == 0) {
    fail(field, "has a bad varint");
    return 0;
  }
  at_ += size;
  return value;
}

MutableByteView Reader::raw(size_t size, const char* field) {
  if (remaining() < size) {
    fail(field, "ends early");
    return {};
  }
  MutableByteView bytes(at_, size);
  at_ += size;
  return bytes;
}

// -1: null (or failed); at most what is left of the message.
int64_t Reader::length(bool flexible, bool short_length, const char* field) {
  int64_t size = -1;
  if (flexible) {
    size = static_cast<int64_t>(uvarint(field)) - 1;
  } else if (short_length) {
    int16_t small = -1;
    number(small, field);
    size = small;
  } else {
    int32_t large = -1;
    number(large, field);
    size = large;
  }
  if (size < -1) {
    fail(field, "has a negative length");
    return -1;
  }
  if (size > static_cast<int64_t>(remaining())) {
    fail(field, "is longer than the message");
    return -1;
  }
  return size;
}

int64_t Reader::array_count(bool flexible, size_t smallest, const char* field) {
  int64_t count = length(flexible, false, field);
  if (count > 0 && static_cast<size_t>(count) > remaining() / smallest) {
    fail(field, "has more elements than the message has room for");
    return -1;
  }
  return count;
}

// As length(); a string is no longer in the compact form than in the other.
int64_t Reader::string_length(bool flexible, const char* field) {
  int64_t size = length(flexible, true, field);
  if (size <= static_cast<int64_t>(kLongestString)) return size;
  fail(field, "is longer than a string may be");
  return -1;
}

void Reader::string(std::string& to, bool flexible, const char* field) {
  int64_t size = string_length(flexible, field);
  if (size < 0) return failed() ? void() : fail(field, "is null");
  to.assign(reinterpret_cast<const char*>(at_), static_cast<size_t>(size));
  at_ += size;
}

void Reader::string(std::optional<std::string>& to, bool flexible, bool nullable, const char* field) {
  int64_t size = string_length(flexible, field);
  if (size < 0) {
    to.reset();
    return nullable || failed() ? void() : fail(field, "is null");
  }
  to.emplace(reinterpret_cast<const char*>(at_), static_cast<size_t>(size));
  at_ += size;
}

void Reader::bytes(Bytes& to, bool flexible, const char* field) {
  int64_t size = length(flexible, false, field);
  if (size < 0) return failed() ? void() : fail(field, "is null");
  to.assign(at_, at_ + size);
  at_ += size;
}

void Reader::bytes(std::optional<Bytes>& to, bool flexible, bool nullable, const char* field) {
  int64_t size = length(flexible, false, field);
  if (size < 0) {
    to.reset();
    return nullable || failed() ? void() : fail(field, "is null");
  }
  to.emplace(at_, at_ + size);
  at_ += size;
}

void Reader::records(Records& to, bool flexible, bool nullable, const char* field) {
  int64_t size = length(flexible, false, field);
  to.null = size < 0;
  if (size < 0) return nullable || failed() ? void() : fail(field, "is null");
  to.bytes = MutableByteView(at_, static_cast<size_t>(size));
  at_ += size;
}

bool Reader::present(bool in_tag, const char* field) {
  int8_t mark = 0;
  number(mark, field);
  if (in_tag && mark != 0 && mark != 1) fail(field, "has a bad presence byte");
  // As Java: outside of tags any negative byte is null.
  return in_tag ? mark == 1 : mark >= 0 && !failed();
}

Reader::Tags::Tags(Reader& reader) : reader_(reader), left_(reader.uvarint("tags")) {
  // Each tag takes two bytes at least.
  if (left_ > reader_.remaining() / 2) reader_.fail("tags", "are more than the message has room for");
}

bool Reader::Tags::next() {
  if (left_ == 0 || reader_.failed()) return false;
  --left_;
  tag_ = reader_.uvarint("tags");
  uint32_t size = reader_.uvarint("tags");
  if (reader_.failed()) return false;
  if (tag_ <= last_) {
    reader_.fail("tags", "do not rise");
    return false;
  }
  if (size > reader_.remaining()) {
    reader_.fail("tags", "are longer than the message");
    return false;
  }
  last_ = tag_;
  outer_end_ = reader_.end_;
  reader_.end_ = reader_.at_ + size;
  return true;
}

void Reader::Tags::end() {
  if (reader_.at_ != reader_.end_) reader_.fail("tags", "have bytes behind a known tag");
  reader_.end_ = outer_end_;
  if (reader_.failed()) reader_.at_ = outer_end_;
}

void Reader::Tags::keep(std::vector<UnknownTag>& to) {
  if (reader_.take_room(sizeof(UnknownTag), "tags")) to.push_back({tag_, Bytes(reader_.at_, reader_.end_)});
  reader_.at_ = reader_.end_;
  reader_.end_ = outer_end_;
  if (reader_.failed()) reader_.at_ = outer_end_;
}

void Reader::keep_all_tags(std::vector<UnknownTag>& to) {
  for (Tags tags(*this); tags.next();) tags.keep(to);
}

// ---- Writer

Writer::Writer(size_t expected_size) : buffer_(expected_size) {
  at_ = buffer_.data();
  end_ = at_ + buffer_.size();
}

base::Output Writer::finish() && {
  buffer_.resize(size());
  return {std::move(buffer_), std::move(inserts_)};
}

void Writer::grow(size_t wanted) {
  size_t used = size();
  buffer_.resize(std::max(buffer_.size() * 2, used + wanted));
  at_ = buffer_.data() + used;
  end_ = buffer_.data() + buffer_.size();
}

void Writer::uvarint(uint32_t value) {
  room(5);
  at_ += base::encode_uvarint(at_, value);
}

void Writer::raw(ByteView value) {
  if (value.empty()) return;
  std::memcpy(room(value.size()), value.data(), value.size());
  at_ += value.size();
}

void Writer::length(int64_t size, bool flexible, bool short_length) {
  CHECK(size <= std::numeric_limits<int32_t>::max() - 1);
  if (flexible) {
    uvarint(static_cast<uint32_t>(size + 1));
  } else if (short_length) {
    number(static_cast<int16_t>(size));
  } else {
    number(static_cast<int32_t>(size));
  }
}

void Writer::string(std::string_view value, bool flexible) {
  if (value.size() > kLongestString) {
    size_t end = kLongestString;
    auto inside = [&] { return (static_cast<uint8_t>(value[end]) & 0xc0) == 0x80; };  // of a character
    while (end > kLongestString - 3 && inside()) --end;
    value = value.substr(0, inside() ? kLongestString : end);
  }
  length(static_cast<int64_t>(value.size()), flexible, true);
  raw(as_bytes(value));
}

void Writer::string(const std::optional<std::string>& value, bool flexible, bool nullable) {
  if (!value && nullable) return length(-1, flexible, true);
  string(value ? std::string_view(*value) : std::string_view(), flexible);
}

void Writer::bytes(ByteView value, bool flexible) {
  length(static_cast<int64_t>(value.size()), flexible, false);
  raw(value);
}

void Writer::bytes(const std::optional<Bytes>& value, bool flexible, bool nullable) {
  if (!value && nullable) return length(-1, flexible, false);
  bytes(value ? ByteView(*value) : ByteView(), flexible);
}

void Writer::records(const Records& value, bool flexible, bool nullable) {
  if (value.null && nullable) return length(-1, flexible, false);
  length(static_cast<int64_t>(value.size()), flexible, false);
  if (value.slices.empty()) return raw(value.bytes);
  for (const base::FileSlice& slice : value.slices) inserts_.push_back({size(), slice});
}

Writer::Tags::Tags(Writer& writer, const std::vector<UnknownTag>& unknown, uint32_t known) : writer_(writer), unknown_(unknown) {
  writer_.uvarint(known + static_cast<uint32_t>(unknown.size()));
}

void Writer::Tags::begin(uint32_t tag) {
  while (next_unknown_ < unknown_.size() && unknown_[next_unknown_].tag < tag) write_unknown();
  writer_.uvarint(tag);
  writer_.number<uint8_t>(0);  // the size, if it is below 128
  payload_ = writer_.size();
}

void Writer::Tags::end() {
  size_t size = writer_.size() - payload_;
  size_t more = base::uvarint_size(size) - 1;
  if (more > 0) {
    writer_.room(more);
    uint8_t* start = writer_.buffer_.data() + payload_;
    std::memmove(start + more, start, size);
    writer_.at_ += more;
  }
  base::encode_uvarint(writer_.buffer_.data() + payload_ - 1, size);
}

void Writer::Tags::finish() {
  while (next_unknown_ < unknown_.size()) write_unknown();
}

void Writer::Tags::write_unknown() {
  const UnknownTag& unknown = unknown_[next_unknown_++];
  writer_.uvarint(unknown.tag);
  writer_.uvarint(static_cast<uint32_t>(unknown.payload.size()));
  writer_.raw(unknown.payload);
}

Result<void> unsupported(std::string_view message, int16_t version) {
  return fail(ErrorCode::kUnsupportedVersion, std::string(message) + " version " + std::to_string(version));
}

}  // namespace odradek::protocol
