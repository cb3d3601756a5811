#include "api/configs/config_changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>
#include <set>

#include "api/configs/broker_loggers.h"
#include "base/log.h"
#include "base/string_map.h"
#include "config/topic_config.h"
#include "metadata/cluster_config.h"
#include "metadata/image/image.h"
#include "model/error_code.h"

namespace odradek::api {

using config::Properties;

namespace {

Result<std::string> change_list(const ConfigChange& change, const config::ConfigKey* key, const std::string* present) {
  bool append = change.operation == ConfigOperation::kAppend;
  if (!key || key->type != config::Type::kList) {
    return fail(ErrorCode::kInvalidConfig, fmt::format("Config value {} is not allowed for config key: {}", append ? "append" : "subtract", change.name));
  }
  std::vector<std::string> elements = config::split_list(present ? *present : key->default_value ? key->default_value : "");
  std::vector<std::string> named = config::split_list(*change.value);
  if (append) {
    // What the list has already is not added once more.
    const base::StringSet present_ones(elements.begin(), elements.end());
    for (std::string& element : named) {
      if (!present_ones.contains(element)) elements.push_back(std::move(element));
    }
  } else {
    // As often as it is named, from the front.
    base::StringMap<size_t> to_go;
    for (const std::string& element : named) ++to_go[element];
    std::erase_if(elements, [&](const std::string& element) {
      auto found = to_go.find(element);
      return found != to_go.end() && found->second > 0 && found->second-- > 0;
    });
  }
  return fmt::format("{}", fmt::join(elements, ","));
}

Result<void> check_topic(const config::BrokerConfig& broker, const std::string& topic, const Properties& values) {
  auto valid = config::validate_topic_config(broker, values);
  if (valid) return {};
  Error error = valid.error();
  // Kafka names the resource where a value itself is at fault.
  if (error.what.starts_with("Invalid value ") || error.what.starts_with("Tiered Storage ")) {
    error.what = fmt::format("Invalid config value for resource ConfigResource(type=TOPIC, name='{}'): {}", topic, error.what);
  }
  return fail(std::move(error));
}

Result<void> change_loggers(Services& services, const ResourceChange& resource, bool validate_only) {
  auto broker = parse_broker_resource(resource.name, services.self, false);
  if (!broker) return fail(broker.error());
  if (!*broker) return fail(ErrorCode::kInvalidRequest, "Node id must be an integer, but it is: ");
  for (const ConfigChange& change : resource.changes) {
    if (change.operation == ConfigOperation::kAppend || change.operation == ConfigOperation::kSubtract) {
      return fail(ErrorCode::kInvalidRequest,
                  fmt::format("{} operation is not allowed for the BROKER_LOGGER resource", change.operation == ConfigOperation::kAppend ? "APPEND" : "SUBTRACT"));
    }
    bool remove = change.operation == ConfigOperation::kDelete;
    if (auto legal = check_logger_level(change.name, remove ? std::nullopt : change.value); !legal) return legal;
  }
  if (validate_only) return {};
  for (const ConfigChange& change : resource.changes) {
    set_logger_level(change.name, change.operation == ConfigOperation::kDelete ? std::nullopt : change.value);
  }
  return {};
}

// All resources of one request; finishes with the last. Shared: each store reply holds it.
struct Batch {
  std::vector<ResourceChange> resources;
  std::vector<Result<void>> results;  // one writer per element, read when `open` is 0
  std::atomic<size_t> open{0};
  UniqueFunction<void(std::vector<ResourceChange>, std::vector<Result<void>>)> done;

