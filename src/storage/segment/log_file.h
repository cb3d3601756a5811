// The `.log` file of a segment: whole batches up to an end that readers see, and how much of them is on the disk.
// Opened at first use. Once everything in it is flushed it is closed again when the descriptor cache wants so: a failed writeback is told
// only to descriptors that were open. While a response holds it, it is not opened a second time: one file, one generation.
// Thread: create, write, publish, trim, cut_to, rewind: one at a time (the Log's lock); the rest from any.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/file_slice.h"
#include "base/mutex.h"
#include "model/types.h"
#include "storage/files/file_cache.h"

namespace odradek::storage {

class LogDir;

// "00000000000000000042": what the names of a segment's files begin with.
std::string segment_name(Offset base);

class LogFile : private FileCache::Client {
 public:
  // Opens nothing. `dir` outlives it.
  LogFile(LogDir& dir, std::string path, int64_t size);
  ~LogFile();

  // Behind the last batch that readers see.
  int64_t size() const { return size_.load(std::memory_order_acquire); }
  Result<std::shared_ptr<base::SharedFile>> file();

  // --- append -----------------------------------------------------------------------------------------------------------
  // An empty file with so much room (0: none). What was there under its name is gone.
  Result<void> create(int64_t preallocated_bytes);
  // Writes `batches` at the end, which stays where it is until publish(). `preallocated_bytes` (0: none): the room that an empty file gets
  // first. On an error the file was cut back; os_error EIO: that was not possible either, and no append may follow.
  Result<void> write(ByteView batches, int64_t preallocated_bytes);
  // The end is there, and what lies below it is written.
  void publish(int64_t size) {
    size_.store(size, std::memory_order_release);  // pairs with size(): the bytes below are written
    writing_.store(false, std::memory_order_release);
  }
  // Gives the preallocated rest back.
  Result<void> trim();
  // What lies at or behind `position`, where a batch begins, goes. No reader of the file is in a send when this returns. Gives the file.
  Result<std::shared_ptr<base::SharedFile>> cut_to(int64_t position);
  // The end is at 0 again, the file as it was: a recovery finds its end anew.
  void rewind() { size_.store(0, std::memory_order_release); }

  // --- on the disk ------------------------------------------------------------------------------------------------------
  bool unsynced() const { return synced_.load(std::memory_order_acquire) < size() || cut_unsynced_.load(std::memory_order_acquire); }
  // fdatasync; blocks on the disk. `always`: even if a flush elsewhere has just taken it on.
  Result<void> sync(bool always);
  // All of it counts as durable, or nothing.
  void assume_synced(bool synced);
  // Enough has been written since the kernel was last told to begin with it.
  bool writeback_is_due() const { return size_.load(std::memory_order_relaxed) - writeback_.load(std::memory_order_relaxed) >= kWritebackBytes; }
  // Whole pages up to the end; does not wait for them, but may wait for room in the disk's queue.
  void start_writeback();

  // --- its name ---------------------------------------------------------------------------------------------------------
  // No send of what readers hold runs any more, and none begins.
  void invalidate_readers();
  // Errors: ENOENT: its folder was renamed.
  Result<void> move_to(std::string path);
  // Its folder has another name.
  void renamed_to(std::string path);

 private:
  bool try_close_file() override;
  Result<void> open(base::OpenMode mode = base::OpenMode::kReadWrite) REQUIRES(mutex_);

  LogDir& dir_;
  mutable base::Mutex mutex_;
  std::string path_ GUARDED_BY(mutex_);
  std::shared_ptr<base::SharedFile> file_ GUARDED_BY(mutex_);    // shared with the slices of responses
  std::weak_ptr<base::SharedFile> last_file_ GUARDED_BY(mutex_);  // so that one file has one generation
  bool preallocated_ GUARDED_BY(mutex_) = false;
  uint64_t truncations_ GUARDED_BY(mutex_) = 0;

  std::atomic<bool> writing_{false};  // from the start of a write until the size shows it: the descriptor stays open
  std::atomic<int64_t> size_;
  std::atomic<int64_t> synced_{0};
  static constexpr int64_t kWritebackBytes = 4 << 20;
  std::atomic<int64_t> writeback_{0};      // the kernel was told to write what lies below
  std::atomic<bool> cut_unsynced_{false};  // the file was made shorter: what was cut off must not come back
};

}  // namespace odradek::storage
