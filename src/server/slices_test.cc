// Slices of files in answers.
#include "server/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/file.h"
#include "server/server_test_util.h"

namespace odradek::server {
namespace {

// A file in the temporary directory; removed at once, kept open.
std::shared_ptr<base::SharedFile> file_with(ByteView content) {
  char path[] = "/tmp/odradek_server_test_XXXXXX";
  int descriptor = ::mkstemp(path);
  ::close(descriptor);
  auto file = base::posix_files().open(path, base::OpenMode::kReadWrite);
  CHECK(file);
  CHECK((*file)->pwrite(0, content));
  ::unlink(path);
  return std::make_shared<base::SharedFile>(std::move(*file));
}

Bytes expected_slice(const Bytes& content, int64_t position, int64_t size) {
  Bytes expected{1};
  expected.insert(expected.end(), content.begin() + position, content.begin() + position + size);
  expected.push_back(2);
  return expected;
}

// Passes everything on, but shows no descriptor, or claims that only what was loaded (one part behind the other) is in the cache.
class FileOver : public base::File {
 public:
  FileOver(std::unique_ptr<base::File> under, bool hide_handle, bool cold) : under_(std::move(under)), hide_(hide_handle), cold_(cold) {}
  Result<size_t> pread(int64_t position, MutableByteView into) override { return under_->pread(position, into); }
  Result<void> pwritev(int64_t position, std::span<const ByteView> parts) override { return under_->pwritev(position, parts); }
  Result<void> sync_data() override { return under_->sync_data(); }
  Result<void> sync_all() override { return under_->sync_all(); }
  void start_writeback(int64_t position, int64_t size) override { under_->start_writeback(position, size); }
  Result<void> allocate(int64_t size) override { return under_->allocate(size); }
  Result<void> truncate(int64_t size) override { return under_->truncate(size); }
  Result<int64_t> size() override { return under_->size(); }
  bool resident(int64_t position, int64_t size) override {
    base::MutexLock lock(mutex_);
    return !cold_ || (position >= loaded_from_ && position + size <= loaded_until_);
  }
  void load_into_cache(int64_t position, int64_t size) override {
    under_->load_into_cache(position, size);
    base::MutexLock lock(mutex_);
    if (position != loaded_until_) loaded_from_ = position;
    loaded_until_ = position + size;
  }
  void drop_from_cache(int64_t position, int64_t size) override { under_->drop_from_cache(position, size); }
  int native_handle() const override { return hide_ ? -1 : under_->native_handle(); }

 private:
  std::unique_ptr<base::File> under_;
  bool hide_, cold_;
  base::Mutex mutex_;
  int64_t loaded_from_ GUARDED_BY(mutex_) = 0, loaded_until_ GUARDED_BY(mutex_) = 0;
};

std::shared_ptr<base::SharedFile> file_over(ByteView content, bool hide_handle, bool cold) {
  char path[] = "/tmp/odradek_server_test_XXXXXX";
  ::close(::mkstemp(path));
  auto file = base::posix_files().open(path, base::OpenMode::kReadWrite);
  CHECK(file);
  CHECK((*file)->pwrite(0, content));
  ::unlink(path);
  return std::make_shared<base::SharedFile>(std::make_unique<FileOver>(std::move(*file), hide_handle, cold));
}

class ThreadLoader : public base::SliceLoader {
 public:
  explicit ThreadLoader(base::Runtime& runtime) : thread_(runtime.make_executor("reader", 1)) {}
  void load(const base::FileSlice& slice, Task done) override {
    ++loads;
    bytes += slice.size;
    thread_->post([slice, done = std::move(done)]() mutable {
      slice.file->file().load_into_cache(slice.position, slice.size);
      done();
    });
  }
  std::atomic<int> loads{0};
  std::atomic<int64_t> bytes{0};

