#include <deque>

#include "protocol/messages/init_producer_id.h"
#include "protocol/messages/produce.h"
#include "record/batch_builder.h"
#include "sim/cluster/clients.h"

namespace odradek::sim {
namespace {

using protocol::InitProducerIdRequest;
using protocol::InitProducerIdResponse;
using protocol::ProduceRequest;
using protocol::ProduceResponse;

// An idempotent one (acks=all, five in flight) sends again what was not acknowledged, with the same sequences, to whoever leads; the
// others send once. Only what is acknowledged with acks=all is promised to stay.
class Producer final : public Client {
 public:
  Producer(ClusterContext& context, int number, bool idempotent)
      : context_(context),
        world_(context.world),
        model_(context.model),
        name_("p" + std::to_string(number)),
        idempotent_(idempotent),
        acks_(static_cast<int16_t>(idempotent ? -1 : world_.random.between(-1, 1))),
        pace_us_(world_.random.between(10'000, 80'000)),
        router_(context, name_) {}

  void start() override {
    router_.open();
    tick();
  }
  bool is_idle() const override { return lanes_.empty(); }

 private:
  static constexpr size_t kInFlight = 5;

  struct Batch {
    std::vector<std::string> texts;
    int32_t sequence = -1;
    Bytes bytes;
    bool in_flight = false;
    int64_t starts = 0;  // of brokers, when it was made
    int32_t leader_epoch = -1;  // then
    int64_t place = 0;   // among the batches of its lane
    int64_t sent_ns = 0;
  };
  // What is on its way to one partition, oldest first.
  struct Lane {
    std::string stream;
    Uuid topic_id;
    int64_t next_number = 0;
    int32_t next_sequence = 0;
    int64_t next_place = 0;
    std::deque<std::shared_ptr<Batch>> batches;  // shared: with the call that is out
    Channel* to = nullptr;                       // the leader that what is out was sent to
    bool repeat = false;                         // a batch was refused or lost: all are sent again when all are back
    bool repeat_is_due = false;
    size_t out = 0;
  };
  using LanePtr = std::shared_ptr<Lane>;  // shared: a call that is out may find its lane given up

  void tick() {
    world_.after_us(world_.random.between(pace_us_ / 2, pace_us_ * 2), [this] {
      produce();
      if (!context_.ending) tick();
    });
  }

  void ask_for_id() {
    Channel* channel = asking_ ? nullptr : router_.any();
    if (channel == nullptr) return;
    asking_ = true;
    InitProducerIdRequest request;
    request.transactional_id = std::nullopt;
    request.transaction_timeout_ms = 60'000;
    channel->call<InitProducerIdRequest, InitProducerIdResponse>(request, channel->any_version<InitProducerIdRequest>(), 5'000,
                                                                 [this](InitProducerIdResponse* response) {
      asking_ = false;
      if (response == nullptr || response->error_code != 0) return;
      producer_id_ = response->producer_id;
      epoch_ = response->producer_epoch;
      ++streams_;
      if (!context_.producer_ids.insert({producer_id_, epoch_}).second) world_.violation(fmt::format("{}: producer id {} given twice", name_, producer_id_));
    });
  }

  bool is_gone(const TopicPartition& tp, const LanePtr& lane) {
    TopicModel* topic = model_.find(tp.topic);
    return topic == nullptr || topic->dying || topic->id != lane->topic_id;
  }

