// ElectLeaders: preferred (type 0) or unclean (type 1), by the controller; the answer waits until this broker's image shows the
// new leaders.
#include <algorithm>

#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "controller/controller.h"
#include "metadata/image/image_waits.h"
#include "protocol/messages/elect_leaders.h"

namespace odradek::api {

namespace {

using protocol::ElectLeadersRequest;
using protocol::ElectLeadersResponse;

constexpr int8_t kPreferred = 0;
constexpr int8_t kUnclean = 1;

bool shows(const metadata::ClusterImage& image, const TopicPartition& tp, int8_t type) {
  const metadata::PartitionImage* partition = image.find_partition(tp.topic, tp.partition);
  if (partition == nullptr) return true;  // deleted meanwhile
  return type == kPreferred ? !partition->replicas.empty() && partition->leader == partition->replicas.front() : image.is_alive(partition->leader);
}

}  // namespace

void handle_elect_leaders(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<ElectLeadersRequest>(request);
  if (!asked) return;
  const int8_t type = asked->election_type;
  const int32_t timeout_ms = asked->timeout_ms;
  if (type != kPreferred && type != kUnclean) {
    ElectLeadersResponse response;
    response.error_code = wire(ErrorCode::kInvalidRequest);
    return request->finish(response);
  }
  services.controller.elect_leaders(std::move(*asked), [&services, type, timeout_ms, request = std::move(request)](ElectLeadersResponse response) mutable {
    std::vector<TopicPartition> elected;
    for (const auto& topic : response.replica_election_results) {
      for (const auto& partition : topic.partition_result) {
        if (partition.error_code == 0) elected.push_back({topic.topic, partition.partition_id});
      }
    }
    auto all_shown = [elected, type](const metadata::ClusterImage& image) {
      return std::all_of(elected.begin(), elected.end(), [&](const TopicPartition& tp) { return shows(image, tp, type); });
    };
    services.image_waits.wait(
        std::move(all_shown), timeout_ms, [&services, type, response = std::move(response), request = std::move(request)](bool in_time) mutable {
          const auto image = services.image.current();
          for (auto& topic : response.replica_election_results) {
            for (auto& partition : topic.partition_result) {
              if (in_time || partition.error_code != 0 || shows(*image, {topic.topic, partition.partition_id}, type)) continue;
              partition.error_code = wire(ErrorCode::kRequestTimedOut);
              partition.error_message = "The leader is elected, but not known here yet.";
            }
          }
          request->finish(response);
        });
  });
}

}  // namespace odradek::api
