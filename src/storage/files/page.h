// The page of the page cache.
#pragma once

#include <cstdint>

namespace odradek::storage {

inline constexpr int64_t kPage = 4096;  // bytes

}  // namespace odradek::storage
