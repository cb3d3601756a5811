// `topic reassign plan|execute|watch|cancel|throttle`.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/file.h"
#include "cli/common/subcommand.h"
#include "cli/plans/commands.h"
#include "cli/plans/plan_command.h"

namespace odradek::cli {
namespace {

constexpr int64_t kMaxPlanBytes = 256 << 20;

struct Command {
  explicit Command(const char* name) : session(name) {}
  Session session;
  std::vector<std::string> topics;
  std::string topics_file, plan_file;
  std::vector<int32_t> brokers;
  int replication_factor = 0;
  PlanOptions plan;
  ExecuteOptions how;
  bool elect = false;
  bool once = false, keep_throttle = false;
  int64_t limit_s = 0;
  double rate_mb = 0;
  bool remove = false;
};

Result<std::string> content_of(const std::string& path) {
  auto bytes = base::read_file(base::posix_files(), path, kMaxPlanBytes);
  if (!bytes) return fail(std::move(bytes.error()));
  return std::string(as_text(*bytes));
}

// The partitions of the named topics that are under way; all without names.
std::set<TopicPartition> chosen(const std::map<TopicPartition, OngoingReassignment>& ongoing, const std::vector<std::string>& topics) {
  std::set<TopicPartition> names;
  for (const auto& [name, each] : ongoing) {
    if (topics.empty() || std::count(topics.begin(), topics.end(), name.topic) != 0) names.insert(name);
  }
  return names;
}

int plan(Command& command) {
  Session& session = command.session;
  std::set<std::string> topics(command.topics.begin(), command.topics.end());
  if (!command.topics_file.empty()) {
    auto text = content_of(command.topics_file);
    if (!text) return session.refused(text.error());
    auto listed = parse_topics_to_move(*text);
    if (!listed) return session.wrong(command.topics_file + " " + listed.error().what);
    topics.insert(listed->begin(), listed->end());
  }
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  auto view = read_cluster(**cluster, LogDirs::kYes);
  if (!view) return session.refused(view.error());
  for (const std::string& topic : topics) {
    auto found = view->partitions.lower_bound({topic, 0});
    if (found == view->partitions.end() || found->first.topic != topic) return session.refused({ErrorCode::kUnknownTopicOrPartition, "topic " + topic});
  }
  std::set<int32_t> ids(command.brokers.begin(), command.brokers.end());
  if (ids.empty()) {
    for (const auto& [id, broker] : view->brokers) ids.insert(id);
    for (int32_t id : view->named()) {
      if (!ids.contains(id)) {
        return session.refused({ErrorCode::kInvalidReplicaAssignment, fmt::format("broker {} holds replicas and is not alive: start it, or name with --brokers those that are to hold them", id)});
      }
    }
  }
  for (int32_t id : ids) {
    if (!view->brokers.contains(id)) return session.refused({ErrorCode::kInvalidReplicaAssignment, fmt::format("broker {} is not alive", id)});
  }
  // More or fewer replicas are no wish to move the others.
  PlacementGoal goal{.brokers = view->placement_brokers(ids), .balance = command.replication_factor == 0};
  if (command.replication_factor > 0) goal.replication_factor = command.replication_factor;
  return propose(session, **cluster, *view, topics, goal, command.plan);
}

int run_plan(Command& command) {
  Session& session = command.session;
  auto text = content_of(command.plan_file);
  if (!text) return session.refused(text.error());
  // What `plan` writes where nothing has to move is done already.
  if (Json whole = Json::parse(*text, nullptr, false); whole.is_object() && whole.contains("partitions") && whole["partitions"] == Json::array()) {
    if (session.json) {
      print_json({{"executed", false}});
    } else {
      fmt::print("nothing has to move\n");
    }
    return kDone;
  }
  auto entries = parse_plan(*text);
  if (!entries) return session.wrong(command.plan_file + " " + entries.error().what);
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  auto view = read_cluster(**cluster, LogDirs::kNo);
  if (!view) return session.refused(view.error());
  Json json{{"executed", false}};
  int code = execute(session, **cluster, *view, *entries, command.how, command.elect, json);
  if (session.json) print_json(json);
  return code;
}

int watch(Command& command) {
  Session& session = command.session;
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  std::set<TopicPartition> scope;
  if (!command.topics.empty()) {
    auto ongoing = list_reassignments(**cluster);
    if (!ongoing) return session.refused(ongoing.error());
    scope = chosen(*ongoing, command.topics);
    if (scope.empty()) scope.insert({command.topics[0], 0});  // nothing of them is under way: the scope is not "all"
  }
  std::optional<int64_t> limit;
  if (command.once) limit = 0;
  if (command.limit_s > 0) limit = command.limit_s;
  Json json = Json::object();
  int code = watch_to_end(session, **cluster, scope, limit, command.keep_throttle, json);
  if (session.json) print_json(json);
  return code;
}

int cancel(Command& command) {
  Session& session = command.session;
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  auto ongoing = list_reassignments(**cluster);
  if (!ongoing) return session.refused(ongoing.error());
  auto names = chosen(*ongoing, command.topics);
  Json json{{"cancelled", names.size()}};
  int code = kDone;
  if (!names.empty()) {
    auto faults = cancel_reassignment(session, **cluster, names);
    if (!faults) return session.refused(faults.error());
    Json list = Json::array();
    code = show_faults(session, *faults, list);
    for (const PartitionFault& fault : *faults) names.erase(fault.partition);
    json["cancelled"] = names.size();
    json["faults"] = std::move(list);
  }
  if (!session.json) fmt::print("{} reassignments were cancelled\n", names.size());
  // What was added leaves; then the throttle goes.
  if (!names.empty()) code = std::max(code, watch_to_end(session, **cluster, names, std::nullopt, false, json));
  if (session.json) print_json(json);
  return code;
}

int throttle(Command& command) {
  Session& session = command.session;
  if (command.remove == (command.rate_mb > 0)) return session.wrong("give one of --rate and --remove");
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  auto view = read_cluster(**cluster, LogDirs::kNo);
  if (!view) return session.refused(view.error());
  Json json = Json::object();
  int code = kDone;
  if (command.remove) {
    std::set<std::string> topics(command.topics.begin(), command.topics.end());
    std::set<int32_t> brokers;
    for (const auto& [name, each] : view->partitions) {
      if (command.topics.empty()) topics.insert(name.topic);
    }
    for (const auto& [id, broker] : view->brokers) brokers.insert(id);
    std::vector<int32_t> unreached;
    auto cleared = clear_throttle(**cluster, topics, brokers, unreached);
    if (!cleared) return session.refused(cleared.error());
    json = {{"removed", *cleared}, {"unreached_brokers", unreached}};
    if (!session.json) fmt::print("{} topics and brokers had a throttle, now none{}\n", *cleared, unreached.empty() ? "" : ", but of brokers " + joined(unreached) + ", which do not answer");
    if (!unreached.empty()) code = kRefused;
  } else {
    if (view->ongoing.empty()) return session.refused({ErrorCode::kNoReassignmentInProgress, "nothing is under way"});
    auto done = set_throttle(**cluster, view->ongoing, static_cast<int64_t>(command.rate_mb * 1e6));
    if (!done) return session.refused(done.error());
    json = {{"partitions", view->ongoing.size()}, {"bytes_per_second", static_cast<int64_t>(command.rate_mb * 1e6)}};
    if (!session.json) fmt::print("{} partitions under way copy at most {:g} MB/s for each broker\n", view->ongoing.size(), command.rate_mb);
  }
  if (session.json) print_json(json);
  return code;
}

}  // namespace

void add_topic_reassign(CLI::App& topic, int& exit_code) {
  CLI::App* family = topic.add_subcommand("reassign", "Move replicas between brokers: plan, execute, watch, cancel, throttle");
  family->require_subcommand(1);
  auto add = [&](const char* name, const char* full_name, const char* help, const char* footer, int (*run)(Command&)) {
    return add_subcommand(*family, exit_code, name, full_name, help, footer, run);
  };
  {
    auto [sub, command] = add("plan", "topic reassign plan", "A plan that spreads replicas evenly over brokers and racks and moves the least data",
                              "Examples:\n  odradek topic reassign plan --topic orders --brokers 1,2,3 --file plan.json\n"
                              "  odradek topic reassign plan --topic orders --replication-factor 3 --execute --throttle 50\n"
                              "The file is that of kafka-reassign-partitions: either tool can execute it.",
                              plan);
    sub->add_option("-t,--topic", command->topics, "Topics that may move, separated by commas (default: all)")->delimiter(',');
    sub->add_option("--topics-file", command->topics_file, "The same from Kafka's JSON: {\"topics\":[{\"topic\":\"t\"}],\"version\":1}");
    sub->add_option("--brokers", command->brokers, "Brokers that are to hold them (default: all that live)")->delimiter(',')->check(CLI::NonNegativeNumber);
    sub->add_option("-r,--replication-factor", command->replication_factor, "Change the number of replicas; those that can stay, stay")->check(CLI::Range(1, 32767));
    command->plan.add_options(*sub);
  }
  {
    auto [sub, command] = add("execute", "topic reassign execute", "Do what a plan says, and wait for its end",
                              "Examples:\n  odradek topic reassign execute plan.json --throttle 50 --rollback before.json\n"
                              "  odradek topic reassign execute plan.json --no-watch",
                              run_plan);
    sub->add_option("FILE", command->plan_file, "Plan in Kafka's JSON")->required()->expected(1);
    sub->add_flag("--elect", command->elect, "At the end the first replica of each partition gets to lead it");
    command->how.add_options(*sub);
  }
  {
    auto [sub, command] = add("watch", "topic reassign watch", "Show how far reassignments are, until they are done; then take their throttle away",
                              "Exit code 0: nothing is under way any more; 1: something is (--once, --limit).\n"
                              "Examples:\n  odradek topic reassign watch\n  odradek topic reassign watch --once --json",
                              watch);
    sub->add_option("-t,--topic", command->topics, "Only these topics, separated by commas")->delimiter(',');
    sub->add_flag("--once", command->once, "Look once");
    sub->add_option("--limit", command->limit_s, "Seconds to wait at most")->check(CLI::PositiveNumber);
    sub->add_flag("--keep-throttle", command->keep_throttle, "Leave the throttle as it is");
  }
  {
    auto [sub, command] = add("cancel", "topic reassign cancel", "Replicas under way go back to what they were", "Example:\n  odradek topic reassign cancel --topic orders", cancel);
    sub->add_option("-t,--topic", command->topics, "Only these topics, separated by commas")->delimiter(',');
  }
  {
    auto [sub, command] = add("throttle", "topic reassign throttle", "Change or remove the limit of what moving replicas copy",
                              "Examples:\n  odradek topic reassign throttle --rate 20\n  odradek topic reassign throttle --remove", throttle);
    sub->add_option("--rate", command->rate_mb, "MB/s (10^6 bytes) for each broker, for what is under way now")->check(CLI::PositiveNumber);
    sub->add_flag("--remove", command->remove, "No limit any more");
    sub->add_option("-t,--topic", command->topics, "With --remove: only these topics' lists, separated by commas")->delimiter(',');
  }
}

}  // namespace odradek::cli
