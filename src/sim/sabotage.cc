#include "sim/simulation.h"

namespace odradek::sim {

Sabotage make_sabotage(World& world, const std::string& bug) {
  Sabotage sabotage;
  auto is_log = [](const std::string& path) { return path.ends_with(".log"); };
  if (bug == "sync-does-nothing") {
    sabotage.lie = [=](base::FileCall call, const std::string& path) { return call == base::FileCall::kSync && is_log(path); };
  } else if (bug == "write-is-lost") {
    sabotage.lie = [=, &world](base::FileCall call, const std::string& path) {
      return call == base::FileCall::kWrite && is_log(path) && world.random.below(200) == 0;
    };
  } else if (bug == "timer-is-lost") {
    sabotage.lose = [&world](const std::string& executor) { return executor == "timer" && world.random.below(30) == 0; };
  } else if (bug == "directory-is-not-synced") {
    sabotage.lie = [=](base::FileCall call, const std::string&) { return call == base::FileCall::kSyncDirectory; };
  }
  return sabotage;
}

}  // namespace odradek::sim
