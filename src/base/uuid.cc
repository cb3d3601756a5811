#include "base/uuid.h"

#include "base/bytes.h"
#include "base/random.h"

namespace odradek {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int base64_value(char c) {
  size_t at = kBase64.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

}  // namespace

std::string Uuid::to_string() const {
  std::string text;
  text.reserve(22);
  uint32_t bits = 0;
  int count = 0;
  for (uint8_t byte : bytes) {
    bits = (bits << 8) | byte;
    count += 8;
    while (count >= 6) {
      count -= 6;
      text += kBase64[(bits >> count) & 0x3f];
    }
  }
  text += kBase64[(bits << (6 - count)) & 0x3f];
  return text;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  while (text.size() > 22 && text.back() == '=') text.remove_suffix(1);
  if (text.size() != 22) return std::nullopt;
  Uuid uuid;
  uint32_t bits = 0;
  int count = 0;
  size_t at = 0;
  for (char c : text) {
    int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      uuid.bytes[at++] = static_cast<uint8_t>(bits >> count);
      if (at == 16) break;
    }
  }
  return uuid;
}

std::string Uuid::to_hex() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(32);
  for (uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xf];
  }
  return text;
}

namespace base {

Uuid random_uuid(Random& random) {
  // Ids that begin with '-' read as options on command lines; Kafka avoids them too.
  for (;;) {
    Uuid uuid;
    random.fill(uuid.bytes);
    uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
    uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
    if (uuid.to_string().front() != '-') return uuid;
  }
}

std::string to_java_text(const Uuid& uuid) {
  std::string hex = uuid.to_hex();
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" + hex.substr(20);
}

}  // namespace base
}  // namespace odradek
