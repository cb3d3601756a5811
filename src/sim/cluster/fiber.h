// A call that may stop in the middle and go on later, on a stack of its own: start and stop of a broker wait inside, while the other
// brokers of the same thread go on.
// Thread: one.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <memory>

#include "base/function.h"

namespace odradek::sim {

class Fiber {
 public:
  explicit Fiber(Task body);
  // It has ended.
  ~Fiber();
  Fiber(const Fiber&) = delete;

  // Runs it until it stops or ends. Not from a fiber.
  void resume();
  bool ended() const { return ended_; }
  // Stops the one that runs: back to who called resume().
  static void stop();

 private:
  static void enter(unsigned low, unsigned high);
  void switch_in();
  void switch_out();

  Task body_;
  std::unique_ptr<uint8_t[]> stack_;
  ucontext_t inside_{}, outside_{};
  bool ended_ = false;
  // What sanitizers want to know of stacks.
  void* fake_stack_ = nullptr;
  void* outer_fiber_ = nullptr;
  void* own_fiber_ = nullptr;
  const void* outer_stack_ = nullptr;
  size_t outer_size_ = 0;
};

}  // namespace odradek::sim
