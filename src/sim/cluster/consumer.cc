#include "protocol/messages/fetch.h"
#include "protocol/messages/list_offsets.h"
#include "sim/cluster/clients.h"

namespace odradek::sim {
namespace {

using protocol::FetchRequest;
using protocol::FetchResponse;
using protocol::ListOffsetsRequest;
using protocol::ListOffsetsResponse;

constexpr int16_t kTopicIdsFrom = 13;

// Reads one partition after the other from the start, from its leader. What it has seen stays, and the end never goes back.
class Consumer final : public Client {
 public:
  Consumer(ClusterContext& context, int number)
      : context_(context),
        world_(context.world),
        model_(context.model),
        name_("c" + std::to_string(number)),
        max_wait_ms_(static_cast<int32_t>(world_.random.between(50, 2'000))),
        router_(context, name_) {}

  void start() override {
    router_.open();
    next();
  }
  bool is_idle() const override { return true; }

 private:
  static constexpr int64_t kLateMs = 1'000;

  void later(int64_t low_ms, int64_t high_ms) {
    world_.after_ms(world_.random.between(low_ms, high_ms), [this] { next(); });
  }

  void next() {
    if (out_) return;
    if (std::exchange(power_cuts_, context_.power_cuts) != context_.power_cuts) {
      positions_.clear();
      ends_.clear();
      position_ = 0;
    }
    TopicModel* topic = model_.find(tp_.topic);
    if (topic == nullptr || topic->dying || topic->id != id_ || world_.random.chance(4)) {
      topic = model_.any_topic();
      if (topic == nullptr) return later(100, 300);
      tp_ = {topic->name, static_cast<int32_t>(world_.random.below(topic->partitions.size()))};
      id_ = topic->id;
      auto& place = positions_[{id_, tp_.partition}];
      if (world_.random.chance(20)) place = 0;
      position_ = place;
    }
    Channel* channel = router_.leader(tp_);
    if (channel == nullptr) return later(100, 300);
    if (world_.random.chance(10)) return ask_for_end(*channel);
    fetch(*channel);
  }

  bool is_gone(const Uuid& id) {
    TopicModel* topic = model_.find(tp_.topic);
    return topic == nullptr || topic->dying || topic->id != id;
  }

  void fetch(Channel& channel) {
    int16_t version = channel.any_version<FetchRequest>(kTopicIdsFrom);
    FetchRequest request;
    request.max_wait_ms = max_wait_ms_;
    request.min_bytes = 1;
    request.max_bytes = 1 << 20;
    request.isolation_level = static_cast<int8_t>(world_.random.below(2));
    FetchRequest::FetchTopic topic;
    topic.topic = tp_.topic;
    topic.topic_id = id_;
    FetchRequest::FetchPartition partition;
    partition.partition = tp_.partition;
    partition.fetch_offset = position_;
    partition.current_leader_epoch = router_.epoch(tp_);  // a former leader is fenced by it
    partition.partition_max_bytes = static_cast<int32_t>(world_.random.chance(30) ? world_.random.between(1, 2'000) : 1 << 20);
    topic.partitions.push_back(partition);
    request.topics.push_back(std::move(topic));
    out_ = true;
    channel.call<FetchRequest, FetchResponse>(request, version, max_wait_ms_, [this, id = id_, sent_ns = world_.now_ns()](FetchResponse* response) {
      out_ = false;
      if (response == nullptr || response->error_code != 0 || response->responses.size() != 1 || response->responses[0].partitions.size() != 1) {
        router_.refresh();
        return later(50, 300);
      }
      auto& data = response->responses[0].partitions[0];
      auto error = static_cast<ErrorCode>(data.error_code);
      if (is_gone(id)) return later(10, 100);
      if (error == ErrorCode::kOffsetOutOfRange) {
        if (position_ < model_.find(tp_.topic, tp_.partition)->may_start_at) return ask_for_start(id);
        // What was read was below a high watermark: every leader has it.
        world_.violation(fmt::format("{}: {} offset {} is out of range", name_, tp_.to_string(), position_));
        return;
      }
      if (error != ErrorCode::kNone) {
        router_.refresh();
        return later(50, 300);
      }
      if (!came_in_time(sent_ns, data.records.bytes.size(), data.high_watermark)) return;
      const int64_t before = position_;
      position_ = model_.on_fetched(tp_.topic, tp_.partition, position_, data.records.bytes, name_);
      if (position_ > before && position_ > data.high_watermark && !world_.failed()) {
        world_.violation(fmt::format("{}: {}: records up to {} beyond the high watermark {}", name_, tp_.to_string(), position_, data.high_watermark));
      }
      positions_[{id, tp_.partition}] = position_;
      later(0, position_ == before ? 300 : 50);
    });
  }

  // Who waits at the end of a log is answered when another client's records are there.
  bool came_in_time(int64_t sent_ns, size_t bytes, int64_t high_watermark) {
    const auto& known = model_.find(tp_.topic, tp_.partition)->known;
    auto next = known.lower_bound(position_);
    if (sent_ns <= context_.well_since_ns || next == known.end()) return true;
    const int64_t late_ms = (world_.now_ns() - std::max(sent_ns, next->second.known_ns)) / 1'000'000;
    if (late_ms <= kLateMs) return true;
    world_.violation(fmt::format("{}: {} from {}: {} bytes (high watermark {}) come {} ms after offset {} was acknowledged or this was asked for, and nothing is wrong", name_,
                                 tp_.to_string(), position_, bytes, high_watermark, late_ms, next->first));
    return false;
  }

  // An end of the log, -1: the last, -2: the first. `then` hears of it if the topic is still there.
  void list_offset(Channel& channel, int64_t which, std::function<void(int64_t offset)> then) {
    ListOffsetsRequest request;
    request.replica_id = -1;
    ListOffsetsRequest::ListOffsetsTopic topic;
    topic.name = tp_.topic;
    ListOffsetsRequest::ListOffsetsPartition partition;
    partition.partition_index = tp_.partition;
    partition.timestamp = which;
    partition.current_leader_epoch = router_.epoch(tp_);
    topic.partitions.push_back(partition);
    request.topics.push_back(std::move(topic));
    out_ = true;
    channel.call<ListOffsetsRequest, ListOffsetsResponse>(request, channel.any_version<ListOffsetsRequest>(4), 0,
                                                          [this, id = id_, then = std::move(then)](ListOffsetsResponse* response) {
      out_ = false;
      if (response == nullptr || response->topics.size() != 1 || response->topics[0].partitions.size() != 1) return later(50, 300);
      auto& found = response->topics[0].partitions[0];
      if (found.error_code != 0) router_.refresh();
      if (found.error_code == 0 && !is_gone(id)) then(found.offset);
      later(10, 100);
    });
  }

  void ask_for_start(const Uuid& id) {
    Channel* channel = router_.leader(tp_);
    if (channel == nullptr) return later(100, 300);
    list_offset(*channel, -2, [this, id](int64_t start) {
      const int64_t at_most = model_.find(tp_.topic, tp_.partition)->may_start_at;
      if (start > at_most) world_.violation(fmt::format("{}: {} starts at {}, and records below {} were to be deleted", name_, tp_.to_string(), start, at_most));
      positions_[{id, tp_.partition}] = position_ = std::max(position_, start);
    });
  }

  void ask_for_end(Channel& channel) {
    list_offset(channel, -1, [this, id = id_](int64_t offset) {
      int64_t& end = ends_[{id, tp_.partition}];
      if (offset < std::max(end, position_)) {
        world_.violation(fmt::format("{}: {} ends at {}, and ended at {} before", name_, tp_.to_string(), offset, std::max(end, position_)));
      }
      end = std::max(end, offset);
    });
  }

  ClusterContext& context_;
  World& world_;
  Model& model_;
  const std::string name_;
  const int32_t max_wait_ms_;
  Router router_;
  bool out_ = false;
  TopicPartition tp_;
  Uuid id_;
  int64_t position_ = 0;
  int64_t power_cuts_ = 0;
  std::map<std::pair<Uuid, int32_t>, int64_t> positions_, ends_;
};

}  // namespace

std::unique_ptr<Client> make_cluster_consumer(ClusterContext& context, int number) { return std::make_unique<Consumer>(context, number); }

}  // namespace odradek::sim
