// Whether this instance of the mirror is the one that works: the member of the group odradek-mirror-<name> on the target that holds the
// partition of the positions topic. While it is, Shared::lease_until_ns stays ahead of the last heartbeat that was answered by two thirds of
// the session: then the others still wait.
// Thread: `mirror-lease` joins and sends heartbeats; the calls from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/executor.h"
#include "base/mutex.h"
#include "base/result.h"
#include "mirror/lanes.h"

namespace odradek::mirror {

class Lease {
 public:
  // What was tried, and how it went. Called on the lease's thread.
  using Note = std::function<void(const std::string& what, const Result<void>& result)>;

  // `shared` outlives it.
  Lease(Shared& shared, Note note) : shared_(shared), note_(std::move(note)) {}

  // Joins the group and stays in it until Shared::stop.
  void start();
  // After Shared::stop: waits until the group is left.
  void end() { executor_.reset(); }

  bool held() const { return held_; }
  // How often it was lost: what was begun under it ends with it.
  int64_t losses() const { return losses_; }
  // No patience mends it: another process has the same instance id.
  std::optional<Error> fatal() const;

 private:
  void loop();
  void leave_group();
  void lose();

  Shared& shared_;
  const Note note_;
  std::atomic<bool> held_{false};
  std::atomic<int64_t> losses_{0};
  mutable base::Mutex mutex_;
  std::optional<Error> fatal_ GUARDED_BY(mutex_);
  std::unique_ptr<base::Executor> executor_;
};

}  // namespace odradek::mirror
