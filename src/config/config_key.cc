#include "config/config_key.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "model/error_code.h"

namespace odradek::config {
namespace {

using namespace std::string_view_literals;

// Full names of Kafka's releases in the form that inter.broker.protocol.version takes; "2.8" stands for its last one.
constexpr std::array kReleases = {
    "0.8.0"sv, "0.8.1"sv, "0.8.2"sv, "0.9.0"sv, "0.10.0-IV0"sv, "0.10.0-IV1"sv, "0.10.1-IV0"sv, "0.10.1-IV1"sv, "0.10.1-IV2"sv,
    "0.10.2-IV0"sv, "0.11.0-IV0"sv, "0.11.0-IV1"sv, "0.11.0-IV2"sv, "1.0-IV0"sv, "1.1-IV0"sv, "2.0-IV0"sv, "2.0-IV1"sv, "2.1-IV0"sv,
    "2.1-IV1"sv, "2.1-IV2"sv, "2.2-IV0"sv, "2.2-IV1"sv, "2.3-IV0"sv, "2.3-IV1"sv, "2.4-IV0"sv, "2.4-IV1"sv, "2.5-IV0"sv, "2.6-IV0"sv,
    "2.7-IV0"sv, "2.7-IV1"sv, "2.7-IV2"sv, "2.8-IV0"sv, "2.8-IV1"sv, "3.0-IV0"sv, "3.0-IV1"sv, "3.1-IV0"sv, "3.2-IV0"sv, "3.3-IV0"sv,
    "3.3-IV1"sv, "3.3-IV2"sv, "3.3-IV3"sv, "3.4-IV0"sv, "3.5-IV0"sv, "3.5-IV1"sv, "3.5-IV2"sv, "3.6-IV0"sv, "3.6-IV1"sv, "3.6-IV2"sv,
    "3.7-IV0"sv, "3.7-IV1"sv, "3.7-IV2"sv, "3.7-IV3"sv, "3.7-IV4"sv, "3.8-IV0"sv, "3.9-IV0"sv, "4.0-IV0"sv, "4.0-IV1"sv,
};

// "2.8-IV1" is one; so is "2.8", and "2.8.1" which means 2.8 (three parts count for 0.x).
bool is_release(std::string_view text) {
  if (std::find(kReleases.begin(), kReleases.end(), text) != kReleases.end()) return true;
  if (text.find('-') != text.npos) return false;
  size_t end = 0;
  for (int parts = text.starts_with("0.") ? 3 : 2; parts > 0 && end != text.npos; --parts) {
    end = text.find('.', end == 0 ? 0 : end + 1);
  }
  std::string_view release = text.substr(0, end);
  return std::any_of(kReleases.begin(), kReleases.end(), [&](std::string_view full) { return full.substr(0, full.find('-')) == release; });
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

tl::unexpected<Error> invalid(const ConfigKey& key, std::string_view value, std::string_view why) {
  return fail(ErrorCode::kInvalidConfig, fmt::format("Invalid value {} for configuration {}: {}", value, key.name, why));
}

template <class T>
bool read_number(std::string_view text, T& into) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-') || text.starts_with('+')) return false;
  }
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc{} && end == text.data() + text.size();
}

std::vector<std::string_view> choices(std::string_view range) {
  std::vector<std::string_view> out;
  while (true) {
    size_t bar = range.find('|');
    out.push_back(range.substr(0, bar));
    if (bar == range.npos) return out;
    range.remove_prefix(bar + 1);
  }
}

Result<void> check_number(const ConfigKey& key, const Value& value) {
  std::string_view range = key.range;
  bool or_minus_one = false;
  if (size_t at = range.find(" or -1"); at != range.npos) {
    or_minus_one = true;
    range = range.substr(0, at);
  }
  size_t dots = range.find("..");
  if (dots == range.npos) return {};
  std::string_view low = range.substr(0, dots), high = range.substr(dots + 2);
  bool real = key.type == Type::kDouble;
  auto below = [&](std::string_view bound) {
    if (real) {
      double limit = 0;
      read_number(bound, limit);
      return !(value.real >= limit);
    }
    int64_t limit = 0;
    read_number(bound, limit);
    return value.integer < limit;
  };
  auto above = [&](std::string_view bound) {
    if (real) {
      double limit = 0;
      read_number(bound, limit);
      return !(value.real <= limit);
    }
    int64_t limit = 0;
    read_number(bound, limit);
    return value.integer > limit;
  };
  bool too_low = !low.empty() && below(low), too_high = !high.empty() && above(high);
  if (or_minus_one) {
    if ((too_low || too_high) && value.integer != -1) {
      return invalid(key, value.text, fmt::format("Value must be between {} and {} or equal to -1", low, high));
    }
    return {};
  }
  if (too_low) return invalid(key, value.text, fmt::format("Value must be at least {}", low));
  if (too_high) return invalid(key, value.text, fmt::format("Value must be no more than {}", high));
  return {};
}

// `*`, or partition:broker each.
bool are_replicas(const std::vector<std::string>& list) {
  if (list.size() == 1 && list[0] == "*") return true;
  return std::all_of(list.begin(), list.end(), [](const std::string& element) {
    size_t colon = element.find(':');
    if (colon == std::string::npos) return false;
    auto digits = [](std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }); };
    return digits(std::string_view(element).substr(0, colon)) && digits(std::string_view(element).substr(colon + 1));
  });
}

