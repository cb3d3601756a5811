#include "protocol/messages/fetch.h"
#include "protocol/messages/list_offsets.h"
#include "sim/clients.h"

namespace odradek::sim {
namespace {

using protocol::FetchRequest;
using protocol::FetchResponse;
using protocol::ListOffsetsRequest;
using protocol::ListOffsetsResponse;

constexpr int16_t kTopicIdsFrom = 13;

class Consumer final : public Client {
 public:
  Consumer(Context& context, int number)
      : context_(context),
        world_(context.world),
        model_(context.model),
        name_("c" + std::to_string(number)),
        patient_(world_.random.chance(60)),
        max_wait_ms_(patient_ ? static_cast<int32_t>(world_.random.between(5'000, 10'000)) : static_cast<int32_t>(world_.random.between(0, 500))),
        with_session_(world_.random.chance(70)),
        channel_(world_, context.network, name_) {}

  void start() override {
    version_ = channel_.any_version<FetchRequest>(7);
    channel_.open([this] { fetch(); }, [this] { session_id_ = 0; });
  }
  bool is_idle() const override { return true; }

 private:
  struct Place {
    int64_t position = 0;
    int64_t told_position = -1;  // what the session has been told
    Uuid id;
  };

  struct Asked {
    int64_t position = 0;
    Model::Bounds known;
  };

  bool wants_by_id() const { return version_ >= kTopicIdsFrom; }

  // Now and then other partitions, from other places.
  void choose() {
    for (auto place = places_.begin(); place != places_.end();) {
      TopicModel* topic = model_.find(place->first.topic);
      bool gone = topic == nullptr || topic->dying || topic->id != place->second.id;
      if (gone || world_.random.chance(2)) {
        forgotten_.emplace_back(place->first, place->second.id);
        place = places_.erase(place);
      } else {
        ++place;
      }
    }
    for (int tries = 0; tries < 3 && places_.size() < 3; ++tries) {
      TopicModel* topic = model_.any_topic();
      if (topic == nullptr) return;
      TopicPartition tp{topic->name, static_cast<int32_t>(world_.random.below(topic->partitions.size()))};
      if (std::any_of(forgotten_.begin(), forgotten_.end(), [&](auto& one) { return one.first == tp; })) continue;
      PartitionModel& partition = topic->partitions[static_cast<size_t>(tp.partition)];
      places_.try_emplace(tp, Place{world_.random.chance(70) ? partition.served_start : world_.random.between(0, partition.served_high_watermark), -1, topic->id});
    }
  }

  void again_ms(int64_t ms) {
    world_.after_ms(ms, [this] { fetch(); });
  }

