#include "storage/log/producer_snapshots.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "storage/dir/log_dir.h"

namespace odradek::storage {
namespace {

constexpr int64_t kLargestSnapshot = 1 << 30;
constexpr int64_t kReplayedTail = 16 << 20;
constexpr size_t kMostTailSegments = 32;

}  // namespace

std::string snapshot_path(const std::string& folder, Offset offset) { return folder + "/" + segment_name(offset) + ".snapshot"; }

Result<void> load_producers(LogDir& dir, const std::string& folder, const std::vector<std::shared_ptr<Segment>>& segments, Offset log_start,
                            Offset upto, std::vector<Offset>& snapshots, ProducerStateManager& producers) {
  producers.clear();
  producers.set_end(log_start);
  while (!snapshots.empty() && snapshots.back() >= log_start) {
    const Offset newest = snapshots.back();
    std::string path = snapshot_path(folder, newest);
    if (newest <= upto) {
      auto content = base::read_file(dir.files(), path, kLargestSnapshot);
      if (!content && content.error().os_error != ENOENT && is_disk_failure(content.error())) return fail(std::move(content.error()));
      if (content && producers.load_snapshot(*content, newest)) break;
      log::warn("storage", "{} is not usable and goes", path);
    }
    if (auto removed = dir.files().remove(path); !removed) return removed;
    snapshots.pop_back();
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i]->base_offset() >= upto) break;
    if (i + 1 < segments.size() && segments[i + 1]->base_offset() <= producers.end()) continue;
    if (segments[i]->size() == 0 || producers.end() >= upto) continue;
    auto replayed = segments[i]->for_each_batch(producers.end(), [&](const BatchMeta& batch, const record::BatchView& whole) -> Result<void> {
      if (batch.last >= upto) return {};
      if (batch.header) {
        auto ended = whole ? producers.update(whole) : producers.update(batch.header, std::nullopt);
        if (ended) producers.end_transaction(*ended);
      }
      producers.set_end(batch.last + 1);
      return {};
    });
    if (!replayed) return replayed;
  }
  producers.set_end(upto);
  return {};
}

Result<void> replay_tail(const std::vector<std::shared_ptr<Segment>>& segments, Offset end, ProducerStateManager& producers) {
  std::vector<std::pair<Segment*, Offset>> parts;  // where each is read from; the newest first
  int64_t left = kReplayedTail;
  for (size_t i = segments.size(); i-- > 0 && left > 0 && parts.size() < kMostTailSegments;) {
    if (segments[i]->base_offset() >= end || segments[i]->size() == 0) continue;
    auto tail = segments[i]->tail_below(end, left);
    if (!tail) return fail(std::move(tail.error()));
    parts.emplace_back(segments[i].get(), tail->from);
    left -= tail->bytes;
  }
  for (; !parts.empty(); parts.pop_back()) {
    auto [segment, from] = parts.back();
    auto visit = [&](const BatchMeta& batch, const record::BatchView& whole) -> Result<void> {
      if (whole) {
        producers.update(whole);
      } else if (batch.header) {
        producers.update(batch.header, std::nullopt);
      }
      return {};
    };
    if (auto replayed = segment->for_each_batch(from, visit, end); !replayed) return replayed;
  }
  return {};
}

Result<void> write_snapshot(LogDir& dir, const std::string& folder, Offset offset, const ProducerStateManager& producers,
                            std::vector<Offset>& snapshots) {
  auto file = dir.files().open(snapshot_path(folder, offset), base::OpenMode::kTruncate);
  if (!file) return fail(std::move(file.error()));
  if (auto put = (*file)->pwrite(0, producers.encode_snapshot()); !put) {
    (void)dir.files().remove(snapshot_path(folder, offset));
    return put;
  }
  auto place = std::lower_bound(snapshots.begin(), snapshots.end(), offset);
  if (place == snapshots.end() || *place != offset) snapshots.insert(place, offset);
  return {};
}

}  // namespace odradek::storage
