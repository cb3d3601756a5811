// odradek: the operator's tool.
#include <CLI/CLI.hpp>

#include "cli/commands.h"

int main(int count, char** arguments) {
  CLI::App app{"Odradek's tool: load on a broker. Every command has --help with examples."};
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help of all commands");
  app.failure_message(CLI::FailureMessage::help);
  int exit_code = 0;
  odradek::cli::add_bench(app, exit_code);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  return exit_code;
}
