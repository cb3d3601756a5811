// Time, passed in so that a simulation can own it. Only `base` asks the system for the time.
// Thread: any.
#pragma once

#include <cstdint>

namespace odradek::base {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since 1970 (Kafka's timestamps).
  virtual int64_t wall_ms() const = 0;
  // Nanoseconds of a clock that never goes back; only differences mean something.
  virtual int64_t monotonic_ns() const = 0;
  int64_t monotonic_ms() const { return monotonic_ns() / 1'000'000; }
};

}  // namespace odradek::base
