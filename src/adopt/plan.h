// What is in the log dirs, what they become, and why not. Made by inspect(), which changes nothing.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "adopt/internal_topics.h"
#include "adopt/log_files.h"
#include "adopt/metadata_log.h"
#include "base/executor.h"
#include "config/config.h"
#include "metadata/tree/tree_copy.h"
#include "storage/files/meta_properties.h"

namespace odradek::adopt {

// A file in the folder of the store while an adoption is under way: a directory whose meta.properties is new already is then still
// known for what it was. Content: "kraft" or "zookeeper".
inline constexpr std::string_view kMarkFile = "odradek-adopting";
// The former meta.properties, beside the new one.
inline constexpr std::string_view kFormerProperties = "meta.properties.kafka";

struct Folder {
  std::string path;
  Uuid topic_id;  // zero: none
  LogTail tail;
  bool compacted = false;  // named in the cleaner's checkpoint
};

struct PlannedTopic {
  std::optional<Uuid> id;
  std::map<int32_t, Folder> partitions;
  config::Properties config;
};

struct PlannedDir {
  std::string path;
  bool exists = false;
  bool clean = false;
  std::optional<storage::MetaProperties> properties;
};

struct Plan {
  bool kraft = false;
  std::string store_file, mark_file;
  bool finished = false;  // only the mark of a former run has to go
  std::string cluster_id;
  BrokerId broker = kNoBroker;
  std::vector<PlannedDir> dirs;
  std::map<std::string, PlannedTopic> topics;
  std::vector<std::string> strays;  // folders of topics that are gone: renamed to "-stray"
  std::map<TopicPartition, std::vector<Rewritten>> rewritten;
  metadata::TreeContent tree;

  std::vector<std::string> facts, notes, refusals;
};

// Errors: the disks. The dirs are locked by the caller.
Result<Plan> inspect(base::Runtime& runtime, const config::BrokerConfig& config, bool allow_open_transactions);

}  // namespace odradek::adopt
