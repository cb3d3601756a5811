#include "mirror/copying/partition.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace odradek::mirror {

namespace {
constexpr int64_t kMostOutgoingBytes = 32 << 20;  // of one partition: then it is not polled
constexpr int64_t kFirstPause_ns = 50'000'000, kLongestPause_ns = 5'000'000'000;
}  // namespace

std::optional<Partition::Task> Partition::poll() {
  base::MutexLock lock(mutex_);
  if (progress_.state != Progress::State::kRunning || outgoing_bytes_ > kMostOutgoingBytes) return std::nullopt;
  auto fetch = plan_.poll();
  if (!fetch) return std::nullopt;
  return task_of(*fetch);
}

std::optional<Partition::Task> Partition::next_range() {
  base::MutexLock lock(mutex_);
  if (progress_.state != Progress::State::kRunning || outgoing_bytes_ > kMostOutgoingBytes) return std::nullopt;
  auto fetch = plan_.next_range();
  if (!fetch) return std::nullopt;
  return task_of(*fetch);
}

Partition::Task Partition::task_of(const FetchTask& fetch) const {
  return {fetch, generation_, fetch.from == copied_ ? map_.epoch_before(copied_) : kNoLeaderEpoch};
}

void Partition::fetch_failed(const Task& task) {
  base::MutexLock lock(mutex_);
  if (task.generation == generation_) plan_.failed(task.fetch.range);
}

bool Partition::fetched(const Task& task, Chunk chunk, Offset limit) {
  std::string why;
  {
    base::MutexLock lock(mutex_);
    if (task.generation != generation_) return false;
    auto taken = plan_.answered(task.fetch, std::move(chunk), limit);
    if (taken) {
      progress_.source_end = std::max(progress_.source_end, plan_.limit());
      process();
      return has_output_.load(std::memory_order_relaxed);
    }
    why = std::move(taken.error().what);
  }
  lose(task.generation, "the source's answer cannot be read: " + why);
  return false;
}

bool Partition::follows(const Chunk& chunk, const Copied& copied) {
  const LeaderEpoch known = map_.epoch_before(copied_);
  if (known == kNoLeaderEpoch || copied.epochs.empty() || copied.epochs.front().epoch == known) return true;
  if (chunk.compared || compared_at_ == copied_) return true;
  plan_.reset(copied_);  // asks once more from here; what was asked for ahead is dropped
  return false;
}

void Partition::process() {
  while (auto chunk = plan_.take()) {
    auto copied = copier_.copy(chunk->frames, copied_, chunk->aborted);
    if (!copied) {
      // A bit that flipped on its way is not there when it is fetched again; one that flipped on the source's disk stays.
      progress_.why = "the source's records at " + std::to_string(copied_.value) + " cannot be read: " + copied.error().what;
      log::error("mirror", "{}: {}", name.to_string(), progress_.why);
      drop();
      return;
    }
    if (!follows(*chunk, *copied)) break;
    bool new_epochs = false;
    for (const EpochPiece& piece : copied->epochs) new_epochs |= map_.note_epoch(piece.epoch, piece.first, piece.last);
    if (auto acknowledged = map_.source_at(progress_.target)) map_.forget_epochs_below(*acknowledged);
    if (new_epochs && !map_.empty()) ticket_ = announce_(name, map_, map_.last_chunk());
    progress_.rebuilt += copied->rebuilt;
    for (CopiedBatch& batch : copied->batches) {
      Offset next = batch.pieces.back().source + batch.pieces.back().count;
      enqueue(std::move(batch), chunk->owner, next);
    }
    copied_ = std::max(copied_, copied->next);
    if (outgoing_.empty() && on_the_way_ == 0) {
      progress_.source = copied_;  // what was left out needs no acknowledgement
    } else if (!outgoing_.empty()) {
      outgoing_.back().source_next = copied_;
    }
  }
  has_output_.store(!outgoing_.empty(), std::memory_order_release);
}

void Partition::enqueue(CopiedBatch batch, std::shared_ptr<void> owner, Offset source_next) {
  bool changed = false;
  int64_t first_changed = 0;
  Offset at = place_;
  for (const Piece& piece : batch.pieces) {
    if (map_.extend(piece.source, at, piece.count) && !changed) {
      first_changed = map_.last_chunk();
      changed = true;
    }
    at = at + piece.count;
  }
  if (changed) ticket_ = announce_(name, map_, first_changed);
  seal(batch.bytes, identity_.producer_id, identity_.epoch, sequence_at(place_));
  Outgoing out;
  out.bytes = batch.bytes;
  out.owner = batch.owned ? std::shared_ptr<void>(std::shared_ptr<Bytes>(std::move(batch.owned))) : std::move(owner);
  out.count = batch.count;
  out.target = place_;
  out.source_next = source_next;
  out.ticket = ticket_;
  out.generation = generation_;
  out.at_ns = clock_.monotonic_ns();
  outgoing_bytes_ += static_cast<int64_t>(out.bytes.size());
  outgoing_.push_back(std::move(out));
  place_ = at;
}

std::optional<Partition::Outgoing> Partition::next_batch(uint64_t durable) {
  base::MutexLock lock(mutex_);
  if (progress_.state != Progress::State::kRunning || outgoing_.empty() || outgoing_.front().ticket > durable || (!known_ && on_the_way_ > 0)) return std::nullopt;
  Outgoing batch = std::move(outgoing_.front());
  outgoing_.pop_front();
  outgoing_bytes_ -= static_cast<int64_t>(batch.bytes.size());
  ++on_the_way_;
  has_output_.store(!outgoing_.empty(), std::memory_order_release);
  return batch;
}

