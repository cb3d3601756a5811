#include "storage/files/checkpoint.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <vector>

#include "model/error_code.h"

namespace odradek::storage {
namespace {

constexpr int64_t kMostBytes = 256 << 20;

bool parse_number(std::string_view text, int64_t& number) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Takes a line off `rest`, without its end; false at the end of the text.
bool next_line(std::string_view& rest, std::string_view& line) {
  if (rest.empty()) return false;
  size_t end = std::min(rest.find('\n'), rest.size());
  line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return true;
}

}  // namespace

bool CheckpointFields::word(std::string_view& word) {
  size_t from = rest_.find_first_not_of(" \t");
  if (from == std::string_view::npos) return false;
  rest_.remove_prefix(from);
  size_t end = std::min(rest_.find_first_of(" \t"), rest_.size());
  word = rest_.substr(0, end);
  rest_.remove_prefix(end);
  if (rest_.find_first_not_of(" \t") == std::string_view::npos) rest_ = {};
  return true;
}

bool CheckpointFields::number(int64_t& number) {
  std::string_view text;
  return word(text) && parse_number(text, number);
}

Result<void> parse_checkpoint(ByteView content, const std::string& path, const std::function<bool(std::string_view)>& entry) {
  auto broken = [&](const std::string& why) { return fail(ErrorCode::kKafkaStorageError, path + ": " + why); };
  std::string_view rest = as_text(content), line;
  int64_t version, expected, found = 0;
  if (rest.empty()) return {};
  if (!next_line(rest, line) || !parse_number(line, version)) return broken("no version in the first line");
  if (version != 0) return broken("version " + std::to_string(version) + " is not known");
  if (!next_line(rest, line) || !parse_number(line, expected)) return broken("no number of entries in the second line");
  while (next_line(rest, line)) {
    if (!entry(line)) return broken("malformed line '" + std::string(line.substr(0, 300)) + "'");
    ++found;
  }
  if (found != expected) return broken(std::to_string(expected) + " entries announced, " + std::to_string(found) + " found");
  return {};
}

Result<OffsetMap> read_offsets(base::FileSystem& files, const std::string& path) {
  auto content = base::read_file(files, path, kMostBytes);
  OffsetMap offsets;
  if (!content) {
    if (content.error().os_error == ENOENT) return offsets;
    return fail(std::move(content.error()));
  }
  auto parsed = parse_checkpoint(*content, path, [&](std::string_view line) {
    CheckpointFields fields(line);
    std::string_view topic;
    int64_t partition, offset;
    if (!fields.word(topic) || !fields.number(partition) || !fields.number(offset) || !fields.end()) return false;
    if (partition < 0 || partition > INT32_MAX) return false;
    offsets[{std::string(topic), static_cast<int32_t>(partition)}] = {offset};
    return true;
  });
  if (!parsed) return fail(std::move(parsed.error()));
  return offsets;
}

std::string encode_offsets(const OffsetMap& offsets) {
  std::vector<const OffsetMap::value_type*> sorted;
  sorted.reserve(offsets.size());
  for (const auto& entry : offsets) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->first < b->first; });
  std::string text = "0\n" + std::to_string(sorted.size()) + "\n";
  for (const auto* entry : sorted) {
    text += entry->first.topic + " " + std::to_string(entry->first.partition) + " " + std::to_string(entry->second.value) + "\n";
  }
  return text;
}

Result<void> write_offsets(base::FileSystem& files, const std::string& path, const OffsetMap& offsets) {
  return base::write_file_atomically(files, path, as_bytes(encode_offsets(offsets)));
}

}  // namespace odradek::storage
