// One line that tells how far something is. On a terminal it is drawn again in place; elsewhere (a log, a pipe) a line comes at most every
// ten seconds. On standard error, so that results alone are on standard output. With `silent` nothing is shown.
#pragma once

#include <cstdint>
#include <string>

namespace odradek::cli {

class Progress {
 public:
  Progress(bool silent, int64_t now_ns);
  ~Progress() { finish(); }
  // `share`: 0 .. 1.
  void show(double share, const std::string& words, int64_t now_ns);
  // A line of its own.
  void note(const std::string& words);
  // Ends the line that stands on the terminal.
  void finish();

 private:
  const bool silent_, terminal_;
  int64_t last_ns_;
  size_t width_ = 0;  // of what stands on the terminal
};

}  // namespace odradek::cli
