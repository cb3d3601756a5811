#include "storage/index/txn_index.h"

#include <algorithm>

#include <cerrno>

#include "model/error_code.h"
#include "storage/files/disk_error.h"

namespace odradek::storage {
namespace {

constexpr int16_t kVersion = 0;
constexpr int64_t kMostBytes = 1 << 30;

}  // namespace

Result<void> TxnIndex::append(const AbortedTransaction& aborted) {
  base::MutexLock lock(mutex_);
  uint8_t entry[kEntrySize];
  base::store_be<int16_t>(entry, kVersion);
  base::store_be<int64_t>(entry + 2, aborted.producer_id.value);
  base::store_be<int64_t>(entry + 10, aborted.first_offset.value);
  base::store_be<int64_t>(entry + 18, aborted.last_offset.value);
  base::store_be<int64_t>(entry + 26, aborted.last_stable_offset.value);
  pending_.insert(pending_.end(), entry, entry + kEntrySize);
  // Without room or descriptors it waits in memory; a sync of the index needs it written.
  auto written = write_pending();
  return written || is_disk_failure(written.error()) ? written : Result<void>();
}

Result<void> TxnIndex::write_pending() {
  if (pending_.empty()) return {};
  auto file = files_.open(path_, base::OpenMode::kCreate);
  if (!file) return fail(std::move(file.error()));
  exists_ = true;
  auto size = (*file)->size();
  if (!size) return fail(std::move(size.error()));
  const int64_t end = *size - *size % static_cast<int64_t>(kEntrySize);
  if (auto put = (*file)->pwrite(end, pending_); !put) {
    (void)(*file)->truncate(end);
    return put;
  }
  pending_.clear();
  return {};
}

Result<std::vector<AbortedTransaction>> TxnIndex::read_all(Offset base) {
  base::MutexLock lock(mutex_);
  std::vector<AbortedTransaction> all;
  Result<Bytes> content = Bytes();
  if (exists_) content = base::read_file(files_, path_, kMostBytes);
  if (!content) return fail(std::move(content.error()));
  content->insert(content->end(), pending_.begin(), pending_.end());
  auto broken = [path = path_](const char* why) { return fail(ErrorCode::kCorruptMessage, path + ": " + why); };
  if (content->size() % kEntrySize != 0) return broken("size");
  all.reserve(content->size() / kEntrySize);
  for (const uint8_t* at = content->data(); at < content->data() + content->size(); at += kEntrySize) {
    if (base::load_be<int16_t>(at) != kVersion) return broken("another version");
    AbortedTransaction aborted{{base::load_be<int64_t>(at + 2)}, {base::load_be<int64_t>(at + 10)}, {base::load_be<int64_t>(at + 18)},
                               {base::load_be<int64_t>(at + 26)}};
    if (aborted.first_offset.value < 0 || aborted.first_offset > aborted.last_offset) return broken("a transaction ends before it begins");
    if (aborted.last_offset < base) return broken("a marker below the base offset");
    if (!all.empty() && aborted.last_offset <= all.back().last_offset) return broken("markers do not rise");
    all.push_back(aborted);
  }
  return all;
}

Result<bool> TxnIndex::is_sound(Offset base) {
  {
    base::MutexLock lock(mutex_);
    if (!exists_) return true;
  }
  auto all = read_all(base);
  if (all) return true;
  if (all.error().code == ErrorCode::kCorruptMessage) return false;
  return fail(std::move(all.error()));
}

Result<bool> TxnIndex::collect(Offset from, Offset upto, std::vector<AbortedTransaction>& into) {
  if (empty()) return true;
  auto all = read_all(Offset{INT64_MIN});
  if (!all) return fail(std::move(all.error()));
  for (const AbortedTransaction& aborted : *all) {
    if (aborted.last_offset >= from && aborted.first_offset < upto) into.push_back(aborted);
    if (aborted.last_stable_offset >= upto) return false;
  }
  return true;
}

Result<void> TxnIndex::truncate_to(Offset offset, Offset base) {
  auto all = read_all(base);
  if (!all) return fail(std::move(all.error()));
  size_t kept = 0;
  while (kept < all->size() && (*all)[kept].last_offset < offset) ++kept;
  if (kept == all->size()) return {};
  base::MutexLock lock(mutex_);
  const size_t in_file = all->size() - pending_.size() / kEntrySize;
  pending_.resize((kept - std::min(kept, in_file)) * kEntrySize);
  if (kept >= in_file) return {};
  auto file = files_.open(path_, base::OpenMode::kReadWrite);
  if (!file) return fail(std::move(file.error()));
  return (*file)->truncate(static_cast<int64_t>(kept * kEntrySize));
}

Result<void> TxnIndex::reset() {
  base::MutexLock lock(mutex_);
  pending_.clear();
  if (!exists_) return {};
  exists_ = false;
  return files_.remove(path_);
}

Result<void> TxnIndex::sync() {
  std::string path;
  {
    base::MutexLock lock(mutex_);
    if (auto written = write_pending(); !written) return written;
    if (!exists_) return {};
    path = path_;
  }
  auto file = files_.open(path, base::OpenMode::kReadWrite);
  if (!file) return fail(std::move(file.error()));
  return (*file)->sync_data();
}

Result<void> TxnIndex::move_to(std::string path) {
  base::MutexLock lock(mutex_);
  if (exists_) {
    auto renamed = files_.rename(path_, path);
    if (!renamed && renamed.error().os_error != ENOENT) return renamed;
  }
  path_ = std::move(path);
  return {};
}

void TxnIndex::renamed_to(std::string path) {
  base::MutexLock lock(mutex_);
  path_ = std::move(path);
}

}  // namespace odradek::storage
