// Kafka's JSON of kafka-reassign-partitions: {"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2],"log_dirs":["any","any"]}]},
// and {"version":1,"topics":[{"topic":"t"}]} for what should move.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "base/result.h"
#include "model/types.h"

namespace odradek::cli {

inline constexpr std::string_view kAnyLogDir = "any";

struct PlanEntry {
  TopicPartition partition;
  std::vector<int32_t> replicas;
  std::vector<std::string> log_dirs;  // one for each replica: a path there, or "any"; empty: all "any"
  friend bool operator==(const PlanEntry&, const PlanEntry&) = default;
};

// By name. Errors: kInvalidRequest, what is wrong and where; as Kafka's tool a partition twice, no replica, a replica twice, no partition at all.
Result<std::vector<PlanEntry>> parse_plan(const std::string& text);
nlohmann::ordered_json plan_json(const std::vector<PlanEntry>& plan);
Result<std::vector<std::string>> parse_topics_to_move(const std::string& text);

}  // namespace odradek::cli
