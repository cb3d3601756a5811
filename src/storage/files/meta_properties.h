// `meta.properties` of a log dir: which cluster and broker it belongs to. Java properties; version 0 has broker.id (ZooKeeper mode),
// version 1 has node.id (KRaft). A missing version means 0. Unknown keys are kept.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/file.h"
#include "model/types.h"

namespace odradek::storage {

inline constexpr std::string_view kMetaPropertiesFile = "meta.properties";

struct MetaProperties {
  int version = 0;
  std::optional<std::string> cluster_id;
  std::optional<BrokerId> broker_id;
  std::map<std::string, std::string> other;  // directory.id and what we do not know

  std::string encode() const;
  // Errors: kKafkaStorageError: not properties, another version, an id that is no number.
  static Result<MetaProperties> decode(ByteView content, const std::string& path);
};

// nullopt: the dir has none.
Result<std::optional<MetaProperties>> read_meta_properties(base::FileSystem& files, const std::string& dir);
// Blocks on the disk.
Result<void> write_meta_properties(base::FileSystem& files, const std::string& dir, const MetaProperties& properties);

}  // namespace odradek::storage
