// `dev-cluster`: a ZooKeeper server and some brokers on this machine, for trying and for tests.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/common/admin.h"
#include "cli/local/commands.h"
#include "cli/local/processes.h"

namespace odradek::cli {
namespace {

// Of Debian's package libzookeeper-java (zookeeper depends on it); its manifest names the jars beside it.
constexpr std::string_view kDebianJar = "/usr/share/java/zookeeper.jar";
constexpr std::string_view kChroot = "/odradek";
constexpr double kStopSeconds = 60;

struct Command {
  Session session{"dev-cluster"};
  std::string folder = "odradek-dev-cluster";
  int brokers = 3, port = 9092, metrics_port = 9644, zookeeper_port = 2181, wait_s = 60;
  std::string zookeeper;  // of others: host:port/chroot
  std::string jars, server, java = "java";
  std::vector<std::string> overrides;
};

struct Part {
  std::string name;
  std::vector<std::string> words;
  std::string address, log, metrics;
  std::optional<ChildProcess> process;
};

std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  char* own = getcwd(nullptr, 0);
  std::string result = std::string(own == nullptr ? "." : own) + "/" + path;
  std::free(own);
  return result;
}

Result<void> write(const std::string& path, const std::string& text) { return base::write_file_atomically(base::posix_files(), path, as_bytes(text)); }

// Folder, zoo.cfg and command of the ZooKeeper server.
Result<Part> zookeeper_part(const Command& command) {
  std::string jars = command.jars;
  if (jars.empty()) {
    if (!base::posix_files().exists(std::string(kDebianJar))) {
      return fail(ErrorCode::kInvalidRequest, fmt::format("{} is missing: install Debian's package libzookeeper-java, name ZooKeeper's jars with --zookeeper-jars, or a server that "
                                                          "runs with --zookeeper", kDebianJar));
    }
    jars = kDebianJar;
  }
  std::string folder = command.folder + "/zookeeper";
  if (auto made = base::posix_files().create_directories(folder + "/data"); !made) return fail(std::move(made.error()));
  std::string config = fmt::format("tickTime=1000\ndataDir={}/data\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n"
                                   "autopurge.purgeInterval=1\n", folder, command.zookeeper_port);
  if (auto written = write(folder + "/zoo.cfg", config); !written) return fail(std::move(written.error()));
  Part part{.name = "zookeeper", .words = {}, .address = fmt::format("127.0.0.1:{}", command.zookeeper_port), .log = folder + "/zookeeper.log", .metrics = {}, .process = {}};
  part.words = {command.java, "-Xmx256m", "-Dzookeeper.jmx.log4j.disable=true", "-cp", jars, "org.apache.zookeeper.server.ZooKeeperServerMain", folder + "/zoo.cfg"};
  return part;
}

// Folder, server.properties and command of a broker.
Result<Part> broker_part(const Command& command, int id, const std::string& zookeeper) {
  std::string folder = fmt::format("{}/broker-{}", command.folder, id), file = folder + "/server.properties";
  if (auto made = base::posix_files().create_directories(folder); !made) return fail(std::move(made.error()));
  int replicas = std::min(command.brokers, 3);
  Part part{.name = fmt::format("broker {}", id), .words = {}, .address = fmt::format("127.0.0.1:{}", command.port + id - 1), .log = folder + "/server.log",
            .metrics = fmt::format("127.0.0.1:{}", command.metrics_port + id - 1), .process = {}};
  std::string text = "# Written by odradek dev-cluster at each start: give it --override key=value instead of changing this.\n";
  auto set = [&](std::string_view key, const auto& value) { text += fmt::format("{}={}\n", key, value); };
  set("broker.id", id);
  set("listeners", "PLAINTEXT://" + part.address);
  set("metrics.listener", part.metrics);
  set("log.dirs", folder + "/data");
  set("zookeeper.connect", zookeeper);
  set("zookeeper.session.timeout.ms", 6000);
  set("zookeeper.connection.timeout.ms", command.wait_s * 1000);  // its server starts at the same time
  set("default.replication.factor", replicas);
  set("offsets.topic.replication.factor", replicas);
  set("transaction.state.log.replication.factor", replicas);
  set("transaction.state.log.min.isr", std::min(replicas, 2));
  set("min.insync.replicas", std::min(replicas, 2));
  set("group.initial.rebalance.delay.ms", 0);
  set("controlled.shutdown.max.retries", 1);  // the last one has nobody to hand its leaderships to
  for (const std::string& each : command.overrides) text += each + "\n";
  if (auto written = write(file, text); !written) return fail(std::move(written.error()));
  part.words = {command.server, file};
  return part;
}

std::string last_lines(const std::string& path) {
  auto bytes = base::read_file(base::posix_files(), path, int64_t{1} << 30);
  if (!bytes) return "";
  std::string_view text = as_text(*bytes);
  size_t begin = text.size();
  for (int lines = 0; lines < 6 && begin != std::string_view::npos && begin > 0; ++lines) begin = text.rfind('\n', begin - 1);
  return std::string(text.substr(begin == std::string_view::npos ? 0 : begin));
}

class DevCluster {
 public:
  DevCluster(Command& command, std::vector<Part> parts) : command_(command), parts_(std::move(parts)) {}

