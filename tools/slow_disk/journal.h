// The journal of a slow disk that stalls, as an ext4's does: one commit at a time, and what changes the file system waits until it is over.
// - A sync that comes while no commit runs begins one, for which others gather a moment (ext4's max_batch_time) before it closes; those that
//   come later share the next.
// - What has waited for the end of a commit goes before the next one begins: nobody starves, however many syncs come.
// Thread: any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace odradek::slow_disk {

class Journal {
 public:
  // `gather`: the moment before a commit closes, nobody waits for it but its syncs; `hold`: what it takes besides its flushes. Each runs once
  // a commit, on the thread of the sync that began it.
  // `stalls`: false: changes never wait, and each sync holds for itself.
  Journal(std::function<void()> gather, std::function<void()> hold, bool stalls) : gather_(std::move(gather)), hold_(std::move(hold)), stalls_(stalls) {}

  // Returns when no commit keeps the change from being made.
  void before_change();
  // Runs `flush` inside a commit that begins after this call, and gives its result when that commit is over.
  int sync(const std::function<int()>& flush);

  // Changes that wait; syncs that wait for the next commit. For tests.
  int waiting_changes() const;
  int waiting_syncs() const;

 private:
  const std::function<void()> gather_, hold_;
  const bool stalls_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t begun_ = 0, ended_ = 0;  // commits
  bool gathering_ = false;          // the next commit is about to close
  int joining_ = 0;                 // syncs of the next commit
  int members_ = 0;                 // syncs of the running one that have not flushed yet; 0: none runs
  int stalled_ = 0;                 // changes that wait for the end of the running commit
  int passing_ = 0;                 // changes that may go and have not woken yet
};

}  // namespace odradek::slow_disk
