// odradek-server [--adopt [--yes]] [server.properties] [--override key=value]...
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adopt/adoption.h"
#include "app/broker.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "config/config.h"
#include "metrics/registry.h"

namespace {

using namespace odradek;

constexpr int64_t kMaxPropertiesBytes = 16 << 20;

constexpr std::string_view kUsage =
    "usage: odradek-server [--adopt [--yes]] [server.properties] [--override key=value]...\n"
    "\n"
    "  server.properties           Kafka's own file; docs/config.md tells what each key does\n"
    "  --override key=value        sets one key above the file; may be repeated\n"
    "  --adopt                     tells what it finds in the log dirs of a stopped Apache Kafka, and changes nothing\n"
    "  --adopt --yes               takes them over; then start odradek-server (docs/moving.md)\n"
    "  --allow-open-transactions   with --adopt: also where a transaction was not ended\n"
    "  --print-config-reference    prints docs/config.md\n"
    "  --print-metrics-reference   prints docs/metrics.md\n"
    "  --version, --help\n"
    "\n"
    "Example: odradek-server --override listeners=PLAINTEXT://127.0.0.1:9092 --override log.dirs=/var/lib/odradek\n";

struct CommandLine {
  std::optional<std::string> file;
  std::vector<std::string> overrides;
  bool adopt = false;
  adopt::Options adoption;
};

int fault(const std::string& what) {
  std::fprintf(stderr, "odradek-server: %s\n", what.c_str());
  return 2;
}

// The limit of open files as high as the system allows: each partition has some.
void raise_file_limit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

log::Options log_options(const config::BrokerConfig& config) {
  log::Options options;
  options.file = config.get_string("server.log.file");
  options.rotate_bytes = config.get_long("server.log.rotate.bytes");
  options.rotate_keep = config.get_int("server.log.keep");
  log::parse_level(config.get_string("server.log.level"), options.level);
  return options;
}

// The report stands on standard output, the log on standard error.
int adopt_dirs(const config::BrokerConfig& config, const adopt::Options& options) {
  raise_file_limit();
  auto runtime = base::make_system_runtime();
  auto done = adopt::adopt(*runtime, config, options, [](const std::string& text) {
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
  });
  log::flush();
  if (!done) std::fprintf(stderr, "odradek-server: %s\n", done.error().what.c_str());
  return done && *done ? 0 : 1;
}

int serve(const CommandLine& line) {
  std::optional<std::string> content;
  if (line.file) {
    auto read = base::read_file(base::posix_files(), *line.file, kMaxPropertiesBytes);
    if (!read) return fault(read.error().what);
    content = std::string(as_text(*read));
  }
  auto config = config::load_broker_config(content, line.overrides);
  if (!config) return fault(config.error().what);
  log::configure(log_options(**config));
  if (line.adopt) return adopt_dirs(**config, line.adoption);

  // Only this thread takes these; all others are started with every signal blocked.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  raise_file_limit();

  auto runtime = base::make_system_runtime();
  int64_t begin = runtime->clock().monotonic_ns();
  auto broker = app::Broker::start(*runtime, *config);
  if (!broker) {
    log::error("app", "the broker cannot start: {}", broker.error().what);
    log::flush();
    return 1;
  }
  log::info("app", "started in {} ms", (runtime->clock().monotonic_ns() - begin) / 1'000'000);
  log::flush();

  int taken = 0;
  ::sigwait(&ending, &taken);
  log::info("app", "stopping: {}", taken == SIGTERM ? "SIGTERM" : "SIGINT");
  (*broker)->stop();
  broker->reset();
  log::info("app", "stopped");
  log::flush();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  CommandLine line;
  for (int i = 1; i < count; ++i) {
    std::string_view argument = arguments[i];
    if (argument == "--help" || argument == "-h") {
      std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
      return 0;
    }
    if (argument == "--version") {
      std::puts("odradek " ODRADEK_VERSION);
      return 0;
    }
    if (argument == "--print-config-reference" || argument == "--print-metrics-reference") {
      std::string text = argument == "--print-config-reference" ? config::reference_markdown() : metrics::reference_markdown();
      std::fwrite(text.data(), 1, text.size(), stdout);
      return 0;
    }
    if (argument == "--adopt") {
      line.adopt = true;
    } else if (argument == "--yes") {
      line.adoption.execute = true;
    } else if (argument == "--allow-open-transactions") {
      line.adoption.allow_open_transactions = true;
    } else if (argument == "--override") {
      if (++i == count) return fault("--override needs key=value");
      line.overrides.emplace_back(arguments[i]);
    } else if (argument.starts_with("--override=")) {
      line.overrides.emplace_back(argument.substr(11));
    } else if (argument.starts_with("-")) {
      return fault("unknown option " + std::string(argument) + "; --help lists them");
    } else if (!line.file) {
      line.file = argument;
    } else {
      return fault("more than one properties file: " + std::string(argument));
    }
  }
  if (!line.adopt && (line.adoption.execute || line.adoption.allow_open_transactions)) return fault("--yes and --allow-open-transactions go with --adopt");
  return serve(line);
}
