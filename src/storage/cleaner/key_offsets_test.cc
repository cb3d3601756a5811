#include "storage/cleaner/key_offsets.h"

#include <gtest/gtest.h>

#include <string>

#include "base/manual_runtime.h"

namespace odradek::storage {
namespace {

std::string hex(const KeyHash& hash) {
  std::string text;
  for (uint64_t half : {hash.low, hash.high}) {
    for (int i = 0; i < 8; ++i) {
      char byte[3];
      std::snprintf(byte, sizeof byte, "%02x", static_cast<unsigned>(half >> (8 * i) & 0xff));
      text += byte;
    }
  }
  return text;
}

TEST(KeyHash, IsSipHashOf128Bits) {
  // The vectors of its authors: secret 00..0f, input 00 01 02 ...
  Bytes input;
  for (int i = 0; i < 64; ++i) input.push_back(static_cast<uint8_t>(i));
  auto of = [&](size_t size) { return hex(hash_key(0x0706050403020100, 0x0f0e0d0c0b0a0908, ByteView(input).first(size))); };
  EXPECT_EQ(of(0), "a3817f04ba25a8e66df67214c7550293");
  EXPECT_EQ(of(1), "da87c1d86b99af44347659119b22fc45");
  EXPECT_EQ(of(2), "8177228da4a45dc7fca38bdef60affe4");
}

class KeyOffsetsTest : public ::testing::Test {
 protected:
  base::ManualRuntime runtime;
};

TEST_F(KeyOffsetsTest, KeepsTheLastOffsetOfEachKey) {
  KeyOffsets map(runtime.random(), 1 << 20, 0.9, 10'000);
  for (int64_t i = 0; i < 10'000; ++i) ASSERT_TRUE(map.put(as_bytes("key-" + std::to_string(i % 777)), {i}));
  EXPECT_EQ(map.size(), 777);
  EXPECT_EQ(map.latest().value, 9'999);
  for (int64_t i = 0; i < 777; ++i) {
    const int64_t last = i + (9'999 - i) / 777 * 777;
    EXPECT_EQ(map.find(as_bytes("key-" + std::to_string(i))).value, last);
  }
  EXPECT_EQ(map.find(as_bytes("key-777")).value, -1);
  ASSERT_TRUE(map.put({}, {20'000}));
  EXPECT_EQ(map.find({}).value, 20'000) << "an empty key is a key";
}

TEST_F(KeyOffsetsTest, IsFullAtItsShareOfTheMemoryAndStillKnowsWhatItHolds) {
  KeyOffsets map(runtime.random(), 24 * 1000, 0.9, 1'000'000);
  int64_t taken = 0;
  while (map.put(as_bytes(std::to_string(taken)), {taken})) ++taken;
  EXPECT_EQ(taken, 900);
  EXPECT_EQ(map.latest().value, 899);
  EXPECT_DOUBLE_EQ(map.utilization(), 0.9);
  for (int64_t i = 0; i < taken; ++i) ASSERT_EQ(map.find(as_bytes(std::to_string(i))).value, i);
  EXPECT_EQ(map.find(as_bytes("no")).value, -1);
}

TEST_F(KeyOffsetsTest, TakesAtLeastOneKeyHoweverSmallItIs) {
  for (double load : {0.0, 0.5, 1.0, 7.0}) {
    KeyOffsets map(runtime.random(), 1, load, 100);
    EXPECT_TRUE(map.put(as_bytes("a"), {1}));
    EXPECT_FALSE(map.put(as_bytes("b"), {2}));
    EXPECT_EQ(map.find(as_bytes("a")).value, 1);
    EXPECT_EQ(map.find(as_bytes("b")).value, -1);
  }
}

TEST_F(KeyOffsetsTest, FillsWhatASmallLogNeeds) {
  for (int64_t keys : {1, 2, 3, 10, 1000}) {
    KeyOffsets map(runtime.random(), 1 << 20, 0.9, keys);
    for (int64_t i = 0; i < keys; ++i) ASSERT_TRUE(map.put(as_bytes(std::to_string(i)), {i})) << keys;
    EXPECT_EQ(map.find(as_bytes("no")).value, -1);
  }
}

}  // namespace
}  // namespace odradek::storage
