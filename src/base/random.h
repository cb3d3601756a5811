// Randomness, passed in so that a seed replays a run. Thread: any (implementations lock or are per thread).
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace odradek::base {

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;
  // 0 <= result < bound; bound > 0.
  uint64_t below(uint64_t bound) { return next() % bound; }
  void fill(MutableByteView bytes) {
    for (size_t i = 0; i < bytes.size(); i += 8) {
      uint64_t word = next();
      std::memcpy(bytes.data() + i, &word, bytes.size() - i < 8 ? bytes.size() - i : 8);
    }
  }
};

}  // namespace odradek::base
