#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/common/admin.h"
#include "cli/common/times.h"
#include "cli/groups/commands.h"
#include "cli/groups/group_state.h"
#include "client/offsets.h"
#include "protocol/messages/offset_commit.h"

namespace odradek::cli {
namespace {

using protocol::OffsetCommitRequest;
using protocol::OffsetCommitResponse;

struct Command {
  Session session{"group reset-offsets"};
  std::string group;
  std::vector<std::string> topics;
  bool all_topics = false, to_earliest = false, to_latest = false, execute = false;
  std::optional<int64_t> to_offset, shift_by;
  std::string to_datetime, by_duration;
};

struct Step {
  int64_t from = -1, to = -1;
  std::string note;
};

// "orders" or "orders:0,2".
std::optional<std::pair<std::string, std::vector<int32_t>>> parse_topic(const std::string& text) {
  size_t at = text.find(':');
  std::pair<std::string, std::vector<int32_t>> result{text.substr(0, at), {}};
  if (result.first.empty()) return std::nullopt;
  if (at == std::string::npos) return result;
  const char* from = text.data() + at + 1;
  const char* end = text.data() + text.size();
  for (;;) {
    int32_t partition = -1;
    auto [stop, error] = std::from_chars(from, end, partition);
    if (error != std::errc() || partition < 0) return std::nullopt;
    result.second.push_back(partition);
    if (stop == end) return result;
    if (*stop != ',') return std::nullopt;
    from = stop + 1;
  }
}

Result<std::vector<TopicPartition>> chosen_partitions(client::Cluster& cluster, const Command& command, const GroupState& group) {
  std::vector<TopicPartition> result;
  if (command.all_topics) {
    for (const auto& [partition, offsets] : group.partitions) result.push_back(partition);
    if (result.empty()) return fail(ErrorCode::kInvalidRequest, "group " + group.name + " has no committed offsets: name topics with --topic");
    return result;
  }
  for (const std::string& text : command.topics) {
    auto [topic, partitions] = *parse_topic(text);
    auto metadata = cluster.metadata({{topic}});
    if (!metadata) return fail(std::move(metadata.error()));
    for (const auto& each : metadata->topics) {
      if (each.error_code != 0) return fail(code_of(each.error_code), "topic " + topic);
      for (int32_t partition : partitions) {
        bool there = std::any_of(each.partitions.begin(), each.partitions.end(), [&](const auto& one) { return one.partition_index == partition; });
        if (!there) return fail(ErrorCode::kUnknownTopicOrPartition, fmt::format("topic {} has no partition {}", topic, partition));
        result.push_back({topic, partition});
      }
      for (const auto& one : each.partitions) {
        if (partitions.empty()) result.push_back({topic, one.partition_index});
      }
    }
  }
  return result;
}

// Where each partition goes.
Result<std::map<TopicPartition, Step>> plan(client::Cluster& cluster, Session& session, const Command& command, const GroupState& group) {
  auto partitions = chosen_partitions(cluster, command, group);
  if (!partitions) return fail(std::move(partitions.error()));
  std::map<TopicPartition, int64_t> earliest, latest, timed;
  std::optional<int64_t> moment = parse_datetime(command.to_datetime);
  if (auto duration = parse_duration(command.by_duration)) moment = session.clock().wall_ms() - *duration;
  if (moment) moment = std::max<int64_t>(0, *moment);  // negative ones are Kafka's words for other things, as -1 for the end
  for (const TopicPartition& partition : *partitions) {
    earliest[partition] = client::kEarliestTimestamp;
    latest[partition] = client::kLatestTimestamp;
    if (moment) timed[partition] = *moment;
  }
  auto starts = client::list_offsets(cluster, earliest);
  auto ends = starts ? client::list_offsets(cluster, latest) : starts;
  auto found = ends ? client::list_offsets(cluster, timed) : ends;
  if (!found) return fail(std::move(found.error()));
  std::map<TopicPartition, Step> steps;
  for (const TopicPartition& partition : *partitions) {
    for (const auto* answers : {&*starts, &*ends, &*found}) {
      auto answer = answers->find(partition);
      if (answer != answers->end() && answer->second.error != ErrorCode::kNone) return fail(answer->second.error, partition.to_string());
    }
    Step& step = steps[partition];
    int64_t start = starts->at(partition).offset.value, end = ends->at(partition).offset.value;
    if (auto known = group.partitions.find(partition); known != group.partitions.end()) step.from = known->second.committed;
    if (command.to_earliest) {
      step.to = start;
    } else if (command.to_latest) {
      step.to = end;
    } else if (moment) {
      int64_t offset = found->at(partition).offset.value;
      step.to = offset < 0 ? end : offset;
    } else if (command.to_offset) {
      step.to = *command.to_offset;
    } else if (step.from < 0) {
      return fail(ErrorCode::kInvalidRequest, partition.to_string() + " has no committed offset that could be shifted");
    } else if (__builtin_add_overflow(step.from, *command.shift_by, &step.to)) {
      step.to = *command.shift_by < 0 ? INT64_MIN : INT64_MAX;
    }
    if (step.to < start) step.note = fmt::format("{} lies before the log start", step.to);
    if (step.to > end) step.note = fmt::format("{} lies behind the log end", step.to);
    step.to = std::clamp(step.to, start, end);
  }
  return steps;
}

Result<void> commit(client::Cluster& cluster, const std::string& group, const std::map<TopicPartition, Step>& steps) {
  OffsetCommitRequest request;
  request.group_id = group;
  for (const auto& [partition, step] : steps) {
    if (request.topics.empty() || request.topics.back().name != partition.topic) request.topics.emplace_back().name = partition.topic;
    auto& each = request.topics.back().partitions.emplace_back();
    each.partition_index = partition.partition;
    each.committed_offset = step.to;
    each.committed_metadata = "";
  }
  constexpr int16_t kLastWithNames = 9;
  auto connection = cluster.hold(client::TheCoordinator{client::CoordinatorType::kGroup, group});
  if (!connection) return fail(std::move(connection.error()));
  auto answer = (*connection)->ask<OffsetCommitResponse>(request, kLastWithNames);
  if (!answer) return fail(std::move(answer.error()));
  for (const auto& topic : answer->message.topics) {
    for (const auto& partition : topic.partitions) {
      if (partition.error_code != 0) return fail(code_of(partition.error_code), fmt::format("commit of {}-{}", topic.name, partition.partition_index));
    }
  }
  return {};
}

int reset(Command& command) {
  Session& session = command.session;
  int targets = command.to_earliest + command.to_latest + command.to_offset.has_value() + command.shift_by.has_value() + !command.to_datetime.empty() + !command.by_duration.empty();
  if (targets != 1) return session.wrong("give one of --to-earliest, --to-latest, --to-offset, --shift-by, --to-datetime and --by-duration");
  if (command.topics.empty() != command.all_topics) return session.wrong("give --topic or --all-topics");
  for (const std::string& topic : command.topics) {
    if (!parse_topic(topic)) return session.wrong("--topic " + topic + " is not TOPIC or TOPIC:partition,..");
  }
  if (!command.to_datetime.empty() && !parse_datetime(command.to_datetime)) return session.wrong("--to-datetime wants 2026-11-23T04:30:00Z");
  if (!command.by_duration.empty() && !parse_duration(command.by_duration)) return session.wrong("--by-duration wants PT2H30M or P1D");
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  auto group = read_group(**cluster, command.group);
  if (!group) return session.refused(group.error());
  if (group->state != "Empty" && group->state != "Dead") {
    return session.refused({ErrorCode::kNonEmptyGroup, fmt::format("group {} is {} with {} members", group->name, group->state, group->members.size())});
  }
  auto steps = plan(**cluster, session, command, *group);
  if (!steps) return session.refused(steps.error());
  if (command.execute) {
    if (auto done = commit(**cluster, command.group, *steps); !done) return session.refused(done.error());
  }
  Json json{{"group", command.group}, {"executed", command.execute}, {"offsets", Json::array()}};
  std::vector<std::vector<std::string>> rows{{"TOPIC", "PARTITION", "FROM", "TO", ""}};
  for (const auto& [partition, step] : *steps) {
    rows.push_back({partition.topic, std::to_string(partition.partition), step.from < 0 ? "-" : std::to_string(step.from), std::to_string(step.to), step.note});
    json["offsets"].push_back({{"topic", partition.topic}, {"partition", partition.partition}, {"from", step.from < 0 ? Json() : Json(step.from)}, {"to", step.to}, {"note", step.note}});
  }
  if (session.json) {
    print_json(json);
  } else {
    print_table(rows);
    fmt::print("{}\n", command.execute ? "committed" : "nothing is changed yet: --execute commits this");
  }
  return kDone;
}

}  // namespace

void add_group_reset(CLI::App& family, int& exit_code);
void add_group_reset(CLI::App& family, int& exit_code) {
  auto command = std::make_shared<Command>();
  CLI::App* sub = family.add_subcommand("reset-offsets", "Move a group's committed offsets; shows the plan, --execute does it");
  command->session.add_options(*sub);
  sub->add_option("GROUP", command->group, "Group without members")->required();
  sub->add_option("-t,--topic", command->topics, "TOPIC or TOPIC:partition,..; may be given several times")->allow_extra_args(false);
  sub->add_flag("--all-topics", command->all_topics, "All partitions that have a commit");
  sub->add_flag("--to-earliest", command->to_earliest, "To the log start");
  sub->add_flag("--to-latest", command->to_latest, "To the log end");
  sub->add_option("--to-offset", command->to_offset, "To this offset")->check(CLI::NonNegativeNumber);
  sub->add_option("--shift-by", command->shift_by, "Forwards by so many records; negative: back");
  sub->add_option("--to-datetime", command->to_datetime, "To the first record of this moment or later; UTC unless a zone is given");
  sub->add_option("--by-duration", command->by_duration, "To the first record not older than this, ISO 8601");
  sub->add_flag("--execute", command->execute, "Commit the new offsets");
  sub->footer("Examples:\n  odradek group reset-offsets billing --topic orders:0,1 --to-earliest\n"
              "  odradek group reset-offsets billing --all-topics --by-duration PT2H --execute\n"
              "  odradek group reset-offsets billing --topic orders --shift-by=-100 --execute");
  sub->callback([command, &exit_code] { exit_code = reset(*command); });
}

}  // namespace odradek::cli
