// DescribeConfigs: configs of topics, of this broker, of the cluster-wide default, and the levels of this broker's loggers.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "api/configs/broker_loggers.h"
#include "api/configs/config_changes.h"
#include "api/configs/handlers.h"
#include "api/handler/answer.h"
#include "config/topic_config.h"
#include "metadata/cluster_config.h"
#include "metadata/image/image.h"
#include "model/repeats.h"
#include "protocol/messages/describe_configs.h"

namespace odradek::api {
namespace {

using protocol::DescribeConfigsRequest;
using protocol::DescribeConfigsResponse;
using Rows = std::vector<config::DescribedConfig>;

// Kafka's text where a request makes no sense to it.
constexpr std::string_view kMalformed =
    "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. "
    "See the broker logs for more details.";

bool is_known(int8_t type) {
  return type == static_cast<int8_t>(ResourceType::kTopic) || type == static_cast<int8_t>(ResourceType::kBroker) ||
         type == static_cast<int8_t>(ResourceType::kBrokerLogger) || type == static_cast<int8_t>(ResourceType::kClientMetrics);
}

Result<Rows> describe_broker(Services& services, const std::string& name) {
  auto broker = parse_broker_resource(name, services.self, true);
  if (!broker) return fail(broker.error());
  auto config = services.config.current();
  return *broker ? config->describe() : config->describe_dynamic_default();
}

Result<Rows> describe_loggers(Services& services, const std::string& name) {
  if (name.empty()) return fail(ErrorCode::kInvalidRequest, "Broker id must not be empty");
  auto broker = parse_broker_resource(name, services.self, true);
  if (broker) return describe_broker_loggers();
  Error error = broker.error();
  if (size_t at = error.what.find(" or empty string,"); at != std::string::npos) error.what.erase(at, std::string_view(" or empty string,").size());
  return fail(std::move(error));
}

// One request; finishes with its last resource. Shared: each read of the store holds it.
struct Answer {
  request::RequestPtr request;
  DescribeConfigsRequest asked;
  DescribeConfigsResponse response;  // one writer per result
  std::atomic<size_t> open{0};

  void finish(size_t index, Result<Rows> rows) {
    auto& result = response.results[index];
    if (rows) {
      write(index, std::move(*rows));
    } else {
      result.error_code = wire(rows.error().code);
      result.error_message = std::move(rows.error().what);
    }
    // acq_rel: the last one sees what all others wrote.
    if (open.fetch_sub(1, std::memory_order_acq_rel) == 1) request->finish(response);
  }

  void write(size_t index, Rows rows) {
    const auto& keys = asked.resources[index].configuration_keys;
    for (config::DescribedConfig& row : rows) {
      // No names, or an empty list of them: all.
      if (keys && !keys->empty() && std::find(keys->begin(), keys->end(), row.name) == keys->end()) continue;
      auto& entry = response.results[index].configs.emplace_back();
      bool logger = row.source == config::Source::kBrokerLogger;
      entry.documentation = logger ? std::optional<std::string>("") : std::nullopt;
      if (asked.include_documentation && !row.documentation.empty()) entry.documentation = row.documentation;
      if (asked.include_synonyms) {
        for (config::Synonym& synonym : row.synonyms) {
          auto& listed = entry.synonyms.emplace_back();
          listed.name = std::move(synonym.name);
          listed.value = std::move(synonym.value);
          listed.source = static_cast<int8_t>(synonym.source);
        }
      }
      entry.name = std::move(row.name);
      entry.value = std::move(row.value);
      entry.read_only = row.read_only;
      entry.is_default = row.source == config::Source::kDefault;
      entry.config_source = static_cast<int8_t>(row.source);
      entry.is_sensitive = row.is_sensitive;
      entry.config_type = static_cast<int8_t>(row.type);
    }
  }
};

void describe_topic(Services& services, const std::shared_ptr<Answer>& answer, size_t index, const std::string& name) {
  if (std::string fault = topic_name_fault(name); !fault.empty()) {
    return answer->finish(index, fail(ErrorCode::kInvalidTopicException, fault));
  }
  if (!services.image.current()->find_topic(name)) return answer->finish(index, fail(ErrorCode::kUnknownTopicOrPartition, ""));
  // The store's own word, so that a client sees what it has just changed.
  services.config_store.read(metadata::ConfigEntity::topic(name), [&services, answer, index](Result<config::Properties> overrides) {
    if (!overrides) return answer->finish(index, fail(overrides.error()));
    answer->finish(index, config::describe_topic(*services.config.current(), *overrides));
  });
}

void describe(Services& services, const std::shared_ptr<Answer>& answer, size_t index) {
  const auto& resource = answer->asked.resources[index];
  switch (static_cast<ResourceType>(resource.resource_type)) {
    case ResourceType::kTopic: return describe_topic(services, answer, index, resource.resource_name);
    case ResourceType::kBroker: return answer->finish(index, describe_broker(services, resource.resource_name));
    case ResourceType::kBrokerLogger: return answer->finish(index, describe_loggers(services, resource.resource_name));
    case ResourceType::kClientMetrics:
      return answer->finish(index, fail(ErrorCode::kInvalidRequest, resource.resource_name.empty() ? "Client metrics subscription name must not be empty"
                                                                                                   : "Config type client-metrics is only supported on KRaft clusters"));
  }
}

}  // namespace

void handle_describe_configs(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<DescribeConfigsRequest>(request);
  if (!asked) return;
  auto answer = std::make_shared<Answer>();
  answer->asked = std::move(*asked);
  const auto& resources = answer->asked.resources;
  bool all_known = true;
  for (const auto& resource : resources) {
    auto& result = answer->response.results.emplace_back();
    result.resource_type = resource.resource_type;
    result.resource_name = resource.resource_name;
    all_known = all_known && is_known(resource.resource_type);
  }
  // One resource of an unknown type spoils the whole request, as in Kafka.
  if (!all_known) {
    for (auto& result : answer->response.results) {
      result.error_code = wire(ErrorCode::kInvalidRequest);
      result.error_message = kMalformed;
    }
  }
  if (resources.empty() || !all_known) {
    request->finish(answer->response);
    return;
  }
  answer->request = std::move(request);
  answer->open = resources.size();
  Repeats<std::pair<int8_t, std::string_view>> repeats;
  for (size_t i = 0; i < resources.size(); ++i) {
    if (repeats.too_often({resources[i].resource_type, resources[i].resource_name})) {
      answer->finish(i, fail(ErrorCode::kInvalidRequest, fmt::format("A resource may appear at most {} times.", repeats.kMost)));
    } else {
      describe(services, answer, i);
    }
  }
}

}  // namespace odradek::api
