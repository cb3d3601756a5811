// What the internal topics of a stopped Kafka hold at their end, and what of it is written again so that releases up to 3.9 in ZooKeeper
// mode read it: offsets and groups of version 4 as version 3, states of transactional ids of version 1 as version 0, and a tombstone for
// each record of the newer group kinds, which have no older form (members join again, committed offsets stay).
// Thread: any; blocks on the disk.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "model/types.h"

namespace odradek::adopt {

// One record to be appended at the end of a partition; null value: a tombstone.
struct Rewritten {
  Bytes key;
  std::optional<Bytes> value;
  int64_t timestamp = 0;
};

struct GroupTopic {
  // Group → its committed offsets, in number.
  std::map<std::string, int64_t> groups;
  std::vector<Rewritten> rewritten;
  std::map<std::string, int64_t> reasons;  // why, and how many: for the report
};
// One partition of __consumer_offsets.
Result<GroupTopic> read_group_topic(base::FileSystem& files, const std::string& folder);

struct TransactionTopic {
  struct Open {
    std::string id;
    int64_t producer_id = -1;
    std::string state;
    std::vector<TopicPartition> partitions;
  };
  int64_t ids = 0;
  int64_t greatest_producer_id = -1;
  std::vector<Open> open;  // neither committed nor aborted to the end
  std::vector<Rewritten> rewritten;
  std::map<std::string, int64_t> reasons;
};
// One partition of __transaction_state.
Result<TransactionTopic> read_transaction_topic(base::FileSystem& files, const std::string& folder);

}  // namespace odradek::adopt
