#include "storage/partition_folder.h"

#include <charconv>

namespace odradek::storage {

namespace {
constexpr std::string_view kDeleteSuffix = "-delete";
}  // namespace

FolderKind parse_folder(const std::string& name, TopicPartition& tp) {
  if (name == "remote-log-index-cache") return FolderKind::kIgnored;
  for (auto [suffix, kind] : {std::pair{kDeleteSuffix, FolderKind::kDeleted}, std::pair{std::string_view("-future"), FolderKind::kFuture},
                              std::pair{std::string_view("-stray"), FolderKind::kStray}}) {
    if (!name.ends_with(suffix)) continue;
    size_t dot = name.rfind('.', name.size() - suffix.size());
    if (dot != std::string::npos && name.size() - suffix.size() - dot - 1 == 32 &&
        name.find_first_not_of("0123456789abcdef", dot + 1) == name.size() - suffix.size()) {
      return kind;
    }
  }
  size_t dash = name.rfind('-');
  if (dash == std::string::npos || dash + 1 == name.size()) return FolderKind::kForeign;
  tp.topic = name.substr(0, dash);
  if (tp.topic == "__cluster_metadata") return FolderKind::kIgnored;
  auto [end, error] = std::from_chars(name.data() + dash + 1, name.data() + name.size(), tp.partition);
  if (error != std::errc() || end != name.data() + name.size() || tp.partition < 0 || !topic_name_fault(tp.topic).empty()) return FolderKind::kForeign;
  return FolderKind::kLive;
}

}  // namespace odradek::storage
