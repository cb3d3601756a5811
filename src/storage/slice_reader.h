// Brings cold slices of log files into the page cache: one thread per log dir, so that dirs do not wait for each other.
// Thread: any.
#pragma once

#include <memory>
#include <vector>

#include "base/slice_loader.h"

namespace odradek::storage {

class LogDir;

class SliceReader final : public base::SliceLoader {
 public:
  // `dirs` by their numbers; they outlive this.
  explicit SliceReader(const std::vector<std::shared_ptr<LogDir>>& dirs) : dirs_(dirs) {}
  void load(const base::FileSlice& slice, Task done) override;

 private:
  const std::vector<std::shared_ptr<LogDir>>& dirs_;
};

}  // namespace odradek::storage
