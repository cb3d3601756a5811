#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <charconv>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/http.h"
#include "metrics/catalog.h"

namespace odradek::cli {
namespace {

struct Command {
  Session session{"health"};
  std::string url = "http://127.0.0.1:9644";
  bool no_http = false;
};

struct Check {
  std::string name;
  bool good = false;
  std::string words;
};

// The sum of a metric's samples; nullopt if there is none.
std::optional<double> sum_of(std::string_view text, std::string_view metric) {
  std::optional<double> sum;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(metric) || line.size() == metric.size() || (line[metric.size()] != ' ' && line[metric.size()] != '{')) continue;
    std::string_view number = line.substr(line.rfind(' ') + 1);
    double value = 0;
    if (std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc()) sum = sum.value_or(0) + value;
  }
  return sum;
}

Check zero(std::string_view text, const metrics::MetricDef& metric, const char* name, const char* words) {
  auto value = sum_of(text, metric.name);
  if (!value) return {name, false, fmt::format("/metrics does not tell {}", metric.name)};
  return {name, *value == 0, *value == 0 ? fmt::format("no {}", words) : fmt::format("{:.0f} {}", *value, words)};
}

void check_http(Command& command, std::vector<Check>& checks) {
  while (command.url.ends_with('/')) command.url.pop_back();
  int64_t deadline = command.session.clock().monotonic_ns() + int64_t{command.session.timeout_ms()} * 1'000'000;
  net::Dialer& dialer = command.session.dialer();
  auto ready = http_get(dialer, command.url + "/health/ready", deadline);
  if (!ready) {
    checks.push_back({"ready", false, fmt::format("{} cannot be asked: {} (--url names metrics.listener, --no-http leaves it out)", command.url, ready.error().what)});
    return;
  }
  std::string reasons;
  Json json = Json::parse(ready->body, nullptr, false);
  if (json.is_object() && json.contains("reasons") && json["reasons"].is_array()) {
    for (const auto& reason : json["reasons"]) {
      if (reason.is_string()) reasons += (reasons.empty() ? "" : "; ") + reason.get<std::string>();
    }
  }
  checks.push_back({"ready", ready->status == 200, ready->status == 200 ? "the broker says that it is ready" : fmt::format("not ready ({}): {}", ready->status, reasons)});
  auto scraped = http_get(dialer, command.url + "/metrics", deadline);
  if (!scraped || scraped->status != 200) {
    checks.push_back({"metrics", false, scraped ? fmt::format("/metrics answers {}", scraped->status) : scraped.error().what});
    return;
  }
  checks.push_back(zero(scraped->body, metrics::kOfflineLogDirectoryCount, "log dirs", "offline log dirs"));
  checks.push_back(zero(scraped->body, metrics::kOfflineReplicaCount, "replicas", "replicas on offline log dirs"));
}

void check_cluster(Command& command, client::Cluster& cluster, std::vector<Check>& checks, Json& facts) {
  auto metadata = cluster.metadata(std::nullopt);
  if (!metadata) {
    checks.push_back({"cluster", false, fmt::format("no broker answers: {} ({})", metadata.error().what, name_of(metadata.error().code))});
    return;
  }
  checks.push_back({"cluster", true, fmt::format("{} brokers answer for cluster {}", cluster.brokers().size(), cluster.cluster_id())});
  bool controller = cluster.controller() != kNoBroker;
  checks.push_back({"controller", controller, controller ? fmt::format("broker {} is the controller", cluster.controller().value) : "no controller"});
  int64_t partitions = 0, offline = 0, under_replicated = 0;
  std::string example_offline, example_under;
  for (const auto& topic : metadata->topics) {
    for (const auto& partition : topic.partitions) {
      std::string name = TopicPartition{topic.name.value_or(""), partition.partition_index}.to_string();
      ++partitions;
      if (partition.leader_id < 0) {
        if (offline++ == 0) example_offline = name;
      } else if (partition.isr_nodes.size() < partition.replica_nodes.size()) {
        if (under_replicated++ == 0) example_under = name;
      }
    }
  }
  checks.push_back({"partitions online", offline == 0,
                    offline == 0 ? fmt::format("all {} partitions have a leader", partitions) : fmt::format("{} of {} partitions have no leader, as {}", offline, partitions, example_offline)});
  checks.push_back({"replication", under_replicated == 0,
                    under_replicated == 0 ? "every replica is in sync" : fmt::format("{} partitions lack an in-sync replica, as {}", under_replicated, example_under)});
  facts = {{"cluster_id", cluster.cluster_id()}, {"brokers", cluster.brokers().size()}, {"controller", cluster.controller().value}, {"topics", metadata->topics.size()},
           {"partitions", partitions}, {"offline_partitions", offline}, {"under_replicated_partitions", under_replicated}};
}

int health(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  std::vector<Check> checks;
  Json facts = Json::object();
  check_cluster(command, **cluster, checks, facts);
  if (!command.no_http) check_http(command, checks);
  int bad = 0;
  Json list = Json::array();
  for (const Check& check : checks) {
    bad += !check.good;
    list.push_back({{"check", check.name}, {"good", check.good}, {"words", check.words}});
    if (!command.session.json) fmt::print("{:4}  {:18} {}\n", check.good ? "ok" : "BAD", check.name, check.words);
  }
  std::string verdict = bad == 0 ? "healthy" : fmt::format("not healthy: {} of {} checks failed", bad, checks.size());
  if (command.session.json) {
    print_json({{"healthy", bad == 0}, {"verdict", verdict}, {"cluster", std::move(facts)}, {"checks", std::move(list)}});
  } else {
    fmt::print("{}\n", verdict);
  }
  return bad == 0 ? kDone : kRefused;
}

}  // namespace

void add_health(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<Command>();
  CLI::App* sub = app.add_subcommand("health", "Is the cluster well? Verdict in words; exit code 0 healthy, 1 not");
  command->session.add_options(*sub);
  sub->add_option("--url", command->url, "The broker's HTTP listener (metrics.listener)")->capture_default_str();
  sub->add_flag("--no-http", command->no_http, "Ask by Kafka's protocol only (Apache Kafka has no such listener)");
  sub->footer("Examples:\n  odradek health\n  odradek health -b kafka:9092 --no-http --json");
  sub->callback([command, &exit_code] { exit_code = health(*command); });
}

}  // namespace odradek::cli
