#include "storage/cleaner/clean_job.h"

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/log.h"
#include "storage/dir/log_dir.h"
#include "storage/files/passing_read.h"

namespace odradek::storage {

// --- reading ----------------------------------------------------------------------------------------------------------------

class CleanJob::Source {
 public:
  Source(std::shared_ptr<Segment> segment, std::shared_ptr<base::SharedFile> file, int64_t position, int64_t buffer_bytes)
      : segment_(std::move(segment)), file_(std::move(file)), position_(position), end_(segment_->size()), buffer_bytes_(std::max<int64_t>(buffer_bytes, 1)) {}

  Segment& segment() { return *segment_; }
  bool at_end() const { return position_ >= end_; }
  // Whole frames with a good CRC, at least one. Valid until the next call.
  Result<ByteView> next() {
    const int64_t want = std::min(buffer_bytes_, end_ - position_);
    passing_.begin(file_->file(), position_, want);
    if (auto filled = fill(want); !filled) return fail(std::move(filled.error()));
    auto first = record::peek_frame(buffer_);
    if (first && !*first && want < end_ - position_) {
      if (auto filled = fill(std::min<int64_t>(record::kFrameHeaderSize, end_ - position_)); !filled) return fail(std::move(filled.error()));
      first = record::peek_frame(buffer_);
    }
    if (!first) return fail(broken(first.error().what));
    if (!*first || (*first)->total_size > static_cast<size_t>(end_ - position_)) return fail(broken("a batch is cut off"));
    if ((*first)->total_size > buffer_.size()) {
      if (auto filled = fill(static_cast<int64_t>((*first)->total_size)); !filled) return fail(std::move(filled.error()));
    }
    ByteView rest = buffer_;
    for (;;) {
      auto frame = record::next_frame(rest);
      if (!frame) return fail(broken(frame.error().what));
      if (!*frame) break;
      if (!frame->crc_matches()) return fail(broken("the CRC of the " + frame->where() + " is wrong"));
    }
    const size_t whole = buffer_.size() - rest.size();
    passing_.end(file_->file(), position_, static_cast<int64_t>(whole));
    position_ += static_cast<int64_t>(whole);
    return ByteView(buffer_).first(whole);
  }

 private:
  Result<void> fill(int64_t bytes) {
    buffer_.resize(static_cast<size_t>(bytes));
    auto got = file_->file().pread(position_, buffer_);
    if (!got) return fail(std::move(got.error()));
    if (*got != buffer_.size()) return fail(broken("the file is shorter than it was"));
    return {};
  }
  Error broken(const std::string& what) const {
    return {ErrorCode::kCorruptMessage, segment_name(segment_->base_offset()) + ".log, position " + std::to_string(position_) + ": " + what, 0};
  }

