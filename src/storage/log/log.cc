// The log's state and its small parts; appends, reads, flushes and changes at the ends stand in log_append.cc, log_read.cc,
// log_flush.cc and log_ends.cc.
#include "storage/log/log.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/random.h"
#include "storage/dir/log_dir.h"
#include "storage/files/partition_metadata.h"
#include "storage/log/log_loader.h"

namespace odradek::storage {

Log::Log(std::shared_ptr<LogDir> dir, TopicPartition name, std::string path, std::shared_ptr<const LogConfig> config, LoadedLog loaded, bool is_new)
    : dir_(std::move(dir)),
      name_(std::move(name)),
      label_(name_.to_string()),
      internal_(is_internal_topic(name_.topic)),
      path_(std::move(path)),
      config_(std::move(config)),
      topic_id_(loaded.topic_id),
      segments_(std::move(loaded.segments)),
      epochs_(std::move(loaded.epochs)),
      epoch_file_(loaded.epochs_changed ? EpochFile::kOld : EpochFile::kCurrent),
      unsynced_files_(std::move(loaded.unsynced_files)),
      active_(segments_.back().get()),
      producers_(std::move(loaded.producers)),
      snapshots_(std::move(loaded.snapshots)),
      log_start_(loaded.log_start.value),
      log_end_(loaded.log_end.value),
      high_watermark_(loaded.high_watermark.value),
      flushed_(loaded.recovery_point.value),
      recovery_point_(loaded.recovery_point.value),
      cleaned_(loaded.cleaned.value),
      has_aborted_(std::any_of(segments_.begin(), segments_.end(), [](const auto& segment) { return !segment->txn_index().empty(); })),
      directory_changed_(loaded.directory_changed),
      folder_is_new_(is_new) {
  set_debt_limits(*config_);
  base::MutexLock lock(mutex_);
  producers_.advance_high_watermark(loaded.high_watermark);
  refresh_unstable();
  if (config_->segment_jitter_ms > 0) {
    roll_jitter_ms_ = static_cast<int64_t>(dir_->random().below(static_cast<uint64_t>(std::min(config_->segment_jitter_ms, config_->segment_ms))));
  }
}

Log::~Log() = default;

std::string Log::path() const {
  base::MutexLock lock(state_mutex_);
  return path_;
}

std::shared_ptr<const LogConfig> Log::config() const {
  base::MutexLock lock(state_mutex_);
  return config_;
}

void Log::update_config(std::shared_ptr<const LogConfig> config) {
  CHECK(config != nullptr);
  set_debt_limits(*config);
  base::MutexLock lock(state_mutex_);
  config_.swap(config);
}

Uuid Log::topic_id() const {
  base::MutexLock lock(state_mutex_);
  return topic_id_;
}

Result<void> Log::set_topic_id(const Uuid& id) {
  std::string folder;
  {
    base::MutexLock lock(state_mutex_);
    if (topic_id_ == id || id.is_zero()) return {};
    if (!topic_id_.is_zero()) {
      return fail(ErrorCode::kInconsistentTopicId, label_ + " has topic id " + topic_id_.to_string() + " on the disk, not " + id.to_string());
    }
    folder = path_;
  }
  auto written = dir_->with_reserve([&] { return write_partition_metadata(dir_->files(), folder, id); });
  if (!written) return fail(fail_dir(std::move(written.error())));
  {
    base::MutexLock lock(state_mutex_);
    topic_id_ = id;
    unsynced_files_.push_back(folder + "/" + std::string(kPartitionMetadataFile));
  }
  directory_changed_.store(true, std::memory_order_release);
  request_flush(kWantClosed);
  return {};
}

Error Log::offline_error() const { return {ErrorCode::kKafkaStorageError, label_ + ": log dir " + dir_->path() + " is offline", 0}; }

Error Log::fail_dir(Error error) const {
  dir_->fail(error);
  error.code = ErrorCode::kKafkaStorageError;
  return error;
}

Error Log::full_error() const { return {ErrorCode::kKafkaStorageError, label_ + ": log dir " + dir_->path() + " is full", ENOSPC}; }

Error Log::fail_half_done(Error error) { return is_disk_failure(error) ? fail_for_good(std::move(error)) : fail_dir(std::move(error)); }

Error Log::fail_for_good(Error error) {
  closed_ = true;
  return fail_dir(std::move(error));
}

std::vector<std::shared_ptr<Segment>> Log::segments() const {
  base::MutexLock lock(state_mutex_);
  return segments_;
}

std::shared_ptr<Segment> Log::segment_for(Offset offset) const {
  base::MutexLock lock(state_mutex_);
  auto above = std::upper_bound(segments_.begin(), segments_.end(), offset, [](Offset o, const auto& s) { return o < s->base_offset(); });
  return above == segments_.begin() ? *above : *std::prev(above);
}

std::shared_ptr<Segment> Log::segment_after(Offset base) const {
  base::MutexLock lock(state_mutex_);
  auto above = std::upper_bound(segments_.begin(), segments_.end(), base, [](Offset o, const auto& s) { return o < s->base_offset(); });
  return above == segments_.end() ? nullptr : *above;
}

bool Log::is_listed(const Segment& segment) const {
  base::MutexLock lock(state_mutex_);
  auto at = std::lower_bound(segments_.begin(), segments_.end(), segment.base_offset(), [](const auto& s, Offset o) { return s->base_offset() < o; });
  return at != segments_.end() && at->get() == &segment;
}

ClosedSegments Log::closed_segments() const {
  ClosedSegments closed{{}, truncations_.load(std::memory_order_acquire)};
  closed.segments = segments();
  closed.segments.pop_back();
  return closed;
}

bool Log::still_has(const ClosedSegments& closed, const Segment& segment) const {
  return is_listed(segment) && closed.truncations == truncations_.load(std::memory_order_acquire);
}

Offset Log::first_segment_base() const {
  base::MutexLock lock(state_mutex_);
  return segments_.front()->base_offset();
}

int64_t Log::size_bytes() const {
  base::MutexLock lock(state_mutex_);
  int64_t total = 0;
  for (const auto& segment : segments_) total += segment->size();
  return total;
}

size_t Log::segment_count() const {
  base::MutexLock lock(state_mutex_);
  return segments_.size();
}

// --- high watermark, transactions -------------------------------------------------------------------------------------------

Offset Log::last_stable_offset(Offset high_watermark) const {
  int64_t unstable = first_unstable_.load(std::memory_order_acquire);
  if (unstable >= high_watermark.value) return high_watermark;
  return {std::max(unstable, log_start_.load(std::memory_order_acquire))};
}

void Log::refresh_unstable() {
  auto first = producers_.first_unstable();
  first_unstable_.store(first ? first->value : INT64_MAX, std::memory_order_release);
  first_unreplicated_.store(producers_.first_unreplicated(), std::memory_order_release);
}

void Log::update_high_watermark(Offset high_watermark) {
  int64_t before = high_watermark_.load(std::memory_order_relaxed);
  while (before < high_watermark.value && !high_watermark_.compare_exchange_weak(before, high_watermark.value, std::memory_order_acq_rel)) {
  }
  if (before >= high_watermark.value) return;
  dir_->changed(LogDir::Changed::kHighWatermark);
  if (first_unreplicated_.load(std::memory_order_acquire) >= high_watermark.value) return;
  base::MutexLock lock(mutex_);
  if (producers_.advance_high_watermark(high_watermark)) refresh_unstable();
}

std::vector<ProducerStateEntry> Log::active_producers() const {
  base::MutexLock lock(mutex_);
  return producers_.list();
}

void Log::expire_producers(int64_t now_ms) {
  if (keeps_producers_.load(std::memory_order_relaxed)) return;
  base::MutexLock lock(mutex_);
  if (!producers_.empty()) producers_.expire(now_ms, dir_->options().producer_id_expiration_ms);
}

Result<std::vector<AbortedTransaction>> Log::aborted_transactions(Offset from, Offset upto) const {
  std::vector<AbortedTransaction> aborted;
  if (!has_aborted_.load(std::memory_order_acquire)) return aborted;  // no look at each segment up to the end
  for (auto segment = segment_for(from); segment != nullptr; segment = segment_after(segment->base_offset())) {
    auto more = segment->txn_index().collect(from, upto, aborted);
    if (!more && !is_listed(*segment)) {
      // It has just been swapped or dropped: once more with what is there now.
      aborted.clear();
      return aborted_transactions(from, upto);
    }
    if (!more) {
      more.error().code = ErrorCode::kKafkaStorageError;
      return fail(fail_dir(std::move(more.error())));
    }
    if (!*more) break;
  }
  return aborted;
}

// --- leader epochs ----------------------------------------------------------------------------------------------------------

LeaderEpoch Log::latest_epoch() const {
  base::MutexLock lock(state_mutex_);
  return epochs_.latest();
}

LeaderEpoch Log::epoch_for_offset(Offset offset) const {
  base::MutexLock lock(state_mutex_);
  return epochs_.epoch_for(offset);
}

std::pair<LeaderEpoch, Offset> Log::end_offset_for_epoch(LeaderEpoch epoch) const {
  base::MutexLock lock(state_mutex_);
  return epochs_.end_offset_for(epoch, log_end_offset());
}

std::vector<EpochEntry> Log::epochs() const {
  base::MutexLock lock(state_mutex_);
  return epochs_.entries();
}

// Called when epochs_ was changed. The file follows with the next flush, before the recovery point passes it.
void Log::epochs_changed(EpochFile lag) {
  base::MutexLock lock(state_mutex_);
  epoch_file_ = std::max(epoch_file_, lag);
  epoch_may_be_empty_.store(epoch_file_ == EpochFile::kLacksEmptyEpoch, std::memory_order_release);
}

void Log::assign_epoch_start(LeaderEpoch epoch, Offset start) {
  bool at_end = start == log_end_offset();
  {
    base::MutexLock lock(state_mutex_);
    if (!epochs_.assign(epoch, start)) return;
  }
  epochs_changed(at_end ? EpochFile::kLacksEmptyEpoch : EpochFile::kOld);
}

// --- for the log manager ----------------------------------------------------------------------------------------------------

void Log::stop_appends() {
  base::MutexLock lock(mutex_);
  closed_ = true;
}

void Log::relocated_to(const std::string& path) {
  base::MutexLock lock(mutex_);
  base::MutexLock state(state_mutex_);
  for (std::string& file : unsynced_files_) {
    if (file.starts_with(path_ + "/")) file = path + file.substr(path_.size());
  }
  path_ = path;
  for (const auto& segment : segments_) segment->renamed_folder(path);
}

void Log::renamed_to(const std::string& path) {
  stop_appends();
  base::MutexLock lock(state_mutex_);
  path_ = path;
  unsynced_files_.clear();
  for (const auto& segment : segments_) segment->renamed_folder(path);
}

}  // namespace odradek::storage
