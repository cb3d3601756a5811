// Checksums of Kafka's formats. CRC-32C (Castagnoli): record batches v2, producer snapshots. CRC-32 (IEEE): messages v0, v1.
// Both run at memory speed where the CPU allows (chosen at run time) and have a table form that is the oracle in tests.
#pragma once

#include "base/bytes.h"

namespace odradek::base {

// `seed` continues a checksum: crc32c(b, crc32c(a)) == crc32c(a + b).
uint32_t crc32c(ByteView bytes, uint32_t seed = 0);
uint32_t crc32(ByteView bytes, uint32_t seed = 0);

uint32_t crc32c_portable(ByteView bytes, uint32_t seed = 0);
uint32_t crc32_portable(ByteView bytes, uint32_t seed = 0);

}  // namespace odradek::base