  const std::shared_ptr<Segment> segment_;
  const std::shared_ptr<base::SharedFile> file_;
  int64_t position_;
  const int64_t end_;
  const int64_t buffer_bytes_;
  PassingRead passing_;
  Bytes buffer_;
};

// --- the job ----------------------------------------------------------------------------------------------------------------

CleanJob::CleanJob(std::shared_ptr<Log> log, CleanPlan plan, const CleanLimits& limits, base::Clock& clock, base::Random& random)
    : log_(std::move(log)), plan_(std::move(plan)), limits_(limits), clock_(clock), random_(random), config_(log_->config()) {}

CleanJob::~CleanJob() = default;

CleanStats CleanJob::stats() const {
  CleanStats stats = stats_;
  if (filter_) stats.records = filter_->counts();
  return stats;
}

// Of a write, fsync or rename.
Error CleanJob::disk_error(Error error) const {
  // A missing file: the partition was deleted.
  if (error.os_error != ENOSPC && error.os_error != EDQUOT && error.os_error != ENOENT) log_->dir().fail(error);
  error.code = ErrorCode::kKafkaStorageError;
  return error;
}

Result<CleanJob::Step> CleanJob::step() {
  auto done = [&]() -> Result<Step> {
    switch (phase_) {
      case Phase::kPrepare: return prepare();
      case Phase::kReadKeys: return read_keys();
      case Phase::kWriteAgain: return write_again();
      case Phase::kFinished: break;
    }
    return Step{Outcome::kDone, 0};
  }();
  // What is read while it is cut or dropped may look broken.
  const Group rest = phase_ == Phase::kWriteAgain && !groups_.empty() ? groups_.front() : phase_ == Phase::kWriteAgain ? Group() : plan_.segments;
  if (!done && !log_->still_has(rest, plan_.truncations)) return Step{Outcome::kLogChanged, 0};
  return done;
}

void CleanJob::abandon() {
  phase_ = Phase::kFinished;
  source_.reset();
  if (output_ == nullptr) return;
  if (auto removed = output_->remove_files(); !removed) log::warn("storage", "{}: {}", log_->name().to_string(), removed.error().what);
  output_.reset();
}

Result<CleanJob::Step> CleanJob::prepare() {
  // Compacted segments may end before the next one begins: a start must know that nothing is missing there.
  if (auto durable = log_->make_durable_below(plan_.end); !durable) return fail(std::move(durable.error()));
  try {
    keys_.emplace(random_, limits_.map_bytes, limits_.load_factor, std::max<int64_t>(plan_.end - plan_.first_dirty, 1));
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kUnknownServerError, "no memory for the map of keys (log.cleaner.dedupe.buffer.size)");
  }
  auto aborted = log_->aborted_transactions(plan_.first_dirty, plan_.end);
  if (!aborted) return fail(std::move(aborted.error()));
  dirty_transactions_.add(*aborted);
  // The segment that holds the first dirty offset, or the first one behind it.
  while (dirty_at_ + 1 < plan_.segments.size() && plan_.segments[dirty_at_ + 1]->base_offset() <= plan_.first_dirty) ++dirty_at_;
  phase_ = Phase::kReadKeys;
  return Step{};
}

Result<void> CleanJob::next_dirty_segment() {
  auto segment = plan_.segments[dirty_at_];
  auto first = segment->find_batch(plan_.first_dirty);
  if (!first) return fail(std::move(first.error()));
  auto file = segment->file();
  if (!file) return fail(std::move(file.error()));
  source_ = std::make_unique<Source>(segment, std::move(*file), *first ? (*first)->position : segment->size(), limits_.buffer_bytes);
  return {};
}

Result<CleanJob::Step> CleanJob::read_keys() {
  if (dirty_at_ >= plan_.segments.size()) {
    map_is_complete();
    if (auto grouped = make_groups(); !grouped) return fail(std::move(grouped.error()));
    return Step{};
  }
  if (source_ == nullptr) {
    if (auto opened = next_dirty_segment(); !opened) return fail(std::move(opened.error()));
  }
  if (source_->at_end()) {
    // Offsets up to the next segment are as good as read.
    const Offset next = dirty_at_ + 1 < plan_.segments.size() ? plan_.segments[dirty_at_ + 1]->base_offset() : plan_.end;
    keys_->raise_latest(next + -1);
    source_.reset();
    ++dirty_at_;
    return Step{};
  }
  auto chunk = source_->next();
  if (!chunk) return fail(std::move(chunk.error()));
  Step step{Outcome::kMore, static_cast<int64_t>(chunk->size())};
  stats_.map_bytes_read += step.bytes;

  bool full = false;
  auto put_all = [&](auto reader, auto record) -> Result<void> {
    if (!reader) return fail(std::move(reader.error()));
    while (!full) {
      auto more = reader->next(record);
      if (!more) return fail(std::move(more.error()));
      if (!*more) return {};
      if (record.key && record.offset >= plan_.first_dirty) full = !keys_->put(*record.key, record.offset);
    }
    return {};
  };
  ByteView rest = *chunk;
  while (!rest.empty() && !full) {
    const record::Frame frame = *record::next_frame(rest);
    Result<void> taken;
    if (!frame.is_batch()) {
      taken = put_all(record::MessageReader::open(frame.message(), decompressor_), record::MessageRecord());
    } else if (frame.batch().is_control()) {
      auto control = dirty_transactions_.read_control(frame.batch());
      if (!control) taken = fail(std::move(control.error()));
    } else if (!dirty_transactions_.read_data(frame.batch())) {
      taken = put_all(record::RecordReader::open(frame.batch(), decompressor_), record::RecordView());
    }
    if (!taken) return fail(std::move(taken.error()));
    if (!full && frame.last_offset() >= plan_.first_dirty) keys_->raise_latest(frame.last_offset());
  }
  // The rest of the dirty part waits for the next cleaning.
  if (full) dirty_at_ = plan_.segments.size();
  return step;
}

