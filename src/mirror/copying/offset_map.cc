#include "mirror/copying/offset_map.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "model/error_code.h"

namespace odradek::mirror {

bool OffsetMap::extend(Offset source, Offset target, int64_t count) {
  auto after = std::upper_bound(runs_.begin(), runs_.end(), target, [](Offset at, const Run& run) { return at < run.target; });
  if (source_at(target) == source && (after == runs_.end() || after->target >= target + count)) return false;
  runs_.erase(after, runs_.end());
  if (source_at(target) == source) return true;
  if (!runs_.empty() && runs_.back().target == target) runs_.pop_back();
  CHECK(runs_.empty() || (source > runs_.back().source && target > runs_.back().target));
  runs_.push_back({source, target});
  return true;
}

void OffsetMap::set_topic_id(const std::string& id) {
  if (id == topic_id_ || id.empty()) return;
  if (!topic_id_.empty() && !runs_.empty()) {
    base_ = end_chunk() * kChunk;
    runs_.clear();
  }
  if (!topic_id_.empty()) epochs_.clear();
  topic_id_ = id;
}

std::optional<Offset> OffsetMap::source_at(Offset target) const {
  auto after = std::upper_bound(runs_.begin(), runs_.end(), target, [](Offset at, const Run& run) { return at < run.target; });
  if (after == runs_.begin()) return std::nullopt;
  const Run& run = *std::prev(after);
  return run.source + (target - run.target);
}

std::optional<Offset> OffsetMap::target_at(Offset source) const {
  if (runs_.empty()) return std::nullopt;
  auto after = std::upper_bound(runs_.begin(), runs_.end(), source, [](Offset at, const Run& run) { return at < run.source; });
  if (after == runs_.begin()) return runs_.front().target;
  const Run& run = *std::prev(after);
  Offset target = run.target + (source - run.source);
  return after == runs_.end() ? target : std::min(target, after->target);
}

OffsetMap OffsetMap::begun_anew() const {
  OffsetMap map;
  map.topic_id_ = topic_id_;
  map.base_ = end_chunk() * kChunk;
  return map;
}

void OffsetMap::forget_below(Offset target_start) {
  while (runs_.size() > 1 && runs_[1].target <= target_start) {
    runs_.pop_front();
    ++base_;
  }
}

bool OffsetMap::note_epoch(LeaderEpoch epoch, Offset first, Offset last) {
  auto from = std::lower_bound(epochs_.begin(), epochs_.end(), first, [](const SourceEpoch& each, Offset at) { return each.start < at; });
  auto until = std::upper_bound(from, epochs_.end(), last, [](Offset at, const SourceEpoch& each) { return at < each.start; });
  if (from != until && *from == SourceEpoch{epoch, first}) ++from;
  const bool wrong = from != until;  // what a former life announced and the source no longer has
  from = epochs_.erase(from, until);
  if (from != epochs_.begin() && std::prev(from)->epoch == epoch) return wrong;
  epochs_.insert(from, {epoch, first});
  return true;
}

LeaderEpoch OffsetMap::epoch_before(Offset source) const {
  auto at = std::lower_bound(epochs_.begin(), epochs_.end(), source, [](const SourceEpoch& each, Offset offset) { return each.start < offset; });
  return at == epochs_.begin() ? kNoLeaderEpoch : std::prev(at)->epoch;
}

void OffsetMap::forget_epochs_below(Offset source) {
  while (epochs_.size() > 1 && epochs_[1].start < source) epochs_.pop_front();
}

std::string OffsetMap::encode_chunk(int64_t chunk) const {
  int64_t from = std::max(chunk * kChunk, base_);
  int64_t until = std::min((chunk + 1) * kChunk, base_ + static_cast<int64_t>(runs_.size()));
  auto numbers = nlohmann::json::array();
  Run before{Offset{0}, Offset{0}};
  for (int64_t i = from; i < until; ++i) {
    const Run& run = runs_[static_cast<size_t>(i - base_)];
    numbers.push_back(run.source - before.source);
    numbers.push_back(run.target - before.target);
    before = run;
  }
  auto epochs = nlohmann::json::array();
  for (const SourceEpoch& each : epochs_) {
    epochs.push_back(each.epoch.value);
    epochs.push_back(each.start.value);
  }
  return nlohmann::json{{"first", from}, {"runs", std::move(numbers)}, {"topic", topic_id_}, {"epochs", std::move(epochs)}}.dump();
}

Result<void> OffsetMap::decode_chunk(std::string_view text) {
  auto wrong = [&](const char* why) { return fail(ErrorCode::kCorruptMessage, std::string("runs of offsets ") + why + ": " + std::string(text.substr(0, 200))); };
  // No offset comes near it, and sums of two stay in range.
  constexpr int64_t kMost = int64_t{1} << 61;
  auto read = [](const nlohmann::json& from, int64_t& to) {
    if (!from.is_number_unsigned() || from.get<uint64_t>() > uint64_t{kMost}) return false;
    to = from.get<int64_t>();
    return true;
  };
  auto json = nlohmann::json::parse(text, nullptr, false);
  int64_t number = 0;
  if (!json.is_object() || !json.contains("first") || !read(json["first"], number) || !json.contains("runs") || !json["runs"].is_array()) {
    return wrong("cannot be read");
  }
  const auto& numbers = json["runs"];
  if (numbers.size() % 2 != 0) return wrong("are not pairs");
  std::string topic = json.contains("topic") && json["topic"].is_string() ? json["topic"].get<std::string>() : "";
  if (!topic.empty() && topic != topic_id_) {
    if (!topic_id_.empty()) runs_.clear();
    topic_id_ = topic;
  }
  if (runs_.empty()) {
    base_ = number;
  } else if (number != base_ + static_cast<int64_t>(runs_.size())) {
    return wrong("do not follow those before");
  }
  epochs_.clear();
  if (auto said = json.find("epochs"); said != json.end()) {  // earlier versions of this program wrote none
    if (!said->is_array() || said->size() % 2 != 0) return wrong("have epochs that are not pairs");
    for (size_t i = 0; i < said->size(); i += 2) {
      const auto& epoch = (*said)[i];
      int64_t start = 0;
      const bool readable = epoch.is_number_integer() && epoch.get<int64_t>() >= -1 && epoch.get<int64_t>() <= INT32_MAX && read((*said)[i + 1], start);
      if (!readable || (!epochs_.empty() && Offset{start} <= epochs_.back().start)) return wrong("have epochs that cannot be read");
      epochs_.push_back({{static_cast<int32_t>(epoch.get<int64_t>())}, {start}});
    }
  }
  Run at{Offset{0}, Offset{0}};
  for (size_t i = 0; i < numbers.size(); i += 2) {
    int64_t source = 0, target = 0;
    if (!read(numbers[i], source) || !read(numbers[i + 1], target)) return wrong("are not numbers");
    at = {at.source + source, at.target + target};
    if (at.source.value > kMost || at.target.value > kMost) return wrong("are too large");
    if (!runs_.empty() && (at.target <= runs_.back().target || at.source <= runs_.back().source)) return wrong("do not rise");
    runs_.push_back(at);
  }
  return {};
}

}  // namespace odradek::mirror
