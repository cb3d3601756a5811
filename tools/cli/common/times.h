// Moments and durations as people write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace odradek::cli {

// "2026-11-23", "2026-11-23T04:30", "2026-11-23T04:30:15.250", with "Z" or "+02:00" behind; UTC without. Milliseconds since 1970.
std::optional<int64_t> parse_datetime(std::string_view text);
// ISO 8601: "P1D", "PT2H30M", "P7DT12H", "PT0.5S". Milliseconds.
std::optional<int64_t> parse_duration(std::string_view text);

}  // namespace odradek::cli
