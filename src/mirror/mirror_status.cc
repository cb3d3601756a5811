// What a mirror shows of itself.
#include "metrics/catalog.h"
#include "mirror/mirror.h"

namespace odradek::mirror {

std::string_view name_of(MirrorStatus::Phase phase) {
  switch (phase) {
    case MirrorStatus::Phase::kStarting: return "starting";
    case MirrorStatus::Phase::kStandby: return "standby";
    case MirrorStatus::Phase::kCopying: return "copying";
    case MirrorStatus::Phase::kCaughtUp: return "caught up";
    case MirrorStatus::Phase::kStopped: return "stopped";
  }
  return "";
}

MirrorStatus Mirror::status() const {
  MirrorStatus status;
  {
    base::MutexLock lock(mutex_);
    status.phase = phase_;
  }
  auto partitions = shared_.partitions();
  for (const auto& partition : *partitions) status.partitions.emplace_back(partition->name, partition->progress());
  status.fetched_bytes = shared_.fetched_bytes;
  status.buffered_bytes = shared_.budget.used();
  status.missed = missed_;
  status.group_offsets = group_offsets_;
  return status;
}

std::vector<std::string> Mirror::troubles() const {
  std::vector<std::string> troubles;
  {
    base::MutexLock lock(mutex_);
    for (const auto& [what, why] : notes_) troubles.push_back(what + ": " + why);
    if (phase_ == MirrorStatus::Phase::kStarting || phase_ == MirrorStatus::Phase::kStopped) troubles.push_back(std::string(name_of(phase_)));
  }
  for (const auto& [name, progress] : status().partitions) {
    if (progress.state == Progress::State::kFailed || !progress.why.empty()) troubles.push_back(name.to_string() + ": " + progress.why);
  }
  return troubles;
}

void Mirror::register_metrics(metrics::Registry& registry) {
  shared_.delay = registry.histogram(metrics::kMirrorDelay);
  auto value = [&](const metrics::MetricDef& def, std::function<double()> ask) { registrations_.push_back(registry.callback(def, {}, std::move(ask))); };
  value(metrics::kMirrorActive, [this] { return lease_.held() ? 1.0 : 0.0; });
  value(metrics::kMirrorFetchedBytes, [this] { return static_cast<double>(shared_.fetched_bytes.load()); });
  value(metrics::kMirrorBufferedBytes, [this] { return static_cast<double>(shared_.budget.used()); });
  value(metrics::kMirrorMissedRecords, [this] { return static_cast<double>(missed_.load()); });
  value(metrics::kMirrorSourceCuts, [this] { return static_cast<double>(source_cuts_.load()); });
  value(metrics::kMirrorGroupOffsets, [this] { return static_cast<double>(group_offsets_.load()); });
  value(metrics::kMirrorTopics, [this] { return static_cast<double>(topics_.load()); });
  registrations_.push_back(registry.collector(
      {&metrics::kMirrorRecords, &metrics::kMirrorBytes, &metrics::kMirrorRebuilt, &metrics::kMirrorLag, &metrics::kMirrorRuns, &metrics::kMirrorPartitionState},
      [this](std::vector<metrics::SampleSink*>& sinks) {
        auto partitions = shared_.partitions();
        for (const auto& partition : *partitions) {
          Progress progress = partition->progress();
          std::string number = std::to_string(partition->name.partition);
          const std::string& topic = partition->name.topic;
          sinks[0]->add({topic, number}, progress.records);
          sinks[1]->add({topic, number}, progress.bytes);
          sinks[2]->add({topic, number}, progress.rebuilt);
          sinks[3]->add({topic, number}, progress.lag());
          sinks[4]->add({topic, number}, static_cast<int64_t>(progress.runs));
          sinks[5]->add({topic, number}, static_cast<int64_t>(progress.state));
        }
      }));
}

}  // namespace odradek::mirror
