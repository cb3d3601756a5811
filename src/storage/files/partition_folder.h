// Names in a log dir. Source: disk.md §1, §3.
#pragma once

#include <string>
#include <string_view>

#include "model/types.h"

namespace odradek::storage {

inline constexpr std::string_view kLockFile = ".lock";
inline constexpr std::string_view kCleanShutdownFile = ".kafka_cleanshutdown";
inline constexpr std::string_view kMetadataLogFolder = "__cluster_metadata-0";  // of KRaft; never served

enum class FolderKind { kLive, kDeleted, kFuture, kStray, kIgnored, kForeign };

// Of two folders of one partition, the one that holds this file counts: it took the place of the other, in a move between log dirs or
// while the other's log dir could not be read.
inline std::string newer_marker(const std::string& folder) { return folder + "/odradek-newer"; }

// What a folder in a log dir is: "<topic>-<partition>", or with ".<32 hex>-delete" and its kind behind. `tp`: of kLive and kFuture.
FolderKind parse_folder(const std::string& name, TopicPartition& tp);

}  // namespace odradek::storage