void CleanJob::map_is_complete() {
  source_.reset();
  stats_.map_utilization = keys_->utilization();
  last_records_ = log_->last_records();
  for (const auto& segment : plan_.segments) {
    if (segment->base_offset() < plan_.first_dirty) old_horizon_ms_ = segment->modified_ms() - config_->delete_retention_ms;
  }
  filter_.emplace(FilterRules{*keys_, last_records_, clock_.wall_ms(), config_->delete_retention_ms, plan_.end});
  phase_ = Phase::kWriteAgain;
}

// Neighbours whose sizes together are those of one segment at most; offsets in it must stay within 2^31 of its base.
Result<void> CleanJob::make_groups() {
  const Offset end = keys_->latest() + 1;
  int64_t size = 0, index = 0, times = 0;
  for (size_t i = 0; i < plan_.segments.size(); ++i) {
    const auto& segment = plan_.segments[i];
    if (segment->base_offset() >= end) break;
    auto index_bytes = segment->offset_index_bytes();
    auto time_bytes = segment->time_index_bytes();
    if (!index_bytes) return fail(std::move(index_bytes.error()));
    if (!time_bytes) return fail(std::move(time_bytes.error()));
    const Offset last = (i + 1 < plan_.segments.size() ? plan_.segments[i + 1]->base_offset() : plan_.end) + -1;
    const bool joins = !groups_.empty() && size + segment->size() <= config_->segment_bytes && index + *index_bytes <= config_->segment_index_bytes &&
                       times + *time_bytes <= config_->segment_index_bytes &&
                       (segment->size() == 0 || last - groups_.back().front()->base_offset() <= INT32_MAX);
    if (!joins) {
      groups_.emplace_back();
      size = index = times = 0;
    }
    groups_.back().push_back(segment);
    size += segment->size();
    index += *index_bytes;
    times += *time_bytes;
  }
  return {};
}

Result<void> CleanJob::start_source() {
  const Group& group = groups_.front();
  const auto& segment = group[group_at_];
  const Offset base = segment->base_offset();
  auto after = std::upper_bound(plan_.segments.begin(), plan_.segments.end(), base, [](Offset o, const auto& s) { return o < s->base_offset(); });
  const Offset next = after == plan_.segments.end() ? plan_.end : (*after)->base_offset();
  auto aborted = log_->aborted_transactions(base, next);
  if (!aborted) return fail(std::move(aborted.error()));
  filter_->start_segment(*aborted, segment->modified_ms() > old_horizon_ms_);
  auto file = segment->file();
  if (!file) return fail(std::move(file.error()));
  source_ = std::make_unique<Source>(segment, std::move(*file), 0, limits_.buffer_bytes);
  return {};
}

Result<void> CleanJob::write_out(Bytes& out) {
  if (out.empty()) return {};
  if (output_->size() + static_cast<int64_t>(out.size()) > INT32_MAX) {
    return fail(ErrorCode::kMessageTooLarge, "segment " + segment_name(output_->base_offset()) + " would exceed 2 GiB");
  }
  // An index that has no room goes without entries; it is still right.
  if (auto written = output_->write(out, *config_); !written) return fail(disk_error(std::move(written.error())));
  ByteView rest = out;
  while (!rest.empty()) {
    const record::Frame frame = *record::next_frame(rest);
    auto noted = output_->note_batch(frame.last_offset(), static_cast<int64_t>(frame.size_in_bytes()), frame.max_timestamp(), *config_, 0);
    if (!noted) return fail(disk_error(std::move(noted.error())));
  }
  for (const AbortedTransaction& aborted : filter_->take_aborted()) {
    if (auto noted = output_->note_aborted(aborted); !noted) return fail(disk_error(std::move(noted.error())));
  }
  stats_.bytes_written += static_cast<int64_t>(out.size());
  return {};
}

