// What a mirror is asked to do, from a properties file. Keys that MirrorMaker 2 has too have its names.
// Thread: free functions; a Filter may be used from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/properties.h"
#include "model/types.h"

namespace odradek::mirror {

// Names that one of some regular expressions matches whole, but none of some others.
class Filter {
 public:
  // Both are expressions separated by commas. Errors: kInvalidConfig, an expression that cannot be read.
  static Result<Filter> make(const std::string& include, const std::string& exclude);
  bool allows(const std::string& name) const;

 private:
  std::vector<std::regex> include_, exclude_;
};

struct MirrorOptions {
  enum class Start { kEarliest, kLatest, kAfter };

  std::string name = "mirror";
  std::string instance;  // of this process among those of this name; a later one of the same instance takes its place
  std::string source, target;  // bootstrap servers
  Filter topics, groups, config_keys;
  Start start = Start::kEarliest;
  std::string after;  // kAfter: the name of the mirror in the other direction whose records are not copied back
  IsolationLevel isolation = IsolationLevel::kReadCommitted;
  bool sync_configs = true, sync_groups = true, delete_topics = false;
  int16_t replication_factor = -1;
  int64_t refresh_topics_ms = 10'000, sync_configs_ms = 60'000, sync_groups_ms = 10'000, checkpoint_ms = 5'000;
  int32_t session_timeout_ms = 15'000;
  int32_t fetch_connections = 4, fetch_range_bytes = 4 << 20, fetch_max_wait_ms = 500;
  int32_t produce_connections = 2;
  int32_t request_timeout_ms = 30'000;
  int64_t buffer_bytes = 128ll << 20;
  bool exit_when_caught_up = false;
  std::string metrics_listener;

  std::string positions_topic() const { return positions_topic_of(name); }
  static std::string positions_topic_of(const std::string& mirror) { return "odradek-mirror-" + mirror + "-positions"; }
};

// One key: what `odradek mirror --print-config` and the errors show.
struct MirrorKey {
  std::string_view name, default_value, doc;
};
const std::vector<MirrorKey>& mirror_keys();

// Errors: kInvalidConfig: a key that does not exist, a value that cannot be, a missing source or target.
Result<MirrorOptions> read_options(const config::Properties& properties);

}  // namespace odradek::mirror
