// One bit of any file of a log dir is wrong, after a clean stop and after a kill: a start is refused, or what is served is what was written.
#include "storage/broken_dir_support.h"

#include <gtest/gtest.h>

#include "base/log.h"

namespace odradek::storage {
namespace {

using testing::BrokenDir;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStride = 11;  // bytes from one to the next that is tried: each is a broker's start
#else
constexpr size_t kStride = 1;
#endif

class OneBit : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    log::set_level(log::Level::kOff);  // thousands of starts complain
    files = testing::make_dir(GetParam());
    BrokenDir dir(files);
    ASSERT_TRUE(dir.start());
    ASSERT_NE(dir.log(), nullptr);
    whole = BrokenDir::read(*dir.log());
    ASSERT_TRUE(whole.whole);
    ASSERT_EQ(whole.end, Offset{29});
    ASSERT_EQ(whole.batches.size(), 17u);
  }
  void TearDown() override { log::set_level(log::Level::kInfo); }

  // nullopt: refused, or its log is not served.
  std::optional<BrokenDir::Found> flip(const std::string& path, size_t byte, int bit) {
    BrokenDir::Files flipped = files;
    flipped[path][byte] ^= static_cast<uint8_t>(1 << bit);
    BrokenDir dir(flipped);
    if (!dir.start() || dir.log() == nullptr) return std::nullopt;
    auto found = BrokenDir::read(*dir.log());
    // It goes on, and a start on what it leaves finds the same.
    (void)BrokenDir::append(*dir.log(), kNoProducer, 0, false, 7);
    const Offset end = dir.log()->log_end_offset();
    dir.stop();
    EXPECT_TRUE(dir.start()) << path;
    if (dir.log() == nullptr) {
      ADD_FAILURE() << path << ": lost by a clean stop";
    } else {
      EXPECT_EQ(dir.log()->log_end_offset(), end);
    }
    return found;
  }

  BrokenDir::Files files;
  BrokenDir::Found whole;
};

TEST_P(OneBit, OfAFileBesideTheRecordsLosesNone) {
  int refused = 0, tried = 0;
  for (const auto& [path, bytes] : files) {
    if (path.ends_with(".log")) continue;
    for (size_t byte = 0; byte < bytes.size(); byte += kStride) {
      for (int bit : {0, 3, 7}) {
        SCOPED_TRACE(path + " byte " + std::to_string(byte) + " bit " + std::to_string(bit));
        auto found = flip(path, byte, bit);
        ++tried;
        if (!found) {
          ++refused;
          // Only where the file says what cannot be found out otherwise.
          EXPECT_TRUE(path.ends_with("meta.properties") || path.ends_with("partition.metadata") || path.find("checkpoint") != std::string::npos);
          continue;
        }
        EXPECT_TRUE(found->whole);
        EXPECT_EQ(found->end, whole.end);
        for (const auto& [offset, batch] : whole.batches) {
          if (offset + 2 <= found->start.value) continue;  // the text of the log start has no CRC
          auto same = found->batches.find(offset);
          EXPECT_TRUE(same != found->batches.end() && same->second == batch);
        }
        EXPECT_TRUE(found->start == whole.start || path.ends_with("log-start-offset-checkpoint"));
      }
    }
  }
  EXPECT_GT(tried, 3'000 / static_cast<int>(kStride));
  EXPECT_LT(refused, tried / 2);
}

TEST_P(OneBit, OfARecordIsNeverServedAsTheTruth) {
  int gone = 0;
  for (const auto& [path, bytes] : files) {
    if (!path.ends_with(".log")) continue;
    for (size_t byte = 0; byte < bytes.size(); byte += kStride) {
      const int bit = static_cast<int>(byte * 5 % 8);
      SCOPED_TRACE(path + " byte " + std::to_string(byte) + " bit " + std::to_string(bit));
      auto found = flip(path, byte, bit);
      ASSERT_TRUE(found);
      for (const auto& [offset, batch] : found->batches) {
        auto same = whole.batches.find(offset);
        if (same != whole.batches.end() && same->second == batch) continue;
        // Base offset and leader epoch stand before what the CRC covers; of an offset only that it rises is known.
        bool known = false;
        for (const auto& [at, original] : whole.batches) {
          known = known || (original.size() == batch.size() && std::equal(original.begin() + record::kMagicAt, original.end(), batch.begin() + record::kMagicAt));
        }
        EXPECT_TRUE(known) << "offset " << offset;
      }
      if (found->batches.size() < whole.batches.size()) ++gone;
    }
  }
  EXPECT_GT(gone, 500 / static_cast<int>(kStride));
}

INSTANTIATE_TEST_SUITE_P(Dir, OneBit, ::testing::Bool(), [](const auto& info) { return info.param ? "Stopped" : "Killed"; });

}  // namespace
}  // namespace odradek::storage