Result<CleanJob::Step> CleanJob::write_again() {
  if (groups_.empty()) {
    phase_ = Phase::kFinished;
    if (auto noted = log_->set_cleaned_offset(keys_->latest() + 1, plan_.truncations); !noted) return fail(std::move(noted.error()));
    return Step{Outcome::kDone, 0};
  }
  const Group& group = groups_.front();
  if (output_ == nullptr) {
    auto created = log_->create_cleaned(group.front()->base_offset());
    if (!created) return fail(disk_error(std::move(created.error())));
    output_ = std::move(*created);
    output_differs_ = group.size() > 1;
    group_at_ = 0;
  }
  if (source_ == nullptr) {
    if (group_at_ == group.size()) return finish_group();
    if (auto started = start_source(); !started) return fail(std::move(started.error()));
  }
  if (source_->at_end()) {
    source_.reset();
    ++group_at_;
    return Step{};
  }
  auto chunk = source_->next();
  if (!chunk) return fail(std::move(chunk.error()));
  const int64_t written_before = stats_.bytes_written;
  out_.clear();
  ByteView rest = *chunk;
  while (!rest.empty()) {
    const record::Frame frame = *record::next_frame(rest);
    const size_t before = out_.size();
    auto differs = filter_->filter(frame, out_);
    if (!differs) return fail(std::move(differs.error()));
    output_differs_ |= *differs;
    const size_t grown = out_.size() - before;
    if (grown > frame.size_in_bytes() && grown > static_cast<size_t>(std::max(config_->max_message_bytes, 0))) {
      log::warn("storage", "{}: the {} has {} bytes after compaction, more than max.message.bytes", log_->name().to_string(), frame.where(), grown);
    }
    // A batch may grow when it is made again: no more of them in memory than a buffer holds.
    if (out_.size() >= static_cast<size_t>(limits_.buffer_bytes)) {
      if (auto written = write_out(out_); !written) return fail(std::move(written.error()));
      out_.clear();
    }
  }
  if (auto written = write_out(out_); !written) return fail(std::move(written.error()));
  stats_.bytes_read += static_cast<int64_t>(chunk->size());
  if (out_.capacity() > static_cast<size_t>(limits_.buffer_bytes) * 2) out_ = Bytes();
  return Step{Outcome::kMore, static_cast<int64_t>(chunk->size()) + stats_.bytes_written - written_before};
}

Result<CleanJob::Step> CleanJob::finish_group() {
  const Group group = std::move(groups_.front());
  groups_.pop_front();
  stats_.segments_before += static_cast<int>(group.size());
  ++stats_.segments_after;
  if (!output_differs_) {
    // One segment of which everything stays: so does its file.
    if (auto removed = output_->remove_files(); !removed) return fail(disk_error(std::move(removed.error())));
    output_.reset();
    return Step{};
  }
  auto finished = output_->become_inactive(*config_);
  if (finished) finished = output_->sync_log();
  if (finished) finished = output_->sync_indexes();
  // Retention and tombstones of old formats go by it.
  if (finished) finished = output_->set_modified(group.back()->modified_ms());
  if (!finished) return fail(disk_error(std::move(finished.error())));
  auto swapped = log_->replace_segments(group, output_, plan_.truncations);
  if (!swapped) return fail(std::move(swapped.error()));
  if (!*swapped) {
    abandon();
    return Step{Outcome::kLogChanged, 0};
  }
  output_.reset();
  return Step{};
}

}  // namespace odradek::storage
