// Aborted transactions of one segment (file `<base offset>.txnindex`), made with the first of them.
// Shape: entries of 34 bytes: int16 version 0, int64 producer id, int64 first offset, int64 last offset (the abort marker's), int64
// last stable offset at that time; last offsets rise. Source: disk.md §4.
// Thread: one appender; collect() from any. The file is opened for each call: transactions abort rarely.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "storage/index/entries.h"

namespace odradek::storage {

class TxnIndex {
 public:
  static constexpr size_t kEntrySize = 34;

  TxnIndex(base::FileSystem& files, std::string path, bool exists) : files_(files), path_(std::move(path)), exists_(exists) {}

  Result<void> append(const AbortedTransaction& aborted);
  bool empty() {
    base::MutexLock lock(mutex_);
    return !exists_ && pending_.empty();
  }
  // Adds those whose records may stand in [from, upto). False: none in later segments can (the search may end).
  Result<bool> collect(Offset from, Offset upto, std::vector<AbortedTransaction>& into);
  // All. Errors: kCorruptMessage: another version, last offsets that do not rise or lie below `base`.
  Result<std::vector<AbortedTransaction>> read_all(Offset base);
  // Whether read_all() would give them.
  Result<bool> is_sound(Offset base);
  // Entries whose marker is at or beyond `offset` go.
  Result<void> truncate_to(Offset offset, Offset base);
  Result<void> reset();
  Result<void> sync();
  // As IndexFile.
  Result<void> move_to(std::string path);
  void renamed_to(std::string path);

 private:
  Result<void> write_pending() REQUIRES(mutex_);

  base::FileSystem& files_;
  base::Mutex mutex_;
  std::string path_ GUARDED_BY(mutex_);
  bool exists_ GUARDED_BY(mutex_);
  Bytes pending_ GUARDED_BY(mutex_);  // entries that found no room in the file yet
};

}  // namespace odradek::storage
