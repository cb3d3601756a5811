// Offsets of the source's groups, translated and committed on the target, so that a group's members go on there where they were.
// A group is left alone that has members on the target, or whose offset there is further than the translated one and was not written by this
// process: somebody used it.
// Thread: as Cluster, one at a time.
#pragma once

#include <map>
#include <string>

#include "client/cluster.h"
#include "mirror/copying/offset_map.h"
#include "mirror/copying/partition.h"
#include "mirror/options.h"

namespace odradek::mirror {

struct GroupCommit {
  Offset offset;
  std::string metadata;
};
using GroupCommits = std::map<TopicPartition, GroupCommit>;

// What is to be committed on the target. `translate` gives nullopt for partitions that are not copied; `written`: what was committed there
// by us.
GroupCommits commits_to_write(const GroupCommits& source, const GroupCommits& target, const GroupCommits& written,
                              const std::function<std::optional<Offset>(const TopicPartition&, Offset)>& translate);

class Groups {
 public:
  Groups(client::Cluster& source, client::Cluster& target, const MirrorOptions& options) : source_(source), target_(target), options_(options) {}

  using Translate = std::function<std::optional<Offset>(const TopicPartition&, Offset)>;
  // One round over all groups. The number of offsets written. Errors: what kept it from looking at all groups.
  Result<int64_t> sync(const Translate& translate);

 private:
  Result<std::vector<std::string>> list();
  Result<GroupCommits> commits(client::Cluster& cluster, const std::string& group);
  Result<bool> in_use(const std::string& group);  // on the target
  Result<void> commit(const std::string& group, const GroupCommits& commits);

  client::Cluster& source_;
  client::Cluster& target_;
  const MirrorOptions& options_;
  std::map<std::string, GroupCommits> written_;
};

}  // namespace odradek::mirror
