// The commands of `odradek`. Each function adds one family to the command line; a command that runs sets `exit_code`.
// Exit codes: 0 done, 1 the broker or the network refused (health: it is not healthy), 2 the command line is wrong.
#pragma once

namespace CLI {
class App;
}

namespace odradek::cli {

void add_topic(CLI::App& app, int& exit_code);
void add_group(CLI::App& app, int& exit_code);
void add_config(CLI::App& app, int& exit_code);
void add_produce(CLI::App& app, int& exit_code);
void add_consume(CLI::App& app, int& exit_code);
void add_health(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_metadata(CLI::App& app, int& exit_code);
void add_cluster(CLI::App& app, int& exit_code);
void add_elect(CLI::App& app, int& exit_code);
void add_dev_cluster(CLI::App& app, int& exit_code);
void add_topic_reassign(CLI::App& topic, int& exit_code);  // below `topic`
void add_mirror(CLI::App& app, int& exit_code);

}  // namespace odradek::cli
