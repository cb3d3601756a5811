// The checkpoint files of the log dirs.

#include "storage/log_manager_impl.h"

namespace odradek::storage {

OffsetMap LogManager::Impl::unloaded_offsets(const Dir& dir, Changed what) const {
  OffsetMap offsets;
  for (const UnloadedLog& log : loading.of(dir.dir->number())) {
    const std::optional<Offset>* offset = nullptr;
    switch (what) {
      case Changed::kHighWatermark: offset = &log.high_watermark; break;
      case Changed::kRecoveryPoint: offset = &log.recovery_point; break;
      case Changed::kLogStart: offset = &log.log_start; break;
      case Changed::kCleaned: offset = &log.cleaned; break;
    }
    if (offset->has_value()) offsets[log.name] = **offset;
  }
  return offsets;
}

Result<void> LogManager::Impl::checkpoint(Dir& dir, Changed what) {
  base::MutexLock lock(dir.checkpoint_mutex);
  dir.dir->clear_changed(what);  // before the offsets are read: a later change asks for another checkpoint
  // In this order: a log that is loaded meanwhile is in both, and knows better.
  OffsetMap offsets = unloaded_offsets(dir, what);
  for (const auto& log : logs_in(*dir.dir)) {
    offsets.erase(log->name());
    switch (what) {
      case Changed::kHighWatermark: offsets[log->name()] = log->high_watermark(); break;
      case Changed::kRecoveryPoint: offsets[log->name()] = log->recovery_point(); break;
      case Changed::kLogStart:
        if (log->log_start_offset() > log->first_segment_base()) offsets[log->name()] = log->log_start_offset();
        break;
      case Changed::kCleaned:
        if (log->cleaned_offset().value >= 0) offsets[log->name()] = log->cleaned_offset();
        break;
    }
  }
  if (what == Changed::kRecoveryPoint) {
    for (const auto& future : futures_in(*dir.dir)) offsets.try_emplace(future->name(), future->recovery_point());
  }
  // After the reading: of a dir that has failed the logs are not known any more, and what its files say of them counts at the next start.
  if (!dir.dir->online()) return fail(ErrorCode::kKafkaStorageError, "log dir " + dir.dir->path() + " is offline");
  for (const auto& [tp, offset] : offsets) dir.checkpointed.insert(tp);
  std::string text = encode_offsets(offsets);
  std::string& before = dir.written[static_cast<size_t>(what)];
  if (text == before) return {};
  if (what == Changed::kCleaned && offsets.empty() && before.empty()) return {};  // the file stays as it was made: empty
  static constexpr std::string_view kNames[] = {kHighWatermarkFile, kRecoveryPointFile, kLogStartFile, kCleanerFile};
  auto written = dir.dir->with_reserve(
      [&] { return base::write_file_atomically(runtime.files(), file_in(dir, kNames[static_cast<size_t>(what)]), as_bytes(text)); });
  if (written) before = std::move(text);
  return written;
}

Result<void> LogManager::Impl::checkpoint_all(Dir& dir) {
  for (Changed what : {Changed::kRecoveryPoint, Changed::kLogStart, Changed::kHighWatermark, Changed::kCleaned}) {
    if (auto written = checkpoint(dir, what); !written) return written;
  }
  base::MutexLock lock(dir.checkpoint_mutex);
  dir.checkpointed.clear();
  for (const auto& log : loading.of(dir.dir->number())) dir.checkpointed.insert(log.name);
  for (const auto& log : logs_in(*dir.dir)) dir.checkpointed.insert(log->name());
  for (const auto& future : futures_in(*dir.dir)) dir.checkpointed.insert(future->name());
  return {};
}

// The first change after a checkpoint sets the timer for the next one: without changes nothing wakes up.
void LogManager::Impl::on_change(LogDir& log_dir, Changed what) {
  Dir& dir = entry_of(log_dir);
  auto& timer_set = dir.timer_set[static_cast<size_t>(what)];
  if (timer_set.exchange(true, std::memory_order_acq_rel)) return;
  int64_t delay = what == Changed::kHighWatermark   ? options.high_watermark_checkpoint_interval_ms
                  : what == Changed::kRecoveryPoint ? options.recovery_point_checkpoint_interval_ms
                                                    : options.start_offset_checkpoint_interval_ms;
  runtime.timers().after(std::chrono::milliseconds(delay), [this, alive = alive, &dir, &timer_set, what] {
    base::MutexLock lock(alive->mutex);
    if (alive->stopped) return;
    scheduler->post([this, &dir, &timer_set, what] {
      timer_set.store(false, std::memory_order_seq_cst);
      if (!dir.dir->online()) return;
      if (auto written = checkpoint(dir, what); !written) dir.dir->fail(written.error());
    });
  });
}

void LogManager::write_checkpoints() {
  for (auto& dir : impl_->dirs) {
    if (!dir->dir->online()) continue;
    if (auto written = impl_->checkpoint_all(*dir); !written) dir->dir->fail(written.error());
  }
}

std::optional<Offset> LogManager::high_watermark_checkpoint(const TopicPartition& tp) const {
  auto log = find(tp);
  if (log == nullptr) return std::nullopt;
  return log->high_watermark();
}

}  // namespace odradek::storage
