// A partition's log moves to another log dir: the copy follows the log and takes its place.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "record/frame.h"
#include "replication/partition/partition.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {

std::shared_ptr<storage::Log> Partition::future() const {
  base::MutexLock lock(mutex_);
  return future_;
}

void Partition::cut_future(Offset end) {
  auto copy = future();
  if (copy != nullptr && copy->log_end_offset() > end) (void)copy->truncate_to(end);  // a dir that fails ends the copy
}

Result<void> Partition::set_future(std::shared_ptr<storage::Log> future) {
  base::MutexLock copying(future_mutex_);
  auto log = this->log();
  if (future != nullptr && log != nullptr) {
    // A copy of a former process: both may have been cut since then, at a recovery.
    Offset end = std::min(future->log_end_offset(), log->log_end_offset());
    if (const LeaderEpoch last = future->latest_epoch(); last != kNoLeaderEpoch) {
      auto [epoch, epoch_end] = log->end_offset_for_epoch(last);
      if (epoch == kNoLeaderEpoch) {
        end = log->log_start_offset();
      } else if (epoch < last) {
        end = std::min(end, std::min(epoch_end, future->end_offset_for_epoch(epoch).second));
      } else {
        end = std::min(end, epoch_end);
      }
    }
    if (end < future->log_end_offset()) {
      if (auto cut = future->truncate_to(std::max(end, Offset{0})); !cut) return cut;
    }
  }
  base::MutexLock lock(mutex_);
  future_ = std::move(future);
  return {};
}

Result<int64_t> Partition::copy_step(storage::Log& log, storage::Log& future, int32_t max_bytes) {
  const Offset start = log.log_start_offset();
  // What the log has dropped at its front is not copied.
  if (start > future.log_end_offset()) {
    if (auto restarted = future.truncate_fully_and_start_at(start); !restarted) return fail(std::move(restarted.error()));
  }
  const Offset from = future.log_end_offset();
  int64_t copied = 0;
  if (from < log.log_end_offset()) {
    auto read = log.read(from, max_bytes, log.log_end_offset(), true);
    if (!read) return fail(std::move(read.error()));
    if (read->slice.size == 0) return fail(ErrorCode::kCorruptMessage, name_.to_string() + ": nothing can be read at offset " + std::to_string(from.value));
    Bytes bytes(static_cast<size_t>(read->slice.size));
    auto got = read->slice.file->file().pread(read->slice.position, bytes);
    if (!got) return fail(std::move(got.error()));
    if (*got != bytes.size()) return fail(ErrorCode::kCorruptMessage, name_.to_string() + ": the segment ends too early");
    ByteView rest = bytes;
    auto first = record::next_frame(rest);
    if (first && *first && first->base_offset() < from && future.log_start_offset() == from) {
      // The log starts inside this batch.
      if (auto restarted = future.truncate_fully_and_start_at(first->base_offset()); !restarted) return fail(std::move(restarted.error()));
    }
    for (const storage::EpochEntry& entry : log.epochs()) {
      if (entry.epoch > future.latest_epoch() && entry.start < read->next_offset) future.assign_epoch_start(entry.epoch, std::max(entry.start, future.log_end_offset()));
    }
    auto appended = future.append_as_follower(bytes);
    if (!appended) return fail(std::move(appended.error().error));
    copied = appended->size_bytes;
  }
  future.update_high_watermark(std::min(high_watermark(), future.log_end_offset()));
  if (start > future.log_start_offset() && start <= future.high_watermark()) {
    if (auto moved = future.maybe_advance_start_offset(start); !moved) return fail(std::move(moved.error()));
  }
  return copied;
}

Result<int64_t> Partition::copy_to_future(int32_t max_bytes) {
  base::MutexLock copying(future_mutex_);
  auto log = this->log();
  auto copy = future();
  if (copy == nullptr || (role() != Role::kLeader && role() != Role::kFollower)) return fail(ErrorCode::kNotLeaderOrFollower, name_.to_string() + ": no copy is under way");
  return copy_step(*log, *copy, max_bytes);
}

Result<void> Partition::swap_to_future(const std::function<Result<void>()>& replace) {
  auto swap = [&]() -> Result<void> {
    base::MutexLock change(gate_.change_mutex);
    const RoleWord word = gate_.word();
    gate_.close();
    auto swapped = swap_inside(replace);
    gate_.open(word);
    return swapped;
  };
  if (auto swapped = swap(); !swapped) return swapped;
  log()->request_flush();  // for those who wait for one
  append_waiters_.wake();
  fetch_waiters_.wake();
  return {};
}

Result<void> Partition::swap_inside(const std::function<Result<void>()>& replace) {
  constexpr int32_t kStepBytes = 1 << 20;
  base::MutexLock copying(future_mutex_);
  auto log = this->log();
  auto copy = future();
  if (copy == nullptr || (role() != Role::kLeader && role() != Role::kFollower)) return fail(ErrorCode::kNotLeaderOrFollower, name_.to_string() + ": no copy is under way");
  while (copy->log_end_offset() < log->log_end_offset()) {
    if (auto done = copy_step(*log, *copy, kStepBytes); !done) return fail(std::move(done.error()));
  }
  for (const storage::EpochEntry& entry : log->epochs()) {
    if (entry.epoch > copy->latest_epoch()) copy->assign_epoch_start(entry.epoch, std::max(entry.start, copy->log_end_offset()));
  }
  if (auto done = copy_step(*log, *copy, kStepBytes); !done) return fail(std::move(done.error()));  // its start
  // Nothing that is said to be on the disk may be less so.
  if (copy->flushed_offset() < log->flushed_offset()) {
    if (auto flushed = copy->flush(); !flushed) return flushed;
  }
  if (auto replaced = replace(); !replaced) return replaced;
  copy->take_over(*log);
  copy->set_flush_listener(weak_from_this());
  log->set_flush_listener({});
  base::MutexLock lock(mutex_);
  former_logs_.push_back(std::exchange(log_owner_, std::exchange(future_, nullptr)));
  log_.store(log_owner_.get(), std::memory_order_release);
  log_owner_->update_high_watermark(high_watermark());
  return {};
}

void Partition::drop_former_logs() {
  std::vector<std::shared_ptr<storage::Log>> former;
  base::MutexLock lock(mutex_);
  former.swap(former_logs_);
}

}  // namespace odradek::replication
