// Answers of several shards, put together when the last one is there. Thread: any; `done` runs on the one that brings the last part.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/function.h"

namespace odradek::coordinator {

template <class Part>
class Gather {
 public:
  using Done = UniqueFunction<void(std::vector<Part>)>;
  static std::shared_ptr<Gather> make(size_t count, Done done) {
    auto gather = std::make_shared<Gather>();  // shared: by the shards that still have to answer
    gather->parts_.resize(count);
    gather->left_.store(count, std::memory_order_relaxed);
    gather->done_ = std::move(done);
    if (count == 0) gather->done_({});
    return gather;
  }
  void set(size_t index, Part part) {
    parts_[index] = std::move(part);
    // The last one sees what the others wrote.
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) done_(std::move(parts_));
  }

 private:
  std::vector<Part> parts_;
  std::atomic<size_t> left_{0};
  Done done_;
};

}  // namespace odradek::coordinator
