#include "config/config.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "config/broker_keys.h"
#include "config/layers.h"
#include "model/error_code.h"

namespace odradek::config {

std::vector<std::string_view> same_meaning(std::string_view name, bool listener_base) {
  using List = std::vector<std::string_view>;
  if (name == "log.roll.ms" || name == "log.roll.hours") return List{"log.roll.ms", "log.roll.hours"};
  if (name == "log.roll.jitter.ms" || name == "log.roll.jitter.hours") return List{"log.roll.jitter.ms", "log.roll.jitter.hours"};
  if (name == "log.flush.interval.ms") return List{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"};
  if (name == "log.retention.ms" || name == "log.retention.minutes" || name == "log.retention.hours") {
    return List{"log.retention.ms", "log.retention.minutes", "log.retention.hours"};
  }
  if (listener_base) {
    if (std::string_view base = split_listener_scoped(name).key; !base.empty()) {
      // Only these may stand behind a mechanism's name.
      for (std::string_view key : {"sasl.jaas.config", "sasl.login.callback.handler.class", "sasl.login.class",
                                   "sasl.server.callback.handler.class", "connections.max.reauth.ms"}) {
        if (base.ends_with(key)) base = key;
      }
      return List{name, base};
    }
  }
  return List{name};
}

Properties merge(const Properties& static_values, const Properties& dynamic_default, const Properties& dynamic_broker) {
  Properties merged = static_values;
  // broker.id and node.id are one.
  if (auto id = merged.find("broker.id"); id != merged.end()) {
    merged.emplace("node.id", id->second);
  } else if (auto node = merged.find("node.id"); node != merged.end()) {
    merged.emplace("broker.id", node->second);
  }
  for (const Properties* layer : {&dynamic_default, &dynamic_broker}) {
    for (const auto& [name, value] : *layer) {
      for (std::string_view same : same_meaning(name, false)) {
        if (auto at = merged.find(same); at != merged.end()) merged.erase(at);
      }
      merged[name] = value;
    }
  }
  return merged;
}

Result<std::shared_ptr<const BrokerConfig>> BrokerConfig::make(Properties static_values, Properties dynamic_default, Properties dynamic_broker) {
  std::shared_ptr<BrokerConfig> config(new BrokerConfig());
  config->static_ = std::move(static_values);
  config->dynamic_default_ = std::move(dynamic_default);
  config->dynamic_broker_ = std::move(dynamic_broker);
  if (auto resolved = config->resolve(); !resolved) return fail(resolved.error());
  return config;
}

std::shared_ptr<const BrokerConfig> BrokerConfig::defaults() {
  auto config = make({});
  CHECK(config);
  return *config;
}

Result<void> BrokerConfig::resolve() {
  merged_ = merge(static_, dynamic_default_, dynamic_broker_);
  values_.reserve(kBrokerKeys.size());
  for (const ConfigKey& key : kBrokerKeys) {
    std::optional<std::string> text;
    if (auto set = merged_.find(key.name); set != merged_.end()) {
      text = set->second;
    } else if (key.default_value) {
      text = key.default_value;
    }
    auto value = parse_value(key, text);
    if (!value) return fail(value.error());
    values_.push_back(std::move(*value));
  }
  for (const auto& [name, text] : merged_) {
    if (find_broker_key(name)) continue;
    const ConfigKey* key = find_any_broker_key(name);
    if (!key) continue;
    ConfigKey scoped = *key;
    scoped.name = name;
    if (auto value = parse_value(scoped, text); !value) return fail(value.error());
  }
  if (auto listeners = resolve_listeners(); !listeners) return listeners;
  if (auto served = refuse_what_is_not_served(); !served) return served;
  return check_rules();
}

const Value& BrokerConfig::value(std::string_view name) const {
  const ConfigKey* key = find_broker_key(name);
  CHECK(key != nullptr);
  return values_[static_cast<size_t>(key - kBrokerKeys.data())];
}

namespace {

Type type_of(std::string_view name) { return find_broker_key(name)->type; }

}  // namespace

bool BrokerConfig::get_bool(std::string_view name) const {
  const Value& found = value(name);
  CHECK(type_of(name) == Type::kBoolean);
  return found.boolean;
}
int32_t BrokerConfig::get_int(std::string_view name) const {
  const Value& found = value(name);
  CHECK(type_of(name) == Type::kInt || type_of(name) == Type::kShort);
  return static_cast<int32_t>(found.integer);
}
int64_t BrokerConfig::get_long(std::string_view name) const {
  const Value& found = value(name);
  CHECK(type_of(name) == Type::kLong || type_of(name) == Type::kInt || type_of(name) == Type::kShort);
  return found.integer;
}
double BrokerConfig::get_double(std::string_view name) const {
  const Value& found = value(name);
  CHECK(type_of(name) == Type::kDouble);
  return found.real;
}
const std::string& BrokerConfig::get_string(std::string_view name) const {
  const Value& found = value(name);
  CHECK(type_of(name) == Type::kString || type_of(name) == Type::kClass || type_of(name) == Type::kPassword);
  return found.text;
}
const std::vector<std::string>& BrokerConfig::get_list(std::string_view name) const {
  const Value& found = value(name);
  CHECK(type_of(name) == Type::kList);
  return found.list;
}
bool BrokerConfig::is_null(std::string_view name) const { return value(name).is_null; }
bool BrokerConfig::is_set(std::string_view name) const { return merged_.contains(name); }

int64_t BrokerConfig::get_long_for_listener(std::string_view listener, std::string_view name) const {
  std::string scoped = fmt::format("listener.name.{}.{}", listener, name);
  std::transform(scoped.begin(), scoped.end(), scoped.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  auto set = merged_.find(scoped);
  if (set == merged_.end()) return get_long(name);
  auto parsed = parse_value(*find_broker_key(name), set->second);
  CHECK(parsed);  // make() has read it
  return parsed->integer;
}

BrokerId BrokerConfig::broker_id() const { return {static_cast<int32_t>(value("broker.id").integer)}; }

std::vector<std::string> BrokerConfig::log_dirs() const {
  const Value& several = value("log.dirs");
  std::vector<std::string> dirs = split_csv(several.is_null ? value("log.dir").text : several.text);
  for (std::string& dir : dirs) {
    while (dir.size() > 1 && dir.ends_with('/')) dir.pop_back();
  }
  return dirs;
}

std::string BrokerConfig::metadata_log_dir() const {
  const Value& own = value("metadata.log.dir");
  return own.is_null ? log_dirs().front() : own.text;
}

int64_t BrokerConfig::queued_max_request_bytes() const {
  int64_t set = get_long("queued.max.request.bytes");
  if (set > 0) return set;
  int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return std::max<int64_t>(256ll << 20, pages > 0 && page > 0 ? pages / 8 * page : 0);
}

std::map<std::string, int32_t> BrokerConfig::max_connections_per_ip_overrides() const {
  std::map<std::string, int32_t> overrides;
  for (const std::string& element : split_csv(get_string("max.connections.per.ip.overrides"))) {
    size_t colon = element.rfind(':');
    int32_t limit = 0;
    std::from_chars(element.data() + colon + 1, element.data() + element.size(), limit);  // check_rules() has read it
    overrides[std::string(trim(std::string_view(element).substr(0, colon)))] = limit;
  }
  return overrides;
}

std::vector<std::string> BrokerConfig::warnings() const {
  std::vector<std::string> unknown;
  std::map<std::string_view, std::vector<std::string>> without_meaning;
  for (const auto& [name, text] : merged_) {
    const ConfigKey* key = find_any_broker_key(name);
    if (!key) {
      if (!name.starts_with("config.providers")) unknown.push_back(name);  // read before: properties.h
    } else if (key->fate == Fate::kHarmless) {
      without_meaning[key->note].push_back(name);
    }
  }
  std::vector<std::string> lines;
  for (const auto& [note, names] : without_meaning) lines.push_back(fmt::format("set without effect here: {}. {}", fmt::join(names, ", "), note));
  if (!unknown.empty()) lines.push_back(fmt::format("unknown configs, kept and not used: {}", fmt::join(unknown, ", ")));
  return lines;
}

Result<std::shared_ptr<const BrokerConfig>> load_broker_config(const std::optional<std::string>& file_content, std::span<const std::string> overrides) {
  Properties properties;
  if (file_content) {
    auto parsed = parse_properties(*file_content);
    if (!parsed) return fail(parsed.error());
    properties = std::move(*parsed);
  }
  for (const std::string& text : overrides) {
    size_t equals = text.find('=');
    std::string_view name = trim(std::string_view(text).substr(0, equals));
    if (equals == std::string::npos || name.empty()) {
      return fail(ErrorCode::kInvalidConfig, fmt::format("--override {}: expected key=value", text));
    }
    properties[std::string(name)] = trim(std::string_view(text).substr(equals + 1));
  }
  if (auto filled = fill_in_variables(properties); !filled) return fail(filled.error());
  return BrokerConfig::make(std::move(properties));
}

}  // namespace odradek::config
