// Messages of the old formats: an old client's produce request, and every frame that a log may hold on its way to an old client.
// Input: two bytes of options, then the frames; one option mends the CRCs of the outermost frames so that the bytes behind are reached.
#include "base/check.h"
#include "base/crc.h"
#include "record/down_convert.h"
#include "record/validate.h"

using namespace odradek;
using namespace odradek::record;

namespace {

void mend(MutableByteView bytes) {
  for (;;) {
    auto frame = peek_frame(bytes);
    if (!frame || !*frame || (*frame)->total_size > bytes.size()) return;
    MutableByteView one = bytes.first((*frame)->total_size);
    if ((*frame)->magic == kMagicV2) {
      set_crc(one);
    } else {
      base::store_be<uint32_t>(one.data() + kMessageCrcAt, base::crc32(ByteView(one).subspan(kMessageCrcFrom)));
    }
    bytes = bytes.subspan(one.size());
  }
}

// What an old client gets is whole messages; those that were made here have right CRCs.
void check_converted(ByteView out, int8_t magic, bool all_are_made) {
  static Decompressor decompressor;
  while (!out.empty()) {
    auto frame = next_frame(out);
    CHECK(frame && *frame);
    CHECK(frame->magic() <= magic);
    if (!all_are_made) continue;
    CHECK(frame->magic() == magic && frame->crc_matches());
    // Offsets that no log holds may make the reader refuse a wrapper; it must not read beyond it.
    auto reader = MessageReader::open(frame->message(), decompressor);
    MessageRecord record;
    while (reader && reader->next(record).value_or(false)) CHECK(record.inner.crc_matches());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint8_t first = data[0];
  const uint8_t second = data[1];
  Bytes bytes(data + 2, data + size);
  if ((first & 1) != 0) mend(bytes);

  for (int8_t magic : {kMagicV0, kMagicV1}) {
    DownConverter converter(magic, Offset{second % 4});
    Bytes out;
    ByteView rest = bytes;
    bool converted_only = true;
    for (;;) {
      auto frame = next_frame(rest);
      if (!frame || !*frame) break;
      converted_only = converted_only && frame->magic() > magic;
      const size_t before = out.size();
      auto done = converter.convert(*frame, out, size_t{1} << 20);
      if (!done) {
        CHECK(out.size() == before);
        break;
      }
      if (!*done) break;
    }
    check_converted(out, magic, converted_only);
  }

  ValidateOptions options{.partition = "t-0", .now_ms = 1'700'000'000'000, .first_offset = {1000}, .leader_epoch = {3}};
  options.compacted = (first & 2) != 0;
  options.timestamp_type = (first & 4) != 0 ? TimestampType::kLogAppendTime : TimestampType::kCreateTime;
  if ((first & 8) != 0) options.before_max_ms = options.after_max_ms = 1'000'000;
  if ((first & 16) != 0) options.target_codec = static_cast<Codec>(second % 5);
  options.produce_version = static_cast<int16_t>(second % 3);
  options.max_decompressed_bytes = size_t{4} << 20;
  auto valid = validate_and_assign_offsets(bytes, options);
  if (!valid || valid->bytes.empty()) return 0;
  ByteView rest = valid->bytes;
  auto batch = next_batch(rest);
  CHECK(batch && *batch && rest.empty() && batch->crc_matches());
  CHECK(batch->base_offset().value == 1000 && batch->last_offset() == valid->last_offset && batch->count() == valid->record_count);
  CHECK(batch->max_timestamp() == valid->max_timestamp);
  static Decompressor decompressor;
  auto reader = RecordReader::open(*batch, decompressor);
  CHECK(reader.has_value());
  RecordView record;
  int64_t offset = 1000;
  for (;; ++offset) {
    auto more = reader->next(record);
    CHECK(more.has_value());
    if (!*more) break;
    CHECK(record.offset.value == offset);
  }
  CHECK(offset == valid->last_offset.value + 1);
  return 0;
}
