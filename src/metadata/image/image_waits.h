// Answers that wait until this broker's own image shows a result (adminflows.md §4).
#pragma once

#include <functional>
#include <memory>

#include "base/executor.h"
#include "base/function.h"
#include "metadata/image/image.h"

namespace odradek::metadata {

class ImageWaits {
 public:
  ImageWaits(base::Runtime& runtime, ImageHolder& image);
  // `done(true)` once `holds` is true of the image, `done(false)` after timeout_ms; exactly once, on this thread before the return
  // or on any other. timeout_ms <= 0: at once, with what is true now.
  void wait(std::function<bool(const ClusterImage&)> holds, int64_t timeout_ms, UniqueFunction<void(bool)> done);
  // Everything that waits gets false.
  void stop();
  size_t waiting() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with timers and the image's subscriber, which may outlive this
};

}  // namespace odradek::metadata
