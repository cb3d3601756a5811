// Topic configs: the values in force for one topic, their checks and their DescribeConfigs rows. The keys stand in topic_keys.h,
// with the broker keys that supply each default.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace odradek::config {

// Everything in force for one topic, parsed: its own overrides over the broker's values. Immutable, cheap to move.
class TopicConfigValues {
 public:
  // CHECKs that the key is a topic key of that type.
  bool get_bool(std::string_view name) const;
  int32_t get_int(std::string_view name) const;
  int64_t get_long(std::string_view name) const;  // kLong, kInt
  double get_double(std::string_view name) const;
  const std::string& get_string(std::string_view name) const;
  const std::vector<std::string>& get_list(std::string_view name) const;
  // message.timestamp.before.max.ms and .after.max.ms, or where they are not set message.timestamp.difference.max.ms.
  int64_t timestamp_before_max_ms() const;
  int64_t timestamp_after_max_ms() const;

 private:
  friend TopicConfigValues effective_topic_config(const BrokerConfig&, const Properties&);
  const Value& value(std::string_view name) const;
  std::vector<Value> values_;  // one per row of the table
};

// Overrides that are unknown or not legal (left by another release) are ignored: what is stored must not stop a topic.
TopicConfigValues effective_topic_config(const BrokerConfig& broker, const Properties& overrides);

// Whether `overrides` may be the whole set of a topic: names, types, ranges, rules between keys.
// Errors: kInvalidConfig, in Kafka's words.
Result<void> validate_topic_config(const BrokerConfig& broker, const Properties& overrides);

// Rows for DescribeConfigs of a topic, in name order.
std::vector<DescribedConfig> describe_topic(const BrokerConfig& broker, const Properties& overrides);

// Null: not a key of the table.
const ConfigKey* find_topic_key(std::string_view name);

}  // namespace odradek::config
