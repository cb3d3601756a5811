// 16 bytes, as Kafka's topic ids and cluster ids: URL-safe base64 without padding, 22 characters.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace odradek {

struct Uuid {
  std::array<uint8_t, 16> bytes{};
  friend auto operator<=>(const Uuid&, const Uuid&) = default;
  bool is_zero() const { return *this == Uuid{}; }
  std::string to_string() const;                            // 22 characters
  static std::optional<Uuid> parse(std::string_view text);  // 22 characters
  std::string to_hex() const;                               // 32 characters, lower case
};

namespace base {
class Random;
// Version 4; never zero, never {0,..,1} (reserved by Kafka), never starting with '-' in text form.
Uuid random_uuid(Random& random);
// Text form 8-4-4-4-12 as Java's UUID.toString (member ids).
std::string to_java_text(const Uuid& uuid);
}  // namespace base

}  // namespace odradek

template <>
struct std::hash<odradek::Uuid> {
  size_t operator()(const odradek::Uuid& uuid) const noexcept {
    uint64_t words[2];
    __builtin_memcpy(words, uuid.bytes.data(), 16);
    return words[0] ^ (words[1] * 0x9e3779b97f4a7c15ull);
  }
};
