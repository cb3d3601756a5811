#include "cli/plans/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace odradek::cli {
namespace {

constexpr int64_t kPlainPauseNs = 10'000'000'000;
constexpr int kBarWidth = 24;

}  // namespace

Progress::Progress(bool silent, int64_t now_ns) : silent_(silent), terminal_(isatty(STDERR_FILENO) == 1), last_ns_(now_ns) {}

void Progress::show(double share, const std::string& words, int64_t now_ns) {
  if (silent_) return;
  share = std::clamp(share, 0.0, 1.0);
  std::string line = fmt::format("{:3.0f} %  {}", share * 100, words);
  if (!terminal_) {
    if (now_ns - last_ns_ < kPlainPauseNs) return;
    last_ns_ = now_ns;
    fmt::print(stderr, "{}\n", line);
    return;
  }
  auto filled = static_cast<size_t>(share * kBarWidth);
  line = fmt::format("[{:#<{}}{:.<{}}] {}", "", filled, "", kBarWidth - filled, line);
  fmt::print(stderr, "\r{}{:{}}", line, "", width_ > line.size() ? width_ - line.size() : 0);
  width_ = line.size();
}

void Progress::note(const std::string& words) {
  if (silent_) return;
  finish();
  fmt::print(stderr, "{}\n", words);
}

void Progress::finish() {
  if (width_ != 0) fmt::print(stderr, "\n");
  width_ = 0;
}

}  // namespace odradek::cli
