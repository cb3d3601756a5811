// How the threads that a network thread wakes up (handlers, clients on the same machine) are woken: chosen by how busy it is.
// A busy thread that interrupts them at each wake-up finds one answer or request each time and sleeps again; one that waits for its turn
// finds many. On busy processors that saves a third of the CPU of small requests. A calm thread wakes up at once: there the single answer
// counts. Thread: the network thread.
#pragma once

#include <cstdint>

#include "base/thread.h"

namespace odradek::net {

class WakingChoice {
 public:
  void count_frame() { ++frames_; }
  // Once a round.
  void look(int64_t now_ns) {
    if (now_ns - chosen_ns_ >= kPeriodNs) choose(now_ns);
  }

 private:
  static constexpr int64_t kPeriodNs = 50'000'000;
  void choose(int64_t now_ns);

  uint64_t frames_ = 0;  // since the last choice
  int64_t chosen_ns_ = 0;
  base::Waking waking_ = base::Waking::kPreempting;
};

}  // namespace odradek::net
