// Fetch v0 to v3: clients that cannot read v2 batches get what is there converted (record/down_convert.h).
// One object makes one answer. It converts at most kMaxConvertedBytes in all, and what a client asked for of each partition; the old
// client asks again for the rest. The first message or wrapper of an answer comes whole (v3), or cut at the partition's limit (v0-v2:
// the client then says that the message is too large for it).
// Where only control batches stand, which such a client must not see, it reads on to the first batch that becomes something.
// Thread: one; may read the disk where the page cache lacks what stands behind control batches.
#pragma once

#include "base/bytes.h"
#include "model/error_code.h"
#include "replication/partition/partition.h"
#include "storage/log/log.h"

namespace odradek::api {

class OldFetchAnswer {
 public:
  static constexpr size_t kMaxConvertedBytes = size_t{8} << 20;
  static constexpr int16_t kLastVersion = 3;

  explicit OldFetchAnswer(int16_t version) : magic_(version <= 1 ? 0 : 1), cuts_(version <= 2) {}

  // What the client gets of a partition from which `found` was read, from offset `from` on. Empty: nothing now.
  // Errors: those of record::DownConverter and of Log::read.
  Result<Bytes> convert(const storage::Log& log, Offset from, int32_t max_bytes, const replication::ReadResult& found);

  int64_t records() const { return records_; }  // converted so far

 private:
  const int8_t magic_;
  const bool cuts_;
  size_t converted_ = 0;
  int64_t records_ = 0;
};

}  // namespace odradek::api
