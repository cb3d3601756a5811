// Compressed streams from outside: every codec and framing. Input: one byte (codec, magic), then the stream.
// Read in pieces and whole must agree, no limit is passed, and the bytes taken as plain text survive a round trip.
#include "base/check.h"
#include "record/compression.h"

using namespace odradek;
using namespace odradek::record;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  static Decompressor decompressor;
  constexpr size_t kLimit = size_t{4} << 20;
  auto codec = static_cast<Codec>(data[0] % 5);
  int8_t magic = (data[0] & 0x80) != 0 ? 0 : 2;
  Bytes stream(data + 1, data + size);  // its own memory: a read beyond it is seen

  Bytes pieces;
  bool complete = false;
  if (decompressor.start(codec, stream, kLimit, magic)) {
    for (;;) {
      auto piece = decompressor.next();
      if (!piece) break;
      if (piece->empty()) {
        complete = true;
        break;
      }
      pieces.insert(pieces.end(), piece->begin(), piece->end());
    }
  }
  CHECK(pieces.size() <= kLimit);
  auto whole = decompressor.all(codec, stream, kLimit, magic);
  CHECK(whole.has_value() == complete);
  if (whole) CHECK(std::equal(whole->begin(), whole->end(), pieces.begin(), pieces.end()));

  auto packed = compress(codec, default_level(codec), stream, magic);
  CHECK(packed.has_value());
  auto again = decompressor.all(codec, *packed, kLimit + stream.size(), magic);
  CHECK(again.has_value() && std::equal(again->begin(), again->end(), stream.begin(), stream.end()));
  return 0;
}
