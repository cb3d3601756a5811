// Which partition a record goes to, as Kafka's Java producer chooses: equal keys go to one partition whatever client wrote them.
// Thread: one at a time.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/random.h"

namespace odradek::client {

// 32-bit MurmurHash2 (Austin Appleby, public domain) with the seed that Kafka uses.
uint32_t murmur2(ByteView bytes);
// (murmur2 & 0x7fffffff) % partitions; partitions > 0.
int32_t partition_of_key(ByteView key, int32_t partitions);

// For records without a key: one partition until about `bytes` have gone there, then another one at random (KIP-794 without its
// weighing of slow brokers).
class StickyPartitioner {
 public:
  StickyPartitioner(base::Random& random, size_t bytes) : random_(random), bytes_(bytes) {}
  int32_t next(size_t record_bytes, int32_t partitions);

 private:
  base::Random& random_;
  const size_t bytes_;
  size_t used_ = 0;
  int32_t current_ = -1;
};

}  // namespace odradek::client
