// Bytes as text: base64 (RFC 4648, with padding) and the question whether they are UTF-8. Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace odradek::base {

std::string to_base64(std::string_view bytes);
// Padding may be missing. nullopt: another character, or a length that no bytes have.
std::optional<std::string> from_base64(std::string_view text);
bool is_utf8(std::string_view bytes);

}  // namespace odradek::base
