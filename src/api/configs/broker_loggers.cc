#include "api/configs/broker_loggers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "model/error_code.h"

namespace odradek::api {
namespace {

using namespace std::string_view_literals;

constexpr std::array kLoggers = {kRootLogger, "api"sv, "app"sv, "base"sv, "config"sv, "controller"sv, "group"sv, "metadata"sv, "metrics"sv, "net"sv,
                                 "replication"sv, "request"sv, "server"sv, "state-change"sv, "storage"sv, "web"sv};
constexpr std::array kLevels = {"DEBUG"sv, "ERROR"sv, "FATAL"sv, "INFO"sv, "TRACE"sv, "WARN"sv};

}  // namespace

std::span<const std::string_view> broker_loggers() { return kLoggers; }

std::vector<config::DescribedConfig> describe_broker_loggers() {
  std::vector<config::DescribedConfig> rows;
  for (std::string_view logger : kLoggers) {
    config::DescribedConfig row;
    row.name = logger;
    row.value = log::name_of(log::level_of(logger));
    row.source = config::Source::kBrokerLogger;
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<void> check_logger_level(std::string_view logger, const std::optional<std::string>& level) {
  if (std::find(kLoggers.begin(), kLoggers.end(), logger) == kLoggers.end()) {
    return fail(ErrorCode::kInvalidConfig, fmt::format("Logger {} does not exist!", logger));
  }
  if (!level) {
    if (logger == kRootLogger) return fail(ErrorCode::kInvalidRequest, "Removing the log level of the root logger is not allowed");
    return {};
  }
  if (std::find(kLevels.begin(), kLevels.end(), *level) == kLevels.end()) {
    return fail(ErrorCode::kInvalidConfig, fmt::format("Cannot set the log level of {} to {} as it is not a supported log level. Valid log levels are {}", logger,
                                                       *level, fmt::join(kLevels, ", ")));
  }
  return {};
}

void set_logger_level(std::string_view logger, const std::optional<std::string>& level) {
  log::Level parsed = log::Level::kInfo;
  if (!level) {
    log::clear_level(logger);
  } else if (log::parse_level(*level, parsed)) {
    logger == kRootLogger ? log::set_level(parsed) : log::set_level(logger, parsed);
  }
}

}  // namespace odradek::api
