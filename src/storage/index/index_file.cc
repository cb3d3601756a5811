#include "storage/index/index_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "model/error_code.h"
#include "storage/files/disk_error.h"

namespace odradek::storage {
namespace {

constexpr size_t kBlock = 4096;
constexpr size_t kBlocks = 16;  // a thread's, 64 KiB

struct CachedBlock {
  uint64_t identity = 0;
  uint32_t number = 0;
  uint32_t entries = 0;
  uint8_t bytes[kBlock];
};

uint64_t new_identity() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

IndexFile::IndexFile(base::FileSystem& files, FileCache& cache, std::string path, uint32_t entry_size, bool exists)
    : files_(files), cache_(cache), entry_size_(entry_size), path_(std::move(path)), exists_(exists), counted_(!exists), identity_(new_identity()) {
  CHECK(entry_size <= kMaxEntrySize);
}

IndexFile::~IndexFile() { cache_.closed(*this); }

bool IndexFile::try_close_file() {
  if (!mutex_.try_lock()) return false;
  bool may = !unsynced_ || preallocated_ || !written_here_;
  if (may) file_ = nullptr;
  mutex_.unlock();
  return may;
}

Result<void> IndexFile::open() {
  used.store(true, std::memory_order_relaxed);
  if (file_ != nullptr) return {};
  auto file = files_.open(path_, exists_ ? base::OpenMode::kReadWrite : base::OpenMode::kCreate);
  if (!file) return fail(std::move(file.error()));
  exists_ = true;
  file_ = std::move(*file);
  cache_.opened(*this);
  return {};
}

Result<void> IndexFile::ensure_counted() {
  if (counted_) return {};
  if (auto opened = open(); !opened) return opened;
  auto size = file_->size();
  if (!size) return fail(std::move(size.error()));
  if (*size % entry_size_ != 0) {
    return fail(ErrorCode::kCorruptMessage, path_ + ": its size " + std::to_string(*size) + " is no multiple of " + std::to_string(entry_size_));
  }
  written_ = static_cast<uint32_t>(*size / entry_size_);
  counted_ = true;
  return {};
}

Result<void> IndexFile::preallocate(int32_t max_bytes) {
  if (preallocated_) return {};
  if (auto opened = open(); !opened) return opened;
  int64_t size = max_bytes - max_bytes % static_cast<int32_t>(entry_size_);
  if (auto grown = file_->truncate(std::max<int64_t>(size, static_cast<int64_t>(written_) * entry_size_)); !grown) return grown;
  preallocated_ = true;
  return {};
}

Result<void> IndexFile::create(int32_t max_bytes) {
  base::MutexLock lock(mutex_);
  return preallocate(max_bytes);
}

Result<uint32_t> IndexFile::count() {
  base::MutexLock lock(mutex_);
  if (auto counted = ensure_counted(); !counted) return fail(std::move(counted.error()));
  return written_ + pending_count();
}

Result<void> IndexFile::append(ByteView entry, int32_t max_bytes) {
  CHECK(entry.size() == entry_size_);
  base::MutexLock lock(mutex_);
  if (auto counted = ensure_counted(); !counted) return counted;
  if (!preallocated_ && !rewriting_) {
    if (auto grown = preallocate(max_bytes); !grown && is_disk_failure(grown.error())) return grown;
  }
  trim_due_ = false;
  pending_.insert(pending_.end(), entry.begin(), entry.end());
  std::copy(entry.begin(), entry.end(), last_.begin());
  last_known_ = true;
  if (rewriting_ || pending_count() < kPending) return {};
  // Without room or descriptors they wait in memory; a sync of the index needs them written.
  auto written = write_pending();
  return written || is_disk_failure(written.error()) ? written : Result<void>();
}

Result<void> IndexFile::write_pending() {
  if (pending_.empty()) return {};
  if (auto opened = open(); !opened) return opened;
  unsynced_ = written_here_ = true;
  if (auto put = file_->pwrite(static_cast<int64_t>(written_) * entry_size_, pending_); !put) return put;
  written_ += pending_count();
  pending_.clear();
  return {};
}

Result<uint32_t> IndexFile::ends(MutableByteView first, MutableByteView last) {
  for (;;) {
    std::shared_ptr<base::File> file;
    uint64_t identity;
    uint32_t written, count;
    {
      base::MutexLock lock(mutex_);
      if (auto counted = ensure_counted(); !counted) return fail(std::move(counted.error()));
      written = written_;
      identity = identity_;
      count = written + pending_count();
      if (count == 0) return 0;
      if (!last.empty() && (last_known_ || !pending_.empty())) {
        std::memcpy(last.data(), pending_.empty() ? last_.data() : pending_.data() + pending_.size() - entry_size_, entry_size_);
        last = {};
      }
      if (!first.empty() && written == 0) {
        std::memcpy(first.data(), pending_.data(), entry_size_);
        first = {};
      }
      if (first.empty() && last.empty()) return count;
      if (auto opened = open(); !opened) return fail(std::move(opened.error()));
      file = file_;
    }
    Result<void> read;
    for (auto [at, into] : {std::pair(uint32_t{0}, first), std::pair(written - 1, last)}) {
      if (into.empty() || !read) continue;
      auto found = entry_in_file(*file, identity, at, written);
      if (found) std::memcpy(into.data(), *found, entry_size_);
      if (!found) read = fail(std::move(found.error()));
    }
    if (cut_since(identity)) continue;
    if (!read) return fail(std::move(read.error()));
    return count;
  }
}

bool IndexFile::cut_since(uint64_t identity) {
  base::MutexLock lock(mutex_);
  return identity != identity_;
}

Result<bool> IndexFile::ends_are_cached() {
  std::shared_ptr<base::File> file;
  int64_t size;
  {
    base::MutexLock lock(mutex_);
    if (auto counted = ensure_counted(); !counted) return fail(std::move(counted.error()));
    if (written_ == 0) return true;
    if (auto opened = open(); !opened) return fail(std::move(opened.error()));
    file = file_;
    size = static_cast<int64_t>(written_) * entry_size_;
  }
  return file->resident(0, entry_size_) && file->resident(size - entry_size_, entry_size_);
}

Result<const uint8_t*> IndexFile::entry_in_file(base::File& file, uint64_t identity, uint32_t at, uint32_t written, bool only_cached) const {
  static thread_local std::array<CachedBlock, kBlocks> blocks;
  const uint32_t per_block = static_cast<uint32_t>(kBlock / entry_size_);
  const uint32_t number = at / per_block;
  CachedBlock& block = blocks[(identity * 31 + number) % kBlocks];
  if (block.identity != identity || block.number != number || at % per_block >= block.entries) {
    const uint32_t entries = std::min(per_block, written - number * per_block);
    const int64_t position = static_cast<int64_t>(number) * per_block * entry_size_;
    if (only_cached && !file.resident(position, static_cast<int64_t>(entries) * entry_size_)) {
      return fail(ErrorCode::kKafkaStorageError, "a part of an index file is not in the page cache", EAGAIN);
    }
    block.identity = 0;
    auto got = file.pread(position, {block.bytes, static_cast<size_t>(entries) * entry_size_});
    if (!got) return fail(std::move(got.error()));
    if (*got != static_cast<size_t>(entries) * entry_size_) return fail(ErrorCode::kKafkaStorageError, "an index file is shorter than it was");
    block.identity = identity;
    block.number = number;
    block.entries = entries;
  }
  return block.bytes + static_cast<size_t>(at % per_block) * entry_size_;
}

Result<int64_t> IndexFile::last_at_or_below(int64_t key, AtOrBelow at_or_below, MutableByteView entry, uint32_t back, bool only_cached) {
  std::shared_ptr<base::File> file;
  uint64_t identity;
  int64_t written, found = -1;
  {
    base::MutexLock lock(mutex_);
    if (auto counted = ensure_counted(); !counted) return fail(std::move(counted.error()));
    written = written_;
    const uint8_t* pending = pending_.data();
    if (!pending_.empty() && at_or_below(pending, key)) {
      int64_t low = 0, high = pending_count();
      while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        (at_or_below(pending + middle * entry_size_, key) ? low : high) = middle;
      }
      found = written + low;
      if (entry.empty() || found < back) return found;
      if (low >= back) {
        std::memcpy(entry.data(), pending + (low - back) * entry_size_, entry_size_);
        return found;
      }
    }
    if (written == 0) return -1;
    if (auto opened = open(); !opened) return fail(std::move(opened.error()));
    file = file_;
    identity = identity_;
  }
  auto at = [&](int64_t place) { return entry_in_file(*file, identity, static_cast<uint32_t>(place), static_cast<uint32_t>(written), only_cached); };
  // First among the first entries of the blocks, then in one block: few blocks are read.
  const int64_t per_block = kBlock / entry_size_;
  auto search = [&](int64_t low, int64_t high, int64_t step) -> Result<int64_t> {  // low: holds (or -1), high: does not
    while (high - low > 1) {
      int64_t middle = low + (high - low) / 2;
      auto met = at(middle * step);
      if (!met) return fail(std::move(met.error()));
      (at_or_below(*met, key) ? low : high) = middle;
    }
    return low;
  };
  auto result = [&]() -> Result<int64_t> {
    if (found < 0) {
      auto block = search(-1, (written + per_block - 1) / per_block, per_block);
      if (!block || *block < 0) return block;
      auto in_block = search(*block * per_block, std::min((*block + 1) * per_block, written), 1);
      if (!in_block) return in_block;
      found = *in_block;
    }
    if (entry.empty() || found < back) return found;
    auto wanted = at(found - back);
    if (!wanted) return fail(std::move(wanted.error()));
    std::memcpy(entry.data(), *wanted, entry_size_);
    return found;
  }();
  if (cut_since(identity)) return -1;
  return result;
}

Result<void> IndexFile::truncate(uint32_t count) {
  base::MutexLock lock(mutex_);
  if (auto counted = ensure_counted(); !counted) return counted;
  if (count >= written_ + pending_count()) return {};
  last_known_ = false;
  if (count >= written_) {
    pending_.resize(static_cast<size_t>(count - written_) * entry_size_);
    return {};
  }
  pending_.clear();
  written_ = count;
  identity_ = new_identity();
  unsynced_ = written_here_ = true;
  if (auto opened = open(); !opened) return opened;
  if (preallocated_) return {};
  return file_->truncate(static_cast<int64_t>(count) * entry_size_);
}

Result<void> IndexFile::trim() {
  base::MutexLock lock(mutex_);
  trim_due_ = true;
  auto trimmed = trim_now();
  return trimmed || is_disk_failure(trimmed.error()) ? trimmed : Result<void>();
}

Result<void> IndexFile::trim_now() {
  if (rewriting_) return end_rewrite();
  if (!trim_due_) return {};
  if (pending_.empty() && !preallocated_) {
    trim_due_ = false;
    return {};
  }
  if (auto written = write_pending(); !written) return written;
  if (auto opened = open(); !opened) return opened;
  if (auto cut = file_->truncate(static_cast<int64_t>(written_) * entry_size_); !cut) return cut;
  preallocated_ = trim_due_ = false;
  unsynced_ = written_here_ = true;
  return {};
}

Result<void> IndexFile::sync() {
  std::shared_ptr<base::File> file;
  {
    base::MutexLock lock(mutex_);
    if (auto trimmed = trim_now(); !trimmed) return trimmed;
    if (auto written = write_pending(); !written) return written;
    if (!unsynced_) return {};
    if (auto opened = open(); !opened) return opened;
    file = file_;
    unsynced_ = false;
  }
  auto synced = file->sync_data();
  if (!synced) {
    base::MutexLock lock(mutex_);
    unsynced_ = true;
  }
  return synced;
}

void IndexFile::begin_rewrite() {
  base::MutexLock lock(mutex_);
  rewriting_ = counted_ = true;
  preallocated_ = trim_due_ = false;
  written_ = 0;
  pending_.clear();
  last_known_ = false;
  identity_ = new_identity();
}

Result<void> IndexFile::end_rewrite() {
  if (auto opened = open(); !opened) return opened;
  auto size = file_->size();
  if (!size) return fail(std::move(size.error()));
  const auto wanted = static_cast<int64_t>(pending_.size());
  bool same = *size >= wanted;
  if (same && wanted > 0) {
    Bytes found(pending_.size());
    auto got = file_->pread(0, found);
    if (!got) return fail(std::move(got.error()));
    same = *got == found.size() && std::equal(found.begin(), found.end(), pending_.begin());
  }
  // What is left by a crash in between is a shorter index, never one that points elsewhere.
  if (*size > wanted || (!same && *size > 0)) {
    unsynced_ = written_here_ = true;
    if (auto cut = file_->truncate(same ? wanted : 0); !cut) return cut;
  }
  if (!same) {
    unsynced_ = written_here_ = true;
    if (auto put = file_->pwrite(0, pending_); !put) return put;
  }
  if (!unsynced_) written_here_ = false;
  unsynced_ = true;
  written_ = pending_count();
  std::vector<uint8_t>().swap(pending_);
  rewriting_ = preallocated_ = trim_due_ = false;
  return {};
}

Result<void> IndexFile::move_to(std::string path) {
  base::MutexLock lock(mutex_);
  auto renamed = files_.rename(path_, path);
  if (!renamed && renamed.error().os_error != ENOENT) return renamed;
  path_ = std::move(path);
  return {};
}

void IndexFile::renamed_to(std::string path) {
  base::MutexLock lock(mutex_);
  path_ = std::move(path);
}

}  // namespace odradek::storage
