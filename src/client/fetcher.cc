#include "client/fetcher.h"

#include <algorithm>

#include "client/offsets.h"
#include "record/control.h"

namespace odradek::client {

using protocol::FetchRequest;
using protocol::FetchResponse;

namespace {
constexpr int16_t kLastWithNames = 12;  // later versions of Fetch name topics by id

// The offset behind the last whole batch of `bytes`.
Result<Offset> end_of(ByteView bytes, Offset from) {
  for (;;) {
    auto batch = record::next_batch(bytes);
    if (!batch) return fail(std::move(batch.error()));
    if (!*batch) return from;
    from = std::max(from, batch->next_offset());
  }
}
}  // namespace

void Fetcher::add(const TopicPartition& partition, Offset from) {
  partitions_[partition] = {.position = from, .ask = from, .on_the_way = false, .failures = 0, .not_before_ns = 0, .generation = next_generation_++};
}
void Fetcher::remove(const TopicPartition& partition) { partitions_.erase(partition); }

Offset Fetcher::position(const TopicPartition& partition) const {
  auto found = partitions_.find(partition);
  return found == partitions_.end() ? Offset{-1} : found->second.position;
}

void Fetcher::stumble(const TopicPartition& name) {
  Partition& partition = partitions_.at(name);
  cluster_.forget_leader(name);
  partition.not_before_ns = now_ns() + cluster_.backoff_ns(partition.failures++);
}

// One request to each leader that has none on its way.
Result<void> Fetcher::send() {
  std::map<BrokerId, std::vector<TopicPartition>> by_leader;
  for (auto& [name, partition] : partitions_) {
    if (partition.on_the_way || partition.not_before_ns > now_ns()) continue;
    // The first leader is waited for. Later the others are read meanwhile.
    auto leader = cluster_.leader(name, partition.failures == 0);
    if (leader) {
      by_leader[*leader].push_back(name);
    } else if (is_retriable(leader.error().code) && leader.error().code != ErrorCode::kUnknownTopicOrPartition && partition.failures > 0) {
      stumble(name);
    } else {
      return fail(std::move(leader.error()));
    }
  }
  for (auto& [broker, names] : by_leader) {
    if (std::any_of(in_flight_.begin(), in_flight_.end(), [&](const Request& request) { return request.broker == broker; })) continue;
    FetchRequest message;
    message.replica_id = -1;
    message.max_wait_ms = options_.max_wait_ms;
    message.min_bytes = 1;
    message.max_bytes = options_.max_bytes;
    message.isolation_level = static_cast<int8_t>(options_.isolation);
    Request request{.broker = broker, .connection = nullptr, .ticket = {}, .overdue_ns = 0, .asked = {}};
    for (const TopicPartition& name : names) {
      if (message.topics.empty() || message.topics.back().topic != name.topic) message.topics.emplace_back().topic = name.topic;
      Partition& partition = partitions_.at(name);
      auto& asked = message.topics.back().partitions.emplace_back();
      asked.partition = name.partition;
      asked.fetch_offset = partition.ask.value;
      asked.partition_max_bytes = options_.partition_max_bytes;
      request.asked[name] = {partition.ask, partition.generation};
    }
    auto connection = cluster_.hold(TheBroker{broker});
    auto ticket = connection ? (*connection)->send(message, kLastWithNames) : Result<Ticket>(fail(std::move(connection.error())));
    if (!ticket) {
      if (!may_pass(ticket.error().code)) return fail(std::move(ticket.error()));
      for (const TopicPartition& name : names) stumble(name);
      continue;
    }
    for (const TopicPartition& name : names) partitions_.at(name).on_the_way = true;
    request.connection = std::move(*connection);
    request.ticket = *ticket;
    request.overdue_ns = now_ns() + (int64_t{options_.max_wait_ms} + options_.request_timeout_ms) * 1'000'000;
    in_flight_.push_back(std::move(request));
  }
  return {};
}

Result<void> Fetcher::poll(const OnRecord& on_record) {
  if (auto sent = send(); !sent) return sent;
  if (in_flight_.empty()) {
    cluster_.dialer().pause_until(now_ns() + 20'000'000);
    return {};
  }
  // With one leader the wait is its long poll; with several each is looked at in turn.
  int64_t until = now_ns() + int64_t{options_.max_wait_ms} * 1'000'000;
  for (bool any = false; !any && now_ns() < until;) {
    int64_t pause = in_flight_.size() == 1 ? until : now_ns() + 10'000'000;
    // Each that is on its way now, and not those sent meanwhile: while records keep coming the caller has other things to do too.
    size_t i = 0;
    for (size_t left = in_flight_.size(); left > 0; --left) {
      Connection& connection = *in_flight_[i].connection;
      bool here = connection.arrived(in_flight_[i].ticket, i == 0 ? pause : now_ns());
      if (!here && now_ns() > in_flight_[i].overdue_ns) {
        // Nothing else would find out that its host has lost its power.
        connection.give_up({ErrorCode::kRequestTimedOut, connection.address().to_string() + " does not answer a fetch"});
        here = true;
      }
      if (!here) {
        ++i;
        continue;
      }
      any = true;
      Request request = std::move(in_flight_[i]);
      in_flight_.erase(in_flight_.begin() + static_cast<ptrdiff_t>(i));
      auto more = take(std::move(request), on_record);
      if (!more) return fail(std::move(more.error()));
      if (!*more) return {};
    }
  }
  return {};
}

Result<bool> Fetcher::take(Request request, const OnRecord& on_record) {
  auto answer = request.connection->receive<FetchResponse>(request.ticket);
  std::vector<std::pair<TopicPartition, const Data*>> usable;
  for (const auto& [name, asked] : request.asked) {
    auto found = partitions_.find(name);
    if (found == partitions_.end() || found->second.generation != asked.second) continue;
    found->second.on_the_way = false;
    if (!answer) stumble(name);
  }
  if (!answer && is_retriable(answer.error().code)) return true;
  if (!answer) return fail(std::move(answer.error()));
  if (auto code = static_cast<ErrorCode>(answer->message.error_code); code != ErrorCode::kNone) {
    return fail(code, "fetch from " + request.connection->address().to_string());
  }
  for (const auto& topic : answer->message.responses) {
    for (const auto& data : topic.partitions) {
      TopicPartition name{topic.topic, data.partition_index};
      auto asked = request.asked.find(name);
      auto found = partitions_.find(name);
      if (asked == request.asked.end() || found == partitions_.end() || found->second.generation != asked->second.second) continue;
      bool good = false;
      if (auto looked = look(name, found->second, data, good); !looked) return fail(std::move(looked.error()));
      if (good) usable.emplace_back(name, &data);
    }
  }
  if (auto sent = send(); !sent) return fail(std::move(sent.error()));  // the next records come while these are handed out
  for (size_t i = 0; i < usable.size(); ++i) {
    const auto& [name, data] = usable[i];
    auto more = hand_out(name, *data, request.asked.at(name).first, on_record);
    if (!more) return fail(std::move(more.error()));
    if (*more) continue;
    // What was not handed out is fetched again if somebody polls again; what is on its way comes after it and is not wanted now.
    for (; i < usable.size(); ++i) {
      auto rest = partitions_.find(usable[i].first);
      if (rest == partitions_.end()) continue;
      rest->second.ask = rest->second.position;
      rest->second.generation = next_generation_++;
      rest->second.on_the_way = false;
    }
    return false;
  }
  return true;
}

Result<void> Fetcher::look(const TopicPartition& name, Partition& partition, const Data& data, bool& usable) {
  auto code = static_cast<ErrorCode>(data.error_code);
  if (code == ErrorCode::kNone) {
    auto end = end_of(data.records.bytes, partition.ask);
    if (!end) return fail(std::move(end.error()));
    // A batch that does not fit is still sent whole; nothing whole means nothing new.
    partition.ask = *end;
    partition.failures = 0;
    usable = true;
    return {};
  }
  if (code == ErrorCode::kOffsetOutOfRange && options_.reset) {
    auto offsets = list_offsets(cluster_, {{name, *options_.reset}}, options_.isolation);
    if (!offsets) return fail(std::move(offsets.error()));
    if (offsets->at(name).error != ErrorCode::kNone) return fail(offsets->at(name).error, name.to_string());
    partition.position = partition.ask = offsets->at(name).offset;
    return {};
  }
  if (!is_retriable(code)) {
    return fail(code, name.to_string() + (code == ErrorCode::kOffsetOutOfRange ? " has no offset " + std::to_string(partition.ask.value) : ""));
  }
  stumble(name);
  return {};
}

// False: on_record wants no more.
Result<bool> Fetcher::hand_out(const TopicPartition& name, const Data& data, Offset from, const OnRecord& on_record) {
  ByteView rest = data.records.bytes;
  std::set<int64_t> aborted;
  auto transactions = data.aborted_transactions.value_or(std::vector<FetchResponse::AbortedTransaction>{});
  std::sort(transactions.begin(), transactions.end(), [](const auto& a, const auto& b) { return a.first_offset < b.first_offset; });
  size_t next = 0;
  for (;;) {
    auto batch = record::next_batch(rest);
    if (!batch) return fail(std::move(batch.error()));
    if (!*batch) return true;
    if (!batch->crc_matches()) return fail(ErrorCode::kCorruptMessage, name.to_string() + ": " + batch->where() + " has a wrong CRC");
    for (; next < transactions.size() && transactions[next].first_offset <= batch->last_offset().value; ++next) aborted.insert(transactions[next].producer_id);
    bool skip = batch->is_control();
    if (options_.isolation == IsolationLevel::kReadCommitted && batch->is_transactional() && aborted.contains(batch->producer_id().value)) skip = true;
    bool marker = batch->is_control() && aborted.contains(batch->producer_id().value);
    if (!skip || marker) {
      auto reader = record::RecordReader::open(*batch, decompressor_);
      if (!reader) return fail(std::move(reader.error()));
      record::RecordView record;
      for (;;) {
        auto more = reader->next(record);
        if (!more) return fail(std::move(more.error()));
        if (!*more) break;
        if (marker) {
          auto type = record::parse_control_type(record.key);
          if (type && *type == record::ControlType::kAbort) aborted.erase(batch->producer_id().value);
          continue;
        }
        if (record.offset < from) continue;
        bool go_on = on_record(name, record);
        auto found = partitions_.find(name);
        if (found == partitions_.end()) break;
        found->second.position = record.offset + 1;
        if (!go_on) return false;
      }
    }
    auto found = partitions_.find(name);
    if (found == partitions_.end()) return true;
    found->second.position = std::max(found->second.position, batch->next_offset());
  }
}

}  // namespace odradek::client
