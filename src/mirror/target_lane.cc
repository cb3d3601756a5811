#include <algorithm>

#include "base/log.h"
#include "mirror/lanes.h"
#include "protocol/messages/produce.h"

namespace odradek::mirror {

using protocol::ProduceRequest;
using protocol::ProduceResponse;

namespace {
constexpr int16_t kLastWithNames = 12;  // later versions of Produce name topics by id
constexpr size_t kMostRequests = 64;
constexpr int64_t kMostBytes = 32 << 20;
constexpr int64_t kRequestBytes = 4 << 20;
}  // namespace

bool TargetLane::work() {
  bool sent = false;
  while (send()) sent = true;
  if (on_the_way_.empty()) return sent;
  Request& first = on_the_way_.front();
  int64_t now = shared_.now_ns();
  bool full = on_the_way_.size() >= kMostRequests || bytes_on_the_way_ >= kMostBytes;
  if (connection_->arrived(first.ticket, now + (full ? 20'000'000 : 2'000'000))) {
    receive();
  } else if (now - first.sent_ns > int64_t{shared_.options.request_timeout_ms} * 1'000'000 * 2) {
    broken(address_.to_string() + " does not answer a produce");
  }
  return true;
}

// One request with a batch of each partition that has one.
bool TargetLane::send() {
  if (connection_ == nullptr || on_the_way_.size() >= kMostRequests || bytes_on_the_way_ >= kMostBytes) return false;
  if (shared_.now_ns() >= shared_.lease_until_ns.load(std::memory_order_acquire)) return false;
  uint64_t durable = shared_.durable();
  Request request;
  auto partitions = shared_.partitions();
  ProduceRequest message;
  message.acks = -1;
  message.timeout_ms = shared_.options.request_timeout_ms;
  std::map<std::string_view, size_t> topics;
  for (const auto& partition : *partitions) {
    if (!partition->has_output() || partition->target_leader.load(std::memory_order_relaxed) != broker_.value) continue;
    if (std::hash<TopicPartition>{}(partition->name) % static_cast<size_t>(shared_.options.produce_connections) != static_cast<size_t>(index_)) continue;
    if (request.bytes >= kRequestBytes) break;
    auto batch = partition->next_batch(durable);
    if (!batch) continue;
    auto [place, added] = topics.try_emplace(partition->name.topic, message.topic_data.size());
    if (added) message.topic_data.emplace_back().name = partition->name.topic;
    auto& data = message.topic_data[place->second].partition_data.emplace_back();
    data.index = partition->name.partition;
    data.records.bytes = batch->bytes;
    request.bytes += static_cast<int64_t>(batch->bytes.size());
    request.work.emplace_back(partition, std::move(*batch));
  }
  if (request.work.empty()) return false;
  auto ticket = connection_->send(message, kLastWithNames);
  bool sent = ticket.has_value();
  request.sent_ns = shared_.now_ns();
  bytes_on_the_way_ += request.bytes;
  if (sent) request.ticket = *ticket;
  on_the_way_.push_back(std::move(request));
  if (!sent) broken(ticket.error().what);
  return sent;
}

void TargetLane::hand_back(const std::string& why) {
  for (Request& request : on_the_way_) {
    for (auto& [partition, batch] : request.work) partition->lose(batch.generation, why);
  }
  on_the_way_.clear();
  bytes_on_the_way_ = 0;
}

void TargetLane::receive() {
  Request request = std::move(on_the_way_.front());
  on_the_way_.pop_front();
  bytes_on_the_way_ -= request.bytes;
  auto answer = connection_->receive<ProduceResponse>(request.ticket);
  if (!answer) {
    for (auto& [partition, batch] : request.work) partition->lose(batch.generation, answer.error().what);
    return broken(answer.error().what);
  }
  std::map<TopicPartition, const ProduceResponse::PartitionProduceResponse*> answered;
  for (const auto& topic : answer->message.responses) {
    for (const auto& each : topic.partition_responses) answered[{topic.name, each.index}] = &each;
  }
  int64_t now = shared_.now_ns();
  for (auto& [partition, batch] : request.work) {
    auto found = answered.find(partition->name);
    auto code = found == answered.end() ? ErrorCode::kUnknownServerError : static_cast<ErrorCode>(found->second->error_code);
    if (code == ErrorCode::kNone) {
      partition->acknowledged(batch, {found->second->base_offset}, {found->second->log_start_offset});
      if (shared_.delay != nullptr) shared_.delay->record(static_cast<uint64_t>(now - batch.at_ns));
      continue;
    }
    std::string why = "the target refused a batch: " + std::string(name_of(code));
    if (found != answered.end() && found->second->error_message) why += ": " + *found->second->error_message;
    if (code == ErrorCode::kOutOfOrderSequenceNumber || code == ErrorCode::kDuplicateSequenceNumber) {
      partition->out_of_place(batch, why);
    } else {
      partition->lose(batch.generation, why);
    }
    if (is_retriable(code)) shared_.stale.store(true, std::memory_order_relaxed);
  }
  shared_.source_alarm.ring();  // memory was let go
}

}  // namespace odradek::mirror
