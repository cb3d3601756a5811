// The last offset of each key in the dirty part of a log. A key is kept as a hash of 128 bits with a secret of this process: two keys
// that meet are never seen, and nobody can make them. 24 bytes a key, in one block of memory that never grows.
// Thread: one.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/bytes.h"
#include "base/random.h"
#include "model/types.h"

namespace odradek::storage {

// SipHash-2-4 with 128 bits of output.
struct KeyHash {
  uint64_t low = 0, high = 0;
  friend bool operator==(const KeyHash&, const KeyHash&) = default;
};
KeyHash hash_key(uint64_t secret_low, uint64_t secret_high, ByteView key);

class KeyOffsets {
 public:
  static constexpr int64_t kSlotBytes = 24;

  // Room for `most_keys`, but in at most `memory_bytes`, filled up to `load_factor` (0..1). Takes at least one key. Throws bad_alloc.
  KeyOffsets(base::Random& random, int64_t memory_bytes, double load_factor, int64_t most_keys);

  // False: the map is full; nothing was changed.
  bool put(ByteView key, Offset offset);
  // -1: unknown.
  Offset find(ByteView key) const;

  // Everything up to here has been read into the map.
  Offset latest() const { return latest_; }
  void raise_latest(Offset offset) {
    if (offset > latest_) latest_ = offset;
  }
  int64_t size() const { return size_; }
  // Share of the slots that `memory_bytes` has room for.
  double utilization() const { return static_cast<double>(size_) / static_cast<double>(slots_in_memory_); }

 private:
  struct Slot {
    KeyHash hash;
    int64_t next_offset;  // offset + 1; 0: free
  };
  static_assert(sizeof(Slot) == kSlotBytes);
  struct Free {
    void operator()(Slot* slots) const { std::free(slots); }
  };
  Slot* slot_of(ByteView key, KeyHash& hash) const;

  const uint64_t secret_low_, secret_high_;
  const int64_t slots_in_memory_;
  int64_t slots_count_;
  int64_t most_keys_;
  std::unique_ptr<Slot[], Free> slots_;  // zeroed by the system when first touched
  int64_t size_ = 0;
  Offset latest_{-1};
};

}  // namespace odradek::storage
