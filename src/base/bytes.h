// Views of raw bytes, and loads and stores of big-endian integers (the order of Kafka's wire and files).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace odradek {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;
using MutableByteView = std::span<uint8_t>;

inline ByteView as_bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }
inline std::string_view as_text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

namespace base {

template <class T>
constexpr T byte_swap(T value) {
  using U = std::make_unsigned_t<T>;
  auto bits = static_cast<U>(value);
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(bits));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(bits));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(bits));
}

// Reads sizeof(T) bytes at `from`; no alignment needed.
template <class T>
T load_be(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  if constexpr (std::endian::native == std::endian::little) value = byte_swap(value);
  return value;
}

template <class T>
void store_be(void* to, std::type_identity_t<T> value) {
  if constexpr (std::endian::native == std::endian::little) value = byte_swap(value);
  std::memcpy(to, &value, sizeof(T));
}

template <class T>
void append_be(Bytes& to, std::type_identity_t<T> value) {
  size_t at = to.size();
  to.resize(at + sizeof(T));
  store_be<T>(to.data() + at, value);
}

}  // namespace base
}  // namespace odradek
