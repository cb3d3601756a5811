// How a batch is compressed and what its timestamps mean: the two facts that its attributes, configs and builders share.
#pragma once

#include <cstdint>
#include <string_view>

namespace odradek::record {

// The low three bits of a batch's attributes.
enum class Codec : int8_t { kNone = 0, kGzip = 1, kSnappy = 2, kLz4 = 3, kZstd = 4 };
// "none", "gzip", "snappy", "lz4", "zstd".
std::string_view name_of(Codec codec);

// kCreateTime: the producer's clock. kLogAppendTime: the leader's clock at the append, the same for the whole batch.
enum class TimestampType : int8_t { kCreateTime = 0, kLogAppendTime = 1 };
std::string_view name_of(TimestampType type);

// Levels as the topic configs take them; the defaults are those of compression.*.level.
inline constexpr int kDefaultGzipLevel = -1;
inline constexpr int kDefaultLz4Level = 9;
inline constexpr int kDefaultZstdLevel = 3;
constexpr int default_level(Codec codec) {
  return codec == Codec::kGzip ? kDefaultGzipLevel : codec == Codec::kLz4 ? kDefaultLz4Level : codec == Codec::kZstd ? kDefaultZstdLevel : 0;
}
// gzip 1..9 and -1, lz4 1..17, zstd -131072..22; the others take any.
constexpr bool is_legal_level(Codec codec, int level) {
  if (codec == Codec::kGzip) return level == -1 || (level >= 1 && level <= 9);
  if (codec == Codec::kLz4) return level >= 1 && level <= 17;
  if (codec == Codec::kZstd) return level >= -131072 && level <= 22;
  return true;
}

}  // namespace odradek::record
