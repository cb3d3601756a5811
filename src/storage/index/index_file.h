// A file of entries of one size that rise, appended at its end: what offset and time index share.
// New entries stay in memory until 64 of them can be written at once, or the file is trimmed: an index is only believed after a clean
// close, so nothing is lost. While appended to, the file is preallocated (sparse) as Kafka does.
// The descriptor cache may close the file of an index that is appended to although it is not synced: such an index is built again after
// any stop that is not clean.
// Searches read blocks of 4 KiB through a small cache per thread, without the lock: entries in the file never change, a truncation takes a
// new identity. What was read is believed only if the identity is still the same behind it.
// Thread: one appender; count, read and search from any.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "base/mutex.h"
#include "storage/files/file_cache.h"

namespace odradek::storage {

class IndexFile : private FileCache::Client {
 public:
  static constexpr size_t kMaxEntrySize = 16;
  static constexpr uint32_t kPending = 64;  // entries in memory

  // Opens nothing. `exists`: whether the file is there (then its size says the number of entries, at first use).
  IndexFile(base::FileSystem& files, FileCache& cache, std::string path, uint32_t entry_size, bool exists);
  ~IndexFile();

  // A new file, preallocated.
  Result<void> create(int32_t max_bytes);
  // Errors: kKafkaStorageError: I/O; kCorruptMessage: the size is no multiple of the entry size.
  Result<uint32_t> count();
  // Only a failed disk is an error: without room the entry waits in memory.
  Result<void> append(ByteView entry, int32_t max_bytes);
  // How many entries there are; the first and the last of them are copied to where the views are not empty.
  Result<uint32_t> ends(MutableByteView first, MutableByteView last);
  // Index of the last entry for which `at_or_below(entry, key)`; the entries for which it holds come first. -1: none. -1 too if entries of
  // the file were taken away meanwhile: searching from the start of the segment is right whatever is left.
  // The entry that stands `back` before it is copied to `entry` if there is one and the view is not empty.
  // Errors: `only_cached`: os_error EAGAIN, the disk would have to be waited for.
  using AtOrBelow = bool (*)(const uint8_t* entry, int64_t key);
  Result<int64_t> last_at_or_below(int64_t key, AtOrBelow at_or_below, MutableByteView entry, uint32_t back = 0, bool only_cached = false);
  // Whether its first and last entries can be read without waiting for the disk.
  Result<bool> ends_are_cached();
  // The first `count` entries stay.
  Result<void> truncate(uint32_t count);
  // Writes what is pending and cuts the preallocated rest off; without room the next sync does. Next append preallocates again.
  Result<void> trim();
  Result<void> sync();
  // What is in the file counts no more. The entries that follow are kept in memory until trim() or sync(), which write them if the file does
  // not hold just these already: after a kill it nearly always does. Opens nothing.
  void begin_rewrite();
  // The file gets another name; nobody opens it under the old one meanwhile. A missing file is not an error.
  Result<void> move_to(std::string path);
  // Its folder has another name.
  void renamed_to(std::string path);

 private:
  bool try_close_file() override;
  Result<void> open() REQUIRES(mutex_);
  Result<void> ensure_counted() REQUIRES(mutex_);
  Result<void> preallocate(int32_t max_bytes) REQUIRES(mutex_);
  Result<void> write_pending() REQUIRES(mutex_);
  Result<void> trim_now() REQUIRES(mutex_);
  Result<void> end_rewrite() REQUIRES(mutex_);
  uint32_t pending_count() const REQUIRES(mutex_) { return static_cast<uint32_t>(pending_.size() / entry_size_); }
  // Whether entries of the file were taken away since it had this identity.
  bool cut_since(uint64_t identity);
  // The entry `at` of the file, which has `written`; valid until the thread's next call.
  Result<const uint8_t*> entry_in_file(base::File& file, uint64_t identity, uint32_t at, uint32_t written, bool only_cached = false) const;

  base::FileSystem& files_;
  FileCache& cache_;
  const uint32_t entry_size_;
  base::Mutex mutex_;
  std::string path_ GUARDED_BY(mutex_);
  std::shared_ptr<base::File> file_ GUARDED_BY(mutex_);  // shared: a search reads without the lock
  bool exists_ GUARDED_BY(mutex_);
  bool counted_ GUARDED_BY(mutex_) = false;
  bool preallocated_ GUARDED_BY(mutex_) = false;
  bool trim_due_ GUARDED_BY(mutex_) = false;  // there was no room for it yet: the next sync does it
  bool rewriting_ GUARDED_BY(mutex_) = false;
  bool unsynced_ GUARDED_BY(mutex_) = false;
  bool written_here_ GUARDED_BY(mutex_) = true;  // what is unsynced; else by a former process: no failure is told to this one's descriptors
  uint32_t written_ GUARDED_BY(mutex_) = 0;     // entries in the file
  std::vector<uint8_t> pending_ GUARDED_BY(mutex_);  // entries behind them
  std::array<uint8_t, kMaxEntrySize> last_ GUARDED_BY(mutex_){};
  bool last_known_ GUARDED_BY(mutex_) = false;
  uint64_t identity_ GUARDED_BY(mutex_);
};

}  // namespace odradek::storage
