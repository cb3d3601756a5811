// Creates, deletes and enlarges topics by writing the tree, as the broker that serves such a request does; the controller's watches
// do the rest. Any broker may use it (auto-creation), in practice the controller does. Source: zookeeper.md §4, adminflows.md,
// behaviours.md §5, §13.
// Thread: calls from any thread; `done` on the metadata executor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/function.h"
#include "base/result.h"
#include "config/config.h"
#include "metadata/cluster_config.h"
#include "metadata/image/image.h"
#include "metadata/store/store.h"
#include "model/error_code.h"
#include "model/types.h"

namespace odradek::controller {

struct NewTopic {
  std::string name;
  int32_t partitions = -1;          // -1: num.partitions, or `assignment` says it
  int16_t replication_factor = -1;  // -1: default.replication.factor, or `assignment` says it
  std::vector<std::pair<int32_t, std::vector<BrokerId>>> assignment;  // partition index → replicas, preferred leader first
  std::map<std::string, std::optional<std::string>> configs;
};
struct TopicCreated {
  ErrorCode error = ErrorCode::kNone;
  std::string message;  // empty: none
  Uuid id;
  int32_t partitions = -1;
  int16_t replication_factor = -1;
  config::Properties configs;  // the overrides written
};
struct NewPartitions {
  std::string topic;
  int32_t total = 0;
  std::optional<std::vector<std::vector<BrokerId>>> assignment;  // of the new ones only
};
struct TopicOutcome {
  ErrorCode error = ErrorCode::kNone;
  std::string message;
};

class TopicAdmin {
 public:
  // True: internal topics may be created with fewer replicas than configured while there are fewer brokers (the embedded store).
  TopicAdmin(base::Runtime& runtime, base::Executor& metadata, metadata::Store& store, metadata::ImageHolder& image,
             config::ConfigHolder& config, bool fewer_replicas_for_internal_topics);
  ~TopicAdmin();

  // Results in the order of `topics`. The same name twice: kInvalidRequest for each. validate_only: nothing is written.
  void create_topics(std::vector<NewTopic> topics, bool validate_only, UniqueFunction<void(std::vector<TopicCreated>)> done);
  // kUnknownTopicOrPartition, kTopicDeletionDisabled; success: the deletion is queued.
  void delete_topics(std::vector<std::string> topics, UniqueFunction<void(std::vector<TopicOutcome>)> done);
  void create_partitions(std::vector<NewPartitions> topics, bool validate_only, UniqueFunction<void(std::vector<TopicOutcome>)> done);

  // For Metadata and FindCoordinator: the topic with the broker's defaults, internal topics with their own settings. A creation of the
  // same topic that runs already is not repeated. kNone: written (or it existed).
  void auto_create(const std::string& topic, UniqueFunction<void(ErrorCode)> done);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared: replies of the store may come after the end
};

}  // namespace odradek::controller
