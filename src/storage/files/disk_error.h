// What an error of the file layer says of the disk.
#pragma once

#include "base/result.h"

namespace odradek::storage {

// Whether it says that the disk failed (and not, say, that descriptors ran out or the disk is full).
bool is_disk_failure(const Error& error);
bool is_disk_full(const Error& error);

}  // namespace odradek::storage
