#include "record/message.h"

#include "base/crc.h"

namespace odradek::record {
namespace {

// A field with a length in front, off the front of `rest`. False: it is not whole.
bool take_field(ByteView& rest, std::optional<ByteView>& field) {
  if (rest.size() < 4) return false;
  auto size = base::load_be<int32_t>(rest.data());
  rest = rest.subspan(4);
  if (size < 0) {
    field.reset();
    return true;
  }
  if (static_cast<size_t>(size) > rest.size()) return false;
  field = rest.first(static_cast<size_t>(size));
  rest = rest.subspan(static_cast<size_t>(size));
  return true;
}

// Takes the message at the front off `rest`, inside a wrapper of `magic`. False: the end, or a cut-off message.
Result<bool> take_inner(ByteView& rest, int8_t magic, MessageView& message) {
  auto frame = peek_frame(rest);
  if (!frame) return fail(std::move(frame.error()));
  if (!*frame || (*frame)->total_size > rest.size()) return false;
  if ((*frame)->magic != magic) {
    return fail(ErrorCode::kInvalidRecord, "Compressed message magic " + std::to_string((*frame)->magic) + " does not match wrapper magic " +
                                               std::to_string(magic));
  }
  message = MessageView(rest.first((*frame)->total_size));
  rest = rest.subspan((*frame)->total_size);
  return true;
}

uint8_t* put_field(uint8_t* at, const std::optional<ByteView>& field) {
  base::store_be<int32_t>(at, field ? static_cast<int32_t>(field->size()) : -1);
  at += 4;
  if (!field || field->empty()) return at;
  std::memcpy(at, field->data(), field->size());
  return at + field->size();
}

}  // namespace

bool MessageView::crc_matches() const { return crc() == base::crc32(bytes_.subspan(kMessageCrcFrom)); }

Result<MessageView::Fields> MessageView::fields() const {
  ByteView rest = bytes_.subspan(message_header_size(magic()));
  Fields fields;
  if (!take_field(rest, fields.key) || !take_field(rest, fields.value)) {
    return fail(ErrorCode::kCorruptMessage, "a field goes beyond the end of the " + where());
  }
  return fields;
}

std::string MessageView::where() const {
  return "message at offset " + std::to_string(offset().value) + ", " + std::to_string(size_in_bytes()) + " bytes";
}

Result<MessageReader> MessageReader::open(const MessageView& entry, Decompressor& decompressor, size_t limit) {
  MessageReader reader;
  reader.entry_ = entry;
  if (!entry.is_wrapper()) {
    reader.rest_ = entry.bytes();
    return reader;
  }
  if (entry.codec() > Codec::kLz4) {
    return fail(ErrorCode::kInvalidRecord, "Invalid compression type " + std::to_string(static_cast<int>(entry.codec())) + " of the wrapper, a " + entry.where());
  }
  auto fields = entry.fields();
  if (!fields) return fail(std::move(fields.error()));
  if (!fields->value) return fail(ErrorCode::kInvalidRecord, "Found invalid compressed record set with null value, a " + entry.where());
  auto bytes = decompressor.all(entry.codec(), *fields->value, limit, entry.magic());
  if (!bytes) return fail(std::move(bytes.error()));
  reader.rest_ = *bytes;

  ByteView rest = *bytes;
  MessageView inner;
  int64_t last = -1;
  bool any = false;
  for (;;) {
    auto more = take_inner(rest, entry.magic(), inner);
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
    if (inner.is_wrapper()) return fail(ErrorCode::kInvalidRecord, "Compressed outer record should not have an inner record with a compression attribute set");
    last = inner.offset().value;
    any = true;
  }
  if (!any) return fail(ErrorCode::kInvalidRecord, "Found invalid compressed record set with no inner records, a " + entry.where());
  // A wrapper at offset 0 comes from a producer that numbers its messages 0, 1, 2... and leaves the wrapper's offset out.
  if (entry.magic() == kMagicV1 && entry.offset().value != 0) {
    reader.first_ = wrapping_subtract(entry.offset().value, last);
    if (last < 0 || reader.first_ < 0) {
      return fail(ErrorCode::kInvalidRecord, "Found invalid wrapper offset in compressed v1 message set, wrapper offset '" +
                                                 std::to_string(entry.offset().value) + "' is less than the last inner message offset '" +
                                                 std::to_string(last) + "' and it is not zero.");
    }
  }
  return reader;
}

Result<bool> MessageReader::next(MessageRecord& record) {
  auto more = take_inner(rest_, entry_.magic(), record.inner);
  if (!more || !*more) return more;
  auto fields = record.inner.fields();
  if (!fields) return fail(std::move(fields.error()));
  record.key = fields->key;
  record.value = fields->value;
  record.offset = {wrapping_add(first_, record.inner.offset().value)};
  record.timestamp = entry_.timestamp_type() == TimestampType::kLogAppendTime ? entry_.timestamp() : record.inner.timestamp();
  return true;
}

size_t message_size(int8_t magic, const std::optional<ByteView>& key, const std::optional<ByteView>& value) {
  return message_header_size(magic) + 8 + (key ? key->size() : 0) + (value ? value->size() : 0);
}

void put_message(Bytes& out, int8_t magic, Offset offset, int64_t timestamp, uint8_t attributes, const std::optional<ByteView>& key,
                 const std::optional<ByteView>& value) {
  const size_t size = message_size(magic, key, value);
  const size_t start = out.size();
  out.resize(start + size);
  uint8_t* at = out.data() + start;
  base::store_be<int64_t>(at, offset.value);
  base::store_be<int32_t>(at + kSizeAt, static_cast<int32_t>(size - kFrameOverhead));
  at[kMagicAt] = static_cast<uint8_t>(magic);
  at[kMessageAttributesAt] = attributes;
  if (magic != kMagicV0) base::store_be<int64_t>(at + kMessageTimestampAt, timestamp);
  put_field(put_field(at + message_header_size(magic), key), value);
  base::store_be<uint32_t>(at + kMessageCrcAt, base::crc32({at + kMessageCrcFrom, size - kMessageCrcFrom}));
}

void extend_value(MutableByteView message, size_t value_at) {
  base::store_be<int32_t>(message.data() + kSizeAt, static_cast<int32_t>(message.size() - kFrameOverhead));
  base::store_be<int32_t>(message.data() + value_at - 4, static_cast<int32_t>(message.size() - value_at));
  base::store_be<uint32_t>(message.data() + kMessageCrcAt, base::crc32(message.subspan(kMessageCrcFrom)));
}

}  // namespace odradek::record
