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

// A half-done swap of a moved replica (log_manager.h): the folder that holds it is the newer one.
inline constexpr std::string_view kMovedMarker = "odradek-moved-here";

// What a folder in a log dir is: "<topic>-<partition>", or with ".<32 hex>-delete" and its kind behind. `tp`: of kLive and kFuture.
FolderKind parse_folder(const std::string& name, TopicPartition& tp);

}  // namespace odradek::storage
