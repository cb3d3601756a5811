// The loggers that DescribeConfigs and IncrementalAlterConfigs know as resources of type BROKER_LOGGER. Their levels live in this
// process only.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace odradek::api {

inline constexpr std::string_view kRootLogger = "root";

// Every logger, root first; the others by name.
std::span<const std::string_view> broker_loggers();

std::vector<config::DescribedConfig> describe_broker_loggers();

// The level of a logger: Kafka's names of levels; nullopt gives it the root's again.
// Errors: kInvalidConfig for an unknown logger or level; kInvalidRequest for the root without a level.
Result<void> check_logger_level(std::string_view logger, const std::optional<std::string>& level);
// Of a checked change.
void set_logger_level(std::string_view logger, const std::optional<std::string>& level);

}  // namespace odradek::api
