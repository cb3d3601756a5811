// What a mirror reads from its positions topic: lines of key TAB value; a line without a tab deletes its key.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "mirror/positions.h"

using namespace odradek;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::pair<std::string, std::optional<std::string>>> records;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    size_t tab = line.find('\t');
    records.emplace_back(line.substr(0, tab), tab == line.npos ? std::nullopt : std::optional(std::string(line.substr(tab + 1))));
  }
  auto stored = mirror::parse_positions(records);
  if (!stored) return 0;
  for (const auto& [name, map] : stored->maps) {
    if (map.empty()) continue;
    // Both ways of the map agree at the beginning of its last run, and chunks come back as they went.
    CHECK(map.source_at(map.last().target) == map.last().source);
    CHECK(map.target_at(map.last().source) == map.last().target);
    mirror::OffsetMap again;
    for (int64_t chunk = map.first_chunk(); chunk < map.end_chunk(); ++chunk) CHECK(again.decode_chunk(map.encode_chunk(chunk)));
    CHECK(again.size() == map.size());
  }
  return 0;
}
