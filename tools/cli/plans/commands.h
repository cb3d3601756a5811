// Adds `reassign` below `topic`; a command that runs sets `exit_code` (common/session.h).
#pragma once

namespace CLI {
class App;
}

namespace odradek::cli {

void add_topic_reassign(CLI::App& topic, int& exit_code);

}  // namespace odradek::cli
