#include "config/topic_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/check.h"
#include "config/topic_keys.h"
#include "model/error_code.h"

namespace odradek::config {
namespace {

size_t index_of(std::string_view name) {
  auto at = std::lower_bound(kTopicKeys.begin(), kTopicKeys.end(), name, [](const TopicKey& key, std::string_view n) { return key.key.name < n; });
  CHECK(at != kTopicKeys.end() && at->key.name == name);
  return static_cast<size_t>(at - kTopicKeys.begin());
}

// The broker's value for a topic key, as text; broker values are legal by then.
std::string broker_default(const BrokerConfig& broker, const TopicKey& row) {
  for (const DefaultSource& source : row.sources) {
    if (source.broker_key.empty()) break;
    if (broker.is_null(source.broker_key)) continue;
    switch (find_broker_key(source.broker_key)->type) {
      case Type::kBoolean: return broker.get_bool(source.broker_key) ? "true" : "false";
      case Type::kDouble: return java_double(broker.get_double(source.broker_key));
      case Type::kList: return fmt::format("{}", fmt::join(broker.get_list(source.broker_key), ","));
      case Type::kInt:
      case Type::kLong: {
        int64_t value = broker.get_long(source.broker_key);
        // Any negative retention means without limit.
        if (row.key.name == "retention.ms" && value < 0) return "-1";
        int64_t product = 0;
        if (__builtin_mul_overflow(value, source.factor, &product)) product = INT64_MAX;
        return std::to_string(product);
      }
      default: return broker.get_string(source.broker_key);
    }
  }
  return row.key.default_value ? row.key.default_value : "";
}

}  // namespace

const Value& TopicConfigValues::value(std::string_view name) const { return values_[index_of(name)]; }

bool TopicConfigValues::get_bool(std::string_view name) const {
  CHECK(find_topic_key(name) && find_topic_key(name)->type == Type::kBoolean);
  return value(name).boolean;
}
int32_t TopicConfigValues::get_int(std::string_view name) const {
  CHECK(find_topic_key(name) && find_topic_key(name)->type == Type::kInt);
  return static_cast<int32_t>(value(name).integer);
}
int64_t TopicConfigValues::get_long(std::string_view name) const {
  CHECK(find_topic_key(name) && (find_topic_key(name)->type == Type::kLong || find_topic_key(name)->type == Type::kInt));
  return value(name).integer;
}
double TopicConfigValues::get_double(std::string_view name) const {
  CHECK(find_topic_key(name) && find_topic_key(name)->type == Type::kDouble);
  return value(name).real;
}
const std::string& TopicConfigValues::get_string(std::string_view name) const {
  CHECK(find_topic_key(name) && find_topic_key(name)->type == Type::kString);
  return value(name).text;
}
const std::vector<std::string>& TopicConfigValues::get_list(std::string_view name) const {
  CHECK(find_topic_key(name) && find_topic_key(name)->type == Type::kList);
  return value(name).list;
}
int64_t TopicConfigValues::timestamp_before_max_ms() const {
  int64_t own = get_long("message.timestamp.before.max.ms");
  return own != INT64_MAX ? own : get_long("message.timestamp.difference.max.ms");
}
int64_t TopicConfigValues::timestamp_after_max_ms() const {
  int64_t own = get_long("message.timestamp.after.max.ms");
  return own != INT64_MAX ? own : get_long("message.timestamp.difference.max.ms");
}

TopicConfigValues effective_topic_config(const BrokerConfig& broker, const Properties& overrides) {
  TopicConfigValues values;
  values.values_.reserve(kTopicKeys.size());
  for (const TopicKey& row : kTopicKeys) {
    if (auto set = overrides.find(row.key.name); set != overrides.end()) {
      if (auto own = parse_value(row.key, set->second)) {
        values.values_.push_back(std::move(*own));
        continue;
      }
    }
    auto inherited = parse_value(row.key, broker_default(broker, row));
    if (!inherited) inherited = parse_value(row.key, row.key.default_value);  // a broker value outside the topic key's narrower range
    CHECK(inherited);
    values.values_.push_back(std::move(*inherited));
  }
  return values;
}

Result<void> validate_topic_config(const BrokerConfig& broker, const Properties& overrides) {
  for (const auto& [name, text] : overrides) {
    if (!find_topic_key(name)) return fail(ErrorCode::kInvalidConfig, fmt::format("Unknown topic config name: {}", name));
  }
  for (const auto& [name, text] : overrides) {
    if (auto value = parse_value(*find_topic_key(name), text); !value) return fail(value.error());
  }
  TopicConfigValues values = effective_topic_config(broker, overrides);
  int64_t least = values.get_long("min.compaction.lag.ms"), most = values.get_long("max.compaction.lag.ms");
  if (least > most) {
    return fail(ErrorCode::kInvalidConfig,
                fmt::format("conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})", least, most));
  }
  if (values.get_bool("remote.storage.enable")) {
    return fail(ErrorCode::kInvalidConfig, "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.");
  }
  if (values.get_bool("remote.log.delete.on.disable") || values.get_bool("remote.log.copy.disable")) {
    return fail(ErrorCode::kInvalidConfig, "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under Zookeeper's mode.");
  }
  return {};
}

std::vector<DescribedConfig> describe_topic(const BrokerConfig& broker, const Properties& overrides) {
  TopicConfigValues values = effective_topic_config(broker, overrides);
  std::vector<DescribedConfig> rows;
  rows.reserve(kTopicKeys.size());
  for (const TopicKey& row : kTopicKeys) {
    DescribedConfig described;
    described.name = row.key.name;
    described.type = row.key.type;
    described.documentation = row.key.doc;
    switch (row.key.type) {
      case Type::kBoolean: described.value = values.get_bool(row.key.name) ? "true" : "false"; break;
      case Type::kInt:
      case Type::kLong: described.value = std::to_string(values.get_long(row.key.name)); break;
      case Type::kDouble: described.value = java_double(values.get_double(row.key.name)); break;
      case Type::kList: described.value = fmt::format("{}", fmt::join(values.get_list(row.key.name), ",")); break;
      default: described.value = values.get_string(row.key.name);
    }
    if (std::string_view supplier = row.sources[0].broker_key; !supplier.empty()) described.synonyms = broker.synonyms(supplier, false);
    if (overrides.contains(row.key.name)) {
      described.synonyms.insert(described.synonyms.begin(), Synonym{std::string(row.key.name), described.value, Source::kTopic});
    }
    described.source = described.synonyms.empty() ? Source::kDefault : described.synonyms.front().source;
    rows.push_back(std::move(described));
  }
  // What another release left here: shown without its value, as Kafka does.
  for (const auto& [name, text] : overrides) {
    if (find_topic_key(name)) continue;
    DescribedConfig described;
    described.name = name;
    described.is_sensitive = true;
    described.source = Source::kTopic;
    described.synonyms.push_back({name, std::nullopt, Source::kTopic});
    rows.push_back(std::move(described));
  }
  return rows;
}

}  // namespace odradek::config
