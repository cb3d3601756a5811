// Runs in child processes.
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>

#include "base/log.h"
#include "sim/arena.h"
#include "sim/simulation.h"

namespace odradek::sim {
void fix_addresses(char** arguments) {
  int now = ::personality(0xffffffff);
  if (now == -1 || (now & ADDR_NO_RANDOMIZE) != 0) return;
  if (::personality(static_cast<unsigned long>(now) | ADDR_NO_RANDOMIZE) == -1) return;
  if ((::personality(0xffffffff) & ADDR_NO_RANDOMIZE) == 0) return;
  ::execv("/proc/self/exe", arguments);
}

Outcome run_in_child(const Options& options, int wall_seconds) {
  struct Shared {
    bool complete;
    uint64_t trace_hash;
    int64_t steps, virtual_ms, acked, seen, commits, assignments;
    int lives, power_cuts;
    char violation[2'000];
  };
  auto* shared = static_cast<Shared*>(::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  Outcome outcome;
  if (shared == MAP_FAILED) {
    outcome.violation = "no memory for the child's report";
    return outcome;
  }
  char errors[] = "/tmp/odradek-sim-XXXXXX";
  int error_file = ::mkstemp(errors);
  ::unlink(errors);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(static_cast<unsigned>(wall_seconds));
    // Log lines are always made (so that nothing depends on --verbose) and shown only then.
    if (!options.verbose && error_file >= 0) ::dup2(error_file, STDERR_FILENO);
    log::set_level(log::Level::kInfo);
    use_arena();
    Outcome made = run_simulation(options);
    shared->trace_hash = made.trace_hash;
    shared->steps = made.steps;
    shared->virtual_ms = made.virtual_ms;
    shared->acked = made.acked;
    shared->seen = made.seen;
    shared->commits = made.commits;
    shared->assignments = made.assignments;
    shared->lives = made.lives;
    shared->power_cuts = made.power_cuts;
    std::snprintf(shared->violation, sizeof shared->violation, "%s", made.violation.c_str());
    shared->complete = true;
    std::fflush(nullptr);
    ::_exit(0);
  }
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) == -1 && errno == EINTR) {
  }
  if (child > 0 && shared->complete) {
    outcome.violation = shared->violation;
    outcome.trace_hash = shared->trace_hash;
    outcome.steps = shared->steps;
    outcome.virtual_ms = shared->virtual_ms;
    outcome.acked = shared->acked;
    outcome.seen = shared->seen;
    outcome.commits = shared->commits;
    outcome.assignments = shared->assignments;
    outcome.lives = shared->lives;
    outcome.power_cuts = shared->power_cuts;
  } else if (child > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    outcome.violation = "the run hangs: more than " + std::to_string(wall_seconds) + " s";
  } else {
    // The last words: a failed CHECK says where.
    char text[4'000] = "";
    if (error_file >= 0) {
      off_t size = ::lseek(error_file, 0, SEEK_END);
      off_t from = size > 1'500 ? size - 1'500 : 0;
      ssize_t got = ::pread(error_file, text, sizeof text - 1, from);
      text[got > 0 ? got : 0] = 0;
    }
    const char* check = std::strstr(text, "CHECK failed");
    outcome.violation = "the process ended with signal " + std::to_string(WIFSIGNALED(status) ? WTERMSIG(status) : 0) + ": " + (check != nullptr ? check : text);
  }
  if (error_file >= 0) ::close(error_file);
  ::munmap(shared, sizeof(Shared));
  return outcome;
}

}  // namespace odradek::sim