  void produce() {
    if (context_.ending) return;
    if (std::exchange(power_cuts_, context_.power_cuts) != context_.power_cuts) start_over();
    if (idempotent_ && producer_id_ < 0) return ask_for_id();
    TopicModel* topic = model_.any_topic();
    if (topic == nullptr) return;
    TopicPartition tp{topic->name, static_cast<int32_t>(world_.random.below(topic->partitions.size()))};
    LanePtr& lane = lanes_[tp];
    if (lane != nullptr && lane->topic_id != topic->id) lane = nullptr;
    if (lane == nullptr) {
      lane = std::make_shared<Lane>();
      lane->stream = fmt::format("{}{}.{}.{}.{}", name_, idempotent_ ? ".i" : "", streams_, topic->id.to_hex().substr(0, 8), tp.partition);
      lane->topic_id = topic->id;
      // Numbers go on where an earlier lane to this place ended.
      auto& used = numbers_[lane->stream];
      lane->next_number = used.first;
      lane->next_sequence = used.second;
    }
    if (lane->repeat || lane->batches.size() >= kInFlight) return;
    if (idempotent_ && !lane->batches.empty()) {
      // A leader that knows nothing of a producer takes any sequence of it: the first batch has to be there before the next may overtake it.
      if (!known_.contains(lane->stream)) return;
      // And it remembers no more than the last batches: what was not acknowledged has to be among them, whatever behind it was.
      if (lane->next_place - lane->batches.front()->place >= static_cast<int64_t>(kInFlight)) return;
    }
    auto batch = std::make_shared<Batch>();
    record::BuilderOptions options;
    options.codec = world_.random.chance(80) ? record::Codec::kNone : static_cast<record::Codec>(world_.random.between(1, 3));
    if (idempotent_) {
      options.producer_id = {producer_id_};
      options.producer_epoch = epoch_;
      options.base_sequence = batch->sequence = lane->next_sequence;
    }
    record::BatchBuilder builder(options);
    int records = static_cast<int>(world_.random.chance(80) ? world_.random.between(1, 4) : world_.random.between(1, 20));
    for (int i = 0; i < records; ++i) {
      std::string text = Model::text_of({lane->stream, lane->next_number++}, static_cast<size_t>(world_.random.between(0, 120)));
      model_.on_sent(tp.topic, tp.partition, text);
      builder.append(world_.now_ms() - world_.random.between(0, 50), std::nullopt, as_bytes(text));
      batch->texts.push_back(std::move(text));
    }
    lane->next_sequence += records;
    numbers_[lane->stream] = {lane->next_number, lane->next_sequence};
    batch->bytes = builder.build();
    batch->starts = context_.starts;
    batch->leader_epoch = context_.leader_epoch(tp);
    batch->place = lane->next_place++;
    lane->batches.push_back(batch);
    send(tp, lane, batch);
  }

  // Now, or with all the others when there is a leader.
  void send(const TopicPartition& tp, const LanePtr& lane, const std::shared_ptr<Batch>& batch) {
    Channel* channel = router_.leader(tp);
    if (channel == nullptr || (lane->out > 0 && lane->to != channel)) {
      if (!idempotent_) {
        std::erase(lane->batches, batch);
        if (lane->batches.empty()) lanes_.erase(tp);
        return;
      }
      lane->repeat = true;
      return repeat_when_back(tp, lane);
    }
    int16_t version = channel->any_version<ProduceRequest>(3);
    Bytes bytes = batch->bytes;  // the encoder may not change it
    ProduceRequest request;
    request.transactional_id = std::nullopt;
    request.acks = acks_;
    request.timeout_ms = 5'000;
    ProduceRequest::TopicProduceData data;
    data.name = tp.topic;
    ProduceRequest::PartitionProduceData partition;
    partition.index = tp.partition;
    partition.records.bytes = bytes;
    data.partition_data.push_back(std::move(partition));
    request.topic_data.push_back(std::move(data));
    if (acks_ == 0) {
      channel->tell(request, version);
      std::erase(lane->batches, batch);
      if (lane->batches.empty()) lanes_.erase(tp);
      return;
    }
    batch->in_flight = true;
    batch->sent_ns = world_.now_ns();
    ++lane->out;
    lane->to = channel;
    channel->call<ProduceRequest, ProduceResponse>(request, version, 5'000, [this, tp, lane, batch](ProduceResponse* response) {
      batch->in_flight = false;
      --lane->out;
      if (response == nullptr) return on_answer(tp, lane, batch, ErrorCode::kNetworkException, -1);
      if (response->responses.size() != 1 || response->responses[0].partition_responses.size() != 1) {
        return world_.violation(name_ + ": an answer to Produce for something else");
      }
      const auto& answer = response->responses[0].partition_responses[0];
      on_answer(tp, lane, batch, static_cast<ErrorCode>(answer.error_code), answer.base_offset);
    });
  }

