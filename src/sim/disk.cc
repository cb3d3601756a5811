#include "sim/disk.h"

#include <algorithm>
#include <cerrno>

namespace odradek::sim {

using base::FileCall;

class Disk::DiskFile final : public base::File {
 public:
  DiskFile(Disk& disk, std::unique_ptr<base::File> file, std::string path) : disk_(disk), file_(std::move(file)), path_(std::move(path)) {}

  Result<size_t> pread(int64_t position, MutableByteView into) override { return file_->pread(position, into); }
  Result<void> pwritev(int64_t position, std::span<const ByteView> parts) override {
    if (disk_.lies(FileCall::kWrite, path_)) return {};
    const bool was_dead = disk_.dead_;
    auto entered = disk_.enter(FileCall::kWrite, path_);
    if (!entered) {
      if (!was_dead) write_some(position, parts);
      return entered;
    }
    return file_->pwritev(position, parts);
  }
  Result<void> sync_data() override {
    if (disk_.lies(FileCall::kSync, path_)) return {};
    if (auto entered = disk_.enter(FileCall::kSync, path_); !entered) return entered;
    disk_.be_slow();
    return file_->sync_data();
  }
  Result<void> sync_all() override { return sync_data(); }
  void start_writeback(int64_t, int64_t) override {}
  Result<void> allocate(int64_t size) override {
    if (auto entered = disk_.enter(FileCall::kTruncate, path_); !entered) return entered;
    return file_->allocate(size);
  }
  Result<void> truncate(int64_t size) override {
    if (disk_.lies(FileCall::kTruncate, path_)) return {};
    if (auto entered = disk_.enter(FileCall::kTruncate, path_); !entered) return entered;
    return file_->truncate(size);
  }
  Result<int64_t> size() override { return file_->size(); }
  bool resident(int64_t position, int64_t size) override {
    // Indexes stay cached: they are small, and read again and again.
    return file_->resident(position, size) && (!path_.ends_with(".log") || !disk_.world_.random.chance(2));
  }
  void load_into_cache(int64_t position, int64_t size) override {
    disk_.be_slow();
    file_->load_into_cache(position, size);
  }
  void drop_from_cache(int64_t, int64_t) override {}
  int native_handle() const override { return -1; }

 private:
  // The call failed, or its process died in it: some of the bytes have reached the page cache.
  void write_some(int64_t position, std::span<const ByteView> parts) {
    size_t total = 0;
    for (ByteView part : parts) total += part.size();
    size_t left = static_cast<size_t>(disk_.world_.random.below(total + 1));
    for (ByteView part : parts) {
      ByteView piece = part.first(std::min(left, part.size()));
      if (!piece.empty()) (void)file_->pwrite(position, piece);
      position += static_cast<int64_t>(piece.size());
      left -= piece.size();
    }
  }

  Disk& disk_;
  std::unique_ptr<base::File> file_;
  const std::string path_;
};

namespace {

// Files report the time of their last change; the world outlives the disk.
class WorldClock final : public base::Clock {
 public:
  explicit WorldClock(World& world) : world_(world) {}
  int64_t wall_ms() const override { return world_.now_ms(); }
  int64_t monotonic_ns() const override { return world_.now_ns(); }

 private:
  World& world_;
};

}  // namespace

Disk::Disk(World& world) : world_(world), clock_(std::make_unique<WorldClock>(world)) { memory_.set_clock(clock_.get()); }

void Disk::die_at_call(int64_t calls, std::function<void()> died) {
  calls_left_ = calls;
  died_ = std::move(died);
}

void Disk::fail_below(const std::string& folder) {
  failing_ = folder;
  if (folder.empty()) return memory_.set_fault(nullptr);
  memory_.set_fault([folder](FileCall, const std::string& path) {
    return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/') ? EIO : 0;
  });
}

void Disk::kill() {
  memory_.kill();
  dead_ = false;
  fail_next_ = false;
  calls_left_ = -1;
}

void Disk::power_cut() {
  memory_.power_cut(&world_.random);
  dead_ = false;
  fail_next_ = false;
  calls_left_ = -1;
}

void Disk::be_slow() {
  SeededRandom& random = world_.random;
  int64_t ns = random.chance(80) ? random.between(50'000, 2'000'000) : random.between(2'000'000, 60'000'000);
  if (hold_up) hold_up(ns);
}

Result<void> Disk::enter(FileCall call, const std::string& path) {
  if (dead_) return fail(kStorageErrorCode, "call on " + path + " by a process that is dead", EBADF);
  if (calls_left_ > 0 && --calls_left_ == 0) {
    dead_ = true;
    world_.trace("the process dies in call {} on {}", static_cast<int>(call), path);
    died_();
    return fail(kStorageErrorCode, "call on " + path + " by a process that is dead", EBADF);
  }
  if (fail_next_) {
    fail_next_ = false;
    world_.trace("call {} on {} fails", static_cast<int>(call), path);
    return fail(kStorageErrorCode, "call on " + path + " fails", EIO);
  }
  return {};
}

Result<std::unique_ptr<base::File>> Disk::open(const std::string& path, base::OpenMode mode) {
  if (mode != base::OpenMode::kRead && mode != base::OpenMode::kReadWrite) {
    if (auto entered = enter(FileCall::kOpen, path); !entered) return fail(entered.error());
  } else if (dead_) {
    return fail(kStorageErrorCode, "open of " + path + " by a process that is dead", EBADF);
  }
  auto file = memory_.open(path, mode);
  if (!file) return fail(file.error());
  return std::make_unique<DiskFile>(*this, std::move(*file), path);
}

Result<void> Disk::set_modified(const std::string& path, int64_t modified_ms) {
  if (auto entered = enter(FileCall::kSetModified, path); !entered) return entered;
  return memory_.set_modified(path, modified_ms);
}
Result<void> Disk::rename(const std::string& from, const std::string& to) {
  if (auto entered = enter(FileCall::kRename, from); !entered) return entered;
  return memory_.rename(from, to);
}
Result<void> Disk::remove(const std::string& path) {
  if (auto entered = enter(FileCall::kRemove, path); !entered) return entered;
  return memory_.remove(path);
}
Result<void> Disk::remove_all(const std::string& path) {
  if (auto entered = enter(FileCall::kRemove, path); !entered) return entered;
  return memory_.remove_all(path);
}
Result<void> Disk::create_directories(const std::string& path) {
  if (auto entered = enter(FileCall::kCreateDirectory, path); !entered) return entered;
  return memory_.create_directories(path);
}
Result<void> Disk::sync_directory(const std::string& path) {
  if (lies(FileCall::kSyncDirectory, path)) return {};
  if (auto entered = enter(FileCall::kSyncDirectory, path); !entered) return entered;
  be_slow();
  return memory_.sync_directory(path);
}

}  // namespace odradek::sim
