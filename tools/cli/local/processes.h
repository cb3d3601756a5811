// Child processes of this program: started with their output in a file, ended with this program whatever happens to it.
// Thread: one.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace odradek::cli {

class ChildProcess {
 public:
  // `words`: the program (a path, or a name that PATH finds) and its arguments. Standard input is empty; output is appended to `log`. The
  // child gets a process group of its own, so that Ctrl-C on the terminal reaches only this program, and SIGKILL when this program ends.
  // Errors: kInvalidRequest, it cannot be started.
  static Result<ChildProcess> start(std::vector<std::string> words, const std::string& log);

  pid_t pid() const { return pid_; }
  bool runs() const { return !ended_; }
  void signal(int number) const;
  // Looks without waiting; true when it has just been seen to have ended.
  bool poll();
  // Waits at most `seconds` for the end; false: it still runs.
  bool wait(double seconds);
  // "ended with code 3", "was ended by signal 9".
  std::string end_in_words() const;
  bool ended_in_order() const;

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  pid_t pid_;
  bool ended_ = false;
  int status_ = 0;
};

// SIGINT and SIGTERM are held back from now on, and SIGCHLD; wait_for_signal() takes them.
void hold_signals();
// The signal that came, nullopt after `seconds` without one.
std::optional<int> wait_for_signal(double seconds);

// The folder in which this program lies.
std::string own_folder();
// Whether a TCP listener can be opened on 127.0.0.1:`port`.
bool port_is_free(int port);

}  // namespace odradek::cli