  // Exit code.
  int run() {
    const int64_t begin = command_.session.clock().monotonic_ns();
    for (Part& part : parts_) {
      auto started = ChildProcess::start(part.words, part.log);
      if (!started) return stop(command_.session.refused(started.error()));
      part.process = std::move(*started);
    }
    if (int code = wait_ready(begin); code != kDone) return stop(code);
    show_ready(static_cast<double>(command_.session.clock().monotonic_ns() - begin) / 1e9);
    for (;;) {
      auto signal = wait_for_signal(3600);
      if (signal == SIGINT || signal == SIGTERM) break;
      for (Part& part : parts_) {
        if (!part.process->poll()) continue;
        // A terminal that went away does not end the others.
        std::string words = fmt::format("{} {}; its log: {}; to start it again: {}\n", part.name, part.process->end_in_words(), part.log, fmt::join(part.words, " "));
        (void)std::fputs(words.c_str(), stderr);
      }
    }
    return stop(kDone);
  }

 private:
  // Until each broker tells of all of them and of a controller: one that has registered answers before it has heard of the others.
  int wait_ready(int64_t begin) {
    std::vector<std::string> still;
    for (const Part& part : parts_) {
      if (!part.metrics.empty()) still.push_back(part.address);
    }
    for (;;) {
      for (Part& part : parts_) {
        if (!part.process->poll()) continue;
        fmt::print(stderr, "{}\n", last_lines(part.log));
        return command_.session.refused({ErrorCode::kUnknownServerError, fmt::format("{} {}; its log: {}", part.name, part.process->end_in_words(), part.log)});
      }
      std::erase_if(still, [this](const std::string& address) { return knows_all(address); });
      if (still.empty()) return kDone;
      if (command_.session.clock().monotonic_ns() - begin > int64_t{command_.wait_s} * 1'000'000'000) {
        return command_.session.refused({ErrorCode::kUnknownServerError, fmt::format("the brokers were not ready within {} s; their logs are in {}", command_.wait_s, command_.folder)});
      }
      auto signal = wait_for_signal(0.1);
      if (signal == SIGINT || signal == SIGTERM) return kRefused;
    }
  }

  bool knows_all(const std::string& address) {
    command_.session.set_bootstrap(address, 1);
    auto cluster = command_.session.open();
    return cluster && (*cluster)->metadata(std::vector<std::string>{}) && static_cast<int>((*cluster)->brokers().size()) == command_.brokers &&
           (*cluster)->controller() != kNoBroker;
  }

  void show_ready(double seconds) {
    std::string bootstrap;
    Json brokers = Json::array();
    std::vector<std::vector<std::string>> rows{{"", "ADDRESS", "PID", "METRICS", "LOG"}};
    for (const Part& part : parts_) {
      rows.push_back({part.name, part.address, std::to_string(part.process->pid()), part.metrics.empty() ? "" : "http://" + part.metrics + "/metrics", part.log});
      if (part.metrics.empty()) continue;
      bootstrap += (bootstrap.empty() ? "" : ",") + part.address;
      brokers.push_back({{"address", part.address}, {"metrics", part.metrics}, {"pid", part.process->pid()}, {"log", part.log}});
    }
    if (command_.session.json) {
      print_json({{"ready", true}, {"seconds", seconds}, {"bootstrap", bootstrap}, {"zookeeper", zookeeper()}, {"brokers", std::move(brokers)}, {"folder", command_.folder}});
    } else {
      print_table(rows);
      fmt::print("ready after {:.1f} s. Try: ODRADEK_BOOTSTRAP={} odradek cluster status\nCtrl-C stops all; what was written stays in {}\n", seconds, bootstrap, command_.folder);
    }
    std::fflush(stdout);
  }

  std::string zookeeper() const { return command_.zookeeper.empty() ? fmt::format("127.0.0.1:{}{}", command_.zookeeper_port, kChroot) : command_.zookeeper; }

