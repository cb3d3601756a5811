#include "protocol/messages/init_producer_id.h"
#include "protocol/messages/produce.h"
#include "record/batch_builder.h"
#include "sim/clients.h"

namespace odradek::sim {
namespace {

using protocol::InitProducerIdRequest;
using protocol::InitProducerIdResponse;
using protocol::ProduceRequest;
using protocol::ProduceResponse;

class Producer final : public Client {
 public:
  Producer(Context& context, int number, bool idempotent)
      : context_(context),
        world_(context.world),
        model_(context.model),
        name_("p" + std::to_string(number)),
        idempotent_(idempotent),
        acks_(static_cast<int16_t>(idempotent ? -1 : world_.random.between(-1, 1))),
        pace_us_(world_.random.between(2'000, 60'000)),
        channel_(world_, context.network, name_) {}

  void start() override {
    channel_.open([this] { on_ready(); }, [this] { on_lost(); });
    tick();
  }
  bool is_idle() const override { return lanes_.empty() && channel_.calls_out() == 0; }

 private:
  static constexpr size_t kInFlight = 5;

  struct Batch {
    std::vector<std::string> texts;
    int32_t sequence = -1;
    Bytes bytes;
    bool in_flight = false;
    bool flushed = false;  // its answer was to wait for the disk when it was sent
    int flush_due = -1;  // the life in which it was sent, if the topic flushed each message then
  };
  // What is on its way to one partition, oldest first.
  struct Lane {
    std::string stream;
    Uuid topic_id;
    int64_t next_number = 0;
    int32_t next_sequence = 0;
    std::deque<std::shared_ptr<Batch>> batches;  // shared: with the call that is out
    bool repeat = false;                         // a batch was refused: all are sent again when all are back
    size_t out = 0;
  };
  using LanePtr = std::shared_ptr<Lane>;  // shared: a call that is out may find its lane given up

  void tick() {
    world_.after_us(world_.random.between(pace_us_ / 2, pace_us_ * 2), [this] {
      produce();
      if (!context_.ending) tick();
    });
  }

  void on_ready() {
    if (idempotent_ && producer_id_ < 0) return ask_for_id();
    // Not to a topic that is gone, or of which only the name has come back.
    std::erase_if(lanes_, [&](auto& lane) {
      TopicModel* topic = model_.find(lane.first.topic);
      return topic == nullptr || topic->dying || topic->id != lane.second->topic_id;
    });
    for (auto& [tp, lane] : lanes_) send_again(tp, lane);
  }
  void on_lost() {
    asking_ = false;
    if (!idempotent_) lanes_.clear();
  }

  void ask_for_id() {
    if (asking_ || !channel_.is_ready()) return;
    asking_ = true;
    InitProducerIdRequest request;
    request.transactional_id = std::nullopt;
    request.transaction_timeout_ms = 60'000;
    channel_.call<InitProducerIdRequest, InitProducerIdResponse>(request, channel_.any_version<InitProducerIdRequest>(), 0,
                                                                 [this](InitProducerIdResponse* response) {
      asking_ = false;
      if (response == nullptr) return;
      world_.trace("{} gets producer id {} epoch {}: {}", name_, response->producer_id, response->producer_epoch, name_of(static_cast<ErrorCode>(response->error_code)));
      if (response->error_code != 0) {
        world_.after_ms(200, [this] { ask_for_id(); });
        return;
      }
      producer_id_ = response->producer_id;
      epoch_ = response->producer_epoch;
      power_cuts_ = model_.power_cuts;
      disk_faults_ = model_.disk_faults;
      ++streams_;
      if (!ids_.insert({producer_id_, epoch_}).second) world_.violation(fmt::format("{}: producer id {} given twice", name_, producer_id_));
    });
  }

  void produce() {
    if (context_.ending || !channel_.is_ready() || (idempotent_ && producer_id_ < 0)) return;
    TopicModel* topic = model_.any_topic();
    if (topic == nullptr) return;
    TopicPartition tp{topic->name, static_cast<int32_t>(world_.random.below(topic->partitions.size()))};
    LanePtr& lane = lanes_[tp];
    if (lane == nullptr) {
      lane = std::make_shared<Lane>();
      lane->stream = fmt::format("{}{}.{}.{}.{}", name_, idempotent_ ? ".i" : "", streams_, topic->id.to_hex().substr(0, 8), tp.partition);
      lane->topic_id = topic->id;
      // Numbers go on where an earlier lane to this place ended.
      auto& used = numbers_[lane->stream];
      lane->next_number = used.first;
      lane->next_sequence = used.second;
    }
    if (lane->topic_id != topic->id) {
      lanes_.erase(tp);
      return;
    }
    if (lane->repeat || lane->batches.size() >= kInFlight) return;
    auto batch = std::make_shared<Batch>();
    record::BuilderOptions options;
    options.codec = world_.random.chance(70) ? record::Codec::kNone : static_cast<record::Codec>(world_.random.between(1, 4));
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
    lane->batches.push_back(batch);
    send(tp, lane, batch);
  }

  void send_again(const TopicPartition& tp, const LanePtr& lane) {
    lane->repeat = false;
    for (auto& batch : lane->batches) {
      if (!batch->in_flight) send(tp, lane, batch);
    }
  }

