// The health of a cluster as its brokers tell it by Kafka's protocol: reachable brokers, one controller, partitions, log dirs.
#pragma once

#include <string>
#include <vector>

#include "cli/common/admin.h"

namespace odradek::cli {

struct Check {
  std::string name;
  bool good = false;
  std::string words;
};

// Appends checks; `facts` gets the same in numbers and names.
void check_cluster(client::Cluster& cluster, std::vector<Check>& checks, Json& facts);

}  // namespace odradek::cli