  void on_answer(const TopicPartition& tp, const LanePtr& lane, const std::shared_ptr<Batch>& batch, ErrorCode error, int64_t base_offset) {
    auto current = lanes_.find(tp);
    if (current == lanes_.end() || current->second != lane) return;
    if (is_gone(tp, lane)) {
      lanes_.erase(current);
      return;
    }
    if (error == ErrorCode::kNone || (idempotent_ && error == ErrorCode::kDuplicateSequenceNumber)) {
      world_.trace("{} {}: {} records acknowledged at {}", name_, tp.to_string(), batch->texts.size(), base_offset);
      known_.insert(lane->stream);
      const bool flushed = model_.find(tp.topic)->acks_are_flushed(acks_);
      if (flushed) ++context_.flushed_acks;
      if (acks_ == -1) model_.on_acked(tp.topic, tp.partition, base_offset, batch->texts, false, flushed);
      std::erase(lane->batches, batch);
    } else {
      world_.trace("{} {} sequence {}: {}", name_, tp.to_string(), batch->sequence, name_of(error));
      if (error == ErrorCode::kRequestTimedOut && batch->sent_ns > context_.well_since_ns) {
        return world_.violation(fmt::format("{} {}: a batch was not acknowledged in time, and nothing is wrong", name_, tp.to_string()));
      }
      switch (error) {
        case ErrorCode::kOutOfOrderSequenceNumber:
          if (idempotent_ && lane->batches.front() == batch) {
            if (batch->starts != context_.starts || batch->leader_epoch != context_.leader_epoch(tp)) return start_over();
            if (context_.leader(tp) != &lane->to->network()) return start_over();
            return world_.violation(fmt::format("{} {}: sequence {} is out of order, but everything before it was acknowledged", name_, tp.to_string(), batch->sequence));
          }
          break;
        case ErrorCode::kUnknownTopicOrPartition:
        case ErrorCode::kUnknownTopicId:
        case ErrorCode::kNotLeaderOrFollower:
        case ErrorCode::kLeaderNotAvailable:
        case ErrorCode::kKafkaStorageError:
        case ErrorCode::kNetworkException: router_.refresh(); break;
        case ErrorCode::kRequestTimedOut:
        case ErrorCode::kNotEnoughReplicas:
        case ErrorCode::kNotEnoughReplicasAfterAppend: break;
        default: return world_.violation(fmt::format("{} {}: {} for a batch without a fault", name_, tp.to_string(), name_of(error)));
      }
      if (idempotent_) {
        lane->repeat = true;
      } else {
        std::erase(lane->batches, batch);
      }
    }
    if (lane->batches.empty()) {
      lanes_.erase(tp);
    } else if (lane->repeat) {
      repeat_when_back(tp, lane);
    }
  }

  // What was not acknowledged may be there or not; a new producer id begins new streams.
  void start_over() {
    lanes_.clear();
    producer_id_ = -1;
    if (idempotent_) ask_for_id();
  }

  void repeat_when_back(const TopicPartition& tp, const LanePtr& lane) {
    if (lane->out > 0 || std::exchange(lane->repeat_is_due, true)) return;
    world_.after_ms(world_.random.between(50, 300), [this, tp, lane] {
      lane->repeat_is_due = false;
      auto now = lanes_.find(tp);
      if (now == lanes_.end() || now->second != lane) return;
      if (is_gone(tp, lane)) {
        lanes_.erase(now);
        return;
      }
      if (lane->out > 0) return;  // comes back here
      lane->repeat = false;
      for (const auto& batch : std::deque(lane->batches)) {
        if (!lane->repeat && !batch->in_flight) send(tp, lane, batch);
      }
    });
  }

  ClusterContext& context_;
  World& world_;
  Model& model_;
  const std::string name_;
  const bool idempotent_;
  const int16_t acks_;
  const int64_t pace_us_;
  Router router_;
  int64_t producer_id_ = -1;
  int16_t epoch_ = -1;
  bool asking_ = false;
  int streams_ = 0;
  int64_t power_cuts_ = 0;
  std::map<TopicPartition, LanePtr> lanes_;
  std::set<std::string> known_;  // streams of which something was acknowledged
  std::map<std::string, std::pair<int64_t, int32_t>> numbers_;  // by stream: next number and sequence
};

}  // namespace

std::unique_ptr<Client> make_cluster_producer(ClusterContext& context, int number, bool idempotent) {
  return std::make_unique<Producer>(context, number, idempotent);
}

}  // namespace odradek::sim
