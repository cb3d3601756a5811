// A log dir in memory, without a log manager, with room for one open file, and what is written there. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/manual_runtime.h"
#include "base/memory_files.h"
#include "record/batch_builder.h"
#include "storage/dir/log_dir.h"

namespace odradek::storage::testing {

class NoOwner final : public LogDir::Owner {
 public:
  void on_failure(LogDir&) override {}
  void on_full(LogDir&) override {}
  void on_change(LogDir&, LogDir::Changed) override {}
  Result<void> checkpoint(LogDir&, LogDir::Changed) override { return {}; }
};

// "/data" with the folder of a partition, "/data/p".
struct Dir {
  Dir() { EXPECT_TRUE(files.create_directories("/data/p")); }

  base::MemoryFiles files;
  base::ManualRuntime runtime{&files};
  NoOwner owner;
  std::shared_ptr<FileCache> cache = std::make_shared<FileCache>(1);
  LogDir dir{runtime, "/data", 0, cache, {}, owner};
};

// One record; its batch has `value_size` bytes and some.
inline Bytes make_batch(Offset base, int64_t timestamp, size_t value_size) {
  record::BatchBuilder builder({.base_offset = base});
  const std::string value(value_size, 'v');
  builder.append(timestamp, std::nullopt, as_bytes(value));
  return builder.build();
}

}  // namespace odradek::storage::testing