  void finish(size_t index, Result<void> result) {
    results[index] = std::move(result);
    // acq_rel: the last one sees what all others wrote.
    if (open.fetch_sub(1, std::memory_order_acq_rel) == 1) done(std::move(resources), std::move(results));
  }
};

// Says which configs changed, not to what: a value may be a secret.
void log_change(const ResourceChange& resource) {
  std::vector<std::string_view> names;
  for (const ConfigChange& change : resource.changes) names.push_back(change.name);
  bool topic = resource.type == static_cast<int8_t>(ResourceType::kTopic);
  log::info("config", "configs of {} {} changed: {}", topic ? "topic" : "broker", resource.name.empty() ? "<default>" : resource.name, fmt::join(names, ", "));
}

void alter(Services& services, const std::shared_ptr<Batch>& batch, size_t index, metadata::ConfigEntity entity, bool validate_only,
           UniqueFunction<Result<void>(const Properties&)> check, const config::ConfigKey* (*key_of)(std::string_view)) {
  auto change = [batch, index, key_of, check = std::move(check)](const Properties& present) mutable -> Result<Properties> {
    auto next = apply_changes(batch->resources[index], present, key_of);
    if (!next) return next;
    if (auto checked = check(*next); !checked) return fail(checked.error());
    return next;
  };
  services.config_store.alter(entity, std::move(change), validate_only, [batch, index, validate_only](Result<void> result) {
    if (result && !validate_only) log_change(batch->resources[index]);
    batch->finish(index, std::move(result));
  });
}

void change_one(Services& services, const std::shared_ptr<Batch>& batch, size_t index, bool is_named_twice, bool validate_only) {
  const ResourceChange& resource = batch->resources[index];
  if (auto checked = check_resource(resource, is_named_twice); !checked) return batch->finish(index, std::move(checked));
  switch (static_cast<ResourceType>(resource.type)) {
    case ResourceType::kTopic: {
      if (resource.name.empty()) return batch->finish(index, fail(ErrorCode::kInvalidRequest, "Default topic resources are not allowed."));
      if (!services.image.current()->find_topic(resource.name)) {
        return batch->finish(index, fail(ErrorCode::kUnknownTopicOrPartition, fmt::format("The topic '{}' does not exist.", resource.name)));
      }
      auto check = [&services, topic = resource.name](const Properties& next) { return check_topic(*services.config.current(), topic, next); };
      return alter(services, batch, index, metadata::ConfigEntity::topic(resource.name), validate_only, std::move(check), config::find_topic_key);
    }
    case ResourceType::kBroker: {
      auto broker = parse_broker_resource(resource.name, services.self, false);
      if (!broker) return batch->finish(index, fail(broker.error()));
      auto scope = *broker ? config::DynamicScope::kThisBroker : config::DynamicScope::kClusterDefault;
      auto check = [&services, scope](const Properties& next) { return config::validate_dynamic(*services.config.current(), scope, next); };
      auto entity = *broker ? metadata::ConfigEntity::broker(services.self) : metadata::ConfigEntity::broker_default();
      return alter(services, batch, index, std::move(entity), validate_only, std::move(check), config::find_any_broker_key);
    }
    case ResourceType::kBrokerLogger:
      if (resource.replace) break;
      return batch->finish(index, change_loggers(services, resource, validate_only));
    case ResourceType::kClientMetrics:
      return batch->finish(index, fail(ErrorCode::kInvalidRequest, "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS"));
  }
  batch->finish(index, fail(ErrorCode::kInvalidRequest, fmt::format("Unknown resource type {}", resource.type)));
}

}  // namespace

Result<std::optional<BrokerId>> parse_broker_resource(const std::string& name, BrokerId self, bool describing) {
  if (name.empty()) return std::optional<BrokerId>();
  int32_t id = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (error != std::errc{} || end != name.data() + name.size()) {
    return fail(ErrorCode::kInvalidRequest, fmt::format("{} id must be an integer, but it is: {}", describing ? "Broker" : "Node", name));
  }
  if (id != self.value) {
    return fail(ErrorCode::kInvalidRequest, describing ? fmt::format("Unexpected broker id, expected {} or empty string, but received {}", self.value, name)
                                                       : fmt::format("Unexpected broker id, expected {}, but received {}", self.value, name));
  }
  return std::optional(self);
}

Result<Properties> apply_changes(const ResourceChange& resource, const Properties& present, const config::ConfigKey* (*key_of)(std::string_view)) {
  Properties next = resource.replace ? Properties() : present;
  for (const ConfigChange& change : resource.changes) {
    switch (change.operation) {
      case ConfigOperation::kSet: next.insert_or_assign(change.name, *change.value); continue;
      case ConfigOperation::kDelete: next.erase(change.name); continue;
      case ConfigOperation::kAppend:
      case ConfigOperation::kSubtract: {
        auto at = next.find(change.name);
        auto list = change_list(change, key_of(change.name), at == next.end() ? nullptr : &at->second);
        if (!list) return fail(list.error());
        next.insert_or_assign(change.name, std::move(*list));
        continue;
      }
    }
    return fail(ErrorCode::kInvalidRequest, fmt::format("Unknown operation {} for {}", static_cast<int>(change.operation), change.name));
  }
  return next;
}

std::vector<bool> named_twice(const std::vector<ResourceChange>& all) {
  std::map<std::pair<int8_t, std::string_view>, size_t> count;
  for (const ResourceChange& resource : all) ++count[{resource.type, resource.name}];
  std::vector<bool> twice;
  twice.reserve(all.size());
  for (const ResourceChange& resource : all) twice.push_back(count[{resource.type, resource.name}] > 1);
  return twice;
}

Result<void> check_resource(const ResourceChange& resource, bool is_named_twice) {
  if (is_named_twice) return fail(ErrorCode::kInvalidRequest, "Each resource must appear at most once.");
  std::set<std::string_view> names;
  std::vector<std::string_view> nulls;
  for (const ConfigChange& change : resource.changes) {
    if (!names.insert(change.name).second) return fail(ErrorCode::kInvalidRequest, "Error due to duplicate config keys");
    if (!change.value && change.operation != ConfigOperation::kDelete) nulls.push_back(change.name);
  }
  if (!nulls.empty()) return fail(ErrorCode::kInvalidRequest, fmt::format("Null value not supported for : {}", fmt::join(nulls, ",")));
  return {};
}

void change_configs(Services& services, std::vector<ResourceChange> resources, bool validate_only,
                    UniqueFunction<void(std::vector<ResourceChange>, std::vector<Result<void>>)> done) {
  if (resources.empty()) return done({}, {});
  auto batch = std::make_shared<Batch>();
  const size_t count = resources.size();
  const std::vector<bool> twice = named_twice(resources);
  batch->resources = std::move(resources);
  batch->results.resize(count);
  batch->open = count;
  batch->done = std::move(done);
  for (size_t i = 0; i < count; ++i) change_one(services, batch, i, twice[i], validate_only);
}

}  // namespace odradek::api
