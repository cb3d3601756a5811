// The file layer: every file of the broker is opened, read and written through these interfaces, so that a simulation can
// lose unsynced bytes, tear writes and fail calls. `posix_files()` is the real one (base/posix_file.cc).
// Errors: code kStorageErrorCode with os_error = errno. Thread: a File may be used from several threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace odradek::base {

class File {
 public:
  virtual ~File() = default;
  // Reads up to into.size() bytes at `position`; fewer only at the end of the file.
  virtual Result<size_t> pread(int64_t position, MutableByteView into) = 0;
  // Writes all parts one after the other at `position`. On an error the file may hold a part of them.
  virtual Result<void> pwritev(int64_t position, std::span<const ByteView> parts) = 0;
  Result<void> pwrite(int64_t position, ByteView bytes) { return pwritev(position, {&bytes, 1}); }
  // fdatasync / fsync: blocks on the disk; never on a network or handler thread.
  virtual Result<void> sync_data() = 0;
  virtual Result<void> sync_all() = 0;
  // Asks the kernel to start writing dirty pages of the range, without waiting for the end.
  virtual void start_writeback(int64_t position, int64_t size) = 0;
  // Takes room on the disk for the first `size` bytes; the file is at least that long then. Errors: ENOSPC: the size is as it was;
  // EOPNOTSUPP: this file system cannot.
  virtual Result<void> allocate(int64_t size) = 0;
  // Shorter or longer (zeros, sparse).
  virtual Result<void> truncate(int64_t size) = 0;
  virtual Result<int64_t> size() = 0;
  // Whether reading the range would not wait for the disk. A guess that may be outdated at once.
  virtual bool resident(int64_t position, int64_t size) = 0;
  // Hint: the range is wanted soon (blocks while it is read in) / no longer wanted in the page cache.
  virtual void load_into_cache(int64_t position, int64_t size) = 0;
  virtual void drop_from_cache(int64_t position, int64_t size) = 0;
  // The descriptor for sendfile; -1 where there is none (simulation): then pread is used.
  virtual int native_handle() const = 0;
};

enum class OpenMode {
  kRead,             // must exist
  kReadWrite,        // must exist
  kCreate,           // read-write, created if missing
  kCreateExclusive,  // read-write, must not exist
  kTruncate,         // read-write, created if missing, emptied
};

struct DirectoryEntry {
  std::string name;
  bool is_directory = false;
};

struct FileStatus {
  int64_t size = 0;
  int64_t modified_ms = 0;  // since 1970
  bool is_directory = false;
};

struct DiskSpace {
  int64_t total_bytes = 0;
  int64_t available_bytes = 0;
};

// Released by the destructor.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual bool exists(const std::string& path) = 0;
  // Errors: os_error ENOENT if there is nothing.
  virtual Result<FileStatus> status(const std::string& path) = 0;
  // Sets FileStatus::modified_ms.
  virtual Result<void> set_modified(const std::string& path, int64_t modified_ms) = 0;
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  // A missing file is not an error.
  virtual Result<void> remove(const std::string& path) = 0;
  virtual Result<void> remove_all(const std::string& path) = 0;
  virtual Result<void> create_directories(const std::string& path) = 0;
  // In name order.
  virtual Result<std::vector<DirectoryEntry>> list(const std::string& path) = 0;
  // Makes creations, renames and removals inside the directory durable. Blocks on the disk.
  virtual Result<void> sync_directory(const std::string& path) = 0;
  virtual Result<DiskSpace> disk_space(const std::string& path) = 0;
  // Exclusive fcntl lock on the whole file (created if missing), as Kafka's `.lock`. Errors: another process holds it; os_error EDEADLK:
  // this one does, perhaps under another name of the file.
  virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;
  // How many files the process may have open at a time, sockets too.
  virtual size_t max_open_files() = 0;
};

FileSystem& posix_files();

// A process may be started without standard input, output or error: the first file that it opens would get that number, and what is
// written to standard error would land in it. Puts /dev/null there. Call it before anything is opened.
void hold_standard_descriptors();

// The whole content, also of a pipe; at most `limit` bytes, else an error.
Result<Bytes> read_file(FileSystem& files, const std::string& path, int64_t limit);
// Writes `<path>.tmp`, syncs it, renames it over `path`, syncs the directory. Blocks on the disk.
Result<void> write_file_atomically(FileSystem& files, const std::string& path, ByteView content);

}  // namespace odradek::base
