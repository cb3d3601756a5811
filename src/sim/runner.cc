// Runs in child processes.
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>

#include "base/check.h"
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

// What a child reports, in memory that both see.
struct Children::Report {
  bool complete;
  uint64_t trace_hash;
  int64_t steps, virtual_ms, acked, seen, commits, assignments, operations;
  int lives, power_cuts;
  std::array<int64_t, Outcome::kKinds> happened;
  char violation[2'000];
};

Children::Children(int wall_seconds) : wall_seconds_(wall_seconds) {}

Children::~Children() {
  for (Child& child : children_) ::kill(child.pid, SIGKILL);
  while (!children_.empty()) wait();
}

void Children::start(const Options& options) {
  void* memory = ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  auto* report = static_cast<Report*>(memory);
  char errors[] = "/tmp/odradek-sim-XXXXXX";
  const int error_file = ::mkstemp(errors);
  CHECK(error_file >= 0);
  ::unlink(errors);
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid > 0) {
    children_.push_back({pid, options, report, error_file});
    return;
  }
  ::alarm(static_cast<unsigned>(wall_seconds_));
  // Log lines are always made (so that nothing depends on --verbose) and shown only then.
  if (!options.verbose) ::dup2(error_file, STDERR_FILENO);
  log::set_level(log::Level::kInfo);
  use_arena();
  Outcome made = options.run != nullptr ? options.run(options) : run_simulation(options);
  report->trace_hash = made.trace_hash;
  report->steps = made.steps;
  report->virtual_ms = made.virtual_ms;
  report->acked = made.acked;
  report->seen = made.seen;
  report->commits = made.commits;
  report->assignments = made.assignments;
  report->operations = made.operations;
  report->lives = made.lives;
  report->power_cuts = made.power_cuts;
  report->happened = made.happened;
  std::snprintf(report->violation, sizeof report->violation, "%s", made.violation.c_str());
  report->complete = true;
  std::fflush(nullptr);
  ::_exit(0);
}

std::pair<Options, Outcome> Children::wait() {
  CHECK(!children_.empty());
  auto child = children_.end();
  int status = 0;
  while (child == children_.end()) {
    const pid_t pid = ::wait(&status);
    CHECK(pid >= 0 || errno == EINTR);
    child = std::find_if(children_.begin(), children_.end(), [pid](const Child& other) { return other.pid == pid; });
  }
  const Report& report = *child->report;
  Outcome outcome;
  if (report.complete) {
    outcome.violation = report.violation;
    outcome.trace_hash = report.trace_hash;
    outcome.steps = report.steps;
    outcome.virtual_ms = report.virtual_ms;
    outcome.acked = report.acked;
    outcome.seen = report.seen;
    outcome.commits = report.commits;
    outcome.assignments = report.assignments;
    outcome.operations = report.operations;
    outcome.lives = report.lives;
    outcome.power_cuts = report.power_cuts;
    outcome.happened = report.happened;
  } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    outcome.violation = "the run hangs: more than " + std::to_string(wall_seconds_) + " s";
  } else {
    // The last words: a failed CHECK says where.
    char text[4'000] = "";
    const off_t size = ::lseek(child->error_file, 0, SEEK_END);
    const ssize_t got = ::pread(child->error_file, text, sizeof text - 1, size > 1'500 ? size - 1'500 : 0);
    text[got > 0 ? got : 0] = 0;
    const char* check = std::strstr(text, "CHECK failed");
    outcome.violation = "the process ended with signal " + std::to_string(WIFSIGNALED(status) ? WTERMSIG(status) : 0) + ": " + (check != nullptr ? check : text);
  }
  std::pair<Options, Outcome> result{child->options, std::move(outcome)};
  ::close(child->error_file);
  ::munmap(child->report, sizeof(Report));
  children_.erase(child);
  return result;
}

Outcome run_in_child(const Options& options, int wall_seconds) {
  Children children(wall_seconds);
  children.start(options);
  return children.wait().second;
}

}  // namespace odradek::sim
