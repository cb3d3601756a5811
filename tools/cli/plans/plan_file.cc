#include "cli/plans/plan_file.h"

#include <algorithm>
#include <set>

#include "model/error_code.h"

namespace odradek::cli {
namespace {

using Json = nlohmann::ordered_json;

tl::unexpected<Error> wrong(const std::string& what) { return fail(ErrorCode::kInvalidRequest, what); }

Result<Json> parse_versioned(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return wrong("is no JSON");
  if (!json.is_object()) return wrong("is no JSON object");
  if (json.contains("version") && json["version"] != 1) return wrong("has a version other than 1");
  return json;
}

std::optional<int32_t> number(const Json& json) {
  if (!json.is_number_integer()) return std::nullopt;
  int64_t value = json.get<int64_t>();
  return value < 0 || value > INT32_MAX ? std::nullopt : std::optional(static_cast<int32_t>(value));
}

Result<PlanEntry> parse_entry(const Json& json) {
  if (!json.is_object() || !json.contains("topic") || !json["topic"].is_string() || !json.contains("partition") || !number(json["partition"])) {
    return wrong("has a partition without topic and number: " + json.dump());
  }
  PlanEntry entry{.partition = {json["topic"].get<std::string>(), *number(json["partition"])}, .replicas = {}, .log_dirs = {}};
  std::string name = entry.partition.to_string();
  if (!json.contains("replicas") || !json["replicas"].is_array()) return wrong(name + " has no list of replicas");
  for (const auto& each : json["replicas"]) {
    auto broker = number(each);
    if (!broker) return wrong(name + ": " + each.dump() + " is no broker id");
    if (std::count(entry.replicas.begin(), entry.replicas.end(), *broker) != 0) return wrong(name + " names broker " + std::to_string(*broker) + " twice");
    entry.replicas.push_back(*broker);
  }
  if (entry.replicas.empty()) return wrong(name + " has an empty list of replicas");
  if (json.contains("log_dirs")) {
    if (!json["log_dirs"].is_array() || json["log_dirs"].size() != entry.replicas.size()) return wrong(name + " has another number of log_dirs than of replicas");
    for (const auto& each : json["log_dirs"]) {
      if (!each.is_string() || (each != kAnyLogDir && !each.get_ref<const std::string&>().starts_with('/'))) return wrong(name + ": a log dir is \"any\" or an absolute path, not " + each.dump());
      entry.log_dirs.push_back(each.get<std::string>());
    }
    if (std::all_of(entry.log_dirs.begin(), entry.log_dirs.end(), [](const auto& dir) { return dir == kAnyLogDir; })) entry.log_dirs.clear();
  }
  return entry;
}

}  // namespace

Result<std::vector<PlanEntry>> parse_plan(const std::string& text) {
  auto json = parse_versioned(text);
  if (!json) return fail(std::move(json.error()));
  if (!json->contains("partitions") || !(*json)["partitions"].is_array() || (*json)["partitions"].empty()) return wrong("names no partitions");
  std::vector<PlanEntry> plan;
  for (const auto& each : (*json)["partitions"]) {
    auto entry = parse_entry(each);
    if (!entry) return fail(std::move(entry.error()));
    plan.push_back(std::move(*entry));
  }
  std::sort(plan.begin(), plan.end(), [](const auto& a, const auto& b) { return a.partition < b.partition; });
  for (size_t i = 1; i < plan.size(); ++i) {
    if (plan[i].partition == plan[i - 1].partition) return wrong("names " + plan[i].partition.to_string() + " twice");
  }
  return plan;
}

Json plan_json(const std::vector<PlanEntry>& plan) {
  Json partitions = Json::array();
  for (const PlanEntry& entry : plan) {
    std::vector<std::string> dirs = entry.log_dirs.empty() ? std::vector<std::string>(entry.replicas.size(), std::string(kAnyLogDir)) : entry.log_dirs;
    partitions.push_back({{"topic", entry.partition.topic}, {"partition", entry.partition.partition}, {"replicas", entry.replicas}, {"log_dirs", std::move(dirs)}});
  }
  return {{"version", 1}, {"partitions", std::move(partitions)}};
}

Result<std::vector<std::string>> parse_topics_to_move(const std::string& text) {
  auto json = parse_versioned(text);
  if (!json) return fail(std::move(json.error()));
  std::set<std::string> topics;
  if (json->contains("topics") && (*json)["topics"].is_array()) {
    for (const auto& each : (*json)["topics"]) {
      if (!each.is_object() || !each.contains("topic") || !each["topic"].is_string()) return wrong("has a topic without a name: " + each.dump());
      topics.insert(each["topic"].get<std::string>());
    }
  }
  if (topics.empty()) return wrong("names no topics");
  return std::vector<std::string>(topics.begin(), topics.end());
}

}  // namespace odradek::cli
