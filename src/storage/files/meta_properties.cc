#include "storage/files/meta_properties.h"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "model/error_code.h"

namespace odradek::storage {
namespace {

constexpr std::string_view kBlanks = " \t\f\r";

std::string_view trimmed(std::string_view text) {
  size_t from = text.find_first_not_of(kBlanks);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kBlanks) - from + 1);
}

// Java writes '\:' and '\=' for ':' and '=' in values.
std::string unescaped(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    result += text[i];
  }
  return result;
}

std::string escaped(std::string_view text) {
  std::string result;
  for (char c : text) {
    if (c == '\\' || c == ':' || c == '=' || c == '#' || c == '!') result += '\\';
    result += c;
  }
  return result;
}

}  // namespace

std::string MetaProperties::encode() const {
  std::string text = "#\n";
  auto line = [&](std::string_view key, std::string_view value) { text += std::string(key) + "=" + escaped(value) + "\n"; };
  for (const auto& [key, value] : other) line(key, value);
  if (broker_id) line(version == 0 ? "broker.id" : "node.id", std::to_string(broker_id->value));
  if (cluster_id) line("cluster.id", *cluster_id);
  line("version", std::to_string(version));
  return text;
}

Result<MetaProperties> MetaProperties::decode(ByteView content, const std::string& path) {
  auto broken = [&](const std::string& why) { return fail(ErrorCode::kKafkaStorageError, path + ": " + why); };
  MetaProperties result;
  std::string_view rest = as_text(content);
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = trimmed(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.empty() || line[0] == '#' || line[0] == '!') continue;
    size_t separator = line.find_first_of("=:");
    if (separator == std::string_view::npos) return broken("line '" + std::string(line.substr(0, 100)) + "' has no '='");
    std::string key(trimmed(line.substr(0, separator)));
    std::string value = unescaped(trimmed(line.substr(separator + 1)));
    auto number = [&](int& into) {
      auto [at, error] = std::from_chars(value.data(), value.data() + value.size(), into);
      return error == std::errc() && at == value.data() + value.size() && !value.empty();
    };
    int parsed = 0;
    if (key == "version") {
      if (!number(parsed)) return broken("version '" + value + "' is no number");
      result.version = parsed;
    } else if (key == "broker.id" || key == "node.id") {
      if (!number(parsed)) return broken(key + " '" + value + "' is no number");
      result.broker_id = BrokerId{parsed};
    } else if (key == "cluster.id") {
      result.cluster_id = value;
    } else {
      result.other[key] = value;
    }
  }
  if (result.version != 0 && result.version != 1) return broken("version " + std::to_string(result.version) + " is not known");
  return result;
}

Result<std::optional<MetaProperties>> read_meta_properties(base::FileSystem& files, const std::string& dir) {
  std::string path = dir + "/" + std::string(kMetaPropertiesFile);
  auto content = base::read_file(files, path, 1 << 20);
  if (!content) {
    if (content.error().os_error == ENOENT) return std::nullopt;
    return fail(std::move(content.error()));
  }
  auto properties = MetaProperties::decode(*content, path);
  if (!properties) return fail(std::move(properties.error()));
  return std::move(*properties);
}

Result<void> write_meta_properties(base::FileSystem& files, const std::string& dir, const MetaProperties& properties) {
  return base::write_file_atomically(files, dir + "/" + std::string(kMetaPropertiesFile), as_bytes(properties.encode()));
}

}  // namespace odradek::storage
