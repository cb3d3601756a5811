// How the leader of a classic group shares partitions out: Kafka's "range", and a sticky one under the name "cooperative-sticky".
// Thread: free functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/types.h"

namespace odradek::client {

struct GroupMate {
  std::string id;
  std::optional<std::string> instance_id;
  std::vector<std::string> topics;
  std::vector<TopicPartition> owned;  // cooperative: what it still reads
  int32_t generation = -1;            // in which it got them
};
using Assignment = std::map<std::string, std::vector<TopicPartition>>;  // by member id, sorted; every member is there

// Topic by topic: members in order (static ones first, by instance id; then by id) get consecutive partitions, the first ones one more.
Assignment assign_range(std::vector<GroupMate> members, const std::map<std::string, int32_t>& partitions_of_topics);
// Members keep what they own as far as the balance allows. A partition that changes hands is given to nobody in this round: its
// owner gives it up first and the group meets again (KIP-429).
Assignment assign_cooperative(std::vector<GroupMate> members, const std::map<std::string, int32_t>& partitions_of_topics);

}  // namespace odradek::client
