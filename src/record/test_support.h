// What the tests of this room share: bytes from hex, random records, a batch with a right CRC after a change. Tests only.
#pragma once

#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "record/batch_builder.h"
#include "record/validate.h"

namespace odradek::record::testing {

inline Bytes from_hex(std::string_view hex) {
  Bytes bytes;
  int digits = 0;
  uint8_t byte = 0;
  for (char c : hex) {
    if (c == ' ' || c == '\n') continue;
    byte = static_cast<uint8_t>(byte << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
    if (++digits % 2 == 0) bytes.push_back(byte);
  }
  return bytes;
}

inline std::string text(const std::optional<ByteView>& bytes) { return bytes ? std::string(as_text(*bytes)) : "<null>"; }

inline constexpr std::array kAllCodecs = {Codec::kNone, Codec::kGzip, Codec::kSnappy, Codec::kLz4, Codec::kZstd};

// A record that owns what it says.
// By operator new on this thread, so far; for tests of this room, which count it in validate_test.cc.
extern constinit thread_local size_t allocated_bytes;

struct OwnedRecord {
  int64_t timestamp = 0;
  std::optional<std::string> key, value;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;
  friend bool operator==(const OwnedRecord&, const OwnedRecord&) = default;
};

inline OwnedRecord own(const RecordView& view) {
  auto owned = [](const std::optional<ByteView>& bytes) { return bytes ? std::optional(std::string(as_text(*bytes))) : std::nullopt; };
  OwnedRecord record{view.timestamp, owned(view.key), owned(view.value), {}};
  for (const HeaderView& header : view.headers) record.headers.emplace_back(std::string(header.key), owned(header.value));
  return record;
}

inline void append(BatchBuilder& builder, const OwnedRecord& record) {
  auto viewed = [](const std::optional<std::string>& s) { return s ? std::optional(as_bytes(*s)) : std::nullopt; };
  std::vector<HeaderView> headers;
  for (const auto& [key, value] : record.headers) headers.push_back({key, viewed(value)});
  builder.append(record.timestamp, viewed(record.key), viewed(record.value), headers);
}

inline Bytes batch_of(const std::vector<OwnedRecord>& records, const BuilderOptions& options = {}) {
  BatchBuilder builder(options);
  for (const OwnedRecord& record : records) append(builder, record);
  return builder.build();
}

inline std::vector<OwnedRecord> simple_records(int count, int64_t timestamp = 1000, size_t value_size = 20) {
  std::vector<OwnedRecord> records;
  for (int i = 0; i < count; ++i) {
    records.push_back({timestamp + i, "k" + std::to_string(i), std::string(value_size, static_cast<char>('a' + i % 26)), {}});
  }
  return records;
}

inline std::string random_text(std::mt19937_64& random, size_t most) {
  std::string s(random() % (most + 1), ' ');
  bool repetitive = random() % 2 == 0;
  for (char& c : s) c = static_cast<char>(repetitive ? 'a' + random() % 2 : random());
  return s;
}

inline std::vector<OwnedRecord> random_records(std::mt19937_64& random) {
  std::vector<OwnedRecord> records(1 + random() % 200);
  size_t most = random() % 20 == 0 ? 300'000 : random() % 5 == 0 ? 5'000 : 120;
  if (most > 10'000) records.resize(1 + random() % 8);
  for (OwnedRecord& record : records) {
    record.timestamp = 1'700'000'000'000 + static_cast<int64_t>(random() % 100'000);
    if (random() % 4 != 0) record.key = random_text(random, 40);
    if (random() % 8 != 0) record.value = random_text(random, most);
    for (size_t i = random() % 6 == 0 ? random() % 4 : 0; i > 0; --i) {
      record.headers.emplace_back(random_text(random, 10), random() % 3 == 0 ? std::nullopt : std::optional(random_text(random, 90)));
    }
  }
  return records;
}

// All records of a batch; fails the reading test by an exception-free abort of the list.
inline Result<std::vector<OwnedRecord>> read_all(const BatchView& batch, std::vector<Offset>* offsets = nullptr) {
  Decompressor decompressor;
  auto reader = RecordReader::open(batch, decompressor);
  if (!reader) return fail(reader.error());
  std::vector<OwnedRecord> records;
  RecordView record;
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(more.error());
    if (!*more) return records;
    records.push_back(own(record));
    if (offsets) offsets->push_back(record.offset);
  }
}

// The batch after `change`, with its size field and CRC right again.
inline Bytes changed(Bytes batch, const std::function<void(Bytes&)>& change) {
  change(batch);
  base::store_be<int32_t>(batch.data() + kSizeAt, static_cast<int32_t>(batch.size() - kFrameOverhead));
  set_crc(batch);
  return batch;
}

// An uncompressed batch whose records are these bytes.
inline Bytes raw_batch(int32_t count, ByteView records, Codec codec = Codec::kNone) {
  Bytes batch = batch_of(simple_records(1));
  Bytes body = codec == Codec::kNone ? Bytes(records.begin(), records.end()) : *compress(codec, default_level(codec), records);
  return changed(batch, [&](Bytes& b) {
    b.resize(kBatchHeaderSize);
    b.insert(b.end(), body.begin(), body.end());
    base::store_be<int16_t>(b.data() + kAttributesAt, static_cast<int16_t>(codec));
    base::store_be<int32_t>(b.data() + kLastOffsetDeltaAt, count - 1);
    base::store_be<int32_t>(b.data() + kCountAt, count);
  });
}

}  // namespace odradek::record::testing
