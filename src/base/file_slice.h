// A byte range of an open file that a response refers to instead of copying it (zero copy by sendfile).
// The slice keeps the file open: deleting or swapping a segment only unlinks it. Truncation is the one change that a reader
// could see, so it raises the generation; a sender that finds another generation than its slice's closes its connection.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/file.h"

namespace odradek::base {

class SharedFile {
 public:
  // `device`: which thread loads cold parts of it (storage numbers its log dirs).
  explicit SharedFile(std::unique_ptr<File> file, uint32_t device = 0) : file_(std::move(file)), device_(device) {}

  File& file() const { return *file_; }
  uint32_t device() const { return device_; }
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  // Around each sendfile or read of at most 256 KiB. False: the slice is of another generation, nothing may be sent.
  // Thread: any. Pairs with invalidate(): both sides are sequentially consistent, so one of the two sees the other.
  bool begin_send(uint64_t generation) {
    senders_.fetch_add(1, std::memory_order_seq_cst);
    if (generation_.load(std::memory_order_seq_cst) == generation) return true;
    end_send();
    return false;
  }
  void end_send() {
    senders_.fetch_sub(1, std::memory_order_seq_cst);
    senders_.notify_all();
  }
  // Before a truncation: no send of an older generation runs after this returns.
  void invalidate() {
    generation_.fetch_add(1, std::memory_order_seq_cst);
    for (uint32_t running; (running = senders_.load(std::memory_order_seq_cst)) != 0;) senders_.wait(running);
  }

 private:
  std::unique_ptr<File> file_;
  const uint32_t device_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<uint32_t> senders_{0};
};

struct FileSlice {
  std::shared_ptr<SharedFile> file;  // shared: the segment and every response that still has to send from it
  int64_t position = 0;
  int64_t size = 0;
  uint64_t generation = 0;
};

}  // namespace odradek::base
