#include "client/producer.h"

#include <algorithm>

#include "protocol/messages/init_producer_id.h"

namespace odradek::client {

using protocol::InitProducerIdRequest;
using protocol::InitProducerIdResponse;
using protocol::ProduceRequest;
using protocol::ProduceResponse;

namespace {
constexpr size_t kMaxRequestBytes = 8 << 20;
constexpr size_t kMaxWaitingBatches = 64;        // of one partition, before send() waits
constexpr size_t kMaxWaitingBytes = 32 << 20;    // of all, before send() waits: buffer.memory of Kafka's producer
constexpr int16_t kFirstWithBatches = 3, kLastWithNames = 12;  // of Produce: earlier versions carry old messages, later ones name topics by id

// Sequence numbers have 31 bits and go round.
bool comes_before(int32_t a, int32_t b) { return static_cast<int32_t>((static_cast<uint32_t>(b) - static_cast<uint32_t>(a)) << 1) > 0; }
}  // namespace

Producer::Producer(Cluster& cluster, base::Random& random, ProducerOptions options)
    : cluster_(cluster), options_(options), sticky_(random, options.batch_bytes) {
  builder_.codec = options_.codec;
}

Result<std::unique_ptr<Producer>> Producer::make(Cluster& cluster, base::Random& random, ProducerOptions options) {
  options.idempotent = options.idempotent && options.acks == -1;
  if (options.idempotent) options.max_in_flight = std::min<size_t>(options.max_in_flight, 5);  // what brokers remember
  auto producer = std::unique_ptr<Producer>(new Producer(cluster, random, options));
  if (options.idempotent) {
    InitProducerIdRequest request;
    request.transactional_id.reset();
    request.transaction_timeout_ms = 60'000;
    auto answer = cluster.ask<InitProducerIdResponse>(AnyBroker{}, request, [](const auto& response) { return static_cast<ErrorCode>(response.error_code); });
    if (!answer) return fail(std::move(answer.error()));
    if (answer->message.error_code != 0) return fail(static_cast<ErrorCode>(answer->message.error_code), "no producer id");
    producer->builder_.producer_id = {answer->message.producer_id};
    producer->builder_.producer_epoch = answer->message.producer_epoch;
  }
  return producer;
}

Result<int32_t> Producer::partition_of(const std::string& topic, const ProducerRecord& record) {
  auto known = partitions_.find(topic);
  if (known == partitions_.end()) {
    if (auto leader = cluster_.leader({topic, 0}); !leader && leader.error().code != ErrorCode::kLeaderNotAvailable) return fail(std::move(leader.error()));
    auto metadata = cluster_.metadata({{topic}});
    if (!metadata) return fail(std::move(metadata.error()));
    if (metadata->topics.size() != 1 || metadata->topics[0].error_code != 0 || metadata->topics[0].partitions.empty()) {
      return fail(ErrorCode::kUnknownTopicOrPartition, "topic " + topic);
    }
    known = partitions_.emplace(topic, static_cast<int32_t>(metadata->topics[0].partitions.size())).first;
  }
  if (record.partition) {
    if (*record.partition < 0 || *record.partition >= known->second) {
      return fail(ErrorCode::kUnknownTopicOrPartition, "topic " + topic + " has no partition " + std::to_string(*record.partition));
    }
    return *record.partition;
  }
  if (record.key) return partition_of_key(*record.key, known->second);
  return sticky_.next(record.value ? record.value->size() : 0, known->second);
}

Producer::Queue& Producer::queue(const TopicPartition& partition) { return queues_.try_emplace(partition, builder_).first->second; }

Result<void> Producer::send(const std::string& topic, const ProducerRecord& record) {
  if (failed_) return fail(*failed_);
  auto partition = partition_of(topic, record);
  if (!partition) return fail(std::move(partition.error()));
  Queue& to = queue({topic, *partition});
  size_t size = 70 + (record.key ? record.key->size() : 0) + (record.value ? record.value->size() : 0);
  for (const auto& header : record.headers) size += 10 + header.key.size() + (header.value ? header.value->size() : 0);
  if (size > (size_t{1} << 30)) return fail(ErrorCode::kMessageTooLarge, "a record of " + std::to_string(size) + " bytes");
  const bool was_full = !to.open.empty() && to.open.size_in_bytes() + size > options_.batch_bytes;
  if (was_full) close(to);
  if (to.open.empty()) to.open_since_ns = now_ns();
  to.open.append(record.timestamp, record.key, record.value, record.headers);
  const bool is_full = to.open.size_in_bytes() >= options_.batch_bytes;
  if (is_full) close(to);
  return was_full || is_full ? send_closed(to) : Result<void>();
}

// What may leave leaves; waits while too much is left.
Result<void> Producer::send_closed(Queue& to) {
  if (auto taken = take_arrived(); !taken) return taken;
  if (auto pumped = pump(); !pumped) return pumped;
  while (to.waiting.size() > kMaxWaitingBatches || waiting_bytes_ > kMaxWaitingBytes) {
    if (!in_flight_.empty()) {
      if (auto taken = take(0); !taken) return taken;
    } else {
      cluster_.dialer().pause_until(std::max(to.not_before_ns, now_ns() + 1'000'000));
    }
    if (auto pumped = pump(); !pumped) return pumped;
  }
  return {};
}

// Numbers the open batch and puts it at the end of the queue. Its number goes into the finished bytes.
void Producer::close(Queue& queue) {
  Batch batch;
  batch.count = queue.open.count();
  batch.made_ns = now_ns();
  batch.bytes = queue.open.build();
  if (options_.idempotent) {
    batch.sequence = queue.next_sequence;
    queue.next_sequence = record::add_sequence(queue.next_sequence, batch.count);
    base::store_be<int32_t>(batch.bytes.data() + record::kBaseSequenceAt, batch.sequence);
    record::set_crc(batch.bytes);
  }
  waiting_bytes_ += batch.bytes.size();
  queue.waiting.push_back(std::move(batch));
}

// Behind batches that wait an open one could not leave anyway: it goes on filling.
void Producer::close_due(bool all) {
  int64_t due = now_ns() - options_.linger_ms * 1'000'000;
  for (auto& [partition, queue] : queues_) {
    if (!queue.open.empty() && (all || (queue.open_since_ns <= due && queue.waiting.empty()))) close(queue);
  }
}

std::optional<int64_t> Producer::next_linger_ns() const {
  std::optional<int64_t> next;
  for (const auto& [partition, queue] : queues_) {
    if (!queue.open.empty() && queue.waiting.empty()) next = std::min(next.value_or(INT64_MAX), queue.open_since_ns + options_.linger_ms * 1'000'000);
  }
  return next;
}

Result<void> Producer::poll() {
  if (failed_) return fail(*failed_);
  close_due(false);
  if (auto taken = take_arrived(); !taken) return taken;
  return pump();
}

Result<void> Producer::flush() {
  if (failed_) return fail(*failed_);
  close_due(true);
  for (;;) {
    if (auto pumped = pump(); !pumped) return pumped;
    if (!in_flight_.empty()) {
      if (auto taken = take(0); !taken) return taken;
      continue;
    }
    int64_t next = INT64_MAX;
    for (const auto& [partition, queue] : queues_) {
      if (!queue.waiting.empty()) next = std::min(next, queue.not_before_ns);
    }
    if (next == INT64_MAX) return {};
    cluster_.dialer().pause_until(std::max(next, now_ns() + 1'000'000));
  }
}

size_t Producer::in_flight(BrokerId broker) const {
  return static_cast<size_t>(std::count_if(in_flight_.begin(), in_flight_.end(), [&](const Request& request) { return request.broker == broker; }));
}

Result<void> Producer::pump() {
  for (bool sent = true; sent;) {
    sent = false;
    std::map<BrokerId, std::vector<TopicPartition>> by_leader;
    int64_t now = now_ns();
    for (auto& [partition, queue] : queues_) {
      bool alone = queue.repeating || !options_.idempotent;
      if (queue.waiting.empty() || (alone && queue.on_the_way > 0) || queue.not_before_ns > now) continue;
      auto leader = cluster_.leader(partition);
      if (leader) {
        // A batch that overtakes one at the former leader would be out of sequence.
        if (queue.on_the_way > 0 && queue.broker != *leader) continue;
        by_leader[*leader].push_back(partition);
      } else if (!is_retriable(leader.error().code) || now_ns() - queue.waiting.front().made_ns > options_.delivery_timeout_ms * 1'000'000) {
        failed_ = leader.error();
        return fail(std::move(leader.error()));
      }
    }
    for (const auto& [broker, partitions] : by_leader) {
      if (in_flight(broker) >= options_.max_in_flight) continue;
      auto done = send_to(broker, partitions);
      if (!done) return fail(std::move(done.error()));
      sent |= *done;
    }
  }
  return {};
}

// One request with the first batch of each partition. False: it could not be sent, the batches wait again.
Result<bool> Producer::send_to(BrokerId broker, const std::vector<TopicPartition>& partitions) {
  Request request{.broker = broker, .connection = nullptr, .ticket = {}, .batches = {}};
  ProduceRequest message;
  message.acks = options_.acks;
  message.timeout_ms = options_.request_timeout_ms;
  size_t bytes = 0;
  for (const TopicPartition& partition : partitions) {
    Queue& from = queue(partition);
    if (bytes > 0 && bytes + from.waiting.front().bytes.size() > kMaxRequestBytes) continue;
    bytes += from.waiting.front().bytes.size();
    waiting_bytes_ -= from.waiting.front().bytes.size();
    request.batches.emplace_back(partition, std::move(from.waiting.front()));
    from.waiting.pop_front();
    ++from.on_the_way;
    from.broker = broker;
  }
  for (auto& [partition, batch] : request.batches) {
    if (message.topic_data.empty() || message.topic_data.back().name != partition.topic) message.topic_data.emplace_back().name = partition.topic;
    auto& data = message.topic_data.back().partition_data.emplace_back();
    data.index = partition.partition;
    data.records.bytes = batch.bytes;
  }
  auto connection = cluster_.hold(TheBroker{broker});
  auto ticket = [&]() -> Result<Ticket> {
    if (!connection) return fail(connection.error());
    if (auto version = (*connection)->version_for(ProduceRequest::kKey, kFirstWithBatches, kLastWithNames); !version) return fail(version.error());
    return (*connection)->send(message, kLastWithNames, options_.acks != 0);
  }();
  if (!ticket || options_.acks == 0) {
    Error error = ticket ? Error{} : ticket.error();
    for (auto& [partition, batch] : request.batches) {
      if (auto done = answered(partition, std::move(batch), error); !done) return fail(std::move(done.error()));
    }
    return ticket.has_value();
  }
  request.connection = std::move(*connection);
  request.ticket = *ticket;
  in_flight_.push_back(std::move(request));
  return true;
}

Result<void> Producer::take_arrived() {
  for (size_t i = 0; i < in_flight_.size();) {
    if (!in_flight_[i].connection->arrived(in_flight_[i].ticket, now_ns())) {
      ++i;
      continue;
    }
    if (auto taken = take(i); !taken) return taken;
  }
  return {};
}

Result<void> Producer::take(size_t index) {
  Request request = std::move(in_flight_[index]);
  in_flight_.erase(in_flight_.begin() + static_cast<ptrdiff_t>(index));
  auto answer = request.connection->receive<ProduceResponse>(request.ticket);
  std::map<TopicPartition, Error> codes;
  if (answer) {
    for (const auto& topic : answer->message.responses) {
      for (const auto& partition : topic.partition_responses) {
        std::string what = "partition " + std::to_string(partition.index) + " of " + topic.name;
        if (partition.error_message) what += ": " + *partition.error_message;
        codes[{topic.name, partition.index}] = {static_cast<ErrorCode>(partition.error_code), std::move(what)};
      }
    }
  }
  for (auto& [partition, batch] : request.batches) {
    Error error = !answer ? answer.error() : Error{ErrorCode::kUnknownServerError, "no answer for " + partition.to_string()};
    if (auto found = codes.find(partition); found != codes.end()) error = std::move(found->second);
    if (auto done = answered(partition, std::move(batch), std::move(error)); !done) return done;
  }
  return {};
}

Result<void> Producer::answered(const TopicPartition& partition, Batch batch, Error error) {
  Queue& from = queue(partition);
  --from.on_the_way;
  if (error.code == ErrorCode::kNone || error.code == ErrorCode::kDuplicateSequenceNumber) {
    delivered_ += batch.count;
    ++delivered_batches_;
    from.failures = 0;
    if (from.on_the_way == 0) from.repeating = false;
    return {};
  }
  // A gap in the numbers is the trace of an earlier batch that failed and is sent again first.
  bool behind_a_failure = error.code == ErrorCode::kOutOfOrderSequenceNumber && from.repeating && !from.waiting.empty() && options_.idempotent &&
                          comes_before(from.waiting.front().sequence, batch.sequence);
  bool late = now_ns() - batch.made_ns > options_.delivery_timeout_ms * 1'000'000;
  if ((!may_pass(error.code) && !behind_a_failure) || late) {
    failed_ = error;
    return fail(std::move(error));
  }
  // Answers come in order, so what fails later belongs behind what failed before it.
  auto place = from.waiting.begin();
  if (options_.idempotent) {
    while (place != from.waiting.end() && comes_before(place->sequence, batch.sequence)) ++place;
  }
  waiting_bytes_ += batch.bytes.size();
  from.waiting.insert(place, std::move(batch));
  from.repeating = true;
  ++resent_;
  cluster_.forget_leader(partition);
  from.not_before_ns = now_ns() + cluster_.backoff_ns(from.failures++);
  return {};
}

}  // namespace odradek::client
