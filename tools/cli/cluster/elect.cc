// `elect preferred|unclean`.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <charconv>

#include "cli/cluster/commands.h"
#include "cli/common/admin.h"
#include "protocol/messages/elect_leaders.h"

namespace odradek::cli {
namespace {

using protocol::ElectLeadersRequest;
using protocol::ElectLeadersResponse;

enum class Election : int8_t { kPreferred = 0, kUnclean = 1 };

struct Command {
  Command(const char* name, Election e) : session(name), election(e) {}
  Session session;
  const Election election;
  std::vector<std::string> topics;  // "t" or "t:0,1"
  bool all = false;
};

// "t" → all of its partitions (none listed), "t:0,3" → these.
bool parse_topic(const std::string& text, ElectLeadersRequest::TopicPartitions& into) {
  size_t colon = text.rfind(':');
  into.topic = text.substr(0, colon);
  into.partitions.clear();
  if (into.topic.empty()) return false;
  while (colon != std::string::npos) {
    size_t begin = colon + 1;
    colon = text.find(',', begin);
    std::string_view number = std::string_view(text).substr(begin, colon == std::string::npos ? colon : colon - begin);
    int32_t partition = -1;
    auto read = std::from_chars(number.data(), number.data() + number.size(), partition);
    if (read.ec != std::errc() || read.ptr != number.data() + number.size() || partition < 0) return false;
    into.partitions.push_back(partition);
  }
  return true;
}

int elect(Command& command) {
  Session& session = command.session;
  ElectLeadersRequest request;
  request.election_type = static_cast<int8_t>(command.election);
  request.timeout_ms = session.timeout_ms();
  if (command.all == !command.topics.empty()) return session.wrong("give one of --topic and --all");
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  if (command.all) {
    request.topic_partitions.reset();
  } else {
    request.topic_partitions.emplace();
    std::vector<std::string> names;
    for (const std::string& each : command.topics) {
      auto& topic = request.topic_partitions->emplace_back();
      if (!parse_topic(each, topic)) return session.wrong("--topic " + each + " is not NAME or NAME:0,1");
      names.push_back(topic.topic);
    }
    auto metadata = (*cluster)->metadata(names);
    if (!metadata) return session.refused(metadata.error());
    for (const auto& topic : metadata->topics) {
      if (topic.error_code != 0) return session.refused(topic.error_code, "topic " + topic.name.value_or(""), "");
      for (auto& asked : *request.topic_partitions) {
        if (asked.topic != topic.name || !asked.partitions.empty()) continue;
        for (const auto& partition : topic.partitions) asked.partitions.push_back(partition.partition_index);
      }
    }
  }
  auto answer = (*cluster)->ask<ElectLeadersResponse>(client::TheController{}, request, [](const auto& response) { return code_of(response.error_code); });
  if (!answer) return session.refused(answer.error());
  if (answer->message.error_code != 0) return session.refused(answer->message.error_code, std::nullopt, "election");
  int code = kDone;
  size_t elected = 0, not_needed = 0;
  Json list = Json::array();
  for (const auto& topic : answer->message.replica_election_results) {
    for (const auto& partition : topic.partition_result) {
      TopicPartition name{topic.topic, partition.partition_id};
      ErrorCode error = code_of(partition.error_code);
      bool needless = error == ErrorCode::kElectionNotNeeded;
      elected += error == ErrorCode::kNone;
      not_needed += needless;
      // Without names the broker tells of every partition.
      if (needless && command.all) continue;
      Json entry{{"topic", name.topic}, {"partition", name.partition}, {"elected", error == ErrorCode::kNone}};
      if (error != ErrorCode::kNone) entry["error"] = name_of(error);
      list.push_back(std::move(entry));
      if (error == ErrorCode::kNone) {
        if (!session.json) fmt::print("{}\n", name.to_string());
      } else if (!needless) {
        code = session.refused(partition.error_code, partition.error_message, name.to_string());
      }
    }
  }
  if (session.json) {
    print_json({{"election", command.election == Election::kPreferred ? "preferred" : "unclean"}, {"elected", elected}, {"not_needed", not_needed}, {"partitions", std::move(list)}});
  } else {
    fmt::print("{} partitions got another leader, {} did not need one\n", elected, not_needed);
  }
  return code;
}

}  // namespace

void add_elect(CLI::App& app, int& exit_code) {
  CLI::App* family = app.add_subcommand("elect", "Have leaders elected");
  family->require_subcommand(1);
  auto add = [&](const char* name, const char* full_name, Election election, const char* help, const char* footer) {
    auto command = std::make_shared<Command>(full_name, election);
    CLI::App* sub = family->add_subcommand(name, help);
    command->session.add_options(*sub);
    sub->add_option("-t,--topic", command->topics, "NAME, or NAME:0,1 for some partitions; may be given several times")->allow_extra_args(false);
    sub->add_flag("--all", command->all, "All partitions of the cluster");
    sub->footer(footer);
    sub->callback([command, &exit_code] { exit_code = elect(*command); });
  };
  add("preferred", "elect preferred", Election::kPreferred, "The first replica of each partition leads it, if it is in sync",
      "Examples:\n  odradek elect preferred --all\n  odradek elect preferred --topic orders:0,1");
  add("unclean", "elect unclean", Election::kUnclean, "A partition without a leader gets a replica that is not in sync: records that only the lost replicas had are gone",
      "Only partitions without a leader are touched. Look for the lost brokers first: what they hold is lost by this.\n"
      "Examples:\n  odradek elect unclean --topic orders:3\n  odradek elect unclean --all");
}

}  // namespace odradek::cli
