// Log lines: `log::info("storage", "opened {} in {} ms", name, ms)`, one a call: control characters in it become \xNN. Loggers are named
// after rooms; levels change at run time. Thread: any; a call below the level costs one load and one compare. The writer is in log.cc.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace odradek::log {

enum class Level : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

struct Options {
  // Empty: stderr. Else two categories have files of their own beside it, as Kafka's: controller.log, what the logger "controller" says,
  // and state-change.log, the states of partitions (logger "state-change"), which without files says only warnings.
  std::string file;
  int64_t rotate_bytes = 100ll << 20;    // a file of this size is rotated
  int rotate_keep = 10;                  // this many old files are kept
  Level level = Level::kInfo;
};

// Starts a thread that writes out what the files' buffers hold, with the signal mask of the caller. Errors: a file cannot be opened.
// Before other threads run.
[[nodiscard]] Result<void> configure(const Options& options);
void set_level(Level level);                             // the root level
void set_level(std::string_view logger, Level level);    // one logger's own level
void clear_level(std::string_view logger);               // back to the root level
Level level_of(std::string_view logger);
// Also for parsing "INFO", "warn", ...; false: not a level.
bool parse_level(std::string_view text, Level& level);
std::string_view name_of(Level level);
void flush();

bool enabled(std::string_view logger, Level level);
void write(std::string_view logger, Level level, std::string_view line);

template <class... Args>
void at(std::string_view logger, Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(logger, level)) write(logger, level, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(std::string_view logger, fmt::format_string<Args...> format, Args&&... args) {
  at(logger, Level::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(std::string_view logger, fmt::format_string<Args...> format, Args&&... args) {
  at(logger, Level::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void warn(std::string_view logger, fmt::format_string<Args...> format, Args&&... args) {
  at(logger, Level::kWarn, format, std::forward<Args>(args)...);
}
template <class... Args>
void error(std::string_view logger, fmt::format_string<Args...> format, Args&&... args) {
  at(logger, Level::kError, format, std::forward<Args>(args)...);
}

}  // namespace odradek::log
