#include "client/partitioner.h"

namespace odradek::client {
namespace {

constexpr uint32_t kSeed = 0x9747b28c;
constexpr uint32_t kMultiplier = 0x5bd1e995;

uint32_t mix(uint32_t word) {
  word *= kMultiplier;
  word ^= word >> 24;
  return word * kMultiplier;
}

}  // namespace

uint32_t murmur2(ByteView bytes) {
  uint32_t hash = kSeed ^ static_cast<uint32_t>(bytes.size());
  while (bytes.size() >= 4) {
    uint32_t word = bytes[0] | static_cast<uint32_t>(bytes[1]) << 8 | static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
    hash = (hash * kMultiplier) ^ mix(word);
    bytes = bytes.subspan(4);
  }
  for (size_t i = bytes.size(); i-- > 0;) hash ^= static_cast<uint32_t>(bytes[i]) << (8 * i);
  if (!bytes.empty()) hash *= kMultiplier;
  hash ^= hash >> 13;
  hash *= kMultiplier;
  return hash ^ (hash >> 15);
}

int32_t partition_of_key(ByteView key, int32_t partitions) {
  return static_cast<int32_t>((murmur2(key) & 0x7fffffff) % static_cast<uint32_t>(partitions));
}

int32_t StickyPartitioner::next(size_t record_bytes, int32_t partitions) {
  if (current_ < 0 || current_ >= partitions || used_ >= bytes_) {
    int32_t chosen = static_cast<int32_t>(random_.below(static_cast<uint64_t>(partitions)));
    if (chosen == current_ && partitions > 1) chosen = (chosen + 1) % partitions;
    current_ = chosen;
    used_ = 0;
  }
  used_ += record_bytes;
  return current_;
}

}  // namespace odradek::client
