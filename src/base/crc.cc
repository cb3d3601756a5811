#include "base/crc.h"

#include <array>
#include <isa-l/crc.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace odradek::base {
namespace {

constexpr std::array<uint32_t, 256> table_of(uint32_t polynomial) {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? polynomial : 0);
    table[i] = value;
  }
  return table;
}
constexpr auto kTable32c = table_of(0x82f63b78);
constexpr auto kTable32 = table_of(0xedb88320);

uint32_t by_table(const std::array<uint32_t, 256>& table, ByteView bytes, uint32_t seed) {
  uint32_t crc = ~seed;
  for (uint8_t byte : bytes) crc = (crc >> 8) ^ table[(crc ^ byte) & 0xff];
  return ~crc;
}

#if defined(__x86_64__)
// Short input: the set-up of the wide routine costs more than it saves.
uint32_t crc32c_short(ByteView bytes, uint32_t seed) {
  uint64_t crc = ~seed;
  const uint8_t* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  auto crc32 = static_cast<uint32_t>(crc);
  for (; left > 0; --left, ++at) crc32 = _mm_crc32_u8(crc32, *at);
  return ~crc32;
}
#endif

}  // namespace

uint32_t crc32c(ByteView bytes, uint32_t seed) {
#if defined(__x86_64__)
  if (bytes.size() < 256) return crc32c_short(bytes, seed);
#endif
  uint32_t crc = ~seed;
  // isa-l takes an int length.
  constexpr size_t kStep = size_t{1} << 30;
  while (bytes.size() > kStep) {
    crc = crc32_iscsi(const_cast<uint8_t*>(bytes.data()), static_cast<int>(kStep), crc);
    bytes = bytes.subspan(kStep);
  }
  return ~crc32_iscsi(const_cast<uint8_t*>(bytes.data()), static_cast<int>(bytes.size()), crc);
}

uint32_t crc32(ByteView bytes, uint32_t seed) { return crc32_gzip_refl(seed, bytes.data(), bytes.size()); }

uint32_t crc32c_portable(ByteView bytes, uint32_t seed) { return by_table(kTable32c, bytes, seed); }
uint32_t crc32_portable(ByteView bytes, uint32_t seed) { return by_table(kTable32, bytes, seed); }

}  // namespace odradek::base
