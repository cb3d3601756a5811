#include "cli/common/session.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace odradek::cli {
namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Of UTF-8 text, in characters.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// What the operator can do about it; empty if the error's text says enough.
std::string_view advice(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNetworkException:
    case ErrorCode::kBrokerNotAvailable: return "Check that the broker runs and --bootstrap (or ODRADEK_BOOTSTRAP) names its listener";
    case ErrorCode::kRequestTimedOut: return "The broker is slow or overloaded: look at `odradek health`, or raise --timeout";
    case ErrorCode::kUnknownTopicOrPartition: return "See `odradek topic list`; `odradek topic create` makes one";
    case ErrorCode::kTopicAlreadyExists: return "`odradek topic alter` changes it";
    case ErrorCode::kInvalidPartitions: return "Partitions can only be added";
    case ErrorCode::kInvalidReplicationFactor: return "It may not pass the number of live brokers";
    case ErrorCode::kInvalidConfig: return "`odradek config describe --all` names the keys and their values";
    case ErrorCode::kNonEmptyGroup:
    case ErrorCode::kUnknownMemberId: return "Stop the group's members first";
    case ErrorCode::kGroupIdNotFound: return "See `odradek group list`";
    case ErrorCode::kGroupSubscribedToTopic: return "Stop the group's members first";
    case ErrorCode::kLeaderNotAvailable:
    case ErrorCode::kNotLeaderOrFollower:
    case ErrorCode::kNotController:
    case ErrorCode::kCoordinatorNotAvailable: return "Look at `odradek health`";
    case ErrorCode::kMessageTooLarge:
    case ErrorCode::kRecordListTooLarge: return "Raise max.message.bytes of the topic, or send smaller records";
    case ErrorCode::kNotEnoughReplicas:
    case ErrorCode::kNotEnoughReplicasAfterAppend: return "Fewer replicas are in sync than min.insync.replicas asks for";
    case ErrorCode::kReassignmentInProgress: return "`odradek topic reassign watch` waits for them, `cancel` takes them back";
    case ErrorCode::kNoReassignmentInProgress: return "See `odradek cluster describe`";
    case ErrorCode::kPreferredLeaderNotAvailable:
    case ErrorCode::kEligibleLeadersNotAvailable: return "See `odradek cluster describe`: the broker is not alive or not in sync";
    case ErrorCode::kOffsetOutOfRange: return "Start at --from earliest or latest";
    case ErrorCode::kUnsupportedVersion: return "The broker is too old or too new for this command";
    case ErrorCode::kTopicAuthorizationFailed:
    case ErrorCode::kGroupAuthorizationFailed:
    case ErrorCode::kClusterAuthorizationFailed: return "An ACL has to allow it";
    default: return "";
  }
}

}  // namespace

void Session::add_options(CLI::App& app) {
  app.add_option("-b,--bootstrap", bootstrap_, "Brokers to start from, host:port, separated by commas")
      ->envname("ODRADEK_BOOTSTRAP")
      ->capture_default_str()
      ->check([](const std::string& text) {
        auto addresses = net::parse_endpoints(text);
        return addresses ? std::string() : addresses.error().what;
      });
  app.add_option("--timeout", timeout_s_, "Seconds until a request is given up")->capture_default_str()->check(CLI::Range(1, 3600));
  app.add_flag("--json", json, "JSON on standard output");
}

client::ClusterOptions Session::cluster_options() const {
  client::ClusterOptions options;
  options.bootstrap = bootstrap_;
  options.patience = std::chrono::milliseconds(timeout_ms());
  options.patience_unknown_topic = std::chrono::milliseconds(1'000);
  options.connection.request_timeout = options.patience + std::chrono::milliseconds(5'000);  // brokers are told timeout_ms()
  options.connection.connect_timeout = options.patience;
  return options;
}

base::Runtime& Session::runtime() {
  if (runtime_ == nullptr) runtime_ = base::make_system_runtime();
  return *runtime_;
}

net::Dialer& Session::dialer() {
  if (dialer_ == nullptr) dialer_ = net::make_tcp_dialer(runtime().clock());
  return *dialer_;
}

Result<std::unique_ptr<client::Cluster>> Session::open() { return client::Cluster::make(dialer(), random(), cluster_options()); }

int Session::refused(const Error& error) const {
  std::string what = error.what;
  std::string_view name = name_of(error.code);
  while (what.ends_with('.') || what.ends_with('\n')) what.pop_back();
  std::replace_if(what.begin(), what.end(), is_control, ' ');
  // Texts of the rooms may end with the name that stands in front here.
  if (what.ends_with(std::string(": ") + std::string(name))) what.resize(what.size() - name.size() - 2);
  std::string_view hint = advice(error.code);
  std::fflush(stdout);
  fmt::print(stderr, "odradek {}: {}{}{}{}{}\n", command_, name, what.empty() ? "" : ": ", what, hint.empty() ? "" : ". ", hint);
  return kRefused;
}

int Session::refused(int16_t code, const std::optional<std::string>& message, const std::string& subject) const {
  std::string what = subject;
  if (message && !message->empty()) what += (what.empty() ? "" : ": ") + *message;
  return refused(Error{code_of(code), what});
}

int Session::wrong(const std::string& what) const {
  fmt::print(stderr, "odradek {}: {}; see odradek {} --help\n", command_, what, command_);
  return kWrongCommandLine;
}

std::optional<std::pair<std::string, std::string>> parse_assignment(const std::string& text) {
  size_t at = text.find('=');
  if (at == std::string::npos || at == 0) return std::nullopt;
  return std::pair{text.substr(0, at), text.substr(at + 1)};
}

std::string printable(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    // U+0080 to U+009f are control characters too.
    bool second_set = text[i] == '\xc2' && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (second_set) ++i;
    if (second_set || is_control(text[i])) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
    } else {
      result += text[i];
    }
  }
  return result;
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(printable(row[i])));
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      std::string cell = printable(row[i]);
      line += cell;
      if (i + 1 < row.size()) line.append(widths[i] - width_of(cell) + 2, ' ');
    }
    fmt::print("{}\n", line);
  }
}

std::string joined(const std::vector<int32_t>& numbers) { return fmt::format("{}", fmt::join(numbers, ",")); }

}  // namespace odradek::cli
