// `partition.metadata` of a partition folder: the topic id. Two lines, no final newline: "version: 0\ntopic_id: <22 characters>".
#pragma once

#include <string>

#include "base/file.h"
#include "base/uuid.h"

namespace odradek::storage {

inline constexpr std::string_view kPartitionMetadataFile = "partition.metadata";

std::string encode_partition_metadata(const Uuid& topic_id);
// Errors: kKafkaStorageError: not this format.
Result<Uuid> decode_partition_metadata(ByteView content, const std::string& path);
// Zero: the folder has none. A file that is short or all zeros, as a power cut leaves it, counts as none.
Result<Uuid> read_partition_metadata(base::FileSystem& files, const std::string& folder);
// Not synced: the caller has it synced.
Result<void> write_partition_metadata(base::FileSystem& files, const std::string& folder, const Uuid& topic_id);

}  // namespace odradek::storage
