// For who reads a file piece by piece, once, and leaves the page cache as it was: what was not there before goes again.
// Each piece is brought by itself before it is read: reading alone makes the kernel read ahead, after which nobody can tell what was there before.
// Thread: one at a time; waits for the disk.
#pragma once

#include "base/file.h"

namespace odradek::storage {

class PassingRead {
 public:
  // The range will be read now.
  void begin(base::File& file, int64_t position, int64_t size) {
    brought_ = !file.resident(position, size);
    if (brought_) file.load_into_cache(position, size);
  }
  // That much of it has been read and will not be read again.
  void end(base::File& file, int64_t position, int64_t size) const {
    if (brought_) file.drop_from_cache(position, size);
  }

 private:
  bool brought_ = false;
};

}  // namespace odradek::storage
