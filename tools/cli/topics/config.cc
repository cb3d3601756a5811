#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/common/admin.h"
#include "cli/topics/commands.h"

namespace odradek::cli {
namespace {

struct Command {
  explicit Command(const char* name) : session(name) {}
  Session session;
  std::string topic, broker;
  std::vector<std::string> set, remove;
  bool all = false;
};

int describe(Command& command, const Resource& resource) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  auto configs = describe_configs(**cluster, {resource});
  if (!configs) return command.session.refused(configs.error());
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows{{"KEY", "VALUE", "SOURCE", "SYNONYMS"}};
  for (const auto& config : configs->at(0)) {
    if (!command.all && config.config_source == kDefaultSource) continue;
    std::string value = config.is_sensitive ? "(hidden)" : config.value.value_or("");
    std::string synonyms;
    Json synonym_list = Json::array();
    for (const auto& synonym : config.synonyms) {
      std::string shown = config.is_sensitive ? "(hidden)" : synonym.value.value_or("");
      synonyms += fmt::format("{}{}:{}={}", synonyms.empty() ? "" : ", ", config_source(synonym.source), synonym.name, shown);
      synonym_list.push_back({{"name", synonym.name}, {"value", synonym.value ? Json(*synonym.value) : Json()}, {"source", config_source(synonym.source)}});
    }
    rows.push_back({config.name, value, std::string(config_source(config.config_source)), synonyms});
    list.push_back({{"name", config.name},
                    {"value", config.value ? Json(*config.value) : Json()},
                    {"source", config_source(config.config_source)},
                    {"read_only", config.read_only},
                    {"sensitive", config.is_sensitive},
                    {"synonyms", std::move(synonym_list)}});
  }
  if (command.session.json) {
    print_json({{resource.type == ResourceType::kTopic ? "topic" : "broker", resource.name.empty() ? "default" : resource.name}, {"configs", std::move(list)}});
  } else if (rows.size() == 1) {
    fmt::print("{} has no configs of its own; --all shows the defaults\n", name_in_words(resource));
  } else {
    print_table(rows);
  }
  return kDone;
}

int alter(Command& command, const Resource& resource) {
  if (command.set.empty() && command.remove.empty()) return command.session.wrong("nothing to change: give --set key=value or --delete key");
  for (const std::string& each : command.set) {
    if (!parse_assignment(each)) return command.session.wrong("--set " + each + " is not key=value");
  }
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  if (auto done = alter_configs(**cluster, resource, command.set, command.remove); !done) return command.session.refused(done.error());
  if (command.session.json) {
    print_json({{resource.type == ResourceType::kTopic ? "topic" : "broker", resource.name.empty() ? "default" : resource.name},
                {"set", command.set},
                {"deleted", command.remove}});
  } else {
    fmt::print("changed configs of {}\n", name_in_words(resource));
  }
  return kDone;
}

// The resource of --topic or --broker; nullopt after a complaint.
std::optional<Resource> resource_of(const Command& command, int& exit_code) {
  bool number = !command.broker.empty() && command.broker.find_first_not_of("0123456789") == std::string::npos && command.broker.size() < 10;
  if (command.topic.empty() == command.broker.empty()) {
    exit_code = command.session.wrong("give one of --topic and --broker");
  } else if (!command.topic.empty()) {
    return Resource{ResourceType::kTopic, command.topic};
  } else if (!number && command.broker != "default") {
    exit_code = command.session.wrong("--broker is an id or 'default'");
  } else {
    return Resource{ResourceType::kBroker, number ? command.broker : ""};
  }
  return std::nullopt;
}

void add_resource(CLI::App& app, Command& command) {
  command.session.add_options(app);
  app.add_option("--topic", command.topic, "Configs of this topic");
  app.add_option("--broker", command.broker, "Configs of the broker with this id, or 'default': what holds for all brokers");
}

}  // namespace

void add_config(CLI::App& app, int& exit_code) {
  CLI::App* family = app.add_subcommand("config", "Configs of topics and brokers: what holds, where it comes from, change it");
  family->require_subcommand(1);
  {
    auto command = std::make_shared<Command>("config describe");
    CLI::App* sub = family->add_subcommand("describe", "What is set, with its source and what it overrides");
    add_resource(*sub, *command);
    sub->add_flag("--all", command->all, "Also keys at their default");
    sub->footer("Examples:\n  odradek config describe --topic orders\n  odradek config describe --broker 0 --all --json");
    sub->callback([command, &exit_code] {
      if (auto resource = resource_of(*command, exit_code)) exit_code = describe(*command, *resource);
    });
  }
  {
    auto command = std::make_shared<Command>("config alter");
    CLI::App* sub = family->add_subcommand("alter", "Set or delete keys; they hold at once");
    add_resource(*sub, *command);
    sub->add_option("--set", command->set, "key=value; may be given several times")->allow_extra_args(false);
    sub->add_option("--delete", command->remove, "Key that goes back to its default; may be given several times")->allow_extra_args(false);
    sub->footer("Examples:\n  odradek config alter --topic orders --set retention.ms=86400000 --delete max.message.bytes\n"
                "  odradek config alter --broker default --set log.retention.ms=86400000");
    sub->callback([command, &exit_code] {
      if (auto resource = resource_of(*command, exit_code)) exit_code = alter(*command, *resource);
    });
  }
}

}  // namespace odradek::cli
