#include <algorithm>

#include "base/log.h"
#include "mirror/lanes.h"
#include "protocol/messages/fetch.h"

namespace odradek::mirror {

using protocol::FetchRequest;
using protocol::FetchResponse;

namespace {
constexpr int16_t kLastWithNames = 12;    // later versions of Fetch name topics by id
constexpr int16_t kFirstWithEpoch = 12;   // in which the leader compares the epoch of the record before
constexpr size_t kRangesOnTheWay = 2;     // of one connection: one is sent while the other travels
constexpr int32_t kPollBytes = 8 << 20;   // of a poll's whole answer

// Memory of an answer, counted while any batch of it is needed.
struct Frame {
  Frame(Bytes bytes, Budget& budget) : bytes(std::move(bytes)), budget(budget) { budget.add(static_cast<int64_t>(this->bytes.size())); }
  ~Frame() { budget.add(-static_cast<int64_t>(bytes.size())); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  Bytes bytes;
  Budget& budget;
};
}  // namespace

bool SourceLane::work() {
  bool sent = send();
  if (on_the_way_.empty()) return sent;
  Request& first = on_the_way_.front();
  int64_t now = shared_.now_ns();
  // Short waits while there is room for another range.
  int64_t slice_ns = index_ == 0 || on_the_way_.size() >= kRangesOnTheWay ? 100'000'000 : 5'000'000;
  if (connection_->arrived(first.ticket, now + slice_ns)) {
    receive();
  } else if (now - first.sent_ns > int64_t{shared_.options.request_timeout_ms} * 1'000'000) {
    broken(address_.to_string() + " does not answer a fetch");
  }
  return true;
}

std::vector<SourceLane::Work> SourceLane::find_work() {
  std::vector<Work> work;
  auto partitions = shared_.partitions();
  size_t count = partitions->size();
  for (size_t i = 0; i < count; ++i) {
    const auto& partition = (*partitions)[(next_ + i) % count];
    if (partition->source_leader.load(std::memory_order_relaxed) != broker_.value) continue;
    auto task = index_ == 0 ? partition->poll() : partition->next_range();
    if (!task) continue;
    if (index_ > 0 && !shared_.budget.open(task->fetch.first, task->fetch.max_bytes)) {
      partition->fetch_failed(*task);
      continue;
    }
    work.emplace_back(partition, *task);
    if (index_ > 0) {
      next_ = (next_ + i + 1) % count;
      break;
    }
  }
  if (index_ == 0) next_ = count == 0 ? 0 : (next_ + 1) % count;  // whoever stands first in a request gets its bytes first
  return work;
}

bool SourceLane::send() {
  if (on_the_way_.size() >= (index_ == 0 ? 1 : kRangesOnTheWay)) return false;
  if (index_ == 0 && !shared_.budget.open(true, kPollBytes)) return false;
  Request request;
  request.work = find_work();
  if (request.work.empty()) return false;
  FetchRequest message;
  message.replica_id = -1;
  message.max_wait_ms = shared_.options.fetch_max_wait_ms;
  message.min_bytes = 1;
  message.max_bytes = index_ == 0 ? kPollBytes : request.work[0].second.fetch.max_bytes;
  message.isolation_level = static_cast<int8_t>(shared_.options.isolation);
  auto version = connection_->version_for(FetchRequest::kKey, FetchRequest::kMinVersion, kLastWithNames);
  request.compares = version && *version >= kFirstWithEpoch;
  std::map<std::string_view, size_t> topics;
  for (const auto& [partition, task] : request.work) {
    auto [place, added] = topics.try_emplace(partition->name.topic, message.topics.size());
    if (added) message.topics.emplace_back().topic = partition->name.topic;
    auto& asked = message.topics[place->second].partitions.emplace_back();
    asked.partition = partition->name.partition;
    asked.fetch_offset = task.fetch.from.value;
    if (request.compares) asked.last_fetched_epoch = task.last_epoch.value;
    asked.partition_max_bytes = task.fetch.max_bytes;
    if (index_ > 0) request.reserved += task.fetch.max_bytes;
  }
  auto ticket = connection_->send(message, kLastWithNames);
  shared_.budget.add(request.reserved);
  request.sent_ns = shared_.now_ns();
  bool sent = ticket.has_value();
  if (sent) request.ticket = *ticket;
  on_the_way_.push_back(std::move(request));
  if (!sent) broken(ticket.error().what);
  return sent;
}

void SourceLane::give_back(Request& request) {
  shared_.budget.add(-request.reserved);
  for (auto& [partition, task] : request.work) partition->fetch_failed(task);
}

void SourceLane::hand_back(const std::string&) {
  for (Request& request : on_the_way_) give_back(request);
  on_the_way_.clear();
}

void SourceLane::receive() {
  Request request = std::move(on_the_way_.front());
  on_the_way_.pop_front();
  auto answer = connection_->receive<FetchResponse>(request.ticket);
  if (!answer) {
    give_back(request);
    return broken(answer.error().what);
  }
  FetchResponse& response = answer->message;
  if (auto code = static_cast<ErrorCode>(response.error_code); code != ErrorCode::kNone) {
    give_back(request);
    return broken(address_.to_string() + " refused a fetch: " + std::string(name_of(code)));
  }
  shared_.fetched_bytes.fetch_add(static_cast<int64_t>(answer->frame.size()), std::memory_order_relaxed);
  auto frame = std::make_shared<Frame>(std::move(answer->frame), shared_.budget);  // shared by the batches in it
  shared_.budget.add(-request.reserved);
  std::map<TopicPartition, FetchResponse::PartitionData*> answered;
  for (auto& topic : response.responses) {
    for (auto& data : topic.partitions) answered[{topic.topic, data.partition_index}] = &data;
  }
  bool output = false;
  for (auto& [partition, task] : request.work) {
    auto found = answered.find(partition->name);
    if (found == answered.end()) {
      partition->fetch_failed(task);
      continue;
    }
    auto& data = *found->second;
    auto code = static_cast<ErrorCode>(data.error_code);
    if (code == ErrorCode::kNone && data.diverging_epoch.epoch >= 0) {
      partition->fetch_failed(task);
      // Placing it anew asks again, and says what is wrong.
      partition->lose(task.generation, "the source's log departs from what was copied up to " + std::to_string(task.fetch.from.value));
      continue;
    }
    if (code == ErrorCode::kNone) {
      Chunk chunk{.owner = frame, .frames = data.records.bytes, .aborted = {}};
      chunk.compared = !request.compares || task.last_epoch != kNoLeaderEpoch;  // Kafka before 2.7 cannot
      for (const auto& each : data.aborted_transactions.value_or(std::vector<FetchResponse::AbortedTransaction>{})) {
        chunk.aborted.push_back({each.producer_id, {each.first_offset}});
      }
      bool committed = shared_.options.isolation == IsolationLevel::kReadCommitted && data.last_stable_offset >= 0;
      output |= partition->fetched(task, std::move(chunk), {committed ? data.last_stable_offset : data.high_watermark});
      continue;
    }
    partition->fetch_failed(task);
    // Placing the partition anew also finds out where the source's log begins and ends now.
    partition->lose(task.generation, "fetch from the source: " + std::string(name_of(code)));
    if (is_retriable(code)) shared_.stale.store(true, std::memory_order_relaxed);
  }
  if (output) shared_.target_alarm.ring();
  shared_.source_alarm.ring();  // ranges may have been cut for the other lanes
}

}  // namespace odradek::mirror
