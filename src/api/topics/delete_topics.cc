// DeleteTopics, by name or topic id: queued in the tree; the answer waits until the topics have left this broker's image.
#include "api/handler/answer.h"
#include "api/topics/handlers.h"
#include "config/config.h"
#include "controller/controller.h"
#include "controller/topic_admin.h"
#include "metadata/image/image.h"
#include "metadata/image/image_waits.h"
#include "protocol/messages/delete_topics.h"

namespace odradek::api {

namespace {

using protocol::DeleteTopicsRequest;
using protocol::DeleteTopicsResponse;

}  // namespace

void handle_delete_topics(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<DeleteTopicsRequest>(request);
  if (!asked) return;
  const auto image = services.image.current();
  DeleteTopicsResponse response;
  auto add = [&](std::optional<std::string> name, Uuid id, ErrorCode error) {
    auto& row = response.responses.emplace_back();
    row.name = std::move(name);
    row.topic_id = id;
    row.error_code = wire(error);
  };
  ErrorCode refused = ErrorCode::kNone;
  if (!services.controller.is_active()) {
    refused = ErrorCode::kNotController;
  } else if (!services.config.current()->get_bool("delete.topic.enable")) {
    refused = request->version() < 3 ? ErrorCode::kInvalidRequest : ErrorCode::kTopicDeletionDisabled;
  }
  for (const std::string& name : asked->topic_names) add(name, {}, refused);
  for (const auto& topic : asked->topics) {
    if (topic.name && !topic.topic_id.is_zero()) {
      add(topic.name, topic.topic_id, ErrorCode::kInvalidRequest);
    } else if (topic.name) {
      add(topic.name, {}, refused);
    } else {
      const metadata::TopicImage* known = image->find_topic(topic.topic_id);
      add(known == nullptr ? std::nullopt : std::optional(known->name), topic.topic_id,
          refused == ErrorCode::kNone && known == nullptr ? ErrorCode::kUnknownTopicId : refused);
    }
  }
  std::vector<std::string> names;
  std::vector<size_t> places;  // in response.responses, of each name
  for (size_t i = 0; i < response.responses.size(); ++i) {
    if (response.responses[i].error_code != 0) continue;
    names.push_back(*response.responses[i].name);
    places.push_back(i);
  }
  if (names.empty()) return request->finish(response);
  const int32_t timeout_ms = asked->timeout_ms;
  services.topic_admin.delete_topics(
      names, [&services, names, places, timeout_ms, response = std::move(response), request = std::move(request)](
                 std::vector<controller::TopicOutcome> outcomes) mutable {
        std::vector<std::string> leaving;
        std::vector<size_t> open;
        for (size_t i = 0; i < names.size(); ++i) {
          auto& row = response.responses[places[i]];
          row.error_code = wire(outcomes[i].error);
          if (!outcomes[i].message.empty()) row.error_message = outcomes[i].message;
          if (outcomes[i].error != ErrorCode::kNone) continue;
          leaving.push_back(names[i]);
          open.push_back(places[i]);
        }
        if (leaving.empty()) return request->finish(response);
        services.image_waits.wait(
            [leaving](const metadata::ClusterImage& now) {
              return std::none_of(leaving.begin(), leaving.end(), [&](const std::string& name) { return now.find_topic(name) != nullptr; });
            },
            timeout_ms, [&services, open, response = std::move(response), request = std::move(request)](bool in_time) mutable {
              const auto now = services.image.current();
              for (size_t at : open) {
                auto& row = response.responses[at];
                if (!in_time && now->find_topic(*row.name) != nullptr) row.error_code = wire(ErrorCode::kRequestTimedOut);
              }
              request->finish(response);
            });
      });
}

}  // namespace odradek::api
