// What is to be sent: bytes, with file slices set in at given places. Sent in order of `at`.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/file_slice.h"

namespace odradek::base {

struct Output {
  struct Insert {
    size_t at = 0;  // the slice is sent before bytes[at]; inserts are in rising order
    FileSlice slice;
  };
  Bytes bytes;
  std::vector<Insert> inserts;

  // Total to be sent.
  size_t size() const {
    size_t total = bytes.size();
    for (const Insert& insert : inserts) total += static_cast<size_t>(insert.slice.size);
    return total;
  }
};

}  // namespace odradek::base
