// Brings cold slices of log files into the page cache: one thread per log dir, so that dirs do not wait for each other.
// What was brought leaves again when so much more has come: readers far behind take only that part of the page cache, and the ends of the
// logs, which were never brought, stay. Who reads the same records soon after finds them.
// Thread: any.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/slice_loader.h"
#include "metrics/registry.h"

namespace odradek::storage {

class LogDir;

// What the reader thread of a log dir has brought, oldest first. Thread: one at a time.
class BroughtSlices {
 public:
  explicit BroughtSlices(int64_t max_bytes) : max_bytes_(max_bytes) {}
  // This one is in the page cache now; the oldest ones leave it. The bytes that left.
  int64_t add(const base::FileSlice& slice);

 private:
  struct Piece {
    std::weak_ptr<base::SharedFile> file;  // closed meanwhile: the kernel sees to its pages
    int64_t position;
    int64_t size;
  };
  static constexpr size_t kMaxPieces = 1 << 16;

  const int64_t max_bytes_;
  int64_t bytes_ = 0;
  std::deque<Piece> pieces_;
};

class SliceReader final : public base::SliceLoader {
 public:
  // `dirs` by their numbers; they outlive this. `max_bytes`: of what was brought, for each dir. `loaded`, `dropped`: count bytes.
  SliceReader(const std::vector<std::shared_ptr<LogDir>>& dirs, int64_t max_bytes, std::shared_ptr<metrics::Counter> loaded,
              std::shared_ptr<metrics::Counter> dropped)
      : dirs_(dirs), max_bytes_(max_bytes), loaded_(std::move(loaded)), dropped_(std::move(dropped)) {}
  void load(const base::FileSlice& slice, Task done) override;

  // After the last dir has been added to `dirs`, before the first load.
  void start();

 private:
  const std::vector<std::shared_ptr<LogDir>>& dirs_;
  const int64_t max_bytes_;
  std::vector<std::unique_ptr<BroughtSlices>> brought_;  // by the dirs' numbers; each is touched by the reader thread of its dir alone
  const std::shared_ptr<metrics::Counter> loaded_, dropped_;  // shared with the registry
};

}  // namespace odradek::storage
