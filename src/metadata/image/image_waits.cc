#include "metadata/image/image_waits.h"

#include <algorithm>
#include <list>

namespace odradek::metadata {

struct ImageWaits::State : std::enable_shared_from_this<ImageWaits::State> {
  struct Waiting {
    uint64_t id;
    std::function<bool(const ClusterImage&)> holds;
    UniqueFunction<void(bool)> done;
    base::TimerId timer = 0;
  };

  State(base::Runtime& r, ImageHolder& i) : runtime(r), image(i) {}

  // Removes it; empty: someone else was first.
  UniqueFunction<void(bool)> take(uint64_t id, base::TimerId* timer) {
    base::MutexLock lock(mutex);
    for (auto at = waiting.begin(); at != waiting.end(); ++at) {
      if (at->id != id) continue;
      auto done = std::move(at->done);
      if (timer != nullptr) *timer = at->timer;
      waiting.erase(at);
      return done;
    }
    return {};
  }
  void finish(uint64_t id, bool result) {
    base::TimerId timer = 0;
    auto done = take(id, &timer);
    if (!done) return;
    if (timer != 0 && result) runtime.timers().cancel(timer);
    done(result);
  }
  void check(const ClusterImage& now) {
    std::vector<uint64_t> satisfied;
    {
      base::MutexLock lock(mutex);
      for (const Waiting& one : waiting) {
        if (one.holds(now)) satisfied.push_back(one.id);
      }
    }
    for (uint64_t id : satisfied) finish(id, true);
  }

  base::Runtime& runtime;
  ImageHolder& image;
  mutable base::Mutex mutex;
  std::list<Waiting> waiting GUARDED_BY(mutex);
  uint64_t last_id GUARDED_BY(mutex) = 0;
  bool stopped GUARDED_BY(mutex) = false;
};

ImageWaits::ImageWaits(base::Runtime& runtime, ImageHolder& image) : state_(std::make_shared<State>(runtime, image)) {
  image.subscribe([state = std::weak_ptr<State>(state_)](const ImageChange& change) {
    if (auto alive = state.lock()) alive->check(*change.now);
  });
}

void ImageWaits::wait(std::function<bool(const ClusterImage&)> holds, int64_t timeout_ms, UniqueFunction<void(bool)> done) {
  if (timeout_ms <= 0 || holds(*state_->image.current())) return done(holds(*state_->image.current()));
  uint64_t id = 0;
  {
    base::MutexLock lock(state_->mutex);
    if (!state_->stopped) {
      id = ++state_->last_id;
      state_->waiting.push_back({id, std::move(holds), std::move(done)});
    }
  }
  if (id == 0) return done(false);
  base::TimerId timer = state_->runtime.timers().after(std::chrono::milliseconds(timeout_ms), [state = state_, id] { state->finish(id, false); });
  {
    base::MutexLock lock(state_->mutex);
    for (auto& one : state_->waiting) {
      if (one.id == id) {
        one.timer = timer;
        timer = 0;
      }
    }
  }
  if (timer != 0) state_->runtime.timers().cancel(timer);
  // An image that came between the first look and the registration.
  state_->check(*state_->image.current());
}

void ImageWaits::stop() {
  std::list<State::Waiting> all;
  {
    base::MutexLock lock(state_->mutex);
    state_->stopped = true;
    all.swap(state_->waiting);
  }
  for (auto& one : all) {
    state_->runtime.timers().cancel(one.timer);
    one.done(false);
  }
}

size_t ImageWaits::waiting() const {
  base::MutexLock lock(state_->mutex);
  return state_->waiting.size();
}

}  // namespace odradek::metadata