  void send(const TopicPartition& tp, const LanePtr& lane, std::shared_ptr<Batch> batch) {
    if (!channel_.is_ready()) return;
    int16_t version = channel_.any_version<ProduceRequest>(batch->bytes[22] % 8 == 4 ? 7 : 3);  // zstd from v7 on
    Bytes bytes = batch->bytes;  // the encoder may not change it
    ProduceRequest request;
    request.transactional_id = std::nullopt;
    request.acks = acks_;
    request.timeout_ms = 10'000;
    ProduceRequest::TopicProduceData data;
    data.name = tp.topic;
    ProduceRequest::PartitionProduceData partition;
    partition.index = tp.partition;
    partition.records.bytes = bytes;
    data.partition_data.push_back(std::move(partition));
    request.topic_data.push_back(std::move(data));
    if (acks_ == 0) {
      channel_.tell(request, version);
      std::erase(lane->batches, batch);
      if (lane->batches.empty()) lanes_.erase(tp);
      return;
    }
    batch->in_flight = true;
    TopicModel* topic = model_.find(tp.topic);
    batch->flush_due = topic != nullptr && topic->flush_each ? model_.restarts() : -1;
    batch->flushed = topic != nullptr && topic->acks_are_flushed(acks_);
    ++lane->out;
    channel_.call<ProduceRequest, ProduceResponse>(request, version, 10'000, [this, tp, lane, batch](ProduceResponse* response) {
      batch->in_flight = false;
      --lane->out;
      if (response == nullptr) return;
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
    if (error == ErrorCode::kNone || (idempotent_ && error == ErrorCode::kDuplicateSequenceNumber)) {
      world_.trace("{} {}: {} records acknowledged at {}", name_, tp.to_string(), batch->texts.size(), base_offset);
      TopicModel* topic = model_.find(tp.topic);
      const bool flushed = batch->flushed && topic != nullptr && topic->acks_are_flushed(acks_);
      model_.on_acked(tp.topic, tp.partition, base_offset, batch->texts, batch->flush_due == model_.restarts(), flushed);
      if (flushed && context_.at_promise) context_.at_promise();
      std::erase(lane->batches, batch);
    } else if (model_.find(tp.topic, tp.partition) == nullptr) {
      lanes_.erase(tp);  // its topic is being deleted
      return;
    } else if (!idempotent_) {
      world_.trace("{} {}: {}", name_, tp.to_string(), name_of(error));
      std::erase(lane->batches, batch);
    } else {
      world_.trace("{} {} sequence {}: {}", name_, tp.to_string(), batch->sequence, name_of(error));
      switch (error) {
        case ErrorCode::kOutOfOrderSequenceNumber:
          if (lane->batches.front() != batch) {
            lane->repeat = true;
            break;
          }
          if (power_cuts_ == model_.power_cuts && disk_faults_ == model_.disk_faults) {
            world_.violation(fmt::format("{} {}: sequence {} is out of order, but everything before it was acknowledged", name_, tp.to_string(), batch->sequence));
          }
          return start_over();
        case ErrorCode::kUnknownTopicOrPartition:
        case ErrorCode::kNotLeaderOrFollower:
        case ErrorCode::kLeaderNotAvailable:
        case ErrorCode::kKafkaStorageError:
        case ErrorCode::kRequestTimedOut:
        case ErrorCode::kNotEnoughReplicas:
        case ErrorCode::kNotEnoughReplicasAfterAppend:
        case ErrorCode::kUnknownTopicId:
          lane->repeat = true;
          break;
        case ErrorCode::kUnknownProducerId:
          return start_over();
        default:
          return world_.violation(fmt::format("{} {}: {} for a batch without a fault", name_, tp.to_string(), name_of(error)));
      }
    }
    if (lane->batches.empty()) {
      lanes_.erase(tp);
    } else if (lane->repeat && lane->out == 0) {
      world_.after_ms(world_.random.between(20, 200), [this, tp, lane] {
        auto now = lanes_.find(tp);
        if (now == lanes_.end() || now->second != lane) return;
        if (model_.find(tp.topic, tp.partition) == nullptr || model_.find(tp.topic)->id != lane->topic_id) {
          lanes_.erase(tp);
        } else if (lane->out == 0 && channel_.is_ready()) {
          send_again(tp, lane);
        }
      });
    }
  }

  // What was not acknowledged may be there or not; a new producer id begins new streams.
  void start_over() {
    lanes_.clear();
    producer_id_ = -1;
    ask_for_id();
  }

  Context& context_;
  World& world_;
  Model& model_;
  const std::string name_;
  const bool idempotent_;
  const int16_t acks_;
  const int64_t pace_us_;
  Channel channel_;
  int64_t producer_id_ = -1;
  int16_t epoch_ = -1;
  bool asking_ = false;
  int streams_ = 0;
  int power_cuts_ = 0, disk_faults_ = 0;  // before the id was given
  std::set<std::pair<int64_t, int16_t>> ids_;
  std::map<TopicPartition, LanePtr> lanes_;
  std::map<std::string, std::pair<int64_t, int32_t>> numbers_;  // by stream: next number and sequence
};

}  // namespace

std::unique_ptr<Client> make_producer(Context& context, int number, bool idempotent) {
  return std::make_unique<Producer>(context, number, idempotent);
}

}  // namespace odradek::sim
