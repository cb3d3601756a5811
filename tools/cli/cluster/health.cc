#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <charconv>

#include "cli/cluster/commands.h"
#include "cli/cluster/health_cluster.h"
#include "cli/cluster/http.h"
#include "cli/common/admin.h"
#include "metrics/catalog.h"

namespace odradek::cli {
namespace {

struct Command {
  Session session{"health"};
  std::vector<std::string> urls = {"http://127.0.0.1:9644"};
  bool no_http = false;
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

Check zero(std::string_view text, const metrics::MetricDef& metric, const std::string& name, const char* words) {
  auto value = sum_of(text, metric.name);
  if (!value) return {name, false, fmt::format("/metrics does not tell {}", metric.name)};
  return {name, *value == 0, *value == 0 ? fmt::format("no {}", words) : fmt::format("{:.0f} {}", *value, words)};
}

// One broker's own listener. Returns how often it is controller by its own word (0 or 1); nullopt: it does not tell.
std::optional<double> check_http(Session& session, std::string url, const std::string& suffix, std::vector<Check>& checks) {
  while (url.ends_with('/')) url.pop_back();
  int64_t deadline = session.clock().monotonic_ns() + int64_t{session.timeout_ms()} * 1'000'000;
  net::Dialer& dialer = session.dialer();
  auto ready = http_get(dialer, url + "/health/ready", deadline);
  if (!ready) {
    checks.push_back({"ready" + suffix, false, fmt::format("{} cannot be asked: {} (--url names metrics.listener, --no-http leaves it out)", url, ready.error().what)});
    return std::nullopt;
  }
  std::string reasons;
  Json json = Json::parse(ready->body, nullptr, false);
  if (json.is_object() && json.contains("reasons") && json["reasons"].is_array()) {
    for (const auto& reason : json["reasons"]) {
      if (reason.is_string()) reasons += (reasons.empty() ? "" : "; ") + reason.get<std::string>();
    }
  }
  checks.push_back({"ready" + suffix, ready->status == 200, ready->status == 200 ? "the broker says that it is ready" : fmt::format("not ready ({}): {}", ready->status, reasons)});
  auto scraped = http_get(dialer, url + "/metrics", deadline);
  if (!scraped || scraped->status != 200) {
    checks.push_back({"metrics" + suffix, false, scraped ? fmt::format("/metrics answers {}", scraped->status) : scraped.error().what});
    return std::nullopt;
  }
  checks.push_back(zero(scraped->body, metrics::kOfflineLogDirectoryCount, "log dirs" + suffix, "offline log dirs"));
  checks.push_back(zero(scraped->body, metrics::kOfflineReplicaCount, "replicas" + suffix, "replicas on offline log dirs"));
  return sum_of(scraped->body, metrics::kActiveControllerCount.name);
}

void check_listeners(Command& command, std::vector<Check>& checks) {
  double controllers = 0;
  for (const std::string& url : command.urls) {
    controllers += check_http(command.session, url, command.urls.size() == 1 ? "" : " " + url.substr(url.find("//") == std::string::npos ? 0 : url.find("//") + 2), checks).value_or(0);
  }
  // Two would be a split brain; none is no fault of these brokers, the controller may be another one.
  if (command.urls.size() > 1) {
    checks.push_back({"ActiveControllerCount", controllers <= 1, fmt::format("{:.0f} of these {} brokers say that they are controller", controllers, command.urls.size())});
  }
}

int health(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  std::vector<Check> checks;
  Json facts = Json::object();
  check_cluster(**cluster, checks, facts);
  if (!command.no_http) check_listeners(command, checks);
  int bad = 0;
  size_t width = 18;
  Json list = Json::array();
  for (const Check& check : checks) {
    bad += !check.good;
    list.push_back({{"check", check.name}, {"good", check.good}, {"words", check.words}});
    width = std::max(width, check.name.size());
  }
  for (const Check& check : checks) {
    if (!command.session.json) fmt::print("{:4}  {:{}} {}\n", check.good ? "ok" : "BAD", check.name, width, check.words);
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
  sub->add_option("--url", command->urls, "HTTP listeners of brokers (metrics.listener), separated by commas")->delimiter(',')->capture_default_str();
  sub->add_flag("--no-http", command->no_http, "Ask by Kafka's protocol only (Apache Kafka has no such listener)");
  sub->footer("Examples:\n  odradek health\n  odradek health -b kafka:9092 --no-http --json\n"
              "  odradek health -b b1:9092,b2:9092 --url http://b1:9644,http://b2:9644");
  sub->callback([command, &exit_code] { exit_code = health(*command); });
}

}  // namespace odradek::cli
