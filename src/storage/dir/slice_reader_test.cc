#include "storage/dir/slice_reader.h"

#include <gmock/gmock.h>

namespace odradek::storage::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Part = std::pair<int64_t, int64_t>;  // position, size

// Remembers what was dropped.
class DroppedFile final : public base::File {
 public:
  explicit DroppedFile(std::vector<Part>& dropped) : dropped_(dropped) {}
  Result<size_t> pread(int64_t, MutableByteView) override { return 0; }
  Result<void> pwritev(int64_t, std::span<const ByteView>) override { return {}; }
  Result<void> sync_data() override { return {}; }
  Result<void> sync_all() override { return {}; }
  void start_writeback(int64_t, int64_t) override {}
  Result<void> allocate(int64_t) override { return {}; }
  Result<void> truncate(int64_t) override { return {}; }
  Result<int64_t> size() override { return 0; }
  bool resident(int64_t, int64_t) override { return true; }
  void load_into_cache(int64_t, int64_t) override {}
  void drop_from_cache(int64_t position, int64_t size) override { dropped_.emplace_back(position, size); }
  int native_handle() const override { return -1; }

 private:
  std::vector<Part>& dropped_;
};

struct File {
  std::vector<Part> dropped;
  std::shared_ptr<base::SharedFile> file = std::make_shared<base::SharedFile>(std::make_unique<DroppedFile>(dropped));
};

TEST(BroughtSlices, LeaveInTheirOrderWhenTooManyBytesAreThere) {
  File one, two;
  BroughtSlices brought(3 << 20);
  EXPECT_EQ(brought.add({one.file, 0, 1 << 20}), 0);
  EXPECT_EQ(brought.add({two.file, 5 << 20, 1 << 20}), 0);
  EXPECT_EQ(brought.add({one.file, 1 << 20, 1 << 20}), 0);
  EXPECT_THAT(one.dropped, IsEmpty());
  EXPECT_EQ(brought.add({one.file, 2 << 20, 1 << 20}), 1 << 20);
  EXPECT_THAT(one.dropped, ElementsAre(Part(0, 1 << 20)));
  EXPECT_EQ(brought.add({one.file, 3 << 20, 2 << 20}), 2 << 20);
  EXPECT_THAT(two.dropped, ElementsAre(Part(5 << 20, 1 << 20)));
  EXPECT_THAT(one.dropped, ElementsAre(Part(0, 1 << 20), Part(1 << 20, 1 << 20)));
}

TEST(BroughtSlices, AreDroppedAsWholePages) {
  File file;
  BroughtSlices brought(0);
  EXPECT_EQ(brought.add({file.file, 5'000, 10'000}), 0) << "the last one stays: somebody waits for it";
  EXPECT_EQ(brought.add({file.file, 15'000, 100}), 12'288);
  EXPECT_THAT(file.dropped, ElementsAre(Part(4'096, 12'288)));
}

TEST(BroughtSlices, OfAClosedFileAreLeftToTheKernel) {
  File file;
  BroughtSlices brought(1 << 20);
  brought.add({file.file, 0, 1 << 20});
  file.file.reset();
  File other;
  EXPECT_EQ(brought.add({other.file, 0, 1 << 20}), 0);
  EXPECT_THAT(file.dropped, IsEmpty());
  EXPECT_EQ(brought.add({other.file, 1 << 20, 1 << 20}), 1 << 20);
}

}  // namespace
}  // namespace odradek::storage::testing