Result<void> check_text(const ConfigKey& key, const Value& value) {
  if (key.range.empty()) return {};
  if (key.range == "non-empty") {
    if (value.text.empty()) return invalid(key, value.text, "String must be non-empty");
    return {};
  }
  if (key.range == "release") {
    if (!is_release(value.text)) return invalid(key, value.text, fmt::format("Version {} is not a valid version", value.text));
    return {};
  }
  if (key.range == "replicas") {
    if (are_replicas(value.list)) return {};
    return invalid(key, fmt::format("[{}]", fmt::join(value.list, ", ")),
                   fmt::format("{} must be the literal '*' or a list of replicas in the following format: "
                               "[partitionId]:[brokerId],[partitionId]:[brokerId],...", key.name));
  }
  bool any_case = key.range.starts_with('~');
  auto allowed = choices(any_case ? key.range.substr(1) : key.range);
  auto is_allowed = [&](std::string_view text) {
    return std::any_of(allowed.begin(), allowed.end(), [&](std::string_view choice) { return any_case ? equal_ignoring_case(choice, text) : choice == text; });
  };
  auto refuse = [&](std::string_view text) {
    return invalid(key, text, fmt::format("String must be one of{}: {}", any_case ? " (case insensitive)" : "", fmt::join(allowed, ", ")));
  };
  if (key.type == Type::kList) {
    for (const std::string& element : value.list) {
      if (!is_allowed(element)) return refuse(element);
    }
  } else if (!is_allowed(value.text)) {
    return refuse(value.text);
  }
  return {};
}

}  // namespace

std::string_view name_of(Type type) {
  constexpr std::array kNames = {"unknown"sv, "boolean"sv, "string"sv, "int"sv, "short"sv, "long"sv, "double"sv, "list"sv, "class"sv, "password"sv};
  return kNames[static_cast<size_t>(type)];
}
std::string_view name_of(Importance importance) {
  constexpr std::array kNames = {"high"sv, "medium"sv, "low"sv};
  return kNames[static_cast<size_t>(importance)];
}
std::string_view name_of(Update update) {
  constexpr std::array kNames = {"read-only"sv, "per-broker"sv, "cluster-wide"sv};
  return kNames[static_cast<size_t>(update)];
}
std::string_view name_of(Fate fate) {
  constexpr std::array kNames = {"works"sv, "no meaning here"sv, "refused"sv};
  return kNames[static_cast<size_t>(fate)];
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && static_cast<unsigned char>(text.front()) <= ' ') text.remove_prefix(1);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  return text;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> out;
  text = trim(text);
  if (text.empty()) return out;
  while (true) {
    size_t comma = text.find(',');
    out.emplace_back(trim(text.substr(0, comma)));
    if (comma == text.npos) return out;
    text.remove_prefix(comma + 1);
  }
}

std::vector<std::string> split_csv(std::string_view text) {
  std::vector<std::string> elements = split_list(text);
  std::erase(elements, "");
  return elements;
}

std::string java_double(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (value == 0) return std::signbit(value) ? "-0.0" : "0.0";
  double size = std::fabs(value);
  std::array<char, 400> buffer;
  if (size >= 1e-3 && size < 1e7) {
    auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed).ptr;
    std::string text(buffer.data(), end);
    if (text.find('.') == text.npos) text += ".0";
    return text;
  }
  auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific).ptr;
  std::string text(buffer.data(), end);
  size_t e = text.find('e');
  std::string mantissa = text.substr(0, e);
  if (mantissa.find('.') == mantissa.npos) mantissa += ".0";
  return fmt::format("{}E{}", mantissa, std::stoi(text.substr(e + 1)));
}

Result<Value> parse_value(const ConfigKey& key, const std::optional<std::string>& text) {
  Value value;
  if (!text) return value;
  value.is_null = false;
  std::string_view trimmed = trim(*text);
  auto integer = [&](int64_t least, int64_t greatest, std::string_view type) -> Result<void> {
    if (!read_number(trimmed, value.integer) || value.integer < least || value.integer > greatest) {
      return invalid(key, *text, fmt::format("Not a number of type {}", type));
    }
    value.text = std::to_string(value.integer);
    return check_number(key, value);
  };
  Result<void> checked;
  switch (key.type) {
    case Type::kBoolean:
      if (!equal_ignoring_case(trimmed, "true") && !equal_ignoring_case(trimmed, "false")) {
        return invalid(key, *text, "Expected value to be either true or false");
      }
      value.boolean = equal_ignoring_case(trimmed, "true");
      value.text = value.boolean ? "true" : "false";
      break;
    case Type::kShort: checked = integer(INT16_MIN, INT16_MAX, "SHORT"); break;
    case Type::kInt: checked = integer(INT32_MIN, INT32_MAX, "INT"); break;
    case Type::kLong: checked = integer(INT64_MIN, INT64_MAX, "LONG"); break;
    case Type::kDouble:
      if (!read_number(trimmed, value.real)) return invalid(key, *text, "Not a number of type DOUBLE");
      value.text = java_double(value.real);
      checked = check_number(key, value);
      break;
    case Type::kList:
      value.list = split_list(*text);
      value.text = fmt::format("{}", fmt::join(value.list, ","));
      checked = check_text(key, value);
      break;
    default:
      value.text = trimmed;
      checked = check_text(key, value);
  }
  if (!checked) return fail(checked.error());
  return value;
}

}  // namespace odradek::config
