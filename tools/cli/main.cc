// odradek: the operator's tool.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "cli/cluster/commands.h"
#include "cli/common/session.h"
#include "cli/groups/commands.h"
#include "cli/local/commands.h"
#include "cli/records/commands.h"
#include "cli/topics/commands.h"

namespace {

// Standard output takes no more. What a shell knows of a reader that went away (`| head`) needs no words, a full disk does.
int cannot_write(int error) {
  if (error == EPIPE) return 128 + SIGPIPE;
  (void)std::fprintf(stderr, "odradek: standard output: %s\n", std::strerror(error));
  return odradek::cli::kRefused;
}

}  // namespace

int main(int count, char** arguments) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away ends a command in order
  CLI::App app{"Odradek's tool: topics, groups, configs, messages, brokers, health, load and stored metadata; works with Apache Kafka too.\n"
               "Every command has --help with examples. ODRADEK_BOOTSTRAP names the brokers once for all commands."};
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help of all commands");
  int exit_code = 0;
  odradek::cli::add_topic(app, exit_code);
  odradek::cli::add_group(app, exit_code);
  odradek::cli::add_config(app, exit_code);
  odradek::cli::add_produce(app, exit_code);
  odradek::cli::add_consume(app, exit_code);
  odradek::cli::add_cluster(app, exit_code);
  odradek::cli::add_elect(app, exit_code);
  odradek::cli::add_health(app, exit_code);
  odradek::cli::add_bench(app, exit_code);
  odradek::cli::add_metadata(app, exit_code);
  odradek::cli::add_dev_cluster(app, exit_code);
  odradek::cli::add_mirror(app, exit_code);
  app.footer("Exit codes: 0 done, 1 the broker or the network refused (health: not healthy) or a file or stream failed, 2 the command line is wrong.");
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    fmt::print(stderr, "odradek: {}; see --help\n", error.what());
    return 2;
  } catch (const std::system_error& error) {  // of fmt::print
    return cannot_write(error.code().value());
  }
  if (std::fflush(stdout) != 0 && errno != EPIPE && exit_code == odradek::cli::kDone) return cannot_write(errno);
  return exit_code;
}
