// Each adds one family to the command line; a command that runs sets `exit_code` (common/session.h).
#pragma once

namespace CLI {
class App;
}

namespace odradek::cli {

void add_metadata(CLI::App& app, int& exit_code);
void add_dev_cluster(CLI::App& app, int& exit_code);
void add_mirror(CLI::App& app, int& exit_code);

}  // namespace odradek::cli
