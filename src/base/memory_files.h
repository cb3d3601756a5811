// A file system in memory for tests and simulation. It keeps apart what a process sees and what a disk would still hold after a power
// cut, and fails calls on demand.
// Durable are: bytes and size of a file after its sync_data / sync_all; names in a directory after its sync_directory.
// Thread: any.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/clock.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/random.h"

namespace odradek::base {

enum class FileCall { kOpen, kRead, kWrite, kSync, kTruncate, kRename, kRemove, kCreateDirectory, kList, kSyncDirectory, kStatus, kWriteback, kSetModified };

class MemoryFiles final : public FileSystem {
 public:
  MemoryFiles();
  ~MemoryFiles() override;

  // Asked before each call: 0 = go on, else the errno to fail with. A write that fails leaves the first half of its bytes.
  using Fault = std::function<int(FileCall call, const std::string& path)>;
  void set_fault(Fault fault);
  // Time of modification of what is written from now on; null: 0.
  void set_clock(const Clock* clock);
  // Bytes that may be written in all (counted in pages of 4 KiB); beyond: ENOSPC.
  void set_capacity(int64_t bytes);
  int64_t used_bytes() const;
  // The pages of this file are not in the cache until load_into_cache.
  void make_cold(const std::string& path);

  // The process died, the machine lives: open files and locks are gone, every written byte is there.
  void kill();
  // The power went: without `random` everything that was not synced is lost. With it, each unsynced page, size and directory may have
  // reached the disk or not, pages also in part (sectors of 512 bytes).
  void power_cut(Random* random = nullptr);

  // Calls so far.
  int64_t calls(FileCall call) const;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  bool exists(const std::string& path) override;
  Result<FileStatus> status(const std::string& path) override;
  Result<void> set_modified(const std::string& path, int64_t modified_ms) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& path) override;
  Result<void> remove_all(const std::string& path) override;
  Result<void> create_directories(const std::string& path) override;
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override;
  Result<void> sync_directory(const std::string& path) override;
  Result<DiskSpace> disk_space(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override;
  size_t max_open_files() override { return 16'384; }  // nothing is refused

 private:
  class MemoryFile;
  class MemoryLock;
  struct Node;
  using NodePtr = std::shared_ptr<Node>;

  Result<void> enter(FileCall call, const std::string& path) REQUIRES(mutex_);
  NodePtr find(const std::string& path) REQUIRES(mutex_);
  NodePtr parent_of(const std::string& path, std::string& name) REQUIRES(mutex_);
  static int64_t bytes_below(const Node& node);
  void forget_unsynced(Node& node, Random* random) REQUIRES(mutex_);
  int64_t now_ms() REQUIRES(mutex_) { return clock_ == nullptr ? 0 : clock_->wall_ms(); }

  mutable Mutex mutex_;
  NodePtr root_ GUARDED_BY(mutex_);
  Fault fault_ GUARDED_BY(mutex_);
  const Clock* clock_ GUARDED_BY(mutex_) = nullptr;
  int64_t capacity_ GUARDED_BY(mutex_) = INT64_MAX;
  int64_t used_ GUARDED_BY(mutex_) = 0;
  uint64_t life_ GUARDED_BY(mutex_) = 0;  // raised by kill and power_cut: files of an older one are dead
  std::set<std::string> locked_ GUARDED_BY(mutex_);
  std::map<FileCall, int64_t> calls_ GUARDED_BY(mutex_);
};

}  // namespace odradek::base