  // Brokers one after the other, so that each hands over what it leads, then ZooKeeper. A second Ctrl-C ends them at once.
  int stop(int code) {
    for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) {
      if (!part->process || !part->process->runs()) continue;
      part->process->signal(SIGCONT);  // it may have been paused
      part->process->signal(SIGTERM);
      double left = kStopSeconds;
      while (left > 0 && !part->process->wait(0.1)) {
        auto signal = wait_for_signal(0.001);
        if (signal == SIGINT || signal == SIGTERM) left = 0;
        left -= 0.1;
      }
      if (part->process->runs()) {
        part->process->signal(SIGKILL);
        part->process->wait(10);
      }
      if (!part->process->ended_in_order()) {
        fmt::print(stderr, "{} {}; its log: {}\n", part->name, part->process->end_in_words(), part->log);
        code = std::max(code, kRefused);
      }
    }
    return code;
  }

  Command& command_;
  std::vector<Part> parts_;  // ZooKeeper first
};

int dev_cluster(Command& command) {
  Session& session = command.session;
  for (const std::string& each : command.overrides) {
    if (!parse_assignment(each)) return session.wrong("--override " + each + " is not key=value");
  }
  command.folder = absolute(command.folder);
  if (command.server.empty()) command.server = own_folder() + "/odradek-server";
  if (auto made = base::posix_files().create_directories(command.folder); !made) return session.refused(made.error());
  auto lock = base::posix_files().lock(command.folder + "/.lock");
  if (!lock) return session.refused({ErrorCode::kInvalidRequest, command.folder + " is used by another dev-cluster: --folder names another one"});
  std::vector<Part> parts;
  std::vector<int> ports;
  if (command.zookeeper.empty()) {
    auto part = zookeeper_part(command);
    if (!part) return session.refused(part.error());
    parts.push_back(std::move(*part));
    ports.push_back(command.zookeeper_port);
  }
  std::string at = command.zookeeper.empty() ? fmt::format("127.0.0.1:{}{}", command.zookeeper_port, kChroot) : command.zookeeper;
  for (int id = 1; id <= command.brokers; ++id) {
    auto part = broker_part(command, id, at);
    if (!part) return session.refused(part.error());
    ports.insert(ports.end(), {command.port + id - 1, command.metrics_port + id - 1});
    parts.push_back(std::move(*part));
  }
  std::sort(ports.begin(), ports.end());
  for (size_t i = 0; i < ports.size(); ++i) {
    if (i > 0 && ports[i] == ports[i - 1]) return session.wrong(fmt::format("port {} is asked for twice: --port, --metrics-port and --zookeeper-port with {} brokers", ports[i], command.brokers));
    if (!port_is_free(ports[i])) {
      return session.refused({ErrorCode::kInvalidRequest, fmt::format("port {} is taken: --port, --metrics-port and --zookeeper-port choose others", ports[i])});
    }
  }
  hold_signals();
  return DevCluster(command, std::move(parts)).run();
}

}  // namespace

void add_dev_cluster(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<Command>();
  CLI::App* sub = app.add_subcommand("dev-cluster", "A ZooKeeper server and three brokers on this machine, until Ctrl-C: for trying and for tests");
  sub->add_flag("--json", command->session.json, "One JSON object on standard output when all are ready");
  sub->add_option("--folder", command->folder, "Where everything is kept")->capture_default_str();
  sub->add_option("-n,--brokers", command->brokers, "Brokers, with ids from 1")->capture_default_str()->check(CLI::Range(1, 99));
  sub->add_option("-p,--port", command->port, "Port of the first broker; the others follow")->capture_default_str()->check(CLI::Range(1, 65000));
  sub->add_option("--metrics-port", command->metrics_port, "Port of the first broker's HTTP listener; the others follow")->capture_default_str()->check(CLI::Range(1, 65000));
  sub->add_option("--zookeeper-port", command->zookeeper_port, "Port of the ZooKeeper server")->capture_default_str()->check(CLI::Range(1, 65535));
  sub->add_option("--zookeeper", command->zookeeper, "Use this ZooKeeper, host:port/chroot, and start none");
  sub->add_option("--zookeeper-jars", command->jars, fmt::format("Class path with ZooKeeper's jars (default: {})", kDebianJar));
  sub->add_option("--java", command->java, "Java for ZooKeeper")->capture_default_str();
  sub->add_option("--server", command->server, "The broker's program, called with its server.properties (default: odradek-server beside this one)");
  sub->add_option("--override", command->overrides, "key=value in the server.properties of every broker; may be given several times")->allow_extra_args(false);
  sub->add_option("--wait", command->wait_s, "Seconds until all have to be ready")->capture_default_str()->check(CLI::Range(1, 3600));
  sub->footer("Examples:\n  odradek dev-cluster\n  odradek dev-cluster --folder /tmp/cluster --port 19092 --override num.partitions=6\n"
              "The next start in the same folder goes on with what is there. Exit code 0: all ended in order.");
  sub->callback([command, &exit_code] { exit_code = dev_cluster(*command); });
}

}  // namespace odradek::cli
