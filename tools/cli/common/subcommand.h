// One subcommand of a family (`topic create`, `cluster status`, ...): a Command of its own, made with its full name, the options of its session, and
// what it runs. Command has a member `session` (session.h).
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <utility>

namespace odradek::cli {

template <class Command>
std::pair<CLI::App*, std::shared_ptr<Command>> add_subcommand(CLI::App& family, int& exit_code, const char* name, const char* full_name, const char* help,
                                                              const char* footer, int (*run)(Command&)) {
  auto command = std::make_shared<Command>(full_name);  // shared: by the callback and by who adds options
  CLI::App* sub = family.add_subcommand(name, help);
  command->session.add_options(*sub);
  sub->footer(footer);
  sub->callback([command, run, &exit_code] { exit_code = run(*command); });
  return {sub, command};
}

}  // namespace odradek::cli
