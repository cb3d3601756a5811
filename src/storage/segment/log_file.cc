#include "storage/segment/log_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "storage/dir/log_dir.h"
#include "storage/files/page.h"

namespace odradek::storage {

std::string segment_name(Offset base) {
  char name[32];
  std::snprintf(name, sizeof name, "%020lld", static_cast<long long>(base.value));
  return name;
}

LogFile::LogFile(LogDir& dir, std::string path, int64_t size) : dir_(dir), path_(std::move(path)), size_(size) {}

LogFile::~LogFile() { dir_.cache().closed(*this); }

// --- descriptor -------------------------------------------------------------------------------------------------------------

Result<void> LogFile::open(base::OpenMode mode) {
  used.store(true, std::memory_order_relaxed);
  if (file_ != nullptr) return {};
  file_ = last_file_.lock();  // a response may still hold it: one file, one generation
  if (file_ != nullptr) {
    dir_.cache().opened(*this);
    return {};
  }
  auto file = dir_.files().open(path_, mode);
  if (!file) return fail(std::move(file.error()));
  file_ = std::make_shared<base::SharedFile>(std::move(*file), dir_.number());
  last_file_ = file_;
  dir_.cache().opened(*this);
  return {};
}

Result<std::shared_ptr<base::SharedFile>> LogFile::file() {
  base::MutexLock lock(mutex_);
  if (auto opened = open(); !opened) return fail(std::move(opened.error()));
  return file_;
}

bool LogFile::try_close_file() {
  if (!mutex_.try_lock()) return false;
  bool may = !writing_.load(std::memory_order_acquire) && synced_.load(std::memory_order_acquire) >= size();
  if (may) file_ = nullptr;
  mutex_.unlock();
  return may;
}

// --- append -----------------------------------------------------------------------------------------------------------------

Result<void> LogFile::create(int64_t preallocated_bytes) {
  base::MutexLock lock(mutex_);
  if (auto opened = open(base::OpenMode::kCreate); !opened) return opened;
  // What may be left of an earlier file of this name is gone.
  if (auto cut = file_->file().truncate(0); !cut) return cut;
  if (preallocated_bytes > 0) {
    if (auto grown = file_->file().truncate(preallocated_bytes); !grown) return grown;
    preallocated_ = true;
  }
  return {};
}

Result<void> LogFile::write(ByteView batches, int64_t preallocated_bytes) {
  std::shared_ptr<base::SharedFile> file;
  {
    base::MutexLock lock(mutex_);
    if (auto opened = open(); !opened) return opened;
    if (preallocated_bytes > 0 && !preallocated_ && size() == 0) {
      if (auto grown = file_->file().truncate(preallocated_bytes); !grown) return grown;
      preallocated_ = true;
    }
    writing_.store(true, std::memory_order_release);
    file = file_;
  }
  const int64_t end = size_.load(std::memory_order_relaxed);
  auto written = file->file().pwrite(end, batches);
  if (written) return {};
  // Nothing of it may be found by a recovery: the offsets are given again.
  auto cut = file->file().truncate(end);
  cut_unsynced_.store(true, std::memory_order_release);
  writing_.store(false, std::memory_order_release);
  {
    base::MutexLock lock(mutex_);
    preallocated_ = false;
  }
  if (!cut) written.error().os_error = EIO;  // what was written in part stays: no append may follow
  return written;
}

Result<void> LogFile::trim() {
  base::MutexLock lock(mutex_);
  if (preallocated_) {
    if (auto opened = open(); !opened) return opened;
    if (auto cut = file_->file().truncate(size()); !cut) return cut;
    preallocated_ = false;
    cut_unsynced_.store(true, std::memory_order_release);
  }
  return {};
}

Result<std::shared_ptr<base::SharedFile>> LogFile::cut_to(int64_t position) {
  std::shared_ptr<base::SharedFile> file;
  {
    base::MutexLock lock(mutex_);
    if (auto opened = open(); !opened) return fail(std::move(opened.error()));
    file = file_;
    ++truncations_;
    // The size first: see Segment::read_from.
    size_.store(position, std::memory_order_seq_cst);
    synced_.store(std::min(synced_.load(std::memory_order_relaxed), position), std::memory_order_release);
    writeback_.store(std::min(writeback_.load(std::memory_order_relaxed), position - position % kPage), std::memory_order_relaxed);
    preallocated_ = false;
  }
  file->invalidate();
  if (auto cut = file->file().truncate(position); !cut) return fail(std::move(cut.error()));
  cut_unsynced_.store(true, std::memory_order_release);
  return file;
}

// --- on the disk ------------------------------------------------------------------------------------------------------------

Result<void> LogFile::sync(bool always) {
  std::shared_ptr<base::SharedFile> file;
  uint64_t truncations;
  int64_t upto = size();
  const bool cut = cut_unsynced_.exchange(false, std::memory_order_acq_rel);
  if (!cut && !always && synced_.load(std::memory_order_acquire) >= upto) return {};
  {
    base::MutexLock lock(mutex_);
    if (auto opened = open(); !opened) {
      if (cut) cut_unsynced_.store(true, std::memory_order_release);
      return opened;
    }
    file = file_;
    truncations = truncations_;
    upto = size();  // of the same file as `truncations`
  }
  if (auto synced = file->file().sync_data(); !synced) {
    if (cut) cut_unsynced_.store(true, std::memory_order_release);
    return synced;
  }
  base::MutexLock lock(mutex_);
  if (truncations == truncations_) {
    synced_.store(std::max(synced_.load(std::memory_order_relaxed), upto), std::memory_order_release);
    writeback_.store(std::max(writeback_.load(std::memory_order_relaxed), upto - upto % kPage), std::memory_order_relaxed);
  }
  return {};
}

void LogFile::assume_synced(bool synced) {
  cut_unsynced_.store(!synced, std::memory_order_release);
  synced_.store(synced ? size() : 0, std::memory_order_release);
  writeback_.store(size() - size() % kPage, std::memory_order_relaxed);  // the kernel has begun long ago, or a flush will see to it
}

void LogFile::start_writeback() {
  std::shared_ptr<base::SharedFile> file;
  int64_t from, upto;
  {
    base::MutexLock lock(mutex_);
    if (!open()) return;  // the flush will tell
    file = file_;
    from = writeback_.load(std::memory_order_relaxed);
    // Not the page that the next append goes on with.
    upto = size() - size() % kPage;
    if (upto <= from) return;
    writeback_.store(upto, std::memory_order_relaxed);
  }
  file->file().start_writeback(from, upto - from);
}

// --- its name ---------------------------------------------------------------------------------------------------------------

void LogFile::invalidate_readers() {
  std::shared_ptr<base::SharedFile> file;
  {
    base::MutexLock lock(mutex_);
    file = last_file_.lock();
  }
  if (file != nullptr) file->invalidate();
}

Result<void> LogFile::move_to(std::string path) {
  base::MutexLock lock(mutex_);
  if (auto renamed = dir_.files().rename(path_, path); !renamed) return renamed;
  path_ = std::move(path);
  return {};
}

void LogFile::renamed_to(std::string path) {
  base::MutexLock lock(mutex_);
  path_ = std::move(path);
}

}  // namespace odradek::storage
