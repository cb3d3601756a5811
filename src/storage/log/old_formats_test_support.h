// A log as a Kafka of before 0.11 leaves it: messages and wrappers of v0 and v1. Tests only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "record/message.h"

namespace odradek::storage::testing {

struct OldLog {
  Bytes bytes;
  std::vector<size_t> positions;       // of the frames
  std::vector<int64_t> last_offsets;   // of the frames
  std::vector<std::pair<int64_t, int64_t>> timestamps;  // offset and timestamp of the records of v1, both rise
  int64_t end = 0;
};

// Offsets from `base` on: 3 messages of v0, wrappers of 3 v0 messages in gzip and lz4, 2 messages of v1, wrappers of 4 v1 messages in
// gzip, snappy and lz4. Timestamps from `time` on.
inline OldLog make_old_log(int64_t time, int64_t base = 0) {
  OldLog log;
  int64_t offset = base;
  auto put = [&](int8_t magic, record::Codec codec, int count) {
    log.positions.push_back(log.bytes.size());
    Bytes inner;
    int64_t last_time = kNoTimestamp;
    for (int i = 0; i < count; ++i, ++offset) {
      if (magic == record::kMagicV1) {
        last_time = time + 10 * (offset - base);
        log.timestamps.emplace_back(offset, last_time);
      }
      const Offset stands{codec == record::Codec::kNone || magic == record::kMagicV0 ? offset : i};
      const std::string key = "key-" + std::to_string(offset);
      record::put_message(codec == record::Codec::kNone ? log.bytes : inner, magic, stands, last_time, 0, as_bytes(key),
                          as_bytes("a value that is repeated, a value that is repeated"));
    }
    log.last_offsets.push_back(offset - 1);
    if (codec == record::Codec::kNone) return;
    Bytes value = *record::compress(codec, record::default_level(codec), inner, magic);
    record::put_message(log.bytes, magic, {offset - 1}, last_time, static_cast<uint8_t>(codec), std::nullopt, ByteView(value));
  };
  for (int i = 0; i < 3; ++i) put(record::kMagicV0, record::Codec::kNone, 1);
  for (auto codec : {record::Codec::kGzip, record::Codec::kLz4}) put(record::kMagicV0, codec, 3);
  for (int i = 0; i < 2; ++i) put(record::kMagicV1, record::Codec::kNone, 1);
  for (auto codec : {record::Codec::kGzip, record::Codec::kSnappy, record::Codec::kLz4}) put(record::kMagicV1, codec, 4);
  log.end = offset;
  return log;
}

}  // namespace odradek::storage::testing
