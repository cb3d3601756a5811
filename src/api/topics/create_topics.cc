// CreateTopics: written to the tree by the controller's broker; the answer waits until the topic's leaders are known here.
#include "api/handler/answer.h"
#include "api/topics/handlers.h"
#include "api/topics/topic_waits.h"
#include "config/topic_config.h"
#include "controller/controller.h"
#include "controller/topic_admin.h"
#include "metadata/image/image_waits.h"
#include "protocol/messages/create_topics.h"

namespace odradek::api {

namespace {

using controller::TopicCreated;
using protocol::CreateTopicsRequest;
using protocol::CreateTopicsResponse;

controller::NewTopic new_topic(const CreateTopicsRequest::CreatableTopic& asked) {
  controller::NewTopic topic;
  topic.name = asked.name;
  topic.partitions = asked.num_partitions;
  topic.replication_factor = asked.replication_factor;
  for (const auto& assignment : asked.assignments) {
    std::vector<BrokerId> brokers;
    for (int32_t id : assignment.broker_ids) brokers.push_back({id});
    topic.assignment.emplace_back(assignment.partition_index, std::move(brokers));
  }
  for (const auto& config : asked.configs) topic.configs[config.name] = config.value;
  return topic;
}

// Of so many topics the configs are told, of the others that they are not: 36 rows a topic are a few kB, and a request names as many
// topics as it likes.
constexpr size_t kMostDescribed = 5'000;

CreateTopicsResponse response_of(Services& services, int16_t version, const std::vector<std::string>& names, const std::vector<TopicCreated>& created) {
  CreateTopicsResponse response;
  size_t described_topics = 0;
  const auto broker = services.config.current();
  for (size_t i = 0; i < names.size(); ++i) {
    const TopicCreated& topic = created[i];
    auto& row = response.topics.emplace_back();
    row.name = names[i];
    row.error_code = wire(topic.error);
    row.error_message = topic.message.empty() ? std::nullopt : std::optional(topic.message);
    row.configs.emplace();
    row.topic_id = topic.id;
    if (topic.error != ErrorCode::kNone) continue;
    row.num_partitions = topic.partitions;
    row.replication_factor = topic.replication_factor;
    if (version < 5) continue;  // without configs
    if (++described_topics > kMostDescribed) {
      row.configs.reset();
      row.topic_config_error_code = wire(ErrorCode::kPolicyViolation);
      continue;
    }
    for (config::DescribedConfig& described : config::describe_topic(*broker, topic.configs)) {
      auto& config = row.configs->emplace_back();
      config.name = std::move(described.name);
      config.value = std::move(described.value);
      config.read_only = described.read_only;
      config.config_source = static_cast<int8_t>(described.source);
      config.is_sensitive = described.is_sensitive;
    }
  }
  return response;
}

}  // namespace

void handle_create_topics(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<CreateTopicsRequest>(request);
  if (!asked) return;
  std::vector<std::string> names;
  std::vector<controller::NewTopic> topics;
  for (const auto& topic : asked->topics) {
    names.push_back(topic.name);
    topics.push_back(new_topic(topic));
  }
  if (!services.controller.is_active()) {
    std::vector<TopicCreated> refused(names.size());
    for (TopicCreated& topic : refused) topic.error = ErrorCode::kNotController;
    return request->finish(response_of(services, request->version(), names, refused));
  }
  const bool validate_only = asked->validate_only;
  const int32_t timeout_ms = asked->timeout_ms;
  services.topic_admin.create_topics(
      std::move(topics), validate_only,
      [&services, names = std::move(names), validate_only, timeout_ms, request = std::move(request)](std::vector<TopicCreated> created) mutable {
        std::vector<std::pair<std::string, size_t>> wanted;
        for (size_t i = 0; i < names.size(); ++i) {
          if (created[i].error == ErrorCode::kNone) wanted.emplace_back(names[i], static_cast<size_t>(created[i].partitions));
        }
        if (validate_only || wanted.empty()) return request->finish(response_of(services, request->version(), names, created));
        services.image_waits.wait(
            [wanted](const metadata::ClusterImage& image) {
              return std::all_of(wanted.begin(), wanted.end(), [&](const auto& topic) { return has_leaders(image, topic.first, topic.second); });
            },
            timeout_ms,
            [&services, names = std::move(names), created = std::move(created), request = std::move(request)](bool in_time) mutable {
              const auto image = services.image.current();
              for (size_t i = 0; i < names.size() && !in_time; ++i) {
                TopicCreated& topic = created[i];
                if (topic.error == ErrorCode::kNone && !has_leaders(*image, names[i], static_cast<size_t>(topic.partitions))) {
                  topic.error = ErrorCode::kRequestTimedOut;
                }
              }
              request->finish(response_of(services, request->version(), names, created));
            });
      });
}

}  // namespace odradek::api
