// What AlterConfigs and IncrementalAlterConfigs share: a list of resources, each changed or refused by itself.
// Rules: adminflows.md §4; texts as a 3.9 broker's.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/handler/answer.h"
#include "api/handler/services.h"
#include "base/function.h"
#include "base/result.h"
#include "config/config.h"

namespace odradek::api {

enum class ResourceType : int8_t { kTopic = 2, kBroker = 4, kBrokerLogger = 8, kClientMetrics = 16 };

// IncrementalAlterConfigs' operations.
enum class ConfigOperation : int8_t { kSet = 0, kDelete = 1, kAppend = 2, kSubtract = 3 };

struct ConfigChange {
  std::string name;
  ConfigOperation operation = ConfigOperation::kSet;
  std::optional<std::string> value;
};

struct ResourceChange {
  int8_t type = 0;
  std::string name;
  std::vector<ConfigChange> changes;
  bool replace = false;  // the changes, all kSet, are the whole new set (AlterConfigs)
};

// The whole new set. `key_of` finds a key's row (null: unknown) for lists and their defaults.
// Errors: kInvalidConfig, append or subtract on what is no list; kInvalidRequest, an unknown operation.
Result<config::Properties> apply_changes(const ResourceChange& resource, const config::Properties& present,
                                         const config::ConfigKey* (*key_of)(std::string_view));

// For each resource whether another one has its type and name.
std::vector<bool> named_twice(const std::vector<ResourceChange>& all);

// What is wrong with a resource before its present configs are looked at: named twice, a config named twice, a null value.
Result<void> check_resource(const ResourceChange& resource, bool is_named_twice);

// Changes every resource on its own; `done` gets the results in their order, on the metadata executor or at once.
void change_configs(Services& services, std::vector<ResourceChange> resources, bool validate_only,
                    UniqueFunction<void(std::vector<ResourceChange>, std::vector<Result<void>>)> done);

// What `done` does for a client: an entry for each resource. Response: that of either request.
template <class Response>
UniqueFunction<void(std::vector<ResourceChange>, std::vector<Result<void>>)> answer_changes(request::RequestPtr request) {
  return [request = std::move(request)](std::vector<ResourceChange> changed, std::vector<Result<void>> results) mutable {
    Response response;
    for (size_t i = 0; i < changed.size(); ++i) {
      auto& answer = response.responses.emplace_back();
      answer.error_code = results[i] ? 0 : wire(results[i].error().code);
      answer.error_message = results[i] ? std::nullopt : std::optional(results[i].error().what);
      answer.resource_type = changed[i].type;
      answer.resource_name = std::move(changed[i].name);
    }
    request->finish(response);
  };
}

// "" is the cluster-wide default: nullopt. Else it must be this broker.
// Errors: kInvalidRequest, in the words of DescribeConfigs (`describing`) or those of the alter requests.
Result<std::optional<BrokerId>> parse_broker_resource(const std::string& name, BrokerId self, bool describing);

}  // namespace odradek::api
