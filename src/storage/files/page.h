// The units of the page cache.
#pragma once

#include <cstdint>

namespace odradek::storage {

inline constexpr int64_t kPage = 4096;  // bytes
// The kernel may keep neighbouring pages together (a folio), and drops them as a whole or not at all: who drops a file piece by piece begins so many bytes
// before each. Bytes; no folio is larger.
inline constexpr int64_t kLargestFolio = 8 << 20;

}  // namespace odradek::storage
