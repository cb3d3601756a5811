// For who reads a file piece by piece, once, and leaves the page cache as it was: what was not there before goes again.
// Thread: one at a time; waits for the disk.
#pragma once

#include <algorithm>

#include "base/file.h"
#include "storage/files/page.h"

namespace odradek::storage {

class PassingRead {
 public:
  // The range will be read now.
  void begin(base::File& file, int64_t position, int64_t size) {
    brought_ = !file.resident(position, size);
    if (!brought_) return;
    if (position != end_) run_ = position;
    file.load_into_cache(position, size);
  }
  // That much of it has been read and will not be read again.
  void end(base::File& file, int64_t position, int64_t size) {
    if (!brought_) return;
    end_ = position + size;
    const int64_t from = std::max(run_, position - kLargestFolio);
    file.drop_from_cache(from, end_ - from);
  }

 private:
  bool brought_ = false;
  int64_t run_ = 0, end_ = 0;  // what was brought in one go up to now
};

}  // namespace odradek::storage
