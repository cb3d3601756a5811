// CreatePartitions: the topic's node is written with more partitions; the answer waits until their leaders are known here.
#include <map>

#include "api/handler/answer.h"
#include "api/topics/handlers.h"
#include "api/topics/topic_waits.h"
#include "controller/controller.h"
#include "controller/topic_admin.h"
#include "metadata/image/image_waits.h"
#include "protocol/messages/create_partitions.h"

namespace odradek::api {

namespace {

using protocol::CreatePartitionsRequest;
using protocol::CreatePartitionsResponse;

}  // namespace

void handle_create_partitions(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<CreatePartitionsRequest>(request);
  if (!asked) return;
  CreatePartitionsResponse response;
  std::vector<controller::NewPartitions> topics;
  std::map<std::string_view, int> times;
  for (const auto& topic : asked->topics) ++times[topic.name];
  for (const auto& topic : asked->topics) {
    if (times[topic.name] > 1) continue;  // answered below
    auto& row = response.results.emplace_back();
    row.name = topic.name;
    row.error_code = wire(ErrorCode::kNotController);
    auto& wanted = topics.emplace_back();
    wanted.topic = topic.name;
    wanted.total = topic.count;
    if (!topic.assignments) continue;
    wanted.assignment.emplace();
    for (const auto& assignment : *topic.assignments) {
      auto& brokers = wanted.assignment->emplace_back();
      for (int32_t id : assignment.broker_ids) brokers.push_back({id});
    }
  }
  // The first rows are those of `topics`.
  for (const auto& [name, count] : times) {
    if (count == 1) continue;
    auto& row = response.results.emplace_back();
    row.name = name;
    row.error_code = wire(services.controller.is_active() ? ErrorCode::kInvalidRequest : ErrorCode::kNotController);
    if (services.controller.is_active()) row.error_message = "Duplicate topic in request.";
  }
  if (!services.controller.is_active()) return request->finish(response);
  const bool validate_only = asked->validate_only;
  const int32_t timeout_ms = asked->timeout_ms;
  services.topic_admin.create_partitions(
      topics, validate_only,
      [&services, topics, validate_only, timeout_ms, response = std::move(response), request = std::move(request)](
          std::vector<controller::TopicOutcome> outcomes) mutable {
        std::vector<controller::NewPartitions> made;
        for (size_t i = 0; i < topics.size(); ++i) {
          auto& row = response.results[i];
          row.error_code = wire(outcomes[i].error);
          row.error_message = outcomes[i].message.empty() ? std::nullopt : std::optional(outcomes[i].message);
          if (outcomes[i].error == ErrorCode::kNone) made.push_back(topics[i]);
        }
        if (validate_only || made.empty()) return request->finish(response);
        auto shown = [](const metadata::ClusterImage& image, const controller::NewPartitions& topic) {
          return has_leaders(image, topic.topic, static_cast<size_t>(topic.total));
        };
        services.image_waits.wait(
            [made, shown](const metadata::ClusterImage& image) {
              return std::all_of(made.begin(), made.end(), [&](const auto& topic) { return shown(image, topic); });
            },
            timeout_ms, [&services, topics, shown, response = std::move(response), request = std::move(request)](bool in_time) mutable {
              const auto image = services.image.current();
              for (size_t i = 0; i < topics.size() && !in_time; ++i) {
                if (response.results[i].error_code == 0 && !shown(*image, topics[i])) response.results[i].error_code = wire(ErrorCode::kRequestTimedOut);
              }
              request->finish(response);
            });
      });
}

}  // namespace odradek::api
