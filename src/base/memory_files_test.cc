#include "base/memory_files.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/manual_runtime.h"

namespace odradek::base {
namespace {

std::string content(MemoryFiles& files, const std::string& path) {
  auto bytes = read_file(files, path, 1 << 20);
  return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().what + ">";
}

TEST(MemoryFiles, KeepsWhatWasWrittenAndReadsHolesAsZeros) {
  MemoryFiles files;
  ASSERT_TRUE(files.create_directories("/d"));
  auto file = files.open("/d/a", OpenMode::kCreate);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->pwrite(5000, as_bytes("end")));
  EXPECT_EQ(*(*file)->size(), 5003);
  Bytes bytes(10, 7);
  ASSERT_EQ(*(*file)->pread(4998, bytes), 5u);
  EXPECT_EQ(std::string(as_text(ByteView(bytes).first(5))), std::string("\0\0end", 5));
  ASSERT_TRUE((*file)->truncate(5001));
  ASSERT_TRUE((*file)->truncate(5003));
  ASSERT_EQ(*(*file)->pread(5000, bytes), 3u);
  EXPECT_EQ(std::string(as_text(ByteView(bytes).first(3))), std::string("e\0\0", 3));
}

TEST(MemoryFiles, LosesInAPowerCutWhatWasNotSynced) {
  MemoryFiles files;
  ASSERT_TRUE(files.create_directories("/d"));
  ASSERT_TRUE(files.sync_directory("/"));
  auto file = files.open("/d/a", OpenMode::kCreate);
  ASSERT_TRUE((*file)->pwrite(0, as_bytes("safe")));
  ASSERT_TRUE((*file)->sync_data());
  ASSERT_TRUE(files.sync_directory("/d"));
  ASSERT_TRUE((*file)->pwrite(2, as_bytes("XXXX")));
  ASSERT_TRUE(files.open("/d/b", OpenMode::kCreate));
  files.power_cut();
  EXPECT_EQ(content(files, "/d/a"), "safe");
  EXPECT_FALSE(files.exists("/d/b"));
  EXPECT_FALSE((*file)->pwrite(0, as_bytes("ghost")));
}

TEST(MemoryFiles, KeepsEverythingWhenOnlyTheProcessDies) {
  MemoryFiles files;
  auto file = files.open("/a", OpenMode::kCreate);
  ASSERT_TRUE((*file)->pwrite(0, as_bytes("text")));
  auto lock = files.lock("/.lock");
  ASSERT_TRUE(lock);
  EXPECT_FALSE(files.lock("/.lock"));
  files.kill();
  EXPECT_EQ(content(files, "/a"), "text");
  EXPECT_TRUE(files.lock("/.lock"));
}

TEST(MemoryFiles, ReplacesAFileAtomicallyAcrossPowerCuts) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    MemoryFiles files;
    ManualRuntime runtime(&files, seed);
    ASSERT_TRUE(write_file_atomically(files, "/a", as_bytes("old")));
    bool cut = false;
    int64_t calls = static_cast<int64_t>(runtime.random().below(8));
    files.set_fault([&](FileCall, const std::string&) {
      if (calls-- > 0) return 0;
      cut = true;
      return EIO;
    });
    auto done = write_file_atomically(files, "/a", as_bytes("newer"));
    files.set_fault(nullptr);
    files.power_cut(&runtime.random());
    EXPECT_EQ(done.has_value(), !cut);
    std::string now = content(files, "/a");
    if (done) {
      EXPECT_EQ(now, "newer");
    } else {
      EXPECT_TRUE(now == "old" || now == "newer") << now;
    }
  }
}

TEST(MemoryFiles, LeavesHalfOfAWriteThatFails) {
  MemoryFiles files;
  auto file = files.open("/a", OpenMode::kCreate);
  files.set_fault([](FileCall call, const std::string&) { return call == FileCall::kWrite ? EIO : 0; });
  auto written = (*file)->pwrite(0, as_bytes("12345678"));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().os_error, EIO);
  EXPECT_EQ(content(files, "/a"), "1234");
}

TEST(MemoryFiles, RefusesToGrowBeyondItsCapacity) {
  MemoryFiles files;
  files.set_capacity(8192);
  auto file = files.open("/a", OpenMode::kCreate);
  ASSERT_TRUE((*file)->pwrite(0, Bytes(8192)));
  auto more = (*file)->pwrite(8192, Bytes(1));
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().os_error, ENOSPC);
  ASSERT_TRUE((*file)->truncate(0));
  EXPECT_TRUE((*file)->pwrite(0, Bytes(8192)));
}

}  // namespace
}  // namespace odradek::base
