// Adds one family to the command line; a command that runs sets `exit_code` (common/session.h).
#pragma once

namespace CLI {
class App;
}

namespace odradek::cli {

void add_group(CLI::App& app, int& exit_code);

}  // namespace odradek::cli