  void fetch() {
    if (!channel_.is_ready() || out_) return;
    choose();
    if (places_.empty() && session_id_ == 0) return again_ms(100);
    FetchRequest request;
    request.max_wait_ms = max_wait_ms_;
    request.min_bytes = 1;
    request.max_bytes = 1 << 20;
    request.isolation_level = static_cast<int8_t>(world_.random.below(2));
    const bool full = session_id_ == 0;
    request.session_id = session_id_;
    request.session_epoch = with_session_ ? session_epoch_ : -1;
    if (full) {
      request.session_epoch = with_session_ ? 0 : -1;
      forgotten_.clear();
    }
    std::map<TopicPartition, Asked> asked;
    for (auto& [tp, place] : places_) {
      asked[tp] = {place.position, model_.bounds(tp)};
      if (!full && place.told_position == place.position) continue;
      place.told_position = place.position;
      FetchRequest::FetchTopic topic;
      topic.topic = tp.topic;
      topic.topic_id = place.id;
      FetchRequest::FetchPartition partition;
      partition.partition = tp.partition;
      partition.fetch_offset = place.position;
      partition.partition_max_bytes = static_cast<int32_t>(world_.random.chance(50) ? world_.random.between(1, 2'000) : 1 << 20);
      topic.partitions.push_back(partition);
      request.topics.push_back(std::move(topic));
    }
    for (auto& [tp, id] : forgotten_) {
      FetchRequest::ForgottenTopic topic;
      topic.topic = tp.topic;
      topic.topic_id = id;
      topic.partitions.push_back(tp.partition);
      request.forgotten_topics_data.push_back(std::move(topic));
    }
    forgotten_.clear();
    out_ = true;
    asked_ns_ = world_.now_ns();
    channel_.call<FetchRequest, FetchResponse>(request, version_, max_wait_ms_, [this, asked = std::move(asked)](FetchResponse* response) {
      out_ = false;
      if (response == nullptr) return;
      on_answer(*response, asked);
    });
  }

  void on_answer(FetchResponse& response, const std::map<TopicPartition, Asked>& asked) {
    auto error = static_cast<ErrorCode>(response.error_code);
    if (error != ErrorCode::kNone) {
      world_.trace("{}: fetch: {}", name_, name_of(error));
      session_id_ = 0;
      for (auto& [tp, place] : places_) place.told_position = -1;
      return again_ms(50);
    }
    if (with_session_) {
      if (session_id_ == 0) {
        session_id_ = response.session_id;
        session_epoch_ = session_id_ == 0 ? 0 : 1;
      } else {
        ++session_epoch_;
      }
    }
    int64_t pause_ms = 0;
    std::set<TopicPartition> answered;
    for (auto& topic : response.responses) {
      for (auto& partition : topic.partitions) {
        std::string name = topic.topic;
        if (wants_by_id()) {
          for (auto& [tp, place] : places_) {
            if (place.id == topic.topic_id) name = tp.topic;
          }
        }
        auto place = places_.find({name, partition.partition_index});
        if (place == places_.end()) continue;  // forgotten meanwhile
        answered.insert(place->first);
        pause_ms = std::max(pause_ms, on_partition(place->first, place->second, partition, asked));
      }
    }
    for (auto& [tp, what] : asked) {
      if (!answered.contains(tp)) check_waking(tp, what.position, true);
    }
    again_ms(pause_ms != 0 ? pause_ms : world_.random.chance(80) ? 0 : world_.random.between(0, 300));
  }

  // A fetch that waits is woken by the record that it waits for.
  void check_waking(const TopicPartition& tp, int64_t position, bool empty) {
    constexpr int64_t kSoonNs = 3'000'000'000;
    PartitionModel* model = model_.find(tp.topic, tp.partition);
    if (model == nullptr || position < model->served_start) return;
    auto entry = model->known.find(position);
    if (entry == model->known.end()) return;
    if (world_.now_ns() - std::max(entry->second.known_ns, asked_ns_) < kSoonNs) return;
    world_.violation(fmt::format("{}: {} at {}: {} {} ms after the record was there and asked for", name_, tp.to_string(), position,
                                 empty ? "an empty answer" : "an answer only", (world_.now_ns() - std::max(entry->second.known_ns, asked_ns_)) / 1'000'000));
  }

  // How long to wait before asking again.
  int64_t on_partition(const TopicPartition& tp, Place& place, FetchResponse::PartitionData& data, const std::map<TopicPartition, Asked>& asked) {
    switch (static_cast<ErrorCode>(data.error_code)) {
      case ErrorCode::kNone: break;
      case ErrorCode::kOffsetOutOfRange: {
        PartitionModel* model = model_.find(tp.topic, tp.partition);
        if (model == nullptr) return 100;
        world_.trace("{}: {} offset {} is out of range", name_, tp.to_string(), place.position);
        place.told_position = -1;
        find_start(tp);
        return 50;
      }
      default:
        world_.trace("{}: {}: {}", name_, tp.to_string(), name_of(static_cast<ErrorCode>(data.error_code)));
        place.told_position = -1;
        return 100;
    }
    auto what = asked.find(tp);
    if (what == asked.end() || what->second.position != place.position) return 0;
    model_.on_bounds(tp, {data.log_start_offset, data.high_watermark, 0}, what->second.known, "Fetch");
    if (data.last_stable_offset >= 0 && data.last_stable_offset > data.high_watermark) world_.violation(name_ + ": the last stable offset is above the high watermark");
    check_waking(tp, place.position, data.records.size() == 0);
    place.position = model_.on_fetched(tp.topic, tp.partition, place.position, data.records.bytes, name_);
    if (place.position > data.high_watermark && model_.find(tp.topic, tp.partition) != nullptr) {
      world_.violation(fmt::format("{}: {}: records beyond the high watermark {}", name_, tp.to_string(), data.high_watermark));
    }
    return 0;
  }

  void find_start(const TopicPartition& tp) {
    if (!channel_.is_ready()) return;
    ListOffsetsRequest request;
    request.replica_id = -1;
    ListOffsetsRequest::ListOffsetsTopic topic;
    topic.name = tp.topic;
    ListOffsetsRequest::ListOffsetsPartition partition;
    partition.partition_index = tp.partition;
    partition.timestamp = world_.random.chance(70) ? -2 : -1;
    topic.partitions.push_back(partition);
    request.topics.push_back(std::move(topic));
    channel_.call<ListOffsetsRequest, ListOffsetsResponse>(request, channel_.any_version<ListOffsetsRequest>(1), 0, [this, tp](ListOffsetsResponse* response) {
      if (response == nullptr || response->topics.size() != 1 || response->topics[0].partitions.size() != 1) return;
      auto& found = response->topics[0].partitions[0];
      auto place = places_.find(tp);
      if (found.error_code == 0 && place != places_.end()) place->second.position = found.offset;
    });
  }

  Context& context_;
  World& world_;
  Model& model_;
  const std::string name_;
  const bool patient_;
  const int32_t max_wait_ms_;
  const bool with_session_;
  Channel channel_;
  int16_t version_ = 0;
  bool out_ = false;
  int64_t asked_ns_ = 0;
  int32_t session_id_ = 0, session_epoch_ = 0;
  std::map<TopicPartition, Place> places_;
  std::vector<std::pair<TopicPartition, Uuid>> forgotten_;
};

}  // namespace

std::unique_ptr<Client> make_consumer(Context& context, int number) { return std::make_unique<Consumer>(context, number); }

// ---- Scan

struct Scan::State {
  State(Context& c, int number, std::function<void(bool)> d)
      : context(c), name("scan" + std::to_string(number)), channel(c.world, c.network, name), done(std::move(d)) {}

