// docs/config.md.
#include <fmt/format.h>

#include "config/broker_keys.h"
#include "config/config.h"
#include "config/topic_keys.h"

namespace odradek::config {
namespace {

std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string shown_default(const ConfigKey& key) {
  if (!key.default_value) return "unset";
  std::string_view text = key.default_value;
  return text.empty() ? "empty" : fmt::format("`{}`", text);
}

std::string range_of(const ConfigKey& key) {
  if (key.range == "replicas") return "`*` or partition:broker";
  if (key.range == "release") return "a Kafka release";
  return cell(key.range.starts_with('~') ? key.range.substr(1) : key.range);
}

std::string effect_of(const ConfigKey& key) {
  std::string text = cell(key.doc);
  switch (key.fate) {
    case Fate::kWorks: return text;
    case Fate::kHarmless: return fmt::format("{} **No effect here:** {}", text, cell(key.note));
    case Fate::kRefused: {
      std::string_view when = key.refused_if == RefusedIf::kSet ? "if set" : key.refused_if == RefusedIf::kTrue ? "if true"
                              : key.refused_if == RefusedIf::kNotDefault                                        ? "if not the default"
                                                                                                               : "in some cases";
      return fmt::format("{} **Refused {}:** {}", text, when, cell(key.note));
    }
  }
  return text;
}

std::string row(const ConfigKey& key) {
  return fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", key.name, name_of(key.type), shown_default(key), range_of(key), name_of(key.update), effect_of(key));
}

}  // namespace

std::string reference_markdown() {
  std::string out =
      "# Configuration\n\n"
      "Printed from the tables in `src/config` by `odradek-server --print-config-reference`; a test compares.\n\n"
      "`odradek-server [server.properties] [--override key=value]...` takes Kafka's file as it is. Each key of Kafka 3.9 stands here and either works, "
      "has no effect here (it is named once in the log), or is refused: then the start fails with a line that says why and what to do. Keys that are not "
      "here are kept and named in a warning.\n\n"
      "Change: *read-only* takes a restart, *per-broker* and *cluster-wide* keys are dynamic in Kafka (`kafka-configs --alter`, for one broker or as the default "
      "of all). Listeners and their security can be changed by a restart only. `listener.name.<listener>.<key>` sets `max.connections`, "
      "`max.connection.creation.rate` and `num.network.threads` of one listener.\n\n"
      "## Broker\n\n| key | type | default | range | change | what it does |\n| --- | --- | --- | --- | --- | --- |\n";
  for (const ConfigKey& key : kBrokerKeys) out += row(key);
  out += "\n## Broker, by AlterConfigs only\n\n| key | type | default | range | change | what it does |\n| --- | --- | --- | --- | --- | --- |\n";
  for (const ConfigKey& key : kDynamicOnlyKeys) out += row(key);
  out += "\n## Topic\n\nThe default of a topic key is the value of its broker key.\n\n"
         "| key | type | default | range | broker key | what it does |\n| --- | --- | --- | --- | --- | --- |\n";
  for (const TopicKey& topic : kTopicKeys) {
    std::string sources;
    for (const DefaultSource& source : topic.sources) {
      if (!source.broker_key.empty()) sources += fmt::format("{}`{}`", sources.empty() ? "" : ", ", source.broker_key);
    }
    const ConfigKey& key = topic.key;
    out += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", key.name, name_of(key.type), shown_default(key), range_of(key), sources, effect_of(key));
  }
  return out;
}

}  // namespace odradek::config
