#include "base/text.h"

#include <algorithm>
#include <cstdint>

namespace odradek::base {

namespace {
constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kAlphabet[word >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  uint32_t word = 0;
  int bits = 0;
  for (char c : text) {
    size_t at = kAlphabet.find(c);
    if (at == std::string_view::npos) return std::nullopt;
    word = word << 6 | static_cast<uint32_t>(at);
    bits += 6;
    if (bits >= 8) bytes += static_cast<char>(word >> (bits -= 8));
  }
  return bytes;
}

bool is_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    auto lead = static_cast<uint8_t>(bytes[i]);
    size_t size = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
    if (size == 0 || i + size > bytes.size()) return false;
    uint32_t code = size == 1 ? lead : lead & (0x7fu >> size);
    for (size_t k = 1; k < size; ++k) {
      auto byte = static_cast<uint8_t>(bytes[i + k]);
      if ((byte & 0xc0) != 0x80) return false;
      code = code << 6 | (byte & 0x3fu);
    }
    if ((size == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) || (size == 4 && (code < 0x10000 || code > 0x10ffff))) return false;
    i += size;
  }
  return true;
}

}  // namespace odradek::base
