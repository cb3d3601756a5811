// The append path of a log.
#include <algorithm>

#include "base/random.h"
#include "record/frame.h"
#include "storage/dir/flusher.h"
#include "storage/dir/log_dir.h"
#include "storage/log/log.h"
#include "storage/log/log_loader.h"

namespace odradek::storage {
namespace {

tl::unexpected<AppendError> refuse(Error error) { return tl::unexpected<AppendError>(AppendError{std::move(error), {}}); }
tl::unexpected<AppendError> refuse(ErrorCode code, std::string what) { return refuse(Error{code, std::move(what), 0}); }

}  // namespace

tl::expected<AppendInfo, AppendError> Log::append_as_leader(MutableByteView records, LeaderEpoch epoch, const AppendOptions& options) {
  if (!dir_->online()) return refuse(offline_error());
  const bool privileged = internal_ || options.origin != record::AppendOrigin::kClient;
  const std::shared_ptr<const LogConfig> config = this->config();
  const int64_t now_ms = dir_->clock().wall_ms();

  // Checked outside the lock, as if for offset 0: the base offset is written last, and no CRC covers it.
  record::ValidateOptions rules;
  rules.partition = label_;
  rules.compacted = config->compact_policy;
  rules.timestamp_type = config->timestamp_type;
  rules.now_ms = now_ms;
  rules.before_max_ms = config->timestamp_before_max_ms;
  rules.after_max_ms = config->timestamp_after_max_ms;
  rules.leader_epoch = epoch;
  rules.target_codec = config->compression;
  rules.level = config->level();
  rules.max_message_bytes = config->max_message_bytes;
  rules.origin = options.origin;
  rules.produce_version = options.produce_version;
  rules.keep_old_formats = config->keep_old_formats;
  auto valid = record::validate_and_assign_offsets(records, rules);
  if (!valid) return tl::unexpected<AppendError>(std::move(valid.error()));
  if (valid->bytes.empty()) {  // an old request without a whole message
    AppendInfo nothing;
    nothing.log_start_offset = log_start_offset();
    return nothing;
  }
  if (valid->bytes.size() > static_cast<size_t>(config->segment_bytes)) {
    return refuse(ErrorCode::kRecordListTooLarge, "Message batch size is " + std::to_string(valid->bytes.size()) + " bytes in append to partition " +
                                                      label_ + ", which exceeds the maximum configured segment size of " +
                                                      std::to_string(config->segment_bytes) + ".");
  }
  AppendInfo info;
  info.log_append_time_ms = valid->log_append_time_ms;
  info.max_timestamp = valid->max_timestamp;
  info.rewritten = valid->is_rebuilt();
  info.record_count = valid->record_count;
  info.size_bytes = static_cast<int64_t>(valid->bytes.size());

  base::MutexLock lock(mutex_);
  if (closed_ || !dir_->online()) return refuse(offline_error());
  info.log_start_offset = log_start_offset();
  info.first_offset = log_end_offset();
  const bool full = !privileged && dir_->full();
  if (!valid->is_batch() && full) return refuse(full_error());
  if (!valid->is_batch()) {  // kept in an old format: it knows no producers
    if (auto placed = record::place(*valid, info.first_offset); !placed) return refuse(std::move(placed.error()));
    info.last_offset = valid->last_offset;
    info.size_bytes = static_cast<int64_t>(valid->bytes.size());
    return write_batches(valid->bytes, epoch, now_ms, *config, privileged, std::move(info));
  }
  const record::BatchView batch = valid->batch();
  if (batch.has_producer()) {
    const bool client = options.origin == record::AppendOrigin::kClient;
    const ProducerBatch* before = client ? producers_.find_duplicate(batch) : nullptr;
    Result<void> legal;
    if (before == nullptr) legal = producers_.check(batch, !client, options.earlier_may_be_on_the_way);
    if (!legal && client && legal.error().code == ErrorCode::kOutOfOrderSequenceNumber) {
      auto recalled = recall_batches(batch);
      if (!recalled) return refuse(std::move(recalled.error()));
      if (*recalled) before = producers_.find_duplicate(batch);
    }
    if (before != nullptr) {
      info.first_offset = before->first_offset();
      info.last_offset = before->last_offset;
      info.log_append_time_ms = before->timestamp;
      info.duplicate = true;
      return info;
    }
    if (!legal) return refuse(std::move(legal.error()));
  }
  if (full) {
    producers_.note_refused(batch);
    return refuse(full_error());
  }
  info.last_offset = info.first_offset + batch.last_offset_delta();
  record::set_base_offset(valid->bytes, info.first_offset);
  if (config->timestamp_type == record::TimestampType::kLogAppendTime) {
    // An append that came later may have overtaken this one since it took its time; times rise all the same, unless the clock does not.
    if (now_ms < last_append_time_ms_ && last_append_time_ms_ <= dir_->clock().wall_ms()) {
      info.log_append_time_ms = info.max_timestamp = last_append_time_ms_;
      record::set_max_timestamp(valid->bytes, config->timestamp_type, last_append_time_ms_);
    } else {
      last_append_time_ms_ = now_ms;
    }
  }
  auto written = write_batches(valid->bytes, epoch, now_ms, *config, privileged, std::move(info));
  if (!written) producers_.note_refused(batch);
  return written;
}

Result<bool> Log::recall_batches(const record::BatchHeader& batch) {
  const auto end = producers_.untold_below(batch);
  if (!end) return false;
  ProducerStateManager told;
  auto replayed = replay_tail(segments(), *end, told);
  producers_.recall(replayed ? told : ProducerStateManager());
  if (!replayed) return fail(fail_dir(std::move(replayed.error())));
  return true;
}

tl::expected<AppendInfo, AppendError> Log::append_as_follower(ByteView records) {
  if (!dir_->online()) return refuse(offline_error());
  const std::shared_ptr<const LogConfig> config = this->config();
  const int64_t now_ms = dir_->clock().wall_ms();

  AppendInfo info;
  ByteView rest = records;
  bool first = true;
  for (;;) {
    auto next = record::next_frame(rest);
    if (!next) return refuse(std::move(next.error()));
    if (!*next) break;
    const record::Frame& batch = *next;
    if (!batch.crc_matches()) return refuse(ErrorCode::kCorruptMessage, label_ + ": CRC of the " + batch.where() + " is wrong");
    if (batch.last_offset() < batch.base_offset() || (!first && batch.base_offset() <= info.last_offset)) {
      return refuse(ErrorCode::kOffsetOutOfRange, label_ + ": offsets do not rise at the " + batch.where());
    }
    if (first) info.first_offset = batch.base_offset();
    first = false;
    info.last_offset = batch.last_offset();
    info.max_timestamp = std::max(info.max_timestamp, batch.max_timestamp());
    info.record_count += std::max(batch.count(), 0);
  }
  info.size_bytes = static_cast<int64_t>(records.size() - rest.size());

  base::MutexLock lock(mutex_);
  if (closed_ || !dir_->online()) return refuse(offline_error());
  info.log_start_offset = log_start_offset();
  if (first) {
    info.first_offset = info.last_offset = {-1};
    return info;
  }
  if (info.first_offset < log_end_offset()) {
    return refuse(ErrorCode::kOffsetOutOfRange, label_ + ": offset " + std::to_string(info.first_offset.value) + " is below the log end " +
                                                    std::to_string(log_end_offset().value));
  }
  return write_batches(records.first(static_cast<size_t>(info.size_bytes)), kNoLeaderEpoch, now_ms, *config, internal_, std::move(info));
}

tl::expected<AppendInfo, AppendError> Log::write_batches(ByteView bytes, LeaderEpoch epoch, int64_t now_ms, const LogConfig& config, bool privileged,
                                                       AppendInfo info) {
  // What is privileged takes room from the reserve when the disk is full.
  auto again = [&](const Result<void>& done) {
    return !done && privileged && is_disk_full(done.error()) && dir_->release_reserve(done.error());
  };
  ByteView rest = bytes;
  while (!rest.empty()) {
    // As many as go into one segment. A leader has one batch, or messages of an old format.
    ByteView ahead = rest;
    auto first = *record::next_frame(ahead);
    Result<void> rolled;
    do {
      rolled = maybe_roll(static_cast<int64_t>(first.size_in_bytes()), first.last_offset(), first.max_timestamp(), now_ms, config);
    } while (again(rolled));
    if (!rolled) return refuse(std::move(rolled.error()));
    size_t group = first.size_in_bytes();
    while (!ahead.empty()) {
      auto next = *record::next_frame(ahead);
      int64_t size = active_->size() + static_cast<int64_t>(group + next.size_in_bytes());
      if (size > config.segment_bytes || next.last_offset() - active_->base_offset() > INT32_MAX) break;
      group += next.size_in_bytes();
    }
    ByteView written = rest.first(group);
    Result<void> noted;
    do {
      noted = active_->write(written, config);
    } while (again(noted));
    if (!noted) return refuse(fail_half_done(std::move(noted.error())));  // the file was cut back
    while (noted && !written.empty()) {
      const auto frame = *record::next_frame(written);
      if (frame.is_batch()) {
        noted = note_written(frame.batch(), now_ms, config);
        continue;
      }
      // A message or wrapper of v0 or v1: it knows neither producers nor epochs. The leader notes its own.
      const Offset last = frame.last_offset();
      const TailRing::Entry entry{last.value, last.value, static_cast<int32_t>(active_->size()), static_cast<int32_t>(frame.size_in_bytes())};
      noted = active_->note_batch(last, static_cast<int64_t>(frame.size_in_bytes()), frame.max_timestamp(), config, now_ms);
      if (!noted) break;
      producers_.set_end(last + 1);
      bool epoch_is_new = false;
      {
        base::MutexLock lock(state_mutex_);
        tail_.push(entry);
        if (epoch > epochs_.latest()) epoch_is_new = epochs_.assign(epoch, info.first_offset);
      }
      if (epoch_is_new) epochs_changed(EpochFile::kOld);
      log_end_.store((last + 1).value, std::memory_order_release);  // pairs with log_end_offset(): what lies below is written
    }
    if (!noted) {
      return refuse(fail_for_good(std::move(noted.error())));
    }
    rest = rest.subspan(group);
  }
  flush_if_due(config);
  if (active_->writeback_is_due() && dir_->flusher().writeback_pays()) request_flush(kWantWriteback);
  return info;
}

Result<void> Log::note_written(const record::BatchView& batch, int64_t now_ms, const LogConfig& config) {
  const TailRing::Entry entry{batch.base_offset().value, batch.last_offset().value, static_cast<int32_t>(active_->size()),
                              static_cast<int32_t>(batch.size_in_bytes())};
  if (auto noted = active_->note_batch(batch.last_offset(), static_cast<int64_t>(batch.size_in_bytes()), batch.max_timestamp(), config, now_ms); !noted) {
    return noted;
  }
  if (batch.has_producer()) {
    auto ended = producers_.update(batch);
    if (ended) {
      Offset stable = producers_.last_stable_after(*ended);
      producers_.end_transaction(*ended);
      if (ended->aborted) {
        has_aborted_.store(true, std::memory_order_release);  // before the last stable offset tells of it
        auto noted = active_->note_aborted({ended->producer_id, ended->first_offset, ended->last_offset, stable});
        if (!noted) return noted;
      }
    }
    if (ended || batch.is_transactional()) refresh_unstable();
  }
  producers_.set_end(batch.next_offset());
  bool epoch_is_new = false;
  {
    base::MutexLock lock(state_mutex_);
    tail_.push(entry);
    if (batch.leader_epoch() != epochs_.latest()) epoch_is_new = epochs_.note_batch(batch.leader_epoch(), batch.base_offset(), batch.last_offset());
  }
  if (epoch_is_new || epoch_may_be_empty_.load(std::memory_order_relaxed)) epochs_changed(EpochFile::kOld);
  log_end_.store(batch.next_offset().value, std::memory_order_release);  // pairs with log_end_offset(): what lies below is written
  return {};
}

Result<void> Log::maybe_roll(int64_t bytes, Offset last, int64_t max_timestamp, int64_t now_ms, const LogConfig& config) {
  auto roll = active_->should_roll(bytes, last, max_timestamp, roll_jitter_ms_, config, now_ms);
  if (!roll) return fail(fail_dir(std::move(roll.error())));
  if (!*roll) return {};
  return roll_to(std::max(log_end_offset(), Offset{last.value - INT32_MAX}), config);
}

Result<void> Log::roll_to(Offset base, const LogConfig& config) {
  const std::string folder = path();
  if (auto done = active_->become_inactive(config); !done) return fail(fail_half_done(std::move(done.error())));
  if (auto wrote = write_snapshot(*dir_, folder, base, producers_, snapshots_); !wrote) return fail(fail_half_done(std::move(wrote.error())));
  auto segment = Segment::create(dir_, folder, base, config, dir_->clock().wall_ms());
  if (!segment) {
    // Records may still go into the active segment, beyond `base`: no file may say that another one begins there.
    if (base != active_->base_offset()) {
      for (const char* kind : {".log", ".index", ".timeindex"}) {
        if (auto removed = dir_->files().remove(folder + "/" + segment_name(base) + kind); !removed) return fail(fail_for_good(std::move(removed.error())));
      }
      directory_changed_.store(true, std::memory_order_release);
    }
    return fail(fail_half_done(std::move(segment.error())));
  }
  {
    base::MutexLock lock(state_mutex_);
    // An empty segment of the same base has just been emptied again.
    if (segments_.back()->base_offset() == base) segments_.pop_back();
    segments_.push_back(std::move(*segment));
    active_ = segments_.back().get();
    tail_.clear();
    unsynced_files_.push_back(snapshot_path(folder, base));
  }
  if (config.segment_jitter_ms > 0) {
    roll_jitter_ms_ = static_cast<int64_t>(dir_->random().below(static_cast<uint64_t>(std::min(config.segment_jitter_ms, config.segment_ms))));
  }
  directory_changed_.store(true, std::memory_order_release);
  request_flush(kWantClosed);
  return {};
}

Result<void> Log::roll() {
  if (!dir_->online()) return fail(offline_error());
  const std::shared_ptr<const LogConfig> config = this->config();
  base::MutexLock lock(mutex_);
  if (closed_) return fail(offline_error());
  if (active_->size() == 0) return {};
  return roll_to(log_end_offset(), *config);
}

void Log::flush_if_due(const LogConfig& config) {
  const int64_t unflushed = log_end_.load(std::memory_order_relaxed) - flushed_.load(std::memory_order_relaxed);
  if (config.flush_ms != INT64_MAX && unflushed_since_ms_.load(std::memory_order_relaxed) == kNever) {
    unflushed_since_ms_.store(dir_->clock().monotonic_ms(), std::memory_order_relaxed);
  }
  if (unflushed >= config.flush_messages) {
    request_flush(kWantAll);
    return;
  }
  if (config.flush_ms != INT64_MAX && !flush_timer_set_.load(std::memory_order_relaxed) &&
      !flush_timer_set_.exchange(true, std::memory_order_acq_rel)) {
    dir_->flusher().flush_after(config.flush_ms, weak_from_this());
  }
}

void Log::note_loaded() {
  if (log_end_offset() > flushed_offset()) flush_if_due(*config());
  // Names and small files of a process that was killed: what starts now relies on them.
  if (directory_changed_.load(std::memory_order_acquire)) request_flush(kWantClosed);
}

}  // namespace odradek::storage
