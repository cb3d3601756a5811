// odradek-server [--adopt [--yes]] [server.properties] [--override key=value]...
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
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
#include "base/mutex.h"
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

sigset_t ending_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  return ending;
}

// Takes SIGTERM and SIGINT, which every thread has blocked, on a thread of its own. A broker that starts may wait long for ZooKeeper, for
// other brokers or for the disk: it ends at once, as Kafka's does, and the next start finds what a crash leaves. One that serves is stopped by
// the main thread; further signals change nothing then.
class EndSignals {
 public:
  explicit EndSignals(base::Runtime& runtime) : thread_(runtime.make_executor("signals", 1)) {
    thread_->post([this] { take(); });
  }
  ~EndSignals() {
    {
      base::MutexLock lock(mutex_);
      if (taken_ == 0) {
        over_ = true;
        ::kill(::getpid(), SIGTERM);  // ends the wait
      }
    }
    thread_.reset();
  }

  // From now on a signal is an order to stop.
  void serving() {
    base::MutexLock lock(mutex_);
    starting_ = false;
  }
  // The signal that orders it.
  int wait() {
    base::MutexLock lock(mutex_);
    while (taken_ == 0) lock.wait(came_);
    return taken_;
  }

 private:
  void take() {
    sigset_t ending = ending_signals();
    int signal = 0;
    ::sigwait(&ending, &signal);
    base::MutexLock lock(mutex_);
    if (over_) return;
    if (starting_) {
      log::warn("app", "{} while the broker starts: ending at once", signal == SIGTERM ? "SIGTERM" : "SIGINT");
      log::flush();
      ::_exit(128 + signal);
    }
    taken_ = signal;
    came_.notify_all();
  }

  base::Mutex mutex_;
  std::condition_variable came_;
  bool starting_ GUARDED_BY(mutex_) = true;
  bool over_ GUARDED_BY(mutex_) = false;
  int taken_ GUARDED_BY(mutex_) = 0;
  std::unique_ptr<base::Executor> thread_;
};

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
  const bool serves = !line.adopt;
  // Before any thread is started, also that of the log: EndSignals alone takes these.
  sigset_t ending = ending_signals();
  if (serves) pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  if (auto configured = log::configure(log_options(**config)); !configured) return fault("server.log.file: " + configured.error().what);
  if (line.adopt) return adopt_dirs(**config, line.adoption);

  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit of a file's size fails
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGQUIT, SIG_IGN);  // who asks Kafka for its threads by it does not mean to end the broker
  raise_file_limit();

  auto runtime = base::make_system_runtime();
  EndSignals signals(*runtime);
  int64_t begin = runtime->clock().monotonic_ns();
  auto broker = app::Broker::start(*runtime, *config);
  if (!broker) {
    log::error("app", "the broker cannot start: {}", broker.error().what);
    log::flush();
    return 1;
  }
  signals.serving();
  log::info("app", "started in {} ms", (runtime->clock().monotonic_ns() - begin) / 1'000'000);
  log::flush();

  int taken = signals.wait();
  log::info("app", "stopping: {}", taken == SIGTERM ? "SIGTERM" : "SIGINT");
  (*broker)->stop();
  broker->reset();
  log::info("app", "stopped");
  log::flush();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  base::hold_standard_descriptors();
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