 private:
  std::unique_ptr<base::Executor> thread_;
};

TEST(Slices, AreSentBetweenTheBytesAroundThem) {
  EchoServer server;
  EchoClient client = server.client();
  Bytes content = pattern(5000000);
  auto file = file_with(content);
  int32_t id = 0;
  for (auto [position, size] : {std::pair<int64_t, int64_t>{0, 1}, {100, 8192}, {1, 8193}, {0, 0}, {4096, 262144}, {17, 1000000}, {0, 5000000}}) {
    server.sink.set_slice({file, position, size, file->generation()});
    ASSERT_TRUE(client.send(++id, Op::kSlice));
    auto answer = client.receive();
    ASSERT_TRUE(answer) << size;
    EXPECT_TRUE(answer->payload == expected_slice(content, position, size)) << size;
  }
}

TEST(Slices, GoWholeToASlowReaderAmongOtherAnswers) {
  EchoServer server;
  EchoClient client(server.port(), 4096);
  Bytes content = pattern(700000);
  auto file = file_with(content);
  server.sink.set_slice({file, 5, 600000, file->generation()});
  for (int32_t i = 0; i < 30; ++i) ASSERT_TRUE(client.send(i, i % 3 == 0 ? Op::kSlice : Op::kEcho, 0, pattern(30)));
  for (int32_t i = 0; i < 30; ++i) {
    if (i % 5 == 0) std::this_thread::sleep_for(10ms);
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    ASSERT_EQ(answer->correlation_id, i);
    EXPECT_TRUE(answer->payload == (i % 3 == 0 ? expected_slice(content, 5, 600000) : pattern(30)));
  }
}

TEST(Slices, OfAFileWithoutDescriptorAreReadAndSent) {
  EchoServer server;
  EchoClient client(server.port(), 4096);
  Bytes content = pattern(700000);
  auto file = file_over(content, true, false);
  server.sink.set_slice({file, 3, 650000, file->generation()});
  ASSERT_TRUE(client.send(1, Op::kSlice));
  EXPECT_TRUE(client.receive()->payload == expected_slice(content, 3, 650000));
}

TEST(Slices, ColdOnesAreLoadedByAnotherThreadFirst) {
  auto runtime = base::make_system_runtime();
  ThreadLoader loader(*runtime);
  EchoServer server(EchoServer::quick_options(), &loader);
  EchoClient client = server.client();
  Bytes content = pattern(3000000);
  for (int64_t size : {100, 3000, 200000, 2500000}) {
    auto cold = file_over(content, false, true);
    int before = loader.loads.load();
    loader.bytes = 0;
    server.sink.set_slice({cold, 3, size, cold->generation()});
    ASSERT_TRUE(client.send(1, Op::kSlice));
    ASSERT_TRUE(client.send(2, Op::kEcho));
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(answer->payload == expected_slice(content, 3, size));
    EXPECT_EQ(client.receive()->correlation_id, 2);
    EXPECT_GT(loader.loads.load(), before);
    EXPECT_EQ(loader.bytes.load(), size);
  }
  int before = loader.loads.load();
  auto warm = file_with(content);
  server.sink.set_slice({warm, 0, 2000000, warm->generation()});
  ASSERT_TRUE(client.send(3, Op::kSlice));
  EXPECT_TRUE(client.receive()->payload == expected_slice(content, 0, 2000000));
  EXPECT_EQ(loader.loads.load(), before);
  // The client goes while a load is under way.
  auto cold = file_over(content, false, true);
  server.sink.set_slice({cold, 0, 3000000, cold->generation()});
  ASSERT_TRUE(client.send(4, Op::kSlice));
  client.close();
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
}

TEST(Slices, OfAnotherGenerationOrBehindTheEndOfTheFileCloseTheConnection) {
  EchoServer server;
  Bytes content = pattern(100000);
  auto file = file_with(content);
  for (int64_t size : {5000, 50000}) {
    EchoClient client = server.client();
    server.sink.set_slice({file, 0, size, file->generation()});
    file->invalidate();
    ASSERT_TRUE(client.send(1, Op::kSlice));
    EXPECT_TRUE(client.closes_within(5s));
  }
  for (auto [position, size] : {std::pair<int64_t, int64_t>{99000, 2000}, {50000, 60000}}) {
    EchoClient client = server.client();
    server.sink.set_slice({file, position, size, file->generation()});
    ASSERT_TRUE(client.send(1, Op::kSlice));
    EXPECT_TRUE(client.closes_within(5s));
  }
  expect_quick_answer(server);
}

}  // namespace
}  // namespace odradek::server
