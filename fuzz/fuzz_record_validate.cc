// A client's records: the frame walk, validation with every option, and the reader on what was accepted.
// Input: two bytes of options, then the record set; one option mends size, magic and CRC so that the bytes behind them are reached.
#include "base/check.h"
#include "record/control.h"
#include "record/validate.h"

using namespace odradek;
using namespace odradek::record;

namespace {

void read_all(const BatchView& batch, int64_t first_offset) {
  static Decompressor decompressor;
  auto reader = RecordReader::open(batch, decompressor);
  CHECK(reader.has_value());
  RecordView record;
  size_t touched = 0;
  for (int64_t offset = first_offset;; ++offset) {
    auto more = reader->next(record);
    CHECK(more.has_value());
    if (!*more) break;
    CHECK(record.offset.value == offset);
    for (const HeaderView& header : record.headers) touched += header.key.size() + (header.value ? header.value->size() : 0);
    if (batch.is_control()) (void)parse_end_txn_marker(record);
  }
  CHECK(touched <= kMaxDecompressedBytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  uint8_t first = data[0];
  uint8_t second = data[1];
  Bytes bytes(data + 2, data + size);
  ValidateOptions options{.partition = "t-0", .now_ms = 1'700'000'000'000, .first_offset = {1000}, .leader_epoch = {3}};
  options.compacted = (first & 1) != 0;
  options.timestamp_type = (first & 2) != 0 ? TimestampType::kLogAppendTime : TimestampType::kCreateTime;
  options.origin = (first & 4) != 0 ? AppendOrigin::kCoordinator : AppendOrigin::kClient;
  if ((first & 8) != 0) options.before_max_ms = options.after_max_ms = 1'000'000;
  if ((first & 16) != 0) options.target_codec = static_cast<Codec>(second % 5);
  options.produce_version = (first & 32) != 0 ? 5 : 11;
  options.max_decompressed_bytes = size_t{4} << 20;
  if ((first & 64) != 0 && bytes.size() >= kBatchHeaderSize) {
    base::store_be<int32_t>(bytes.data() + kSizeAt, static_cast<int32_t>(bytes.size() - kFrameOverhead));
    bytes[kMagicAt] = kMagicV2;
    set_crc(bytes);
  }
  auto valid = validate_and_assign_offsets(bytes, options);
  if (!valid) return 0;
  ByteView rest = valid->bytes;
  auto batch = next_batch(rest);
  CHECK(batch && *batch && rest.empty());
  CHECK(batch->crc_matches());
  CHECK(batch->base_offset().value == 1000 && batch->last_offset() == valid->last_offset);
  CHECK(batch->count() == valid->record_count && batch->max_timestamp() == valid->max_timestamp);
  read_all(*batch, 1000);

  // What was accepted is accepted again, unchanged. (Not where a topic stamps its own time: such a batch is refused from a client.)
  if (options.timestamp_type == TimestampType::kLogAppendTime) return 0;
  Bytes again(valid->bytes.begin(), valid->bytes.end());
  set_base_offset(again, {0});
  options.origin = AppendOrigin::kCoordinator;
  auto second_time = validate_and_assign_offsets(again, options);
  CHECK(second_time.has_value() && !second_time->is_rebuilt());
  CHECK(std::equal(again.begin(), again.end(), valid->bytes.begin(), valid->bytes.end()));
  return 0;
}
