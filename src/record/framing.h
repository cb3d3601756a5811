// The two framings that are ours to write: snappy's stream of Java ("xerial") and the LZ4 frame as Kafka uses it.
// Thread: any. Source: the LZ4 frame format, snappy-java's stream.
#pragma once

#include <lz4.h>

#include <array>
#include <xxhash.h>

#include "base/bytes.h"

namespace odradek::record {

namespace snappy_framing {

inline constexpr std::array<uint8_t, 8> kMagic = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
inline constexpr size_t kHeaderSize = 16;  // magic, version i32, lowest compatible version i32
inline constexpr int32_t kVersion = 1;
inline constexpr size_t kBlockSize = size_t{32} << 10;

inline bool has_header(ByteView bytes) { return bytes.size() >= kHeaderSize && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0; }
inline int32_t compatible_version(ByteView header) { return base::load_be<int32_t>(header.data() + 12); }

}  // namespace snappy_framing

namespace lz4 {

inline constexpr uint32_t kFrameMagic = 0x184d2204;
inline constexpr uint32_t kStored = 0x80000000;  // in a block's size: the block is not compressed
inline constexpr size_t kBlockSize = size_t{64} << 10;
inline constexpr uint8_t kFlags = 0x60;   // version 1, independent blocks, no checksums, no content size
inline constexpr uint8_t kBlocks = 0x40;  // blocks of 64 KiB

inline uint32_t load_le32(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24;
}
inline void store_le32(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
}

// The header's check byte over flags, blocks (and the content size); magic 0 hashes the frame magic too.
inline uint8_t header_checksum(ByteView bytes) { return static_cast<uint8_t>(XXH32(bytes.data(), bytes.size(), 0) >> 8); }

// A frame's header.
struct Frame {
  size_t max_block_size = 0;
  bool has_block_checksum = false;
  bool has_content_checksum = false;
  bool ignore_header_checksum = false;  // kept by parse()

  // Takes the header off `rest`. nullptr, or what is wrong with it.
  const char* parse(ByteView& rest) {
    if (rest.size() < 7) return "the stream ends early";
    if (load_le32(rest.data()) != kFrameMagic) return "not an LZ4 frame";
    uint8_t flags = rest[4];
    uint8_t blocks = rest[5];
    if ((flags & 0x03) != 0) return "reserved bits are set";
    if ((flags >> 6) != 1) return "not version 1";
    if ((flags & 0x20) == 0) return "dependent blocks are not supported";
    if ((blocks & 0x8f) != 0) return "reserved bits are set";
    int code = blocks >> 4;
    if (code < 4) return "illegal block size";
    max_block_size = size_t{1} << (8 + 2 * code);
    has_block_checksum = (flags & 0x10) != 0;
    has_content_checksum = (flags & 0x04) != 0;
    size_t described = (flags & 0x08) != 0 ? 10 : 2;  // with the content size, which is not used
    if (rest.size() < 4 + described + 1) return "the stream ends early";
    if (!ignore_header_checksum && header_checksum(rest.subspan(4, described)) != rest[4 + described]) return "the header's checksum does not match";
    rest = rest.subspan(4 + described + 1);
    return nullptr;
  }
};

}  // namespace lz4
}  // namespace odradek::record
