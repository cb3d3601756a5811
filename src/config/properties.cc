#include "config/properties.h"

#include <cstdint>
#include <optional>

#include "model/error_code.h"

namespace odradek::config {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\f'; }

void append_utf8(std::string& to, uint32_t code) {
  if (code < 0x80) {
    to += static_cast<char>(code);
  } else if (code < 0x800) {
    to += static_cast<char>(0xC0 | code >> 6);
    to += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    to += static_cast<char>(0xE0 | code >> 12);
    to += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    to += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    to += static_cast<char>(0xF0 | code >> 18);
    to += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    to += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    to += static_cast<char>(0x80 | (code & 0x3F));
  }
}

// The UTF-16 unit of "uXXXX" at the start of `text`.
std::optional<uint32_t> unicode_unit(std::string_view text) {
  if (text.size() < 5 || text[0] != 'u') return std::nullopt;
  uint32_t unit = 0;
  for (char c : text.substr(1, 4)) {
    uint32_t digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
      digit = static_cast<uint32_t>((c | 0x20) - 'a' + 10);
    } else {
      return std::nullopt;
    }
    unit = unit << 4 | digit;
  }
  return unit;
}

// Takes escapes out and turns Latin-1 into UTF-8. Nothing: a malformed \u escape.
std::optional<std::string> unescape(std::string_view raw, Encoding encoding) {
  std::string out;
  auto take = [&](char byte) {
    if (encoding == Encoding::kUtf8) {
      out += byte;
    } else {
      append_utf8(out, static_cast<uint8_t>(byte));
    }
  };
  out.reserve(raw.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\') {
      take(raw[i]);
      continue;
    }
    if (++i == raw.size()) break;
    switch (raw[i]) {
      case 't': out += '\t'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 'f': out += '\f'; break;
      case 'u': {
        auto unit = unicode_unit(raw.substr(i));
        if (!unit) return std::nullopt;
        i += 4;
        if (*unit >= 0xD800 && *unit < 0xDC00 && i + 1 < raw.size() && raw[i + 1] == '\\') {
          auto low = unicode_unit(raw.substr(i + 2));
          if (low && *low >= 0xDC00 && *low < 0xE000) {
            unit = 0x10000 + ((*unit - 0xD800) << 10) + (*low - 0xDC00);
            i += 6;
          }
        }
        append_utf8(out, *unit >= 0xD800 && *unit < 0xE000 ? 0xFFFD : *unit);
        break;
      }
      default: take(raw[i]);
    }
  }
  return out;
}

// Hands out logical lines: comments and blank lines left out, continued lines joined.
class LogicalLines {
 public:
  explicit LogicalLines(std::string_view text) : rest_(text) {}

  bool next(std::string& line) {
    line.clear();
    bool continued = false;
    while (!rest_.empty()) {
      std::string_view natural = take_natural();
      while (!natural.empty() && is_blank(natural.front())) natural.remove_prefix(1);
      if (!continued) {
        if (natural.empty() || natural.front() == '#' || natural.front() == '!') continue;
        first_number_ = number_;
      }
      size_t backslashes = 0;
      while (backslashes < natural.size() && natural[natural.size() - 1 - backslashes] == '\\') ++backslashes;
      continued = backslashes % 2 == 1;
      if (continued) natural.remove_suffix(1);
      line += natural;
      if (!continued) return true;
    }
    return continued;
  }
  int number() const { return first_number_; }

 private:
  std::string_view take_natural() {
    size_t end = rest_.find_first_of("\r\n");
    std::string_view line = rest_.substr(0, end);
    if (end == std::string_view::npos) {
      rest_ = {};
    } else {
      rest_.remove_prefix(end + (rest_.substr(end, 2) == "\r\n" ? 2 : 1));
    }
    ++number_;
    return line;
  }

  std::string_view rest_;
  int number_ = 0;
  int first_number_ = 0;
};

}  // namespace

Result<Properties> parse_properties(std::string_view text, Encoding encoding) {
  Properties properties;
  LogicalLines lines(text);
  for (std::string line; lines.next(line);) {
    size_t key_end = 0;
    while (key_end < line.size() && line[key_end] != '=' && line[key_end] != ':' && !is_blank(line[key_end])) {
      key_end += line[key_end] == '\\' ? 2 : 1;
    }
    key_end = std::min(key_end, line.size());
    size_t value_start = key_end;
    while (value_start < line.size() && is_blank(line[value_start])) ++value_start;
    if (value_start < line.size() && (line[value_start] == '=' || line[value_start] == ':')) ++value_start;
    while (value_start < line.size() && is_blank(line[value_start])) ++value_start;
    auto key = unescape(std::string_view(line).substr(0, key_end), encoding);
    auto value = unescape(std::string_view(line).substr(value_start), encoding);
    if (!key || !value) {
      return fail(ErrorCode::kInvalidConfig, "line " + std::to_string(lines.number()) + ": a \\u escape needs four hexadecimal digits");
    }
    properties[std::move(*key)] = std::move(*value);
  }
  return properties;
}

}  // namespace odradek::config
