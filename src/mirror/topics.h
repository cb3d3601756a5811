// Topics of the source, made and kept on the target: partitions, configs.
// Errors are those of the network; what one topic or key is refused for is logged and tried again at the next call.
// Thread: as Cluster, one at a time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "client/cluster.h"
#include "mirror/options.h"

namespace odradek::mirror {

struct MirroredTopic {
  std::string id;  // of the source; empty: it has none
  std::map<int32_t, BrokerId> source_leaders, target_leaders;  // kNoBroker: none now; no source_leaders: the source cannot tell now
  bool there = false;  // on the target too, with all its partitions
};

class Topics {
 public:
  Topics(client::Cluster& source, client::Cluster& target, const MirrorOptions& options) : source_(source), target_(target), options_(options) {}

  // Looks at both clusters; makes topics and adds partitions on the target. By name, those that the filters allow.
  Result<std::map<std::string, MirroredTopic>> refresh();
  // Which topics the target would not take, or give more partitions, at the last refresh, and why.
  Result<void> refusals() const;
  // Gives the target's topics the configs that they have on the source.
  Result<void> sync_configs(const std::map<std::string, MirroredTopic>& topics);
  // Deletes topics on the target, those that the source's controller does not know.
  Result<void> remove(const std::set<std::string>& names);

 private:
  using Configs = std::map<std::string, std::string>;
  // What was set for the topic itself and may be followed.
  Result<std::map<std::string, Configs>> configs(client::Cluster& cluster, const std::vector<std::string>& names);
  Result<std::pair<ErrorCode, std::string>> ask_to_create(const std::string& name, int32_t partitions, const Configs& configs, bool only_validate);
  Result<void> create(const std::string& name, int32_t partitions, Configs configs);
  Result<void> grow(const std::string& name, int32_t partitions);
  Result<void> alter(const std::string& name, const std::vector<std::pair<std::string, std::optional<std::string>>>& changes);
  Result<bool> is_gone(const std::string& name);  // from the source
  void say_once(const std::string& what);

  client::Cluster& source_;
  client::Cluster& target_;
  const MirrorOptions& options_;
  std::set<std::string> said_;
  std::map<std::string, std::string> refusals_;
};

}  // namespace odradek::mirror
