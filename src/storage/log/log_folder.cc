#include "storage/log/log_folder.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "storage/files/checkpoint.h"
#include "storage/files/partition_metadata.h"
#include "storage/segment/batch_walk.h"
#include "storage/segment/log_file.h"

namespace odradek::storage {
namespace {

constexpr size_t kNameDigits = 20;

// "00000000000000000042.log.swap" → base 42, kind ".log", state ".swap".
struct SegmentFile {
  Offset base{0};
  std::string kind, state;
};

std::optional<SegmentFile> parse_name(const std::string& name) {
  if (name.size() <= kNameDigits || name[kNameDigits] != '.') return std::nullopt;
  SegmentFile file;
  auto [end, error] = std::from_chars(name.data(), name.data() + kNameDigits, file.base.value);
  if (error != std::errc() || end != name.data() + kNameDigits || file.base.value < 0) return std::nullopt;
  std::string rest = name.substr(kNameDigits);
  for (const char* state : {".deleted", ".cleaned", ".swap"}) {
    if (rest.ends_with(state)) {
      file.state = state;
      rest.resize(rest.size() - std::char_traits<char>::length(state));
      break;
    }
  }
  file.kind = rest;
  return file;
}

Result<Offset> end_of_swap(base::FileSystem& files, const std::string& path, Offset base) {
  auto file = files.open(path, base::OpenMode::kRead);
  if (!file) return fail(std::move(file.error()));
  auto size = (*file)->size();
  if (!size) return fail(std::move(size.error()));
  BatchWalk walk(**file, 0, *size, base);
  Offset next = base;
  for (;;) {
    auto batch = walk.next();
    if (!batch) return fail(std::move(batch.error()));
    if (!*batch) return next;
    next = (*batch)->last + 1;
  }
}

// `names`: of the files with a state.
Result<void> settle_states(base::FileSystem& files, const std::string& folder, const std::vector<std::string>& names) {
  auto path = [&](const std::string& name) { return folder + "/" + name; };
  int64_t first_cleaned = INT64_MAX;
  std::vector<std::string> swaps, unfinished;
  for (const std::string& name : names) {
    auto file = parse_name(name);
    if (file->state == ".swap") {
      swaps.push_back(name);
      continue;
    }
    if (file->state == ".cleaned") first_cleaned = std::min(first_cleaned, file->base.value);
    unfinished.push_back(name);
  }
  int64_t low = INT64_MAX, high = INT64_MIN;
  std::vector<std::string> kept;
  for (const std::string& name : swaps) {
    auto file = parse_name(name);
    if (file->base.value >= first_cleaned) {
      if (auto removed = files.remove(path(name)); !removed) return removed;
      continue;
    }
    kept.push_back(name);
    if (file->kind != ".log") continue;
    auto end = end_of_swap(files, path(name), file->base);
    if (!end) return fail(std::move(end.error()));
    low = std::min(low, file->base.value);
    high = std::max(high, end->value);
  }
  // After the swaps that they make void: a start that is cut short must find both again.
  for (const std::string& name : unfinished) {
    if (auto removed = files.remove(path(name)); !removed) return removed;
  }
  if (low < high) {
    auto entries = files.list(folder);
    if (!entries) return fail(std::move(entries.error()));
    for (const auto& entry : *entries) {
      auto file = parse_name(entry.name);
      if (!file || !file->state.empty() || file->kind == ".snapshot" || file->base.value < low || file->base.value >= high) continue;
      if (auto removed = files.remove(path(entry.name)); !removed) return removed;
    }
  }
  constexpr size_t kSwap = 5;
  for (const std::string& name : kept) {
    if (auto renamed = files.rename(path(name), path(name.substr(0, name.size() - kSwap))); !renamed) return renamed;
  }
  return {};
}

}  // namespace

Result<LogFolder> settle_folder(base::FileSystem& files, const std::string& folder) {
  LogFolder found;
  auto entries = files.list(folder);
  if (!entries) return fail(std::move(entries.error()));
  std::vector<std::string> unsettled;
  for (const auto& entry : *entries) {
    if (entry.is_directory) continue;
    if (entry.name == kLeaderEpochFile) found.has_epochs = true;
    if (entry.name == kPartitionMetadataFile) found.has_metadata = true;
    auto file = parse_name(entry.name);
    if (file && !file->state.empty()) unsettled.push_back(entry.name);
  }
  if (!unsettled.empty()) {
    if (auto settled = settle_states(files, folder, unsettled); !settled) return fail(std::move(settled.error()));
    found.changed = true;
    entries = files.list(folder);
    if (!entries) return fail(std::move(entries.error()));
  }
  for (const auto& entry : *entries) {
    auto file = parse_name(entry.name);
    if (!file || !file->state.empty() || entry.is_directory) continue;
    if (file->kind == ".snapshot") {
      found.snapshots.push_back(file->base);
      continue;
    }
    LogFolder::Kinds& kinds = found.segments[file->base];
    kinds.log |= file->kind == ".log";
    kinds.index |= file->kind == ".index";
    kinds.time_index |= file->kind == ".timeindex";
    kinds.txn_index |= file->kind == ".txnindex";
  }
  std::sort(found.snapshots.begin(), found.snapshots.end());
  // An index without its log says nothing.
  for (auto segment = found.segments.begin(); segment != found.segments.end();) {
    if (segment->second.log) {
      ++segment;
      continue;
    }
    for (const char* kind : {".index", ".timeindex", ".txnindex"}) {
      if (auto removed = files.remove(folder + "/" + segment_name(segment->first) + kind); !removed) return fail(std::move(removed.error()));
    }
    segment = found.segments.erase(segment);
  }
  return found;
}

}  // namespace odradek::storage