void Partition::acknowledged(const Outgoing& batch, Offset base_offset, Offset log_start) {
  {
    base::MutexLock lock(mutex_);
    if (batch.generation != generation_) return;
    --on_the_way_;
    if (base_offset == batch.target) {
      known_ = true;
      former_map_.reset();
      if (log_start.value > 0) map_.forget_below(log_start);
      failures_ = 0;
      progress_.why.clear();
      progress_.source = outgoing_.empty() && on_the_way_ == 0 ? copied_ : batch.source_next;
      progress_.target = batch.target + batch.count;
      progress_.records += batch.count;
      progress_.bytes += static_cast<int64_t>(batch.bytes.size());
      return;
    }
  }
  end("another producer writes to the target: a batch that belongs at offset " + std::to_string(batch.target.value) + " lies at " + std::to_string(base_offset.value));
}

void Partition::out_of_place(const Outgoing& batch, const std::string& why) {
  {
    base::MutexLock lock(mutex_);
    if (batch.generation == generation_ && !known_ && former_map_) {
      map_ = std::move(*former_map_);
      former_map_.reset();
      map_went_back_ = true;
    }
  }
  lose(batch.generation, why);
}

void Partition::drop() {
  progress_.state = Progress::State::kLost;
  has_output_.store(false, std::memory_order_release);
  ++generation_;
  outgoing_.clear();
  outgoing_bytes_ = 0;
  on_the_way_ = 0;
  known_ = false;
  plan_.reset(copied_);  // lets go what was fetched ahead
  not_before_ns_ = clock_.monotonic_ns() + std::min(kLongestPause_ns, kFirstPause_ns << std::min(failures_++, 10));
}

void Partition::lose(uint64_t generation, const std::string& why) {
  base::MutexLock lock(mutex_);
  if ((generation != 0 && generation != generation_) || progress_.state == Progress::State::kFailed) return;
  progress_.why = why;
  drop();
  if (failures_ > 3) log::warn("mirror", "{}: {}", name.to_string(), why);
}

void Partition::end(const std::string& why) {
  base::MutexLock lock(mutex_);
  if (progress_.state == Progress::State::kFailed) return;
  drop();
  progress_.state = Progress::State::kFailed;
  progress_.why = why;
  log::error("mirror", "{} is not copied any more: {}", name.to_string(), why);
}

std::optional<int64_t> Partition::lost_until() const {
  base::MutexLock lock(mutex_);
  if (progress_.state != Progress::State::kLost) return std::nullopt;
  return not_before_ns_;
}

void Partition::set_leaders(BrokerId source, BrokerId target) {
  source_leader = source.value;
  target_leader = target.value;
  if (target == kNoBroker && progress().state == Progress::State::kRunning) lose(0, "the partition has no leader on the target");
}

void Partition::place(Offset source, Offset target) {
  base::MutexLock lock(mutex_);
  if (progress_.state != Progress::State::kLost) return;
  ++generation_;
  // Runs behind this place were announced and, as far as can be seen, not written. They stay: what is still on its way lies by them, and
  // the same records of the source give the same runs again.
  if (!map_.empty() && target < map_.first().target) map_ = map_.begun_anew();
  former_map_ = map_;
  if (map_went_back_) ticket_ = announce_(name, map_, map_.first_chunk());
  map_went_back_ = false;
  copied_ = compared_at_ = source;
  place_ = target;
  progress_.source = source;
  progress_.target = target;
  progress_.source_end = std::max(progress_.source_end, source);
  progress_.state = Progress::State::kRunning;
  progress_.why.clear();
  plan_.reset(source);
}

void Partition::set_topic_id(const std::string& id) {
  base::MutexLock lock(mutex_);
  if (id.empty() || id == map_.topic_id()) return;
  if (!map_.topic_id().empty()) {
    made_anew_ = true;
    progress_.why = "the topic was made anew on the source";
    progress_.source = progress_.source_end = {-1};
    log::warn("mirror", "{}: {}; it is copied from its beginning", name.to_string(), progress_.why);
    if (progress_.state != Progress::State::kFailed) drop();
  }
  map_.set_topic_id(id);
  former_map_.reset();
}

bool Partition::made_anew() const {
  base::MutexLock lock(mutex_);
  return made_anew_;
}

OffsetMap Partition::map() const {
  base::MutexLock lock(mutex_);
  return map_;
}
void Partition::set_map(OffsetMap map) {
  base::MutexLock lock(mutex_);
  map_ = std::move(map);
}
void Partition::forget_below(Offset target_start) {
  base::MutexLock lock(mutex_);
  map_.forget_below(target_start);
}
Progress Partition::progress() const {
  base::MutexLock lock(mutex_);
  Progress progress = progress_;
  progress.runs = map_.size();
  return progress;
}
void Partition::set_source_end(Offset end) {
  base::MutexLock lock(mutex_);
  progress_.source_end = std::max(progress_.source_end, end);
}
std::optional<Offset> Partition::translate(Offset source) const {
  base::MutexLock lock(mutex_);
  if (progress_.source.value < 0) return std::nullopt;
  // Behind what has arrived: where the next record will lie.
  if (source >= progress_.source) return progress_.target;
  auto target = map_.target_at(source);
  return target ? std::optional(std::min(*target, progress_.target)) : std::optional(progress_.target);
}

}  // namespace odradek::mirror
