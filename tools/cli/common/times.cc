#include "cli/common/times.h"

#include <charconv>
#include <chrono>
#include <cmath>

namespace odradek::cli {
namespace {

// `digits` digits at the front, taken off.
std::optional<int> take(std::string_view& text, size_t digits) {
  int value = 0;
  if (text.size() < digits) return std::nullopt;
  auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc() || end != text.data() + digits || value < 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char expected) {
  if (text.empty() || text[0] != expected) return false;
  text.remove_prefix(1);
  return true;
}

// The zone at the end, in minutes; 0 for nothing and Z.
std::optional<int> take_zone(std::string_view& text) {
  if (text.empty() || take(text, 'Z')) return 0;
  int sign = text[0] == '-' ? -1 : 1;
  if (!take(text, '+') && !take(text, '-')) return std::nullopt;
  auto hours = take(text, size_t{2});
  take(text, ':');
  auto minutes = take(text, size_t{2});
  if (!hours || !minutes || *hours > 18 || *minutes > 59) return std::nullopt;
  return sign * (*hours * 60 + *minutes);
}

}  // namespace

std::optional<int64_t> parse_datetime(std::string_view text) {
  using namespace std::chrono;
  auto year_number = take(text, size_t{4});
  if (!year_number || !take(text, '-')) return std::nullopt;
  auto month_number = take(text, size_t{2});
  if (!month_number || !take(text, '-')) return std::nullopt;
  auto day_number = take(text, size_t{2});
  if (!day_number) return std::nullopt;
  year_month_day date{year(*year_number), month(static_cast<unsigned>(*month_number)), day(static_cast<unsigned>(*day_number))};
  if (!date.ok()) return std::nullopt;
  int hour = 0, minute = 0, second = 0, ms = 0;
  if (take(text, 'T') || take(text, ' ')) {
    auto h = take(text, size_t{2});
    if (!h || !take(text, ':')) return std::nullopt;
    auto m = take(text, size_t{2});
    if (!m) return std::nullopt;
    hour = *h;
    minute = *m;
    if (take(text, ':')) {
      auto s = take(text, size_t{2});
      if (!s) return std::nullopt;
      second = *s;
      if (take(text, '.')) {
        int factor = 100;
        if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
        for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1), factor /= 10) ms += (text[0] - '0') * factor;
      }
    }
    if (hour > 23 || minute > 59 || second > 59) return std::nullopt;
  }
  auto zone = take_zone(text);
  if (!zone || !text.empty()) return std::nullopt;
  auto moment = sys_days(date) + hours(hour) + minutes(minute - *zone) + seconds(second) + milliseconds(ms);
  return duration_cast<milliseconds>(moment.time_since_epoch()).count();
}

std::optional<int64_t> parse_duration(std::string_view text) {
  if (!take(text, 'P') || text.empty()) return std::nullopt;
  bool time = false;
  double total_ms = 0;
  std::string_view units = "WD";
  while (!text.empty()) {
    if (!time && take(text, 'T')) {
      time = true;
      units = "HMS";
      if (text.empty()) return std::nullopt;
      continue;
    }
    double value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (error != std::errc() || value < 0 || end == text.data() + text.size()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    char unit = text[0];
    size_t at = units.find(unit);
    if (at == std::string_view::npos) return std::nullopt;
    units.remove_prefix(at + 1);  // each unit once, in order
    text.remove_prefix(1);
    total_ms += value * (unit == 'W' ? 604'800'000.0 : unit == 'D' ? 86'400'000.0 : unit == 'H' ? 3'600'000.0 : unit == 'M' ? 60'000.0 : 1'000.0);
  }
  if (!(total_ms <= 9e15)) return std::nullopt;  // "nan" is a number for from_chars
  return std::llround(total_ms);
}

}  // namespace odradek::cli
