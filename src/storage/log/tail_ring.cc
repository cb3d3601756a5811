#include "storage/log/tail_ring.h"

namespace odradek::storage {

TailRing::Range TailRing::range(int64_t from, int64_t max_bytes, int64_t upper_bound, bool at_least_one) const {
  // The first batch whose last offset reaches `from`.
  size_t low = 0, high = count_;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (at(middle).last < from) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  Range range{.next_offset = from};
  for (size_t i = low; i < count_; ++i) {
    const Entry& entry = at(i);
    if (entry.last >= upper_bound) break;
    if (range.size + entry.size > max_bytes && !(range.size == 0 && at_least_one)) break;
    if (range.size == 0) range.position = entry.position;
    range.size += entry.size;
    range.next_offset = entry.last + 1;
  }
  return range;
}

}  // namespace odradek::storage
