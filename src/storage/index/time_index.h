// Sparse map from timestamp to offset in one segment (file `<base offset>.timeindex`).
// Shape: entries of 12 bytes, big-endian: int64 timestamp, int32 offset - base offset. Timestamps rise, offsets do not fall; every
// record at or below the offset has a timestamp at or below the entry's. Source: disk.md §4.
// Thread: one appender; lookup() from any.
#pragma once

#include "model/types.h"
#include "storage/index/entries.h"
#include "storage/index/index_file.h"

namespace odradek::storage {

class TimeIndex {
 public:
  static constexpr uint32_t kEntrySize = 12;

  TimeIndex(base::FileSystem& files, FileCache& cache, std::string path, Offset base, bool exists)
      : base_(base), file_(files, cache, std::move(path), kEntrySize, exists) {}

  // Greatest entry whose timestamp is at or below `timestamp`; {-1, base offset} if there is none.
  Result<TimestampOffset> lookup(int64_t timestamp);
  Result<TimestampOffset> last();
  // Only if the timestamp is above the last one. One place is kept free for the entry of the roll (`final`).
  Result<void> maybe_append(int64_t timestamp, Offset offset, int32_t max_bytes, bool final = false);
  Result<bool> full(int32_t max_bytes);
  // Entries whose offset is at or beyond `offset` go.
  Result<void> truncate_to(Offset offset);
  // Errors: kCorruptMessage: size no multiple of 12, or the last timestamp below the first, or its offset below the base.
  Result<void> check();
  IndexFile& file() { return file_; }

 private:
  const Offset base_;
  IndexFile file_;
};

}  // namespace odradek::storage
