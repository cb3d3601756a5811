#include "storage/log/log_loader.h"

#include <algorithm>

#include "base/log.h"
#include "storage/dir/log_dir.h"
#include "storage/files/checkpoint.h"
#include "storage/files/partition_metadata.h"
#include "storage/log/log_folder.h"

namespace odradek::storage {
namespace {

constexpr int64_t kLargestEpochFile = 64 << 20;

class Loader {
 public:
  Loader(const std::shared_ptr<LogDir>& dir, const std::string& folder, const LogConfig& config, const LoadOptions& options)
      : dir_(dir), files_(dir->files()), folder_(folder), config_(config), options_(options) {}

  Result<LoadedLog> run();

 private:
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  Result<void> open_segments();
  Result<bool> has_its_indexes(Segment& segment);
  Result<bool> find_clean_end();
  Result<void> recover();
  Result<void> recover_segment(size_t at);
  Result<void> drop_from(size_t at);
  Result<void> start_empty_at(Offset start);
  Result<void> load_epochs();
  Result<void> learn_first_epochs();
  Result<void> load_producer_state();

  const std::shared_ptr<LogDir>& dir_;
  base::FileSystem& files_;
  const std::string& folder_;
  const LogConfig& config_;
  const LoadOptions& options_;
  LogFolder found_;
  bool untouched_ = true;  // recovery found nothing behind the recovery point
  bool producers_at_end_ = false;  // recovery has brought them there
  LoadedLog log_;
};

Result<void> Loader::open_segments() {
  for (const auto& [base, kinds] : found_.segments) {
    auto status = files_.status(path(segment_name(base) + ".log"));
    if (!status) return fail(std::move(status.error()));
    log_.segments.push_back(std::make_shared<Segment>(
        dir_, folder_, base, Segment::Found{status->size, status->modified_ms, kinds.index, kinds.time_index, kinds.txn_index}));
  }
  return {};
}

// --- segments ---------------------------------------------------------------------------------------------------------------

Result<void> Loader::drop_from(size_t at) {
  for (size_t i = at; i < log_.segments.size(); ++i) {
    if (auto removed = log_.segments[i]->remove_files(); !removed) return removed;
  }
  if (at >= log_.segments.size()) return {};
  log_.segments.resize(at);
  // Durable at once: a new segment of the same name must not find the old one's records after a power cut.
  return files_.sync_directory(folder_);
}

Result<void> Loader::start_empty_at(Offset start) {
  if (auto dropped = drop_from(0); !dropped) return dropped;
  auto segment = Segment::create(dir_, folder_, start, config_, dir_->clock().wall_ms());
  if (!segment) return fail(std::move(segment.error()));
  log_.segments.push_back(std::move(*segment));
  log_.log_end = start;
  log_.directory_changed = true;
  return {};
}

// False: they have to be made again from the records. (A broken offset or time index is found, and made, when it is used.)
Result<bool> Loader::has_its_indexes(Segment& segment) {
  if (segment.size() > 0 && !segment.has_offset_index()) return false;
  auto sound = segment.txn_index().is_sound(segment.base_offset());
  if (sound && !*sound) log::warn("storage", "{}/{}.txnindex is broken", folder_, segment_name(segment.base_offset()));
  return sound;
}

// True: everything is as a clean stop leaves it, and log_end is known.
Result<bool> Loader::find_clean_end() {
  for (const auto& segment : log_.segments) {
    if (auto has = has_its_indexes(*segment); !has || !*has) return has;
  }
  auto end = log_.segments.back()->find_next_offset();
  if (!end) return fail(std::move(end.error()));
  if (!*end) return false;
  log_.log_end = **end;
  for (const auto& segment : log_.segments) segment->assume_synced(true);
  return true;
}

Result<void> Loader::recover_segment(size_t at) {
  Segment& segment = *log_.segments[at];
  auto visit = [&](const BatchMeta& batch, const record::BatchView& whole) -> Result<void> {
    if (!batch.header) return {};
    if (log_.epochs.note_batch(batch.leader_epoch, batch.base, batch.last)) log_.epochs_changed = true;
    auto ended = whole ? log_.producers.update(whole) : log_.producers.update(batch.header, std::nullopt);
    if (!ended) return {};
    Offset stable = log_.producers.last_stable_after(*ended);
    log_.producers.end_transaction(*ended);
    if (!ended->aborted) return {};
    return segment.note_aborted({ended->producer_id, ended->first_offset, ended->last_offset, stable});
  };
  auto recovered = segment.recover(options_.recovery_point, config_, visit);
  if (!recovered) return fail(std::move(recovered.error()));
  log_.log_end = recovered->next_offset;
  log_.producers.set_end(log_.log_end);
  if (recovered->truncated_bytes == 0 && log_.log_end <= options_.recovery_point) {
    segment.assume_records_synced();
    return {};
  }
  untouched_ = false;
  segment.assume_synced(false);
  // A file with unflushed data stays open. Where a recovery has more of them than the process may open, it does their flush itself.
  if (dir_->cache().is_overfull()) {
    if (auto synced = segment.sync_log(); !synced) return fail(std::move(synced.error()));
    if (auto synced = segment.sync_indexes(); !synced) return fail(std::move(synced.error()));
  }
  if (recovered->truncated_bytes > 0) {
    log::warn("storage", "{}/{}.log: {} bytes cut off at offset {}: {}", folder_, segment_name(segment.base_offset()), recovered->truncated_bytes,
              log_.log_end.value, recovered->reason);
    if (auto dropped = drop_from(at + 1); !dropped) return dropped;
  }
  return {};
}

Result<void> Loader::recover() {
  // The first segment with something that may not be on the disk, or without its index.
  size_t first = log_.segments.size() - 1;
  while (first > 0 && log_.segments[first]->base_offset() > options_.recovery_point) --first;
  if (first > 0 && log_.segments[first]->base_offset() == options_.recovery_point) {
    // All data before is on the disk, but perhaps not yet what closing the segment before did to its files.
    auto end = log_.segments[first - 1]->find_next_offset();
    if (!end) return fail(std::move(end.error()));
    if (!*end || **end > options_.recovery_point) --first;
  }
  for (size_t i = 0; i < first; ++i) {
    auto has = has_its_indexes(*log_.segments[i]);
    if (!has) return fail(std::move(has.error()));
    if (!*has) {
      first = i;
      break;
    }
    log_.segments[i]->assume_synced(i + 1 < first || log_.segments[first]->base_offset() < options_.recovery_point);
  }
  const Offset from = log_.segments[first]->base_offset();
  const bool with_index = log_.segments[first]->has_offset_index();
  // A snapshot between there and the recovery point was written of records that are still there.
  std::vector<Offset> later;
  while (!log_.snapshots.empty() && log_.snapshots.back() > from && log_.snapshots.back() <= options_.recovery_point) {
    later.push_back(log_.snapshots.back());
    log_.snapshots.pop_back();
  }
  // Epochs that begin in what is walked are found there again.
  std::vector<std::shared_ptr<Segment>> before(log_.segments.begin(), log_.segments.begin() + static_cast<ptrdiff_t>(first));
  auto loaded = load_producers(*dir_, folder_, before, log_.log_start, from, log_.snapshots, log_.producers);
  if (!loaded) return loaded;
  for (Offset offset : later) {
    auto place = std::lower_bound(log_.snapshots.begin(), log_.snapshots.end(), offset);
    if (place == log_.snapshots.end() || *place != offset) log_.snapshots.insert(place, offset);
  }
  for (size_t i = first; i < log_.segments.size(); ++i) {
    if (auto recovered = recover_segment(i); !recovered) return recovered;
    if (i + 1 < log_.segments.size()) {
      // Above the recovery point a segment begins where the one before ends; else the end of that one did not reach the disk. Compacted
      // segments end before; the cleaner first moves the recovery point beyond them (Kafka's does not).
      const Offset next = log_.segments[i + 1]->base_offset();
      if (next > log_.log_end && next > options_.recovery_point && next > options_.cleaned) {
        log::warn("storage", "{}: records {} to {} are missing: the log ends there", folder_, log_.log_end.value, next.value - 1);
        if (auto dropped = drop_from(i + 1); !dropped) return dropped;
        break;
      }
      if (auto wrote = write_snapshot(*dir_, folder_, log_.segments[i + 1]->base_offset(), log_.producers, log_.snapshots); !wrote) {
        if (!is_disk_full(wrote.error())) return wrote;
        // It only saves time at the next start: no reason to be without the log.
        log::warn("storage", "{}: no room for the producers' snapshot at {}", folder_, log_.segments[i + 1]->base_offset().value);
      }
    }
  }
  producers_at_end_ = true;
  // Where nothing lies behind the recovery point, the flush that set it made the names durable too.
  if (!untouched_ || first + 1 != log_.segments.size() || from >= options_.recovery_point || !with_index) log_.directory_changed = true;
  return {};
}

// --- epochs, producers ------------------------------------------------------------------------------------------------------

Result<void> Loader::load_epochs() {
  if (!found_.has_epochs) return {};
  std::string file = path(std::string(kLeaderEpochFile));
  auto content = base::read_file(files_, file, kLargestEpochFile);
  if (!content) return fail(std::move(content.error()));
  auto epochs = LeaderEpochCache::decode(*content, file);
  if (!epochs) return fail(std::move(epochs.error()));
  log_.epochs = std::move(*epochs);
  return {};
}

// The epochs of records that were deleted when their file was written, and are here again: the log start was not in its checkpoint yet, or
// the removal of their segment not on the disk. A leader that did not know these epochs would say that an older one ends behind them.
Result<void> Loader::learn_first_epochs() {
  const auto& known = log_.epochs.entries();
  if (known.empty() || known.front().start <= log_.log_start) return {};
  const Offset first_known = known.front().start;
  auto holder = std::upper_bound(log_.segments.begin(), log_.segments.end(), log_.log_start, [](Offset o, const auto& s) { return o < s->base_offset(); });
  if (holder != log_.segments.begin()) --holder;
  auto batch = (*holder)->find_batch(log_.log_start);
  if (!batch) return fail(std::move(batch.error()));
  if (!*batch || (*batch)->leader_epoch == kNoLeaderEpoch) return {};  // from before there were any
  for (; holder != log_.segments.end() && (*holder)->base_offset() < first_known; ++holder) {
    auto walked = (*holder)->for_each_batch(log_.log_start, [&](const BatchMeta& meta, const record::BatchView&) -> Result<void> {
      if (meta.header && log_.epochs.note_batch(meta.leader_epoch, meta.base, meta.last)) log_.epochs_changed = true;
      return {};
    });
    if (!walked) return walked;
  }
  return {};
}

Result<void> Loader::load_producer_state() {
  if (producers_at_end_) {
    // Snapshots beyond the end were of records that are gone.
    while (!log_.snapshots.empty() && log_.snapshots.back() > log_.log_end) {
      if (auto removed = files_.remove(snapshot_path(folder_, log_.snapshots.back())); !removed) return removed;
      log_.snapshots.pop_back();
    }
    return {};
  }
  return load_producers(*dir_, folder_, log_.segments, log_.log_start, log_.log_end, log_.snapshots, log_.producers);
}

Result<LoadedLog> Loader::run() {
  auto found = settle_folder(files_, folder_);
  if (!found) return fail(std::move(found.error()));
  found_ = std::move(*found);
  log_.directory_changed = found_.changed;
  if (auto opened = open_segments(); !opened) return fail(std::move(opened.error()));
  if (auto loaded = load_epochs(); !loaded) return fail(std::move(loaded.error()));
  if (found_.has_metadata) {
    auto id = read_partition_metadata(files_, folder_);
    if (!id) return fail(std::move(id.error()));
    log_.topic_id = *id;
  }
  log_.snapshots = found_.snapshots;

  log_.log_start = options_.log_start;
  bool clean = options_.clean;
  if (log_.segments.empty()) {
    if (auto started = start_empty_at(log_.log_start); !started) return fail(std::move(started.error()));
    clean = true;
  } else {
    log_.log_start = std::max(log_.log_start, log_.segments.front()->base_offset());
    if (clean) {
      auto is_clean = find_clean_end();
      if (!is_clean) return fail(std::move(is_clean.error()));
      clean = *is_clean;
    }
    if (!clean) {
      if (auto recovered = recover(); !recovered) return fail(std::move(recovered.error()));
    }
  }
  if (log_.log_end < log_.log_start) {
    log::warn("storage", "{}: the log ends at {}, below its start {}: it begins anew there", folder_, log_.log_end.value, log_.log_start.value);
    if (auto started = start_empty_at(log_.log_start); !started) return fail(std::move(started.error()));
    log_.epochs.clear();
    log_.epochs_changed = true;
    log_.producers.clear();
    producers_at_end_ = false;
  }
  // The killed process may have written it a moment ago.
  if (!clean && found_.has_metadata) log_.unsynced_files.push_back(path(std::string(kPartitionMetadataFile)));
  log_.recovery_point = clean ? log_.log_end : std::min(options_.recovery_point, log_.log_end);
  if (log_.epochs.truncate_from_end(log_.log_end)) log_.epochs_changed = true;
  if (log_.epochs.truncate_from_start(log_.log_start)) log_.epochs_changed = true;
  if (!clean) {
    if (auto learned = learn_first_epochs(); !learned) return fail(std::move(learned.error()));
  }

  // A snapshot that is of no segment's base is only worth something beyond the last one, as a clean stop leaves it.
  std::vector<Offset> snapshots;
  for (size_t i = 0; i < log_.snapshots.size(); ++i) {
    Offset offset = log_.snapshots[i];
    auto segment = std::lower_bound(log_.segments.begin(), log_.segments.end(), offset, [](const auto& s, Offset o) { return s->base_offset() < o; });
    bool of_segment = segment != log_.segments.end() && (*segment)->base_offset() == offset;
    bool newest = i + 1 == log_.snapshots.size() && offset > log_.segments.back()->base_offset();
    if (of_segment || newest) {
      snapshots.push_back(offset);
    } else if (auto removed = files_.remove(snapshot_path(folder_, offset)); !removed) {
      return fail(std::move(removed.error()));
    }
  }
  log_.snapshots = std::move(snapshots);
  if (auto loaded = load_producer_state(); !loaded) return fail(std::move(loaded.error()));
  log_.producers.expire(dir_->clock().wall_ms(), dir_->options().producer_id_expiration_ms);

  // Records were lost, and others may take their offsets: nothing counts as compacted.
  if (options_.cleaned <= log_.log_end) log_.cleaned = options_.cleaned;
  log_.high_watermark = std::clamp(options_.high_watermark, log_.log_start, log_.log_end);
  return std::move(log_);
}

}  // namespace

Result<LoadedLog> load_log(const std::shared_ptr<LogDir>& dir, const std::string& folder, const LogConfig& config, const LoadOptions& options) {
  return Loader(dir, folder, config, options).run();
}

Result<LoadedLog> create_log(const std::shared_ptr<LogDir>& dir, const std::string& folder, const LogConfig& config) {
  const bool is_new = !dir->files().exists(folder);
  if (auto made = dir->files().create_directories(folder); !made) return fail(std::move(made.error()));
  LoadedLog log;
  auto segment = Segment::create(dir, folder, Offset{0}, config, dir->clock().wall_ms());
  if (!segment) {
    // Nothing stays: the next try may be made in another dir, and a partition in two of them keeps the broker from starting.
    if (is_new) (void)dir->files().remove_all(folder);
    return fail(std::move(segment.error()));
  }
  log.segments.push_back(std::move(*segment));
  log.directory_changed = true;
  return log;
}

}  // namespace odradek::storage
