#include "mirror/positions.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "client/fetcher.h"
#include "client/offsets.h"

namespace odradek::mirror {

using Json = nlohmann::json;

namespace {

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> parts_of(std::string_view key) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= key.size();) {
    size_t slash = std::min(key.find('/', at), key.size());
    parts.push_back(key.substr(at, slash - at));
    at = slash + 1;
  }
  return parts;
}

int64_t field(const Json& json, const char* name, int64_t otherwise) {
  auto found = json.find(name);
  return found != json.end() && found->is_number_integer() ? found->get<int64_t>() : otherwise;
}
std::string text_field(const Json& json, const char* name) {
  auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

Result<StoredPositions> parse_positions(const std::vector<std::pair<std::string, std::optional<std::string>>>& records) {
  std::map<std::string, std::string> last;
  StoredPositions stored;
  int64_t whole = 0;
  for (const auto& [key, value] : records) {
    if (value) {
      last[key] = *value;
    } else {
      last.erase(key);
    }
    if (auto life = number(parts_of(key)[0])) stored.life = std::max(stored.life, *life);
  }
  for (const auto& [key, value] : last) {
    stored.keys.push_back(key);
    auto parts = parts_of(key);
    if (auto life = number(parts[0]); life && parts.size() == 2 && parts[1] == "whole") whole = std::max(whole, *life);
  }
  std::map<TopicPartition, std::map<int64_t, std::string>> chunks;
  for (const auto& [key, value] : last) {
    auto wrong = [&] { return fail(ErrorCode::kCorruptMessage, "the positions topic holds a value that cannot be read, of key " + key); };
    auto parts = parts_of(key);
    Json json = Json::parse(value, nullptr, false);
    if (!json.is_object()) return wrong();
    if (key == "producer") {
      if (field(json, "producer_id", -1) < 0) return wrong();
      stored.producer_id = ProducerId{field(json, "producer_id", -1)};
      stored.source_cluster = text_field(json, "source_cluster");
      stored.target_cluster = text_field(json, "target_cluster");
      continue;
    }
    if (number(parts[0]) != whole || parts.size() < 4) continue;
    auto partition = number(parts[3]);
    if (!partition) return wrong();
    TopicPartition name{std::string(parts[2]), static_cast<int32_t>(*partition)};
    if (parts[1] == "at") {
      stored.at[name] = {{field(json, "source", -1)}, {field(json, "target", -1)}, field(json, "time", 0)};
    } else if (parts[1] == "runs" && parts.size() == 5) {
      auto chunk = number(parts[4]);
      if (!chunk) return wrong();
      chunks[name][*chunk] = value;
    }
  }
  for (const auto& [name, of_partition] : chunks) {
    for (const auto& [chunk, text] : of_partition) {
      if (auto done = stored.maps[name].decode_chunk(text); !done) return fail(done.error().code, name.to_string() + ": " + done.error().what);
    }
  }
  return stored;
}

Result<std::optional<StoredPositions>> load_positions(client::Cluster& cluster, const std::string& topic) {
  auto metadata = cluster.metadata(std::vector<std::string>{topic});
  if (!metadata) return fail(std::move(metadata.error()));
  for (const auto& each : metadata->topics) {
    if (static_cast<ErrorCode>(each.error_code) == ErrorCode::kUnknownTopicOrPartition) return std::optional<StoredPositions>();
  }
  TopicPartition partition{topic, 0};
  auto ends = client::list_offsets(cluster, {{partition, client::kLatestTimestamp}});
  if (!ends) return fail(std::move(ends.error()));
  auto starts = client::list_offsets(cluster, {{partition, client::kEarliestTimestamp}});
  if (!starts) return fail(std::move(starts.error()));
  for (const auto& listed : {ends->at(partition), starts->at(partition)}) {
    if (listed.error != ErrorCode::kNone) return fail(listed.error, "offsets of " + topic);
  }
  std::vector<std::pair<std::string, std::optional<std::string>>> records;
  client::Fetcher fetcher(cluster, {.max_wait_ms = 100, .partition_max_bytes = 8 << 20, .max_bytes = 8 << 20, .reset = client::kEarliestTimestamp});
  fetcher.add(partition, starts->at(partition).offset);
  constexpr int64_t kPatience_ns = 60'000'000'000;
  Offset seen{-1};
  for (int64_t until = 0; fetcher.position(partition) < ends->at(partition).offset;) {
    int64_t now = cluster.dialer().clock().monotonic_ns();
    if (fetcher.position(partition) > seen) {
      seen = fetcher.position(partition);
      until = now + kPatience_ns;
    } else if (now > until) {
      return fail(ErrorCode::kRequestTimedOut, topic + " cannot be read on behind offset " + std::to_string(seen.value));
    }
    auto polled = fetcher.poll([&](const TopicPartition&, const record::RecordView& record) {
      if (record.key) records.emplace_back(as_text(*record.key), record.value ? std::optional(std::string(as_text(*record.value))) : std::nullopt);
      return true;
    });
    if (!polled) return fail(std::move(polled.error()));
  }
  auto parsed = parse_positions(records);
  if (!parsed) return fail(std::move(parsed.error()));
  return std::optional(std::move(*parsed));
}

Positions::Positions(base::Runtime& runtime, std::unique_ptr<client::Cluster> cluster, std::string topic)
    : runtime_(runtime), cluster_(std::move(cluster)), topic_(std::move(topic)) {}

Positions::~Positions() {
  {
    base::MutexLock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  executor_.reset();
}

std::string Positions::key_of(const char* what, const TopicPartition& partition) const {
  return std::to_string(life_) + "/" + what + "/" + partition.topic + "/" + std::to_string(partition.partition);
}

Result<void> Positions::write(const Records& records) {
  if (producer_ == nullptr) {
    client::ProducerOptions options;
    options.codec = record::Codec::kZstd;
    options.linger_ms = 0;
    options.delivery_timeout_ms = 20'000;
    auto made = client::Producer::make(*cluster_, runtime_.random(), options);
    if (!made) return fail(std::move(made.error()));
    producer_ = std::move(*made);
  }
  Result<void> done;
  for (const auto& [key, value] : records) {
    client::ProducerRecord record;
    record.partition = 0;
    record.timestamp = runtime_.clock().wall_ms();
    record.key = as_bytes(key);
    if (value) record.value = as_bytes(*value);
    done = producer_->send(topic_, record);
    if (!done) break;
  }
  if (done) done = producer_->flush();
  if (!done) producer_.reset();  // the first failure ends a producer
  return done;
}

Result<void> Positions::take_over(const StoredPositions& stored, Identity identity, const std::string& source_cluster, const std::string& target_cluster) {
  life_ = stored.life + 1;
  Records records;
  records.emplace_back("producer", Json{{"producer_id", identity.producer_id.value}, {"source_cluster", source_cluster}, {"target_cluster", target_cluster}}.dump());
  for (const auto& [name, map] : stored.maps) {
    base::MutexLock lock(mutex_);
    for (int64_t chunk = map.first_chunk(); chunk < map.end_chunk(); ++chunk) {
      records.emplace_back(key_of("runs", name) + "/" + std::to_string(chunk), map.encode_chunk(chunk));
      written_[name].insert(chunk);
    }
  }
  for (const auto& [name, at] : stored.at) {
    records.emplace_back(key_of("at", name), Json{{"source", at.source.value}, {"target", at.target.value}, {"time", at.time_ms}}.dump());
  }
  if (auto done = write(records); !done) return done;
  if (auto done = write({{std::to_string(life_) + "/whole", "{}"}}); !done) return done;
  Records old;
  for (const std::string& key : stored.keys) {
    if (key != "producer") old.emplace_back(key, std::nullopt);
  }
  return write(old);
}

void Positions::start(Task on_durable) {
  on_durable_ = std::move(on_durable);
  executor_ = runtime_.make_executor("mirror-positions", 1);
  executor_->post([this] { loop(); });
}

uint64_t Positions::announce(const TopicPartition& partition, const OffsetMap& map, int64_t first_chunk) {
  base::MutexLock lock(mutex_);
  auto key = [&](int64_t chunk) { return key_of("runs", partition) + "/" + std::to_string(chunk); };
  std::set<int64_t>& written = written_[partition];
  for (int64_t chunk = std::max(first_chunk, map.first_chunk()); !map.empty() && chunk < map.end_chunk(); ++chunk) {
    queue_.emplace_back(key(chunk), map.encode_chunk(chunk));
    written.insert(chunk);
  }
  std::erase_if(written, [&](int64_t chunk) {
    if (!map.empty() && chunk >= map.first_chunk() && chunk < map.end_chunk()) return false;
    queue_.emplace_back(key(chunk), std::nullopt);
    return true;
  });
  wake_.notify_all();
  return next_ticket_++;
}

uint64_t Positions::checkpoint(const TopicPartition& partition, Offset source, Offset target) {
  base::MutexLock lock(mutex_);
  queue_.emplace_back(key_of("at", partition),
                      Json{{"source", source.value}, {"target", target.value}, {"time", runtime_.clock().wall_ms()}}.dump());
  wake_.notify_all();
  return next_ticket_++;
}

std::string Positions::trouble() const {
  base::MutexLock lock(mutex_);
  return trouble_;
}

void Positions::loop() {
  for (;;) {
    Records records;
    uint64_t ticket = 0;
    {
      base::MutexLock lock(mutex_);
      while (queue_.empty() && !stop_) lock.wait(wake_);
      if (stop_) return;
      records.swap(queue_);
      ticket = next_ticket_ - 1;
    }
    // Several values of one key at once: the last one is enough.
    std::map<std::string_view, size_t> last;
    for (size_t i = 0; i < records.size(); ++i) last[records[i].first] = i;
    Records shorter;
    for (size_t i = 0; i < records.size(); ++i) {
      if (last.at(records[i].first) == i) shorter.push_back(records[i]);
    }
    for (;;) {
      auto done = write(shorter);
      {
        base::MutexLock lock(mutex_);
        trouble_ = done ? "" : "positions cannot be written: " + done.error().what;
        if (stop_) return;
      }
      if (done) break;
      log::warn("mirror", "positions cannot be written: {}", done.error().what);
      cluster_->dialer().pause_until(runtime_.clock().monotonic_ns() + 500'000'000);
    }
    durable_.store(ticket, std::memory_order_release);
    if (on_durable_) on_durable_();
  }
}

}  // namespace odradek::mirror
