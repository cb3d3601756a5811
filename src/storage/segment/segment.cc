#include "storage/segment/segment.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "record/frame.h"
#include "record/record.h"
#include "record/walk.h"
#include "storage/dir/log_dir.h"
#include "storage/files/page.h"

namespace odradek::storage {
namespace {

constexpr int64_t kRecoveryBuffer = 1 << 20;
constexpr int64_t kLargestProbe = 1 << 20;       // how much a cold read asks to be loaded
constexpr int64_t kWorthSkipping = 1 << 15;      // bytes whose batches' heads take longer than a search in the index
constexpr int64_t kLargestControlBatch = 1 << 16;
constexpr OffsetPosition kSegmentStart{{0}, 0};

Result<Bytes> read_exactly(base::File& file, int64_t position, int64_t size) {
  Bytes bytes(static_cast<size_t>(size));
  auto got = file.pread(position, bytes);
  if (!got) return fail(std::move(got.error()));
  if (*got != bytes.size()) return fail(ErrorCode::kKafkaStorageError, "a segment is shorter than it was");
  return bytes;
}

// Sees the records of a batch pass by.
struct FirstRecord {
  record::BatchHeader batch;
  int64_t timestamp;
  Offset lowest;
  std::optional<TimestampOffset> found;

  void operator()(const record::RawRecord& record) {
    if (found) return;
    const int64_t time = batch.timestamp_type() == record::TimestampType::kLogAppendTime
                             ? batch.max_timestamp()
                             : record::wrapping_add(batch.base_timestamp(), record.timestamp_delta);
    const Offset offset{record::wrapping_add(batch.base_offset().value, record.offset_delta)};
    if (time >= timestamp && offset >= lowest) found = TimestampOffset{time, offset, batch.leader_epoch()};
  }
};

// The first record at or above `lowest` whose timestamp is at or after the given one.
Result<std::optional<TimestampOffset>> first_record(const record::Frame& frame, int64_t timestamp, Offset lowest) {
  static thread_local record::Decompressor decompressor;
  // In pieces: a small batch may hold as much as the broker has memory.
  if (frame.is_batch() && frame.batch().is_compressed() && frame.batch().count() > 0) {
    if (auto started = decompressor.start(frame.batch().codec(), frame.batch().records()); !started) return fail(std::move(started.error()));
    FirstRecord search{frame.batch(), timestamp, lowest, std::nullopt};
    if (auto walked = record::RecordStream(decompressor).walk(frame.batch().count(), search); !walked) return fail(std::move(walked.error()));
    return search.found;
  }
  auto search = [&](auto reader, auto record) -> Result<std::optional<TimestampOffset>> {
    if (!reader) return fail(std::move(reader.error()));
    for (;;) {
      auto more = reader->next(record);
      if (!more) return fail(std::move(more.error()));
      if (!*more) return std::nullopt;
      if (record.timestamp >= timestamp && record.offset >= lowest) return TimestampOffset{record.timestamp, record.offset, frame.leader_epoch()};
    }
  };
  if (frame.is_batch()) return search(record::RecordReader::open(frame.batch(), decompressor), record::RecordView());
  return search(record::MessageReader::open(frame.message(), decompressor), record::MessageRecord());
}

}  // namespace

Segment::Segment(std::shared_ptr<LogDir> dir, const std::string& folder, Offset base, const Found& found, const std::string& suffix)
    : dir_(std::move(dir)),
      base_(base),
      path_(folder + "/" + segment_name(base)),
      suffix_(suffix),
      log_(*dir_, path_ + ".log" + suffix, found.size),
      indexes_(*dir_, log_, path_, suffix, base, {found.offset_index, found.time_index, found.txn_index}),
      known_from_(found.size),
      modified_ms_(found.modified_ms),
      created_ms_(dir_->clock().wall_ms()) {}

Result<std::shared_ptr<Segment>> Segment::create(const std::shared_ptr<LogDir>& dir, const std::string& folder, Offset base, const LogConfig& config, int64_t now_ms,
                                                 const std::string& suffix) {
  auto segment = std::make_shared<Segment>(dir, folder, base, Found{.modified_ms = now_ms}, suffix);
  if (!suffix.empty()) {
    if (auto removed = segment->remove_files(); !removed) return fail(std::move(removed.error()));
  }
  segment->changed_ = true;
  if (auto made = segment->log_.create(config.preallocate ? config.segment_bytes : 0); !made) return fail(std::move(made.error()));
  if (auto made = segment->indexes_.create(config); !made) return fail(std::move(made.error()));
  return segment;
}

// --- append -----------------------------------------------------------------------------------------------------------------

Result<void> Segment::write(ByteView batches, const LogConfig& config) {
  // What note_batch needs comes first: when the bytes are written only a failed disk may stop it.
  if (auto ready = indexes_.make_ready(); !ready) return ready;
  return log_.write(batches, config.preallocate ? config.segment_bytes : 0);
}

Result<void> Segment::note_batch(Offset last, int64_t size, int64_t max_timestamp, const LogConfig& config, int64_t now_ms) {
  if (auto ready = indexes_.ensure(); !ready) return ready;
  const int64_t position = this->size();
  changed_ = true;
  if (position == 0) first_timestamp_ = max_timestamp;
  if (auto noted = indexes_.note(position, last, size, max_timestamp, config); !noted) return noted;
  modified_ms_.store(now_ms, std::memory_order_relaxed);
  log_.publish(position + size);
  return {};
}

Result<bool> Segment::should_roll(int64_t bytes, Offset last, int64_t max_timestamp, int64_t jitter_ms, const LogConfig& config, int64_t now_ms) {
  const int64_t size = this->size();
  if (last - base_ > INT32_MAX) return true;
  if (size == 0) return false;
  if (size > config.segment_bytes - bytes || size + bytes > INT32_MAX) return true;
  auto full = indexes_.full(config.segment_index_bytes);
  if (!full || *full) return full;

  if (!first_timestamp_) {
    auto file = this->file();
    if (!file) return fail(std::move(file.error()));
    BatchWalk walk((*file)->file(), 0, size, base_);
    auto first = walk.next();
    if (!first) return fail(std::move(first.error()));
    first_timestamp_ = *first ? (*first)->max_timestamp : kNoTimestamp;
  }
  int64_t age = *first_timestamp_ >= 0 && max_timestamp >= 0 ? max_timestamp - *first_timestamp_ : now_ms - created_ms_;
  return age > config.roll_ms() - jitter_ms;
}

Result<void> Segment::become_inactive(const LogConfig& config) {
  if (!changed_) return {};
  if (auto finished = indexes_.finish(config); !finished) return finished;
  changed_ = false;
  return log_.trim();
}

// --- read -------------------------------------------------------------------------------------------------------------------

Result<Segment::Range> Segment::cold_start() {
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  Range range;
  range.slice.generation = (*opened)->generation();
  range.slice.file = std::move(*opened);
  range.slice.size = std::min(size(), kPage);
  range.cold = range.found = true;
  known_from_.store(size(), std::memory_order_relaxed);
  return range;
}

Result<Segment::Range> Segment::read(Offset from, int64_t max_bytes, Offset upper_bound, bool at_least_one, bool only_cached) {
  only_cached = only_cached && size() > 0;
  if (only_cached) {
    auto cached = indexes_.are_cached();
    if (!cached) return fail(std::move(cached.error()));
    if (!*cached) return cold_start();
  }
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto start = indexes_.offset_index().lookup(from, only_cached);
  if (!start && only_cached && start.error().os_error == EAGAIN) return cold_start();
  if (!start) return fail(std::move(start.error()));
  auto range = read_from(*start, from, max_bytes, upper_bound, at_least_one, only_cached);
  if (!range && may_be_the_index(range.error(), *start)) range = read_from(kSegmentStart, from, max_bytes, upper_bound, at_least_one, only_cached);
  return range;
}

std::optional<OffsetPosition> Segment::end_of_known(int64_t from, int64_t limit) {
  if (limit - from < kWorthSkipping || from < known_from_.load(std::memory_order_relaxed)) return std::nullopt;
  auto found = indexes_.offset_index().batch_before(limit);
  if (!found || !*found || (*found)->position <= from) return std::nullopt;  // a broken index is for the walk to meet
  return *found;
}

Result<Segment::Range> Segment::read_from(OffsetPosition start, Offset from, int64_t max_bytes, Offset upper_bound, bool at_least_one,
                                          bool only_cached) {
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::SharedFile& shared = **opened;
  Range range;
  // Generation before size: a truncation lowers the size first, so a slice of the new generation never reaches beyond it.
  range.slice.generation = shared.generation();
  range.next_offset = from;
  const int64_t end = size();
  int64_t cached_end = start.position;
  if (only_cached && start.position < end) {
    int64_t wanted = std::min({end - start.position, std::max<int64_t>(max_bytes, 1), kLargestProbe});
    if (!shared.file().resident(start.position, wanted)) {
      range.slice.file = std::move(*opened);
      range.slice.position = start.position;
      range.slice.size = wanted;
      range.cold = range.found = true;
      known_from_.store(end, std::memory_order_relaxed);
      return range;
    }
    cached_end += wanted;
  }
  BatchWalk walk(shared.file(), start.position, end, base_, first_at_most(start));
  int64_t total = 0;
  for (;;) {
    auto next = walk.next();
    if (!next) {
      if (total == 0) return fail(ErrorCode::kCorruptMessage, segment_name(base_) + ".log, " + next.error().what);
      log::error("storage", "{}.log is broken at {}", segment_name(base_), next.error().what);
      break;
    }
    if (!*next) break;
    const BatchMeta& batch = **next;
    if (batch.last < from) continue;
    range.found = true;
    if (batch.last >= upper_bound) break;
    if (total + batch.size > max_bytes && !(total == 0 && at_least_one)) break;
    if (total == 0) range.slice.position = batch.position;
    const bool first = total == 0;
    total += batch.size;
    range.next_offset = batch.last + 1;
    if (!first) continue;
    auto known = end_of_known(walk.position(), std::min(cached_end, range.slice.position + max_bytes));
    if (!known || known->offset >= upper_bound) continue;
    BatchWalk behind(shared.file(), known->position, end, range.next_offset, known->offset);
    if (auto next_known = behind.next(); !next_known || !*next_known || (*next_known)->last != known->offset) continue;
    total = known->position - range.slice.position;
    walk.skip_to(known->position, known->offset);
  }
  range.slice.size = total;
  range.slice.file = std::move(*opened);
  return range;
}

Result<std::optional<BatchMeta>> Segment::find_batch(Offset offset) {
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  return indexes_.walk_from(offset, (*opened)->file(), [&](BatchWalk& walk) -> Result<std::optional<BatchMeta>> {
    for (;;) {
      auto batch = walk.next();
      if (!batch) return fail(std::move(batch.error()));
      if (!*batch) return std::nullopt;
      if ((*batch)->last < offset) continue;
      (*batch)->header = {};
      return *batch;
    }
  });
}

Result<int64_t> Segment::largest_timestamp() {
  auto largest = max_timestamp();
  if (!largest) return fail(std::move(largest.error()));
  return largest->timestamp >= 0 ? largest->timestamp : modified_ms();
}

Result<int64_t> Segment::first_batch_timestamp() {
  if (const int64_t known = first_batch_timestamp_.load(std::memory_order_relaxed); known != kNotRead) return known;
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  BatchWalk walk((*opened)->file(), 0, size(), base_);
  auto first = walk.next();
  if (!first) return fail(std::move(first.error()));
  const int64_t timestamp = *first ? (*first)->max_timestamp : kNoTimestamp;
  first_batch_timestamp_.store(timestamp, std::memory_order_relaxed);
  return timestamp;
}

Result<int64_t> Segment::offset_index_bytes() {
  auto count = indexes_.offset_index().file().count();
  if (!count) return fail(std::move(count.error()));
  return int64_t{*count} * OffsetIndex::kEntrySize;
}

Result<int64_t> Segment::time_index_bytes() {
  auto count = indexes_.time_index().file().count();
  if (!count) return fail(std::move(count.error()));
  return int64_t{*count} * TimeIndex::kEntrySize;
}

Result<std::optional<TimestampOffset>> Segment::find_timestamp(int64_t timestamp, Offset lowest) {
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto near = indexes_.time_index().lookup(timestamp);
  if (!near) return fail(std::move(near.error()));
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::File& log = (*opened)->file();
  return indexes_.walk_from(std::max(near->offset, lowest), log, [&](BatchWalk& walk) -> Result<std::optional<TimestampOffset>> {
    for (;;) {
      auto batch = walk.next();
      if (!batch) return fail(std::move(batch.error()));
      if (!*batch) return std::nullopt;
      if ((*batch)->max_timestamp < timestamp || (*batch)->last < lowest) continue;
      auto bytes = read_exactly(log, (*batch)->position, (*batch)->size);
      if (!bytes) return fail(std::move(bytes.error()));
      auto found = first_record(record::Frame(*bytes), timestamp, lowest);
      if (!found || *found) return found;
    }
  });
}

// --- truncate, flush, drop --------------------------------------------------------------------------------------------------

Result<void> Segment::truncate_to(Offset offset) {
  auto first = find_batch(offset);
  if (!first) return fail(std::move(first.error()));
  if (!*first) return {};
  const BatchMeta& batch = **first;
  auto file = log_.cut_to(batch.position);
  if (!file) return fail(std::move(file.error()));
  changed_ = true;
  first_batch_timestamp_.store(kNotRead, std::memory_order_relaxed);
  if (batch.position == 0) {
    first_timestamp_.reset();
    created_ms_ = dir_->clock().wall_ms();
  }
  return indexes_.truncate_to(batch.base, (*file)->file());
}

void Segment::assume_records_synced() {
  log_.assume_synced(true);
  indexes_.assume_synced(false);
}

void Segment::assume_synced(bool synced) {
  log_.assume_synced(synced);
  indexes_.assume_synced(synced);
}

Result<void> Segment::mark_deleted() {
  auto renamed = change_suffix(".deleted");
  if (!renamed && renamed.error().os_error == ENOENT) return {};
  return renamed;
}

Result<void> Segment::change_suffix(const std::string& suffix) {
  base::MutexLock lock(names_mutex_);
  if (suffix_ == suffix) return {};
  if (auto renamed = log_.move_to(path_ + ".log" + suffix); !renamed) return renamed;
  suffix_ = suffix;
  return indexes_.move_to(path_, suffix_);
}

Result<void> Segment::set_modified(int64_t modified_ms) {
  base::MutexLock lock(names_mutex_);
  modified_ms_.store(modified_ms, std::memory_order_relaxed);
  return dir_->files().set_modified(path_ + ".log" + suffix_, modified_ms);
}

Result<void> Segment::remove_files() {
  base::MutexLock lock(names_mutex_);
  Result<void> result;
  for (const char* kind : {".log", ".index", ".timeindex", ".txnindex"}) {
    auto removed = dir_->files().remove(path_ + kind + suffix_);
    if (!removed && result) result = std::move(removed);
  }
  return result;
}

void Segment::renamed_folder(const std::string& folder) {
  base::MutexLock lock(names_mutex_);
  path_ = folder + "/" + segment_name(base_);
  log_.renamed_to(path_ + ".log" + suffix_);
  indexes_.renamed_to(path_, suffix_);
}

// --- recovery ---------------------------------------------------------------------------------------------------------------

Result<Segment::Recovered> Segment::recover(Offset check_crc_from, const LogConfig& config, const Visit& visit) {
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::File& file = (*opened)->file();
  auto file_size = file.size();
  if (!file_size) return fail(std::move(file_size.error()));
  if (auto begun = indexes_.begin_rewrite(); !begun) return fail(std::move(begun.error()));
  log_.rewind();
  first_timestamp_.reset();
  const int64_t modified_ms = this->modified_ms();

  Recovered result;
  result.next_offset = base_;
  Bytes buffer;
  int64_t buffer_at = 0, buffer_size = 0;  // what of the file stands in it
  auto bytes_at = [&](int64_t position, int64_t size) -> Result<ByteView> {
    if (position < buffer_at || position + size > buffer_at + buffer_size) {
      buffer.resize(static_cast<size_t>(std::min(std::max(size, kRecoveryBuffer), *file_size - position)));
      auto got = file.pread(position, buffer);
      if (!got) return fail(std::move(got.error()));
      buffer_at = position;
      buffer_size = static_cast<int64_t>(*got);
    }
    int64_t there = std::min(size, buffer_at + buffer_size - position);
    return ByteView(buffer.data() + (position - buffer_at), static_cast<size_t>(std::max<int64_t>(there, 0)));
  };

  BatchWalk walk(file, 0, *file_size, base_);
  int64_t good = 0;
  while (good < *file_size) {
    auto next = walk.next();
    if (!next) {
      if (next.error().code != ErrorCode::kCorruptMessage) return fail(std::move(next.error()));
      result.reason = next.error().what;
      break;
    }
    if (!*next) {
      result.reason = "position " + std::to_string(good) + ": a batch is cut off";
      break;
    }
    BatchMeta batch = **next;
    if (batch.last - base_ > INT32_MAX) {
      result.reason = "position " + std::to_string(good) + ": offset " + std::to_string(batch.last.value) + " is out of the segment's range";
      break;
    }
    record::BatchView whole;
    const bool check_crc = batch.last >= check_crc_from;
    if (check_crc || (batch.header && batch.header.is_control() && batch.size <= kLargestControlBatch)) {
      auto bytes = bytes_at(batch.position, batch.size);
      if (!bytes) return fail(std::move(bytes.error()));
      if (static_cast<int64_t>(bytes->size()) != batch.size || (check_crc && !record::Frame(*bytes).crc_matches())) {
        result.reason = "position " + std::to_string(good) + ": the CRC of the batch at offset " + std::to_string(batch.base.value) + " is wrong";
        break;
      }
      if (batch.magic == record::kMagicV2) whole = record::BatchView(*bytes);
    }
    if (visit) {
      if (auto seen = visit(batch, whole); !seen) return fail(std::move(seen.error()));
    }
    if (auto noted = note_batch(batch.last, batch.size, batch.max_timestamp, config, modified_ms); !noted) return fail(std::move(noted.error()));
    good += batch.size;
    result.next_offset = batch.last + 1;
  }
  if (good < *file_size) {
    result.truncated_bytes = *file_size - good;
    // Durable at once: the offsets are given again, and an old batch must not come back in their place.
    if (auto cut = file.truncate(good); !cut) return fail(std::move(cut.error()));
    if (auto synced = file.sync_data(); !synced) return fail(std::move(synced.error()));
  }
  if (auto closed = become_inactive(config); !closed) return fail(std::move(closed.error()));
  if (auto ended = indexes_.trim(); !ended) return fail(std::move(ended.error()));  // if there was no batch
  return result;
}

Result<std::optional<Offset>> Segment::find_next_offset() {
  if (size() == 0) return base_;
  auto last = indexes_.offset_index().last();
  if (!last) {
    if (last.error().code == ErrorCode::kCorruptMessage) return std::nullopt;
    return fail(std::move(last.error()));
  }
  if (last->position < 0 || last->position >= size() || last->offset < base_) return std::nullopt;
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  BatchWalk walk((*opened)->file(), last->position, size(), base_);
  Offset next = base_;
  for (;;) {
    auto batch = walk.next();
    if (!batch) {
      if (batch.error().code == ErrorCode::kCorruptMessage) return std::nullopt;
      return fail(std::move(batch.error()));
    }
    if (!*batch) break;
    next = (*batch)->last + 1;
  }
  if (walk.position() != size()) return std::nullopt;
  return next;
}

Result<void> Segment::for_each_batch(Offset from, const Visit& visit, Offset upto) {
  if (auto ready = indexes_.ensure(); !ready) return ready;
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::File& file = (*opened)->file();
  return indexes_.walk_from(from, file, [&](BatchWalk& walk) -> Result<void> {
    for (;;) {
      auto next = walk.next();
      if (!next) return fail(std::move(next.error()));
      if (!*next) return {};
      const BatchMeta& batch = **next;
      if (batch.last < from) continue;
      if (batch.base >= upto) return {};
      Bytes body;
      record::BatchView whole;
      if (batch.header && batch.header.is_control() && batch.size <= kLargestControlBatch) {
        auto bytes = read_exactly(file, batch.position, batch.size);
        if (!bytes) return fail(std::move(bytes.error()));
        body = std::move(*bytes);
        whole = record::BatchView(body);
      }
      if (auto seen = visit(batch, whole); !seen) return seen;
    }
  });
}

Result<Segment::Tail> Segment::tail_below(Offset offset, int64_t bytes) {
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto end = indexes_.offset_index().lookup(offset);
  if (!end) return fail(std::move(end.error()));
  Result<std::optional<OffsetPosition>> start;
  if (end->position > bytes) start = indexes_.offset_index().batch_before(end->position - bytes, false);
  if (!start) return fail(std::move(start.error()));
  if (!*start) return Tail{base_, end->position};
  return Tail{(*start)->offset, end->position - (*start)->position};
}

}  // namespace odradek::storage
