// LEB128 integers: unsigned (flexible messages) and zigzag (records). Groups of 7 bits, low group first; at most 5 / 10 bytes.
// Decoders never read past `end` and return the number of bytes used, 0 if the bytes end early or the value is too long.
#pragma once

#include <cstddef>
#include <cstdint>

namespace odradek::base {

inline size_t decode_uvarint(const uint8_t* from, const uint8_t* end, uint32_t& value) {
  uint32_t result = 0;
  for (size_t i = 0; i < 5 && from + i < end; ++i) {
    uint8_t byte = from[i];
    if (i == 4 && (byte & 0xf0) != 0) return 0;
    result |= static_cast<uint32_t>(byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) {
      value = result;
      return i + 1;
    }
  }
  return 0;
}

inline size_t decode_uvarlong(const uint8_t* from, const uint8_t* end, uint64_t& value) {
  uint64_t result = 0;
  for (size_t i = 0; i < 10 && from + i < end; ++i) {
    uint8_t byte = from[i];
    if (i == 9 && (byte & 0xfe) != 0) return 0;
    result |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) {
      value = result;
      return i + 1;
    }
  }
  return 0;
}

inline int32_t unzigzag(uint32_t value) { return static_cast<int32_t>((value >> 1) ^ (~(value & 1) + 1)); }
inline int64_t unzigzag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1)); }
inline uint32_t zigzag(int32_t value) { return (static_cast<uint32_t>(value) << 1) ^ static_cast<uint32_t>(value >> 31); }
inline uint64_t zigzag(int64_t value) { return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63); }

inline size_t decode_varint(const uint8_t* from, const uint8_t* end, int32_t& value) {
  uint32_t raw;
  size_t used = decode_uvarint(from, end, raw);
  if (used != 0) value = unzigzag(raw);
  return used;
}
inline size_t decode_varlong(const uint8_t* from, const uint8_t* end, int64_t& value) {
  uint64_t raw;
  size_t used = decode_uvarlong(from, end, raw);
  if (used != 0) value = unzigzag(raw);
  return used;
}

// Writes at `to` (room for 10 bytes) and returns the number of bytes.
inline size_t encode_uvarint(uint8_t* to, uint64_t value) {
  size_t used = 0;
  while (value >= 0x80) {
    to[used++] = static_cast<uint8_t>(value | 0x80);
    value >>= 7;
  }
  to[used++] = static_cast<uint8_t>(value);
  return used;
}
inline size_t encode_varint(uint8_t* to, int32_t value) { return encode_uvarint(to, zigzag(value)); }
inline size_t encode_varlong(uint8_t* to, int64_t value) { return encode_uvarint(to, zigzag(value)); }
inline size_t uvarint_size(uint64_t value) {
  size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    ++size;
  }
  return size;
}

}  // namespace odradek::base
