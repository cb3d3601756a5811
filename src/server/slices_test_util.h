// Files that answers hold slices of, and a loader for those that are not in the page cache.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/slice_loader.h"
#include "server/server_test_util.h"

namespace odradek::server {

// A file in the temporary directory; removed at once, kept open.
inline std::shared_ptr<base::SharedFile> file_with(ByteView content) {
  char path[] = "/tmp/odradek_server_test_XXXXXX";
  int descriptor = ::mkstemp(path);
  ::close(descriptor);
  auto file = base::posix_files().open(path, base::OpenMode::kReadWrite);
  CHECK(file);
  CHECK((*file)->pwrite(0, content));
  ::unlink(path);
  return std::make_shared<base::SharedFile>(std::move(*file));
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

inline std::shared_ptr<base::SharedFile> file_over(ByteView content, bool hide_handle, bool cold) {
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

}  // namespace odradek::server
