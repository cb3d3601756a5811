// For the tests of both simulations: bugs of the broker, programs with one changed source file (planted/*.bug).
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>
#include <utility>

namespace odradek::sim {

// A parameter as the end of a test's name.
inline std::string without_dashes(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
}

// `program`, a path, ends with 1 at the first of `seeds` seeds in which its bug shows; `more`: further arguments.
inline void expect_bug_found(const std::string& program, int seeds, const std::string& more = "") {
  FILE* run = ::popen((program + " --seed 1 --count " + std::to_string(seeds) + more + " --first").c_str(), "r");
  ASSERT_NE(run, nullptr);
  std::string last, line;
  for (int c; (c = std::fgetc(run)) != EOF;) {
    line += static_cast<char>(c);
    if (c != '\n') continue;
    last = std::exchange(line, "");
  }
  const int status = ::pclose(run);
  ASSERT_EQ(WEXITSTATUS(status), 1) << "not found in " << seeds << " seeds, or missing: " << program;
  std::printf("%s: %s", program.c_str(), last.c_str());
}

}  // namespace odradek::sim
