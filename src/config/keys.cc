// Look-ups in the tables; that they are in order is checked when this compiles.
#include <algorithm>

#include "config/broker_keys.h"
#include "config/config.h"
#include "config/topic_config.h"
#include "config/topic_keys.h"

namespace odradek::config {
namespace {

static_assert(std::is_sorted(kBrokerKeys.begin(), kBrokerKeys.end(), [](const ConfigKey& a, const ConfigKey& b) { return a.name < b.name; }));
static_assert(std::is_sorted(kTopicKeys.begin(), kTopicKeys.end(), [](const TopicKey& a, const TopicKey& b) { return a.key.name < b.key.name; }));

}  // namespace

const ConfigKey* find_broker_key(std::string_view name) {
  auto at = std::lower_bound(kBrokerKeys.begin(), kBrokerKeys.end(), name, [](const ConfigKey& key, std::string_view n) { return key.name < n; });
  return at != kBrokerKeys.end() && at->name == name ? &*at : nullptr;
}

ListenerScoped split_listener_scoped(std::string_view name) {
  constexpr std::string_view kPrefix = "listener.name.";
  if (!name.starts_with(kPrefix)) return {};
  name.remove_prefix(kPrefix.size());
  size_t dot = name.find('.');
  if (dot == name.npos || dot == 0) return {};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

const ConfigKey* find_any_broker_key(std::string_view name) {
  if (const ConfigKey* key = find_broker_key(name)) return key;
  for (const ConfigKey& key : kDynamicOnlyKeys) {
    if (key.name == name) return &key;
  }
  ListenerScoped scoped = split_listener_scoped(name);
  if (scoped.key.empty()) return nullptr;
  if (const ConfigKey* key = find_broker_key(scoped.key)) return key;
  // listener.name.<listener>.<mechanism>.<key>
  size_t dot = scoped.key.find('.');
  return dot == scoped.key.npos ? nullptr : find_broker_key(scoped.key.substr(dot + 1));
}

const ConfigKey* find_topic_key(std::string_view name) {
  auto at = std::lower_bound(kTopicKeys.begin(), kTopicKeys.end(), name, [](const TopicKey& key, std::string_view n) { return key.key.name < n; });
  return at != kTopicKeys.end() && at->key.name == name ? &at->key : nullptr;
}

}  // namespace odradek::config
