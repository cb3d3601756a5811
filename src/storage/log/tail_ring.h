// The newest batches of a log's last segment, so that readers at its end need neither index nor file: where each batch stands.
// Thread: one at a time (the Log guards it). Memory: 1.5 KiB, taken at the first append.
#pragma once

#include <array>
#include <memory>

#include "model/types.h"

namespace odradek::storage {

class TailRing {
 public:
  static constexpr size_t kEntries = 64;
  struct Entry {
    int64_t base = 0;  // offsets
    int64_t last = 0;
    int32_t position = 0;
    int32_t size = 0;
  };
  struct Range {
    int64_t position = 0;
    int64_t size = 0;      // 0: nothing fits
    int64_t next_offset = 0;
  };

  // The batch behind the newest one.
  void push(const Entry& entry) {
    if (entries_ == nullptr) entries_ = std::make_unique<std::array<Entry, kEntries>>();
    (*entries_)[pushed_++ % kEntries] = entry;
    if (count_ < kEntries) ++count_;
  }
  void clear() { count_ = 0; }
  // Whether `offset` is at or behind the first batch that is remembered.
  bool covers(int64_t offset) const { return count_ > 0 && offset >= at(0).base; }
  // As Log::read, over what is remembered; covers(from) holds.
  Range range(int64_t from, int64_t max_bytes, int64_t upper_bound, bool at_least_one) const;

 private:
  const Entry& at(size_t i) const { return (*entries_)[(pushed_ - count_ + i) % kEntries]; }

  std::unique_ptr<std::array<Entry, kEntries>> entries_;
  size_t pushed_ = 0;
  size_t count_ = 0;
};

}  // namespace odradek::storage
