#include "sim/cluster/fiber.h"

#include "base/check.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define ODRADEK_FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define ODRADEK_FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace odradek::sim {
namespace {

constexpr size_t kStack = 1 << 20;  // pages come when they are touched

Fiber* running = nullptr;

}  // namespace

Fiber::Fiber(Task body) : body_(std::move(body)), stack_(std::make_unique_for_overwrite<uint8_t[]>(kStack)) {
  CHECK(::getcontext(&inside_) == 0);
  inside_.uc_stack.ss_sp = stack_.get();
  inside_.uc_stack.ss_size = kStack;
  inside_.uc_link = nullptr;
  const auto self = reinterpret_cast<uintptr_t>(this);
  ::makecontext(&inside_, reinterpret_cast<void (*)()>(&Fiber::enter), 2, static_cast<unsigned>(self), static_cast<unsigned>(self >> 32));
#ifdef ODRADEK_FIBER_TSAN
  own_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  CHECK(ended_);
#ifdef ODRADEK_FIBER_TSAN
  __tsan_destroy_fiber(own_fiber_);
#endif
}

void Fiber::enter(unsigned low, unsigned high) {
  auto* self = reinterpret_cast<Fiber*>(static_cast<uintptr_t>(low) | (static_cast<uintptr_t>(high) << 32));
#ifdef ODRADEK_FIBER_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->outer_stack_, &self->outer_size_);
#endif
  self->body_();
  self->body_ = nullptr;
  self->ended_ = true;
  self->switch_out();
}

void Fiber::resume() {
  CHECK(running == nullptr && !ended_);
  running = this;
  switch_in();
  running = nullptr;
}

void Fiber::stop() {
  CHECK(running != nullptr);
  running->switch_out();
}

void Fiber::switch_in() {
#ifdef ODRADEK_FIBER_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, stack_.get(), kStack);
#endif
#ifdef ODRADEK_FIBER_TSAN
  outer_fiber_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(own_fiber_, 0);
#endif
  CHECK(::swapcontext(&outside_, &inside_) == 0);
#ifdef ODRADEK_FIBER_ASAN
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void Fiber::switch_out() {
#ifdef ODRADEK_FIBER_ASAN
  __sanitizer_start_switch_fiber(ended_ ? nullptr : &fake_stack_, outer_stack_, outer_size_);
#endif
#ifdef ODRADEK_FIBER_TSAN
  __tsan_switch_to_fiber(outer_fiber_, 0);
#endif
  CHECK(::swapcontext(&inside_, &outside_) == 0);
#ifdef ODRADEK_FIBER_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &outer_stack_, &outer_size_);
#endif
}

}  // namespace odradek::sim
