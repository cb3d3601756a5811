// What the cleaner asks of a log: which part can be compacted, and the swap of segments.
#include <algorithm>
#include <cerrno>

#include "storage/dir/flusher.h"
#include "storage/dir/log_dir.h"
#include "storage/log/log.h"
#include "storage/log/log_loader.h"

namespace odradek::storage {

Result<void> Log::set_cleaned_offset(Offset offset, uint64_t truncations) {
  {
    base::MutexLock lock(mutex_);
    // A truncation since then has lowered it, and must be believed.
    if (closed_ || truncations != truncations_.load(std::memory_order_acquire)) return {};
    cleaned_.store(offset.value, std::memory_order_release);
  }
  auto written = dir_->checkpoint(LogDir::Changed::kCleaned);
  if (!written) return fail(fail_dir(std::move(written.error())));
  return {};
}

Result<CleanPlan> Log::plan_cleaning(int64_t now_ms) const {
  if (!dir_->online()) return fail(offline_error());
  const std::shared_ptr<const LogConfig> config = this->config();
  CleanPlan plan;
  plan.truncations = truncations_.load(std::memory_order_acquire);
  const Offset stable = last_stable_offset(high_watermark());  // before the list: what lies below is in these segments
  std::vector<std::shared_ptr<Segment>> closed = segments();
  const Offset active = closed.back()->base_offset();
  closed.pop_back();

  const Offset cleaned = cleaned_offset();
  plan.first_dirty = cleaned < log_start_offset() || cleaned > log_end_offset() ? log_start_offset() : cleaned;
  // The segment that holds an offset, or the first one behind it.
  auto at = [&](Offset offset) {
    auto above = std::upper_bound(closed.begin(), closed.end(), offset, [](Offset o, const auto& s) { return o < s->base_offset(); });
    return above == closed.begin() ? above : above - 1;
  };
  const auto first_dirty = plan.first_dirty >= active ? closed.end() : at(plan.first_dirty);

  Offset limit = std::min(stable, active);
  auto refuse = [&](Error error) {
    // It was swapped or dropped meanwhile: there will be another time.
    error.what = label_ + ": " + error.what;
    return fail(std::move(error));
  };
  if (config->min_compaction_lag_ms > 0) {
    for (auto segment = first_dirty; segment != closed.end(); ++segment) {
      auto largest = (*segment)->largest_timestamp();
      if (!largest) return refuse(std::move(largest.error()));
      if (*largest <= now_ms - config->min_compaction_lag_ms) continue;
      limit = std::min(limit, (*segment)->base_offset());
      break;
    }
  }
  limit = std::max(limit, plan.first_dirty);
  const auto end = limit >= active ? closed.end() : at(limit);
  plan.end = end == closed.end() ? active : (*end)->base_offset();

  for (auto segment = closed.begin(); segment != closed.end() && (*segment)->base_offset() < plan.first_dirty; ++segment) plan.clean_bytes += (*segment)->size();
  for (auto segment = std::min(first_dirty, end); segment != end; ++segment) plan.dirty_bytes += (*segment)->size();

  if (config->max_compaction_lag_ms < INT64_MAX) {
    int64_t oldest = INT64_MAX;
    for (auto segment = first_dirty; segment != closed.end(); ++segment) {
      auto first = (*segment)->first_batch_timestamp();
      if (!first) return refuse(std::move(first.error()));
      if (*first > 0) oldest = std::min(oldest, *first);
    }
    const int64_t clean_until = now_ms - std::max<int64_t>(config->max_compaction_lag_ms, 0);
    if (oldest < clean_until) plan.overdue_ms = clean_until - oldest;
  }
  closed.erase(end, closed.end());
  plan.segments = std::move(closed);
  return plan;
}

Result<void> Log::make_durable_below(Offset offset) {
  if (recovery_point() < offset) {
    if (auto synced = sync_up_to(false, false); !synced) return synced;
  }
  auto written = dir_->checkpoint(LogDir::Changed::kRecoveryPoint);
  if (!written) return fail(fail_dir(std::move(written.error())));
  return {};
}

absl::flat_hash_map<int64_t, LastRecord> Log::last_records() const {
  absl::flat_hash_map<int64_t, LastRecord> records;
  for (const ProducerStateEntry& producer : active_producers()) records[producer.producer_id.value] = {producer.last_offset, producer.producer_epoch};
  return records;
}

Result<std::shared_ptr<Segment>> Log::create_cleaned(Offset base) const {
  LogConfig config = *this->config();
  config.preallocate = false;
  return Segment::create(dir_, path(), base, config, dir_->clock().wall_ms(), ".cleaned");
}

bool Log::still_has(const std::vector<std::shared_ptr<Segment>>& segments, uint64_t truncations) const {
  base::MutexLock lock(mutex_);
  if (closed_ || truncations != truncations_.load(std::memory_order_acquire)) return false;
  if (segments.empty()) return true;
  base::MutexLock state(state_mutex_);
  auto first = std::find(segments_.begin(), segments_.end(), segments.front());
  // Room for the active one behind them.
  return static_cast<size_t>(segments_.end() - first) > segments.size() && std::equal(segments.begin(), segments.end(), first);
}

Result<bool> Log::replace_segments(const std::vector<std::shared_ptr<Segment>>& old, const std::shared_ptr<Segment>& cleaned, uint64_t truncations) {
  base::MutexLock changing(change_mutex_);
  if (!dir_->online()) return fail(offline_error());
  if (!still_has(old, truncations)) return false;
  // From here on nobody else drops, cuts or swaps closed segments. Names change outside of the locks that appends and reads take.
  auto refuse = [&](Error error) -> Result<bool> {
    {
      // The folder was renamed: the partition has just been deleted.
      base::MutexLock lock(mutex_);
      if (closed_ && error.os_error == ENOENT) return false;
    }
    return fail(fail_dir(std::move(error)));
  };
  const std::string folder = path();
  auto named = cleaned->change_suffix(".swap");
  // What stands under these names now counts, also after a power cut.
  if (named) named = dir_->files().sync_directory(folder);
  if (!named) return refuse(std::move(named.error()));
  std::vector<Offset> dropped_snapshots;
  {
    base::MutexLock lock(mutex_);
    base::MutexLock state(state_mutex_);
    auto first = std::find(segments_.begin(), segments_.end(), old.front());
    *first = cleaned;
    segments_.erase(first + 1, first + static_cast<ptrdiff_t>(old.size()));
    std::erase_if(snapshots_, [&](Offset offset) {
      if (offset <= old.front()->base_offset() || offset > old.back()->base_offset()) return false;
      dropped_snapshots.push_back(offset);
      return true;
    });
  }
  Result<void> done;
  for (const auto& segment : old) {
    if (done) done = segment->mark_deleted();
  }
  if (done) done = cleaned->change_suffix("");
  for (Offset offset : dropped_snapshots) {
    if (done) done = dir_->files().remove(snapshot_path(folder, offset));
  }
  if (done) done = dir_->files().sync_directory(folder);
  if (!done) return refuse(std::move(done.error()));
  dir_->flusher().post_after(config()->file_delete_delay_ms, [old, dir = dir_] {
    if (!dir->online()) return;
    for (const auto& segment : old) {
      if (auto removed = segment->remove_files(); !removed) dir->fail(removed.error());
    }
  });
  return true;
}

}  // namespace odradek::storage