  void next() {
    World& world = context.world;
    if (left.empty()) return finish(true);
    tp = left.back();
    left.pop_back();
    TopicModel* topic = context.model.find(tp.topic);
    if (topic == nullptr || topic->dying || static_cast<size_t>(tp.partition) >= topic->partitions.size()) return next();
    id = topic->id;
    tries = 0;
    // What was known before the answer is asked for must be there.
    expected_end = topic->partitions[static_cast<size_t>(tp.partition)].end_acked();
    known = context.model.bounds(tp);
    world.trace("{}: {} expects the end at {} or above", name, tp.to_string(), expected_end);
    ask_bound(-2, [this](int64_t offset) {
      start = offset;
      ask_bound(-1, [this](int64_t end_offset) {
        end = end_offset;
        PartitionModel* model = context.model.find(tp.topic, tp.partition);
        if (model != nullptr && end < expected_end) {
          return context.world.violation(fmt::format("{}: {} ends at {}, but offset {} was acknowledged or read before", name, tp.to_string(), end, expected_end - 1));
        }
        context.model.on_bounds(tp, {start, end, 0}, known, "ListOffsets");
        streams.clear();
        position = start;
        read();
      });
    });
  }

  void ask_bound(int64_t timestamp, std::function<void(int64_t)> then) {
    ListOffsetsRequest request;
    request.replica_id = -1;
    ListOffsetsRequest::ListOffsetsTopic topic;
    topic.name = tp.topic;
    ListOffsetsRequest::ListOffsetsPartition partition;
    partition.partition_index = tp.partition;
    partition.timestamp = timestamp;
    topic.partitions.push_back(partition);
    request.topics.push_back(std::move(topic));
    channel.call<ListOffsetsRequest, ListOffsetsResponse>(
        request, channel.any_version<ListOffsetsRequest>(1), 0, [this, timestamp, then](ListOffsetsResponse* response) {
          if (response == nullptr) return;
          if (response->topics.size() != 1 || response->topics[0].partitions.size() != 1) return context.world.violation(name + ": a wrong answer to ListOffsets");
          auto& found = response->topics[0].partitions[0];
          if (found.error_code == 0) return then(found.offset);
          retry(static_cast<ErrorCode>(found.error_code), [this, timestamp, then] { ask_bound(timestamp, then); });
        });
  }

  void retry(ErrorCode error, std::function<void()> again) {
    World& world = context.world;
    if (context.model.find(tp.topic, tp.partition) == nullptr) return next();
    world.trace("{}: {}: {}", name, tp.to_string(), name_of(error));
    if (++tries > 100) return world.violation(fmt::format("{}: {} is still {} after 20 s", name, tp.to_string(), name_of(error)));
    world.after_ms(200, [this, again, alive = alive] {
      if (*alive && channel.is_ready()) again();
    });
  }

