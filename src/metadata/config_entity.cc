#include "metadata/config_entity.h"

#include <algorithm>
#include <vector>

#include "metadata/tree/paths.h"

namespace odradek::metadata {

namespace {

// Names in paths: topics, brokers and addresses stand as they are, clients and users sanitised.
std::string element(std::string_view name) { return name == kDefaultEntity ? std::string(name) : sanitise(name); }
std::string name_of_element(std::string_view text) { return text == kDefaultEntity ? std::string(text) : desanitise(text); }

}  // namespace

std::string ConfigEntity::path() const {
  switch (type) {
    case EntityType::kTopic: return "topics/" + name;
    case EntityType::kBroker: return "brokers/" + name;
    case EntityType::kClient: return "clients/" + element(name);
    case EntityType::kUser: return "users/" + element(name);
    case EntityType::kUserClient: return "users/" + element(name) + "/clients/" + element(client);
    case EntityType::kIp: return "ips/" + name;
  }
  return {};
}

std::optional<ConfigEntity> ConfigEntity::parse(std::string_view path) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    if (end == begin) return std::nullopt;
    parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  if (parts.size() == 2) {
    if (parts[0] == "topics") return ConfigEntity{EntityType::kTopic, std::string(parts[1]), {}};
    if (parts[0] == "brokers") return ConfigEntity{EntityType::kBroker, std::string(parts[1]), {}};
    if (parts[0] == "clients") return ConfigEntity{EntityType::kClient, name_of_element(parts[1]), {}};
    if (parts[0] == "users") return ConfigEntity{EntityType::kUser, name_of_element(parts[1]), {}};
    if (parts[0] == "ips") return ConfigEntity{EntityType::kIp, std::string(parts[1]), {}};
  }
  if (parts.size() == 4 && parts[0] == "users" && parts[2] == "clients") {
    return ConfigEntity{EntityType::kUserClient, name_of_element(parts[1]), name_of_element(parts[3])};
  }
  return std::nullopt;
}

}  // namespace odradek::metadata
