#include "storage/files/partition_metadata.h"

#include <algorithm>
#include <cerrno>

#include "model/error_code.h"

namespace odradek::storage {

constexpr size_t kWholeFile = 43;

std::string encode_partition_metadata(const Uuid& topic_id) { return "version: 0\ntopic_id: " + topic_id.to_string(); }

Result<Uuid> decode_partition_metadata(ByteView content, const std::string& path) {
  auto broken = [&](const std::string& why) { return fail(ErrorCode::kKafkaStorageError, path + ": " + why); };
  bool has_version = false;
  std::optional<Uuid> id;
  std::string_view rest = as_text(content);
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return broken("malformed line");
    std::string_view key = line.substr(0, colon), value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    if (key == "version") {
      if (value != "0") return broken("version '" + std::string(value.substr(0, 20)) + "' is not known");
      has_version = true;
    } else if (key == "topic_id") {
      id = Uuid::parse(value);
      if (!id || id->is_zero()) return broken("'" + std::string(value.substr(0, 40)) + "' is no topic id");
    }
  }
  if (!has_version || !id) return broken("version or topic_id is missing");
  return *id;
}

Result<Uuid> read_partition_metadata(base::FileSystem& files, const std::string& folder) {
  std::string path = folder + "/" + std::string(kPartitionMetadataFile);
  auto content = base::read_file(files, path, 4096);
  if (!content) {
    if (content.error().os_error == ENOENT) return Uuid{};
    return fail(std::move(content.error()));
  }
  if (content->size() < kWholeFile || std::all_of(content->begin(), content->end(), [](uint8_t byte) { return byte == 0; })) return Uuid{};
  return decode_partition_metadata(*content, path);
}

Result<void> write_partition_metadata(base::FileSystem& files, const std::string& folder, const Uuid& topic_id) {
  auto file = files.open(folder + "/" + std::string(kPartitionMetadataFile), base::OpenMode::kTruncate);
  if (!file) return fail(std::move(file.error()));
  return (*file)->pwrite(0, as_bytes(encode_partition_metadata(topic_id)));
}

}  // namespace odradek::storage