  void read() {
    World& world = context.world;
    if (position >= end) {
      world.trace("{}: {} is whole from {} to {}", name, tp.to_string(), start, end);
      return next();
    }
    FetchRequest request;
    request.max_wait_ms = 0;
    request.min_bytes = 0;
    request.max_bytes = 1 << 20;
    FetchRequest::FetchTopic topic;
    topic.topic = tp.topic;
    topic.topic_id = id;
    FetchRequest::FetchPartition partition;
    partition.partition = tp.partition;
    partition.fetch_offset = position;
    partition.partition_max_bytes = 1 << 16;
    topic.partitions.push_back(partition);
    request.topics.push_back(std::move(topic));
    channel.call<FetchRequest, FetchResponse>(request, channel.any_version<FetchRequest>(4), 0, [this](FetchResponse* response) {
      if (response == nullptr) return;
      World& w = context.world;
      PartitionModel* model = context.model.find(tp.topic, tp.partition);
      if (model == nullptr) return next();
      if (response->error_code != 0) return retry(static_cast<ErrorCode>(response->error_code), [this] { read(); });
      if (response->responses.size() != 1 || response->responses[0].partitions.size() != 1) return w.violation(name + ": a wrong answer to Fetch");
      auto& data = response->responses[0].partitions[0];
      auto error = static_cast<ErrorCode>(data.error_code);
      if (error == ErrorCode::kOffsetOutOfRange) {  // the start has moved on
        ask_bound(-2, [this](int64_t offset) {
          if (offset <= position) return context.world.violation(fmt::format("{}: {} offset {} is out of range between {} and {}", name, tp.to_string(), position, offset, end));
          position = offset;
          streams.clear();
          read();
        });
        return;
      }
      if (error != ErrorCode::kNone) return retry(error, [this] { read(); });
      int64_t before = position;
      position = context.model.on_fetched(tp.topic, tp.partition, position, data.records.bytes, name);
      if (w.failed()) return;
      if (position == before) return w.violation(fmt::format("{}: {} at {}: nothing, but the log ends at {}", name, tp.to_string(), position, end));
      check_streams(*model, before, std::min(position, end));
      if (!w.failed()) read();
    });
  }

  // The records of a stream stand in the order in which they were written, without a gap, if its producer is idempotent.
  void check_streams(const PartitionModel& model, int64_t from, int64_t to) {
    for (auto entry = model.known.lower_bound(from); entry != model.known.end() && entry->first < to; ++entry) {
      RecordName record;
      if (!Model::parse(entry->second.text, record) || record.stream.find(".i") == std::string::npos) continue;
      auto [last, is_new] = streams.try_emplace(record.stream, record.number);
      if (!is_new && record.number != last->second + 1) {
        context.world.violation(fmt::format("{}: {} offset {}: record {} of {} stands behind {}", name, tp.to_string(), entry->first, record.number,
                                            record.stream, last->second));
        return;
      }
      last->second = record.number;
    }
  }

  void finish(bool whole) {
    if (std::exchange(finished, true)) return;
    context.world.after_us(1, [this, whole, alive = alive] {
      if (*alive) done(whole);
    });
  }

  Context& context;
  const std::string name;
  Channel channel;
  std::function<void(bool)> done;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  bool finished = false;
  std::vector<TopicPartition> left;
  TopicPartition tp;
  Uuid id;
  int tries = 0;
  Model::Bounds known;
  int64_t expected_end = 0, start = 0, end = 0, position = 0;
  std::map<std::string, int64_t> streams;
};

Scan::Scan(Context& context, int number, std::function<void(bool)> done) : state_(std::make_unique<State>(context, number, std::move(done))) {}
Scan::~Scan() { *state_->alive = false; }

void Scan::start() {
  for (auto& [name, topic] : state_->context.model.topics) {
    for (size_t p = 0; p < topic.partitions.size(); ++p) state_->left.push_back({name, static_cast<int32_t>(p)});
  }
  State* state = state_.get();
  bool begun = false;
  state->channel.open(
      [state, begun]() mutable {
        if (begun) return;
        begun = true;
        state->next();
      },
      [state] { state->finish(false); });
}

}  // namespace odradek::sim
