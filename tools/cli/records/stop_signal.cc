#include "cli/records/stop_signal.h"

#include <csignal>

namespace odradek::cli {
namespace {

volatile std::sig_atomic_t taken = 0;

}  // namespace

void take_stop_signals() {
  for (int number : {SIGINT, SIGTERM}) {
    std::signal(number, [](int got) {
      taken = got;
      std::signal(got, SIG_DFL);
    });
  }
}

int stop_signal() { return taken; }

}  // namespace odradek::cli
