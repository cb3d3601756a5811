// The rows that DescribeConfigs answers for brokers.
#include <algorithm>
#include <set>

#include "config/broker_keys.h"
#include "config/config.h"
#include "config/layers.h"

namespace odradek::config {
namespace {

// What Kafka keeps from clients: passwords, and what it does not know.
bool is_sensitive(const ConfigKey* key) { return key == nullptr || key->type == Type::kPassword; }

// Kafka marks everything read-only that is not one of its dynamic keys by that very name.
bool is_read_only(std::string_view name) {
  const ConfigKey* key = find_broker_key(name);
  return key == nullptr || key->update == Update::kReadOnly;
}

std::optional<std::string> shown(const ConfigKey* key, const std::string& text) {
  if (is_sensitive(key)) return std::nullopt;
  auto value = parse_value(*key, text);
  return value ? value->text : text;
}

}  // namespace

std::vector<Synonym> BrokerConfig::synonyms(std::string_view name, bool sensitive) const {
  std::vector<Synonym> all;
  auto names = same_meaning(name, true);
  auto add = [&](std::string_view from, const std::string& value, Source source) {
    all.push_back({std::string(from), sensitive ? std::nullopt : std::optional(value), source});
  };
  auto add_layer = [&](const Properties& layer, Source source) {
    for (std::string_view candidate : names) {
      if (auto at = layer.find(candidate); at != layer.end()) add(candidate, at->second, source);
    }
  };
  add_layer(dynamic_broker_, Source::kDynamicBroker);
  add_layer(dynamic_default_, Source::kDynamicDefaultBroker);
  if (auto twin = name == "broker.id" ? "node.id" : "broker.id"; (name == "broker.id" || name == "node.id") && !static_.contains(name)) {
    if (auto at = static_.find(twin); at != static_.end()) add(name, at->second, Source::kStaticBroker);
  }
  add_layer(static_, Source::kStaticBroker);
  for (std::string_view candidate : names) {
    const ConfigKey* key = find_broker_key(candidate);
    if (key && key->default_value) add(candidate, key->default_value, Source::kDefault);
  }
  // Kafka's list begins where the key itself has a value.
  all.erase(all.begin(), std::find_if(all.begin(), all.end(), [&](const Synonym& synonym) { return synonym.name == name; }));
  return all;
}

std::vector<DescribedConfig> BrokerConfig::describe() const {
  std::set<std::string, std::less<>> names;
  for (const auto& [name, text] : merged_) names.insert(name);
  for (const ConfigKey& key : kBrokerKeys) {
    if (!key.internal) names.emplace(key.name);
  }
  std::vector<DescribedConfig> rows;
  rows.reserve(names.size());
  for (const std::string& name : names) {
    const ConfigKey* key = find_any_broker_key(name);
    DescribedConfig row;
    row.name = name;
    row.is_sensitive = is_sensitive(key);
    row.read_only = is_read_only(name);
    if (key) {
      row.type = key->type;
      row.documentation = key->doc;
      if (find_broker_key(name)) {
        const Value& in_force = value(name);
        if (!in_force.is_null && !row.is_sensitive) row.value = in_force.text;
      } else {
        row.value = shown(key, merged_.at(name));
      }
    }
    row.synonyms = synonyms(name, row.is_sensitive);
    row.source = row.synonyms.empty() ? Source::kDefault : row.synonyms.front().source;
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<DescribedConfig> BrokerConfig::describe_dynamic_default() const {
  std::vector<DescribedConfig> rows;
  for (const auto& [name, text] : dynamic_default_) {
    const ConfigKey* key = find_any_broker_key(name);
    DescribedConfig row;
    row.name = name;
    row.is_sensitive = is_sensitive(key);
    row.read_only = is_read_only(name);
    row.value = shown(key, text);
    row.source = Source::kDynamicDefaultBroker;
    if (key) {
      row.type = key->type;
      row.documentation = key->doc;
    }
    row.synonyms.push_back({name, row.is_sensitive ? std::nullopt : std::optional(text), Source::kDynamicDefaultBroker});
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace odradek::config
