// Each adds one family to the command line; a command that runs sets `exit_code` (common/session.h).
#pragma once

namespace CLI {
class App;
}

namespace odradek::cli {

void add_cluster(CLI::App& app, int& exit_code);
void add_elect(CLI::App& app, int& exit_code);
void add_health(CLI::App& app, int& exit_code);

}  // namespace odradek::cli
