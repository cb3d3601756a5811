#include "storage/files/leader_epoch_cache.h"

#include <algorithm>

#include "storage/files/checkpoint.h"

namespace odradek::storage {

bool LeaderEpochCache::assign(LeaderEpoch epoch, Offset start) {
  if (epoch.value < 0 || start.value < 0) return false;
  if (!entries_.empty() && epoch <= entries_.back().epoch && start >= entries_.back().start) return false;
  while (!entries_.empty() && (entries_.back().epoch >= epoch || entries_.back().start >= start)) entries_.pop_back();
  entries_.push_back({epoch, start});
  return true;
}

bool LeaderEpochCache::note_batch(LeaderEpoch epoch, Offset base, Offset last) {
  if (epoch.value < 0 || base.value < 0) return false;
  auto begins_above = [&](Offset offset) {
    return std::upper_bound(entries_.begin(), entries_.end(), offset, [](Offset o, const EpochEntry& e) { return o < e.start; });
  };
  auto first = begins_above(base), end = begins_above(std::max(base, last));
  while (first != entries_.begin() && std::prev(first)->epoch > epoch) --first;
  while (end != entries_.end() && end->epoch <= epoch) ++end;
  const bool known = first != entries_.begin() && std::prev(first)->epoch == epoch;
  if (known && first == end) return false;
  auto at = entries_.erase(first, end);
  if (!known) entries_.insert(at, {epoch, base});
  return true;
}

LeaderEpoch LeaderEpochCache::epoch_for(Offset offset) const {
  auto above = std::upper_bound(entries_.begin(), entries_.end(), offset, [](Offset o, const EpochEntry& e) { return o < e.start; });
  return above == entries_.begin() ? kNoLeaderEpoch : std::prev(above)->epoch;
}

std::pair<LeaderEpoch, Offset> LeaderEpochCache::end_offset_for(LeaderEpoch epoch, Offset log_end) const {
  constexpr std::pair<LeaderEpoch, Offset> kUnknown{kNoLeaderEpoch, Offset{-1}};
  if (epoch == kNoLeaderEpoch || entries_.empty()) return kUnknown;
  if (epoch == latest()) return {epoch, log_end};
  auto higher = std::upper_bound(entries_.begin(), entries_.end(), epoch, [](LeaderEpoch asked, const EpochEntry& e) { return asked < e.epoch; });
  if (higher == entries_.end()) return kUnknown;
  if (higher == entries_.begin()) return {epoch, higher->start};
  return {std::prev(higher)->epoch, higher->start};
}

bool LeaderEpochCache::truncate_from_end(Offset end) {
  size_t before = entries_.size();
  while (!entries_.empty() && entries_.back().start >= end) entries_.pop_back();
  return entries_.size() != before;
}

bool LeaderEpochCache::truncate_from_start(Offset start) {
  auto above = std::upper_bound(entries_.begin(), entries_.end(), start, [](Offset o, const EpochEntry& e) { return o < e.start; });
  if (above == entries_.begin()) return false;
  auto kept = std::prev(above);
  if (kept == entries_.begin() && kept->start == start) return false;
  kept->start = start;
  entries_.erase(entries_.begin(), kept);
  return true;
}

std::string LeaderEpochCache::encode() const {
  std::string text = "0\n" + std::to_string(entries_.size()) + "\n";
  for (const EpochEntry& entry : entries_) text += std::to_string(entry.epoch.value) + " " + std::to_string(entry.start.value) + "\n";
  return text;
}

Result<LeaderEpochCache> LeaderEpochCache::decode(ByteView content, const std::string& path) {
  LeaderEpochCache cache;
  int64_t last_epoch = -1, last_start = -1;
  auto parsed = parse_checkpoint(content, path, [&](std::string_view line) {
    CheckpointFields fields(line);
    int64_t epoch, start;
    if (!fields.number(epoch) || !fields.number(start) || !fields.end()) return false;
    if (epoch <= last_epoch || epoch > INT32_MAX || start < last_start || start < 0) return false;
    cache.entries_.push_back({{static_cast<int32_t>(epoch)}, {start}});
    last_epoch = epoch;
    last_start = start;
    return true;
  });
  if (!parsed) return fail(parsed.error());
  return cache;
}

}  // namespace odradek::storage
