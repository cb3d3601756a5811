// Brings a part of a file into the page cache on a thread that may wait for the disk, so that a network thread never does.
#pragma once

#include "base/file_slice.h"
#include "base/function.h"

namespace odradek::base {

class SliceLoader {
 public:
  virtual ~SliceLoader() = default;
  // Calls `done` once, on any thread, when the slice has been read or could not be (the sender then finds out itself). Never
  // blocks; a loader that keeps the slice copies it (that keeps the file open). Thread: any.
  virtual void load(const FileSlice& slice, Task done) = 0;
};

}  // namespace odradek::base
