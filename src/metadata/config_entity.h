// Whose configs the cluster keeps. Source: zookeeper.md §7.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "model/types.h"

namespace odradek::metadata {

enum class EntityType : uint8_t { kTopic, kBroker, kClient, kUser, kUserClient, kIp };

// Names as they are, not sanitised; kDefaultEntity is the default of its kind.
inline constexpr std::string_view kDefaultEntity = "<default>";
struct ConfigEntity {
  EntityType type = EntityType::kTopic;
  std::string name;
  std::string client;  // of kUserClient

  static ConfigEntity topic(std::string name) { return {EntityType::kTopic, std::move(name), {}}; }
  static ConfigEntity broker(BrokerId id) { return {EntityType::kBroker, std::to_string(id.value), {}}; }
  static ConfigEntity broker_default() { return {EntityType::kBroker, std::string(kDefaultEntity), {}}; }

  // "topics/a", "users/x%20y/clients/<default>": the path below /config, and the entity_path of notifications.
  std::string path() const;
  // Nullopt: not one of these forms.
  static std::optional<ConfigEntity> parse(std::string_view path);
  friend auto operator<=>(const ConfigEntity&, const ConfigEntity&) = default;
};

}  // namespace odradek::metadata
