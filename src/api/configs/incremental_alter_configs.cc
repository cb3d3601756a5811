// IncrementalAlterConfigs: sets, deletes, appends to and subtracts from single configs of each resource.
#include "api/configs/config_changes.h"
#include "api/configs/handlers.h"
#include "api/handler/answer.h"
#include "protocol/messages/incremental_alter_configs.h"

namespace odradek::api {

void handle_incremental_alter_configs(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::IncrementalAlterConfigsRequest>(request);
  if (!asked) return;
  std::vector<ResourceChange> resources;
  for (auto& resource : asked->resources) {
    ResourceChange change{resource.resource_type, std::move(resource.resource_name), {}, false};
    for (auto& config : resource.configs) {
      change.changes.push_back({std::move(config.name), static_cast<ConfigOperation>(config.config_operation), std::move(config.value)});
    }
    resources.push_back(std::move(change));
  }
  change_configs(services, std::move(resources), asked->validate_only, answer_changes<protocol::IncrementalAlterConfigsResponse>(std::move(request)));
}

}  // namespace odradek::api
