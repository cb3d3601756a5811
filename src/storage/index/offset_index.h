// Sparse map from offset to byte position in one segment (file `<base offset>.index`).
// Shape: entries of 8 bytes, big-endian: int32 offset - base offset, int32 position; both rise. No checksum: after an unclean stop
// the log builds it again. Source: disk.md §4.
// Thread: one appender; lookup() from any.
#pragma once

#include <memory>
#include <optional>

#include "model/types.h"
#include "storage/index/index_file.h"

namespace odradek::storage {

struct OffsetPosition {
  Offset offset;
  int32_t position = 0;
};

class OffsetIndex {
 public:
  static constexpr uint32_t kEntrySize = 8;

  OffsetIndex(base::FileSystem& files, FileCache& cache, std::string path, Offset base, bool exists)
      : base_(base), file_(files, cache, std::move(path), kEntrySize, exists) {}

  // Greatest entry at or below `target`; {base offset, 0} if there is none. Errors: as IndexFile::last_at_or_below.
  Result<OffsetPosition> lookup(Offset target, bool only_cached = false);
  // The last entry but one at or below a position of the file: the batch there ends at or below it too. nullopt: there is none, or
  // (`only_cached`) the disk would have to be waited for.
  Result<std::optional<OffsetPosition>> batch_before(int64_t position, bool only_cached = true);
  // The last entry, {base offset, 0} if there is none.
  Result<OffsetPosition> last();
  // `max_bytes`: segment.index.bytes. Does nothing if it is full.
  Result<void> append(Offset offset, int32_t position, int32_t max_bytes);
  Result<bool> full(int32_t max_bytes);
  // Entries at or beyond `offset` go.
  Result<void> truncate_to(Offset offset);
  // Errors: kCorruptMessage: size no multiple of 8, or the last entry below the base offset or outside `log_size`.
  Result<void> check(int64_t log_size);
  IndexFile& file() { return file_; }

 private:
  const Offset base_;
  IndexFile file_;
};

}  // namespace odradek::storage
