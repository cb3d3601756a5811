// What every command shares: how the cluster is reached, how results and errors are shown.
// Errors go to standard error in one line: `odradek <command>: <KAFKA_ERROR_NAME>: what happened. What to do`.
// Thread: one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "client/cluster.h"
#include "net/outgoing.h"

namespace CLI {
class App;
}

namespace odradek::cli {

// Exit codes (of `health`: kRefused, when it is not healthy).
inline constexpr int kDone = 0;
inline constexpr int kRefused = 1;           // by the broker or the network
inline constexpr int kWrongCommandLine = 2;

class Session {
 public:
  explicit Session(std::string command) : command_(std::move(command)) {}
  // --bootstrap, --json, --timeout.
  void add_options(CLI::App& app);

  bool json = false;
  const std::string& command() const { return command_; }

  // After the options have been read.
  Result<std::unique_ptr<client::Cluster>> open();
  client::ClusterOptions cluster_options() const;
  net::Dialer& dialer();
  base::Random& random() { return runtime().random(); }
  base::Clock& clock() { return runtime().clock(); }
  int32_t timeout_ms() const { return timeout_s_ * 1000; }
  // In place of the options. Before open().
  void set_bootstrap(std::string bootstrap, int timeout_s) {
    bootstrap_ = std::move(bootstrap);
    timeout_s_ = timeout_s;
  }

  // One line on standard error; returns the exit code.
  int refused(const Error& error) const;
  int refused(int16_t code, const std::optional<std::string>& message, const std::string& subject) const;
  int wrong(const std::string& what) const;

 private:
  base::Runtime& runtime();

  std::string command_;
  std::string bootstrap_ = "127.0.0.1:9092";
  int timeout_s_ = 10;
  std::unique_ptr<base::Runtime> runtime_;
  std::unique_ptr<net::Dialer> dialer_;
};

// "k=v"; nullopt without '=' or with an empty k.
std::optional<std::pair<std::string, std::string>> parse_assignment(const std::string& text);

// The text with its control characters as "\x0a": names of groups, clients and values of configs are anybody's, and would break lines or
// speak to the terminal.
std::string printable(std::string_view text);

// Columns padded with spaces, two between, printable; the first row is the head.
void print_table(const std::vector<std::vector<std::string>>& rows);

std::string joined(const std::vector<int32_t>& numbers);

inline ErrorCode code_of(int16_t code) { return static_cast<ErrorCode>(code); }

}  // namespace odradek::cli
