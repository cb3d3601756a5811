// A group as its coordinator and the leaders of its partitions tell of it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/cluster.h"

namespace odradek::cli {

struct GroupState {
  struct Member {
    std::string id, client_id, host;
    std::optional<std::string> instance_id;
    std::vector<TopicPartition> assigned;  // sorted
  };
  struct Offsets {
    int64_t committed = -1;  // -1: none
    int64_t end = -1;        // log end; -1: the partition does not answer
    std::string metadata;
    int64_t lag() const { return committed < 0 || end < 0 ? -1 : std::max<int64_t>(0, end - committed); }
  };
  std::string name, state, protocol_type, assignor;
  std::vector<Member> members;
  std::map<TopicPartition, Offsets> partitions;  // with a commit or an owner
};

// A group that nobody knows has the state "Dead". Errors: those of the coordinator.
Result<GroupState> read_group(client::Cluster& cluster, const std::string& name);

}  // namespace odradek::cli
