// All messages and versions at once: golden bytes, cut and damaged bytes, random values.
#include <cstdlib>
#include <fstream>
#include <map>
#include <new>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "protocol/testing/random_value.h"
#include "protocol/testing/vector_lines.h"

namespace {
size_t allocated_bytes = 0;  // by operator new, so far
}

// noinline: g++ would warn of free() on what it sees to come from new.
[[gnu::noinline]] void* operator new(size_t size) {
  allocated_bytes += size;
  if (void* at = std::malloc(size)) return at;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, size_t) noexcept { std::free(at); }

namespace odradek::protocol::testing {
namespace {

const std::vector<VectorLine>& golden() {
  static const std::vector<VectorLine> lines = [] {
    std::ifstream in(ODRADEK_SOURCE_DIR "/src/protocol/testdata/golden.txt");
    return read_vector_lines(in);
  }();
  return lines;
}

Result<Bytes> recode(const VectorLine& line, Bytes body) {
  const AnyMessage* message = find_message(line.message);
  if (message == nullptr) return fail(ErrorCode::kInvalidRequest, "no such message");
  return message->recode(body, line.version);
}

TEST(Messages, GoldenBytesOfEveryVersionComeBackUnchanged) {
  ASSERT_EQ(golden().size(), 892u);
  for (const VectorLine& line : golden()) {
    auto again = recode(line, line.body);
    ASSERT_TRUE(again) << line.message << " " << line.version << ": " << again.error().what;
    EXPECT_EQ(to_hex(*again), to_hex(line.body)) << line.message << " " << line.version;
  }
}

TEST(Messages, GoldenBytesCoverEveryVersion) {
  std::map<std::string, std::set<int16_t>> seen;
  for (const VectorLine& line : golden()) seen[line.message].insert(line.version);
  for (const AnyMessage& message : all_messages()) {
    for (int16_t version = message.min; version <= message.max; ++version) {
      EXPECT_TRUE(seen[std::string(message.name)].contains(version)) << message.name << " " << version;
    }
  }
}

TEST(Messages, VersionsOutsideTheRangeAreRefused) {
  for (const AnyMessage& message : all_messages()) {
    for (int version : {message.min - 1, message.max + 1}) {
      auto refused = message.recode({}, static_cast<int16_t>(version));
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, ErrorCode::kUnsupportedVersion);
    }
  }
}

TEST(Messages, EveryPrefixOfAMessageIsAnError) {
  for (const VectorLine& line : golden()) {
    for (size_t size = 0; size < line.body.size(); ++size) {
      // A buffer of its own, so that a read behind its end is seen.
      auto again = recode(line, Bytes(line.body.begin(), line.body.begin() + static_cast<ptrdiff_t>(size)));
      ASSERT_FALSE(again) << line.message << " " << line.version << " cut to " << size;
      ASSERT_EQ(again.error().code, ErrorCode::kInvalidRequest);
    }
  }
}

TEST(Messages, BytesBehindTheMessageAreIgnored) {
  for (const VectorLine& line : golden()) {
    Bytes longer = line.body;
    longer.push_back(0);
    auto again = recode(line, longer);
    ASSERT_TRUE(again) << line.message << " " << line.version;
    ASSERT_EQ(*again, line.body) << line.message << " " << line.version;
  }
}

TEST(Messages, DamagedBytesNeverTakeMoreMemoryThanTheirSizeAllows) {
  std::mt19937_64 random(20240501);
  for (const VectorLine& line : golden()) {
    const AnyMessage* message = find_message(line.message);
    for (int round = 0; round < 200 && !line.body.empty(); ++round) {
      Bytes body = line.body;
      for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
        uint8_t& byte = body[random() % body.size()];
        switch (random() % 4) {
          case 0: byte = 0xff; break;
          case 1: byte = 0x7f; break;
          default: byte ^= static_cast<uint8_t>(1 << (random() % 8));
        }
      }
      size_t before = allocated_bytes;
      message->stable(body, line.version);
      // Two decodes and two encodes; a nested array takes 16 KiB at most before its elements are seen to be there.
      ASSERT_LT(allocated_bytes - before, 4 * 16384 + 512 * body.size()) << line.message << " " << line.version << " " << to_hex(body);
    }
  }
}

TEST(Messages, DamagedBytesThatStillDecodeAreStable) {
  std::mt19937_64 random(20240502);
  for (const VectorLine& line : golden()) {
    const AnyMessage* message = find_message(line.message);
    for (int round = 0; round < 100 && !line.body.empty(); ++round) {
      Bytes body = line.body;
      body[random() % body.size()] ^= static_cast<uint8_t>(1 << (random() % 8));
      ASSERT_TRUE(message->stable(body, line.version)) << line.message << " " << line.version << " " << to_hex(body);
    }
  }
}

TEST(Messages, RandomValuesOfEveryVersionComeBackUnchanged) {
  uint64_t seed = 1;
  for (const AnyMessage& message : all_messages()) {
    for (int16_t version = message.min; version <= message.max; ++version) {
      for (int round = 0; round < 20; ++round) {
        RandomValue values(seed++);
        Bytes bytes = message.random(values, version);
        auto again = message.recode(bytes, version);
        ASSERT_TRUE(again) << message.name << " " << version << ": " << again.error().what << " seed " << seed - 1;
        ASSERT_EQ(to_hex(*again), to_hex(bytes)) << message.name << " " << version << " seed " << seed - 1;
      }
    }
  }
}

}  // namespace
}  // namespace odradek::protocol::testing
