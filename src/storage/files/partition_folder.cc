#include "storage/files/partition_folder.h"

#include <charconv>

namespace odradek::storage {

namespace {

constexpr std::string_view kDeleteSuffix = "-delete";

FolderKind kind_of(const std::string& name) {
  if (name == "remote-log-index-cache" || name == kMetadataLogFolder) return FolderKind::kIgnored;
  for (auto [suffix, kind] : {std::pair{kDeleteSuffix, FolderKind::kDeleted}, std::pair{std::string_view("-future"), FolderKind::kFuture},
                              std::pair{std::string_view("-stray"), FolderKind::kStray}}) {
    if (!name.ends_with(suffix)) continue;
    size_t dot = name.rfind('.', name.size() - suffix.size());
    if (dot != std::string::npos && name.size() - suffix.size() - dot - 1 == 32 &&
        name.find_first_not_of("0123456789abcdef", dot + 1) == name.size() - suffix.size()) {
      return kind;
    }
  }
  return name.rfind('-') != std::string::npos && name.substr(0, name.rfind('-')) == "__cluster_metadata" ? FolderKind::kIgnored : FolderKind::kLive;
}

bool parse_name(std::string_view name, TopicPartition& tp) {
  const size_t dash = name.rfind('-');
  if (dash == std::string_view::npos || dash + 1 == name.size()) return false;
  tp.topic = name.substr(0, dash);
  auto [end, error] = std::from_chars(name.data() + dash + 1, name.data() + name.size(), tp.partition);
  return error == std::errc() && end == name.data() + name.size() && tp.partition >= 0 && topic_name_fault(tp.topic).empty();
}

}  // namespace

FolderKind parse_folder(const std::string& name, TopicPartition& tp) {
  const FolderKind kind = kind_of(name);
  if (kind != FolderKind::kFuture && kind != FolderKind::kLive) return kind;
  const std::string_view plain = kind == FolderKind::kLive ? std::string_view(name) : std::string_view(name).substr(0, name.rfind('.'));
  return parse_name(plain, tp) ? kind : kind == FolderKind::kLive ? FolderKind::kForeign : FolderKind::kIgnored;
}

}  // namespace odradek::storage
