// `config.providers`: values that stand elsewhere. Kafka's own three providers, by their class names; what they do is in properties.h.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <regex>

#include "base/file.h"
#include "config/config_key.h"
#include "config/properties.h"
#include "model/error_code.h"

namespace odradek::config {
namespace {

constexpr int64_t kMaxBytes = 16 << 20;
constexpr std::string_view kPackage = "org.apache.kafka.common.config.provider.";

tl::unexpected<Error> refused(std::string why) { return fail(ErrorCode::kInvalidConfig, std::move(why)); }

// ${provider:path:key} or ${provider:key}, as Kafka's pattern takes it apart. Empty size: none begins at `at`.
struct Variable {
  std::string_view provider, path, key;
  size_t size = 0;
};
Variable variable_at(std::string_view text, size_t at) {
  std::string_view rest = text.substr(at);
  const size_t end = rest.find('}');
  if (!rest.starts_with("${") || end == rest.npos) return {};
  std::string_view inside = rest.substr(2, end - 2);
  const size_t first = inside.find(':');
  if (first == inside.npos) return {};
  Variable variable{inside.substr(0, first), {}, inside.substr(first + 1), end + 1};
  if (const size_t second = variable.key.find(':'); second != variable.key.npos) {
    variable.path = variable.key.substr(0, second);
    variable.key = variable.key.substr(second + 1);
  }
  return variable;
}

class Providers {
 public:
  explicit Providers(const Properties& properties) : properties_(properties) {}

  // Nothing: the text stays as it is.
  Result<std::optional<std::string>> value(const Variable& variable) {
    std::optional<std::string> none;
    const std::string prefix = fmt::format("config.providers.{}.", variable.provider);
    auto named = split_csv(setting("config.providers").value_or(""));
    auto type = setting(prefix + "class");
    if (std::find(named.begin(), named.end(), variable.provider) == named.end() || !type) return none;
    if (*type == fmt::format("{}EnvVarConfigProvider", kPackage)) return of_environment(variable, setting(prefix + "param.allowlist.pattern"));
    const bool by_file = *type == fmt::format("{}FileConfigProvider", kPackage);
    if (!by_file && *type != fmt::format("{}DirectoryConfigProvider", kPackage)) {
      return refused(fmt::format("{}class={} is refused: Java classes cannot run here; EnvVarConfigProvider, FileConfigProvider and "
                                 "DirectoryConfigProvider of {} are served", prefix, *type, kPackage.substr(0, kPackage.size() - 1)));
    }
    if (variable.path.empty() || !is_allowed(variable.path, setting(prefix + "param.allowed.paths"))) return none;
    return by_file ? of_file(variable) : of_directory(variable);
  }

 private:
  std::optional<std::string> setting(const std::string& name) const {
    auto found = properties_.find(name);
    if (found == properties_.end() || trim(found->second).empty()) return std::nullopt;
    return std::string(trim(found->second));
  }

  // Inside one of the folders (or files) that are allowed; a way that leads back up is not followed.
  static bool is_allowed(std::string_view path, const std::optional<std::string>& allowed) {
    if (!allowed) return true;
    if (fmt::format("{}/", path).find("/../") != std::string::npos) return false;
    auto folders = split_csv(*allowed);
    return std::any_of(folders.begin(), folders.end(), [&](std::string_view folder) {
      while (folder.ends_with('/')) folder.remove_suffix(1);
      return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
    });
  }

  static Result<std::optional<std::string>> of_environment(const Variable& variable, const std::optional<std::string>& allowed) {
    if (!variable.path.empty()) return refused(fmt::format("Path is not supported for EnvVarConfigProvider, invalid value '{}'", variable.path));
    const std::string name(variable.key);
    std::optional<std::string> none;
    try {
      if (allowed && !std::regex_match(name, std::regex(*allowed))) return none;
    } catch (const std::regex_error&) {
      return refused(fmt::format("allowlist.pattern of a config provider is no pattern: {}", *allowed));
    }
    const char* found = std::getenv(name.c_str());
    return found == nullptr ? none : std::optional<std::string>(found);
  }

  Result<std::optional<std::string>> of_file(const Variable& variable) {
    auto [file, is_new] = files_.try_emplace(std::string(variable.path));
    if (is_new) {
      auto content = base::read_file(base::posix_files(), file->first, kMaxBytes);
      if (!content) return refused("a config provider cannot read its file: " + content.error().what);
      auto parsed = parse_properties(as_text(*content), Encoding::kUtf8);
      if (!parsed) return refused(file->first + ": " + parsed.error().what);
      file->second = std::move(*parsed);
    }
    auto found = file->second.find(variable.key);
    return found == file->second.end() ? std::nullopt : std::optional(found->second);
  }

  static Result<std::optional<std::string>> of_directory(const Variable& variable) {
    std::optional<std::string> none;
    if (variable.key.empty() || variable.key.find('/') != variable.key.npos) return none;
    const std::string file = fmt::format("{}/{}", variable.path, variable.key);
    auto status = base::posix_files().status(file);
    if (!status || status->is_directory) return none;
    auto content = base::read_file(base::posix_files(), file, kMaxBytes);
    if (!content) return refused("a config provider cannot read its file: " + content.error().what);
    return std::optional(std::string(as_text(*content)));
  }

  const Properties& properties_;
  std::map<std::string, Properties> files_;
};

}  // namespace

Result<void> fill_in_variables(Properties& properties) {
  if (!properties.contains("config.providers")) return {};
  Properties filled = properties;
  Providers providers(properties);
  for (auto& [name, text] : filled) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      Variable variable = variable_at(text, at);
      std::optional<std::string> value;
      if (variable.size > 0) {
        auto found = providers.value(variable);
        if (!found) return fail(std::move(found.error()));
        value = std::move(*found);
      }
      out += value ? *value : text.substr(at, std::max<size_t>(variable.size, 1));
      at += std::max<size_t>(variable.size, 1);
    }
    text = std::move(out);
  }
  properties = std::move(filled);
  return {};
}

}  // namespace odradek::config
