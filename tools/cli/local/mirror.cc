// odradek mirror: runs room `mirror`, shows its progress, answers /metrics and /health.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "cli/common/session.h"
#include "cli/local/commands.h"
#include "metrics/process_metrics.h"
#include "mirror/mirror.h"
#include "web/web_server.h"

namespace odradek::cli {
namespace {

using mirror::MirrorStatus;
using mirror::Progress;

struct Command {
  std::string file;
  std::vector<std::string> sets;
  std::map<std::string, std::string> flags;  // by key
  bool json = false, exit_when_caught_up = false, print_config = false, quiet = false;
  int every_s = 5;
};

std::string_view word(Progress::State state) {
  switch (state) {
    case Progress::State::kLost: return "waiting";
    case Progress::State::kRunning: return "copying";
    case Progress::State::kFailed: return "stopped";
  }
  return "";
}

struct Sums {
  int64_t records = 0, bytes = 0, lag = 0;
  size_t partitions = 0, waiting = 0, stopped = 0;
};
Sums sum(const MirrorStatus& status) {
  Sums sums;
  sums.partitions = status.partitions.size();
  for (const auto& [name, progress] : status.partitions) {
    sums.records += progress.records;
    sums.bytes += progress.bytes;
    sums.lag += std::max<int64_t>(0, progress.lag());
    sums.waiting += progress.state == Progress::State::kLost;
    sums.stopped += progress.state == Progress::State::kFailed;
  }
  return sums;
}

// To standard output. Who reads it may go away: the copying goes on.
template <class... Arguments>
void say(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  std::string words = fmt::format(text, std::forward<Arguments>(arguments)...);
  (void)std::fwrite(words.data(), 1, words.size(), stdout);
}

// What one line of progress says; the rates are over `seconds`.
void print(const MirrorStatus& status, const std::vector<std::string>& troubles, const Sums& before, double seconds, const Command& command, bool last) {
  Sums now = sum(status);
  double records = static_cast<double>(std::max<int64_t>(0, now.records - before.records)) / seconds;
  double bytes = static_cast<double>(std::max<int64_t>(0, now.bytes - before.bytes)) / seconds;
  if (command.json) {
    nlohmann::json json{{"phase", name_of(status.phase)}, {"partitions", now.partitions},      {"waiting", now.waiting},        {"stopped", now.stopped},
                        {"lag", now.lag},                 {"records", now.records},            {"bytes", now.bytes},            {"records_per_second", records},
                        {"bytes_per_second", bytes},      {"group_offsets", status.group_offsets}, {"missed", status.missed}, {"troubles", troubles}};
    if (last) {
      auto& list = json["by_partition"] = nlohmann::json::array();
      for (const auto& [name, progress] : status.partitions) {
        list.push_back({{"topic", name.topic}, {"partition", name.partition}, {"state", word(progress.state)}, {"source_offset", progress.source.value},
                        {"source_end", progress.source_end.value}, {"target_offset", progress.target.value}, {"lag", progress.lag()}, {"runs", progress.runs}});
      }
    }
    say("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    say("{}: {} partitions{}{}, lag {} records, {:.0f} records/s, {:.1f} MB/s\n", name_of(status.phase), now.partitions,
               now.waiting == 0 ? "" : fmt::format(" ({} waiting)", now.waiting), now.stopped == 0 ? "" : fmt::format(" ({} stopped)", now.stopped), now.lag, records, bytes / 1e6);
    for (const std::string& trouble : troubles) say("  {}\n", trouble);
  }
  std::fflush(stdout);
}

Result<mirror::MirrorOptions> options_of(const Command& command, base::FileSystem& files) {
  config::Properties properties;
  if (!command.file.empty()) {
    auto bytes = base::read_file(files, command.file, 1 << 20);
    if (!bytes) return fail(ErrorCode::kInvalidConfig, bytes.error().what);
    auto parsed = config::parse_properties(as_text(*bytes));
    if (!parsed) return fail(std::move(parsed.error()));
    properties = std::move(*parsed);
  }
  for (const std::string& text : command.sets) {
    auto pair = parse_assignment(text);
    if (!pair) return fail(ErrorCode::kInvalidConfig, "--set " + text + " is not key=value");
    properties[pair->first] = pair->second;
  }
  for (const auto& [key, value] : command.flags) {
    if (!value.empty()) properties[key] = value;
  }
  auto options = mirror::read_options(properties);
  if (!options) return options;
  options->exit_when_caught_up = command.exit_when_caught_up;
  if (options->instance.empty()) {
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0 || host[0] == 0) std::snprintf(host.data(), host.size(), "odradek");
    options->instance = host.data();
  }
  return options;
}

Result<std::optional<web::WebOptions>> web_of(const std::string& listener) {
  config::Properties properties;
  if (listener.empty()) return std::optional<web::WebOptions>();
  auto endpoint = listener.starts_with(":") ? net::parse_endpoint("0.0.0.0" + listener) : net::parse_endpoint(listener.ends_with(":0") ? listener.substr(0, listener.size() - 1) + "1" : listener);
  if (!endpoint) return fail(ErrorCode::kInvalidConfig, "metrics.listener=" + listener + ": expected host:port");
  web::WebOptions options;
  options.host = endpoint->host;
  options.port = listener.ends_with(":0") ? 0 : endpoint->port;
  options.configured = true;
  return std::optional(options);
}

int run(const Command& command) {
  if (command.print_config) {
    for (const auto& key : mirror::mirror_keys()) fmt::print("# {}\n{}{}={}\n\n", key.doc, key.default_value.empty() ? "#" : "", key.name, key.default_value);
    return kDone;
  }
  // Only this thread takes these; all others are started with every signal blocked.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  log::configure({});
  log::set_level(command.quiet ? log::Level::kError : log::Level::kInfo);
  auto runtime = base::make_system_runtime();
  auto refused = [](const Error& error) {
    fmt::print(stderr, "odradek mirror: {}: {}\n", name_of(error.code), error.what);
    return error.code == ErrorCode::kInvalidConfig ? kWrongCommandLine : kRefused;
  };
  auto options = options_of(command, runtime->files());
  if (!options) return refused(options.error());
  auto web_options = web_of(options->metrics_listener);
  if (!web_options) return refused(web_options.error());
  auto dialer = net::make_tcp_dialer(runtime->clock());
  metrics::Registry registry(runtime->clock());
  auto process = metrics::register_process_metrics(registry, *runtime);
  mirror::Mirror mirror(*runtime, *dialer, std::move(*options), &registry);
  std::unique_ptr<web::WebServer> web;
  if (*web_options) {
    auto started = web::WebServer::start(*runtime, **web_options, registry, [&mirror] { return mirror.troubles(); });
    if (!started) return refused(started.error());
    web = std::move(*started);
  }
  std::atomic<bool> ended{false};
  Result<void> result;
  auto worker = runtime->make_executor("mirror", 1);
  worker->post([&] {
    result = mirror.run();
    ended.store(true, std::memory_order_release);
  });
  Sums before;
  auto& clock = runtime->clock();
  int64_t shown_ns = clock.monotonic_ns();
  MirrorStatus status;
  while (!ended.load(std::memory_order_acquire)) {
    timespec wait{0, 50'000'000};
    if (::sigtimedwait(&ending, nullptr, &wait) > 0) break;
    if (auto now = mirror.status(); !now.partitions.empty()) status = std::move(now);
    int64_t now_ns = clock.monotonic_ns();
    if (command.every_s == 0 || now_ns - shown_ns < int64_t{command.every_s} * 1'000'000'000) continue;
    auto now = mirror.status();
    print(now, mirror.troubles(), before, static_cast<double>(now_ns - shown_ns) / 1e9, command, false);
    before = sum(now);
    shown_ns = now_ns;
  }
  if (auto now = mirror.status(); !now.partitions.empty()) status = std::move(now);
  mirror.stop();
  ::sigprocmask(SIG_UNBLOCK, &ending, nullptr);  // a second one ends it at once: what it waits for may never come
  worker.reset();
  status.phase = MirrorStatus::Phase::kStopped;
  if (command.every_s != 0) print(status, {}, before, std::max(0.001, static_cast<double>(clock.monotonic_ns() - shown_ns) / 1e9), command, true);
  if (web) web->stop();
  return result ? kDone : refused(result.error());
}

}  // namespace

void add_mirror(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<Command>();
  CLI::App* mirror = app.add_subcommand("mirror", "Copy topics from one cluster to another under the same names, each record once; runs until it is stopped");
  mirror->add_option("config", command->file, "Properties file (--print-config shows every key)");
  auto flag = [&](const char* name, const char* key, const char* what) { mirror->add_option(name, command->flags[key], what); };
  flag("--source", "source.bootstrap.servers", "Brokers of the cluster that is copied");
  flag("--target", "target.bootstrap.servers", "Brokers of the cluster that is written");
  flag("--name", "name", "Name of the mirror; its positions are stored under it");
  flag("--topics", "topics", "Topics to copy: regular expressions separated by commas");
  flag("--start", "start", "Where what was never copied begins: earliest, latest, after:<name of the mirror in the other direction>");
  flag("--metrics-listener", "metrics.listener", "host:port for /metrics and /health");
  mirror->add_option("--set", command->sets, "key=value, as in the file");
  mirror->add_flag("--exit-when-caught-up", command->exit_when_caught_up, "End when everything that the source has is copied");
  mirror->add_option("--every", command->every_s, "Seconds between lines of progress (0: none)")->capture_default_str()->check(CLI::Range(0, 86400));
  mirror->add_flag("--json", command->json, "Progress as JSON, an object a line");
  mirror->add_flag("--quiet", command->quiet, "Log errors only");
  mirror->add_flag("--print-config", command->print_config, "Print a properties file with every key and its default");
  mirror->footer("Examples:\n  odradek mirror /etc/odradek/mirror.properties\n"
                 "  odradek mirror --source paris:9092 --target lyon:9092 --topics 'orders,invoices-.*'\n"
                 "  odradek mirror --source lyon:9092 --target paris:9092 --name back --start after:mirror");
  mirror->callback([command, &exit_code] { exit_code = run(*command); });
}

}  // namespace odradek::cli
