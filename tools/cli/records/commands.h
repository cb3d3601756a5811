// Each adds one family to the command line; a command that runs sets `exit_code` (common/session.h).
#pragma once

namespace CLI {
class App;
}

namespace odradek::cli {

void add_produce(CLI::App& app, int& exit_code);
void add_consume(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);

}  // namespace odradek::cli
