// The disk of the simulated machine: base::MemoryFiles, and around it the moments at which the process dies in the middle of a call,
// calls that take long or fail, and the lies that planted bugs tell.
// Thread: one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/memory_files.h"
#include "sim/world.h"

namespace odradek::sim {

class Disk final : public base::FileSystem {
 public:
  explicit Disk(World& world);

  // Whose thread waits for a slow call.
  std::function<void(int64_t ns)> hold_up;
  // The process dies inside its n-th changing call from now on; a write may have been done in part. `died` is told once.
  void die_at_call(int64_t calls, std::function<void()> died);
  // The next changing call fails with EIO, once.
  void fail_one_call() { fail_next_ = true; }
  // Every call on `folder` or below fails with EIO, also in later lives, until it is repaired (empty).
  void fail_below(const std::string& folder);
  bool is_failing() const { return !failing_.empty(); }
  // After the death of the process, before the next one starts.
  void kill();
  void power_cut();

  // Planted bugs. Asked for each call; true: the call does nothing and reports success.
  std::function<bool(base::FileCall call, const std::string& path)> lie;

  base::MemoryFiles& memory() { return memory_; }

  Result<std::unique_ptr<base::File>> open(const std::string& path, base::OpenMode mode) override;
  bool exists(const std::string& path) override { return memory_.exists(path); }
  Result<base::FileStatus> status(const std::string& path) override { return memory_.status(path); }
  Result<void> set_modified(const std::string& path, int64_t modified_ms) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& path) override;
  Result<void> remove_all(const std::string& path) override;
  Result<void> create_directories(const std::string& path) override;
  Result<std::vector<base::DirectoryEntry>> list(const std::string& path) override { return memory_.list(path); }
  Result<void> sync_directory(const std::string& path) override;
  Result<base::DiskSpace> disk_space(const std::string& path) override { return memory_.disk_space(path); }
  Result<std::unique_ptr<base::FileLock>> lock(const std::string& path) override { return memory_.lock(path); }
  size_t max_open_files() override { return 16'384; }

 private:
  class DiskFile;
  // Before a changing call.
  Result<void> enter(base::FileCall call, const std::string& path);
  bool lies(base::FileCall call, const std::string& path) { return lie && lie(call, path); }
  void be_slow();

  World& world_;
  std::unique_ptr<base::Clock> clock_;  // the time of a change
  base::MemoryFiles memory_;
  int64_t calls_left_ = -1;
  std::function<void()> died_;
  bool dead_ = false;
  bool fail_next_ = false;
  std::string failing_;
};

}  // namespace odradek::sim
