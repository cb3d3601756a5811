// A file in a log dir that keeps room for what must go on when the disk is full: internal topics, markers, checkpoints, the metadata
// store. Its room is given back to the disk in eight steps, and taken again when there is enough.
// Thread: any; no fsync.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/mutex.h"

namespace odradek::storage {

inline constexpr std::string_view kReserveFile = "odradek-reserve";  // Kafka looks at folders only

class Reserve {
 public:
  // Touches nothing.
  Reserve(base::FileSystem& files, std::string path, int64_t bytes) : files_(files), path_(std::move(path)), wanted_(bytes) {}

  // Makes the file and takes its room, or as much as there is; 0 bytes: removes it. Where the file system cannot keep room for a file
  // there is no reserve, and the log says so.
  void open();
  // Gives a step back. False: nothing is left.
  bool release();
  // Takes everything again. True: done, and some room was left besides.
  bool refill();
  int64_t bytes() const { return held_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kSteps = 8;
  int64_t margin() const;  // what must be left besides

  base::FileSystem& files_;
  const std::string path_;
  const int64_t wanted_;
  base::Mutex mutex_;
  bool supported_ GUARDED_BY(mutex_) = true;
  std::atomic<int64_t> held_{0};
};

}  // namespace odradek::storage
