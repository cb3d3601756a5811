// What a leader's answers do to the logs of this broker.
#include <algorithm>

#include "base/log.h"
#include "replication/fetcher/fetch_lane.h"
#include "replication/fetcher/fetch_lane_step.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {

using protocol::FetchResponse;

namespace {

int64_t record_bytes(const FetchResponse& response) {
  int64_t bytes = 0;
  for (const auto& topic : response.responses) {
    for (const auto& partition : topic.partitions) bytes += static_cast<int64_t>(partition.records.bytes.size());
  }
  return bytes;
}

}  // namespace

void FetchLane::answered(size_t connection, const FetchAnswer& answer) {
  striping_.answered(connection, answer ? record_bytes(answer->message) : 0, context_->runtime.clock().monotonic_ms());
}

void FetchLane::on_fetched(int32_t number, FetchAnswer answer) {
  if (!answer) return pause(answer.error());
  early_.emplace(number, std::move(*answer));
  for (auto next = early_.find(next_answer_); next != early_.end(); next = early_.find(next_answer_)) {
    LinkAnswer<FetchResponse> taken = std::move(next->second);
    const int32_t taken_number = next->first;
    early_.erase(next);
    next_answer_ = taken_number == INT32_MAX ? 1 : taken_number + 1;
    --in_flight_;
    if (!take(taken_number, std::move(taken))) break;
  }
  go_on();
}

// False: the session is over.
bool FetchLane::take(int32_t number, LinkAnswer<FetchResponse> answer) {
  FetchResponse& response = answer.message;
  if (const auto error = static_cast<ErrorCode>(response.error_code); error != ErrorCode::kNone) {
    const bool session_is_void = error == ErrorCode::kFetchSessionIdNotFound || error == ErrorCode::kInvalidFetchSessionEpoch ||
                                 error == ErrorCode::kFetchSessionTopicIdError;
    if (!session_is_void || number == 0) {
      pause(Error{error, std::string(name_of(error))});
    } else {
      log::debug("replication", "{}: {}", label_, name_of(error));
      new_session(true);  // names the old one, which may be there all the same: its requests hold up those behind them
    }
    return false;
  }
  paused_.store(false, std::memory_order_relaxed);
  session_id_ = response.session_id;
  if (number == 0) {
    const bool takes = response.pipeline.has_value() && response.pipeline->format == 1 && session_id_ != 0;
    if (!mode_known_ || takes != pipelined()) {
      mode_known_ = true;
      pipelined_.store(takes, std::memory_order_relaxed);
      log::info("replication", "{}: fetches are {}", label_,
                takes                             ? "pipelined"
                : options_.in_flight_bytes > 0    ? "one at a time, its leader is not of Odradek"
                                                  : "one at a time, as replica.fetch.in.flight.bytes says");
      if (context_->on_mode) context_->on_mode(target_, takes);
    }
  }
  const int64_t bytes = record_bytes(response);
  for (FetchResponse::FetchableTopicResponse& topic : response.responses) {
    for (FetchResponse::PartitionData& data : topic.partitions) {
      Fetch* fetch = nullptr;
      if (by_name_) {
        fetch = find({topic.topic, data.partition_index});
      } else if (auto found = by_id_.find({topic.topic_id, data.partition_index}); found != by_id_.end()) {
        fetch = found->second;
      }
      // Not asked for any more, not yet again, or from elsewhere meanwhile.
      if (fetch == nullptr || (!fetch->told && fetch->state != State::kThrottled) || number < fetch->valid_from) continue;
      on_partition(*fetch, data);
    }
  }
  if (bytes > 0) {
    const int64_t now_ms = context_->runtime.clock().monotonic_ms();
    if (pipelined() && striping_.received(bytes, now_ms)) striping_.measure(now_ms, link(0).round_trip());
    window_ = std::min(window_ * 2, striping_.most_requests());
  } else if (response.responses.empty()) {
    window_ = std::max(window_ / 2, kSmallestWindow);
  }
  no_session_given_ = session_id_ == 0;
  if (!no_session_given_) return true;
  // The leader has no room for the session, or everything in it was forgotten.
  new_session(false);
  return false;
}

void FetchLane::on_partition(Fetch& fetch, FetchResponse::PartitionData& data) {
  const auto code = static_cast<ErrorCode>(data.error_code);
  if (code != ErrorCode::kNone) return on_error(fetch, code);
  if (data.diverging_epoch.epoch >= 0) {
    return on_diverging(fetch, {{data.diverging_epoch.epoch}, {data.diverging_epoch.end_offset}}, {data.log_start_offset});
  }
  on_records(fetch, data);
}

void FetchLane::on_records(Fetch& fetch, FetchResponse::PartitionData& data) {
  Partition& partition = *fetch.followed.partition;
  auto log = partition.log();
  const Offset start = log->log_start_offset();
  if (log->log_end_offset() != fetch.position) {
    // Another fetcher, which had the partition before, was not done with it. The high watermark is not told twice.
    (void)partition.append_as_follower({}, fetch.followed.leader_epoch, {data.high_watermark}, {data.log_start_offset});
    return resume(fetch);
  }
  std::vector<storage::EpochEntry> epochs;
  for (const auto& said : data.leader_epochs) epochs.push_back({{said.epoch}, {said.start_offset}});
  auto done = partition.append_as_follower(data.records.bytes, fetch.followed.leader_epoch, {data.high_watermark}, {data.log_start_offset}, epochs);
  if (!done) return on_log_error(fetch, done.error());
  if (!data.records.bytes.empty() && done->info.last_offset.value < 0) {
    return on_log_error(fetch, {ErrorCode::kCorruptMessage, "records without a whole batch"});
  }
  fetch.last_error = ErrorCode::kNone;
  fetch.hurried = 0;
  if (done->info.size_bytes > 0) context_->on_bytes(done->info.size_bytes);
  if (partition.follower_throttled()) context_->quota.record(done->info.size_bytes);
  fetch.position = log->log_end_offset();
  fetch.last_fetched_epoch = log->latest_epoch();
  fetch.lag.store(std::max<int64_t>(0, data.high_watermark - fetch.position.value), std::memory_order_relaxed);
  if (pipelined()) watch_flushes(fetch);
  if (fetch.told != now_of(fetch)) mark_dirty(fetch);
  if (done->high_watermark_advanced || log->log_start_offset() != start) context_->on_progress(fetch.followed.partition);
}

void FetchLane::on_diverging(Fetch& fetch, EpochEnd leader, Offset leader_log_start) {
  Partition& partition = *fetch.followed.partition;
  const Offset high_watermark = partition.high_watermark();
  auto cut = partition.cut_to_leader(leader, leader_log_start, fetch.followed.leader_epoch);
  if (!cut) return on_log_error(fetch, cut.error());
  if (!cut->changed) {
    // The next answer would be the same.
    note_error(fetch, ErrorCode::kUnknownServerError, "the leader says that the logs diverge, but there is nothing to cut");
    return delay(fetch);
  }
  if (cut->restarted || cut->to < cut->from) {
    log::at("replication", cut->to < high_watermark ? log::Level::kWarn : log::Level::kInfo,
            "{}: {} diverges from its leader, whose epoch {} ends at {}: {} from {} to {} (high watermark {})", label_, fetch.tp().to_string(),
            leader.epoch.value, leader.end.value, cut->restarted ? "nothing is left of it, it starts again," : "cut", cut->from.value, cut->to.value,
            high_watermark.value);
  }
  resume(fetch);
  context_->on_progress(fetch.followed.partition);
}

void FetchLane::on_error(Fetch& fetch, ErrorCode code) {
  // At every election some leaders hear of it before their followers.
  if (code == ErrorCode::kFencedLeaderEpoch) return give_up(fetch, log::Level::kInfo, "the leader has a newer epoch; the controller will say more");
  if (code == ErrorCode::kOffsetOutOfRange) return ask_for_ends(fetch);
  note_error(fetch, code, {});
  delay(fetch);
}

void FetchLane::on_log_error(Fetch& fetch, const Error& error) {
  if (error.code == ErrorCode::kNotLeaderOrFollower) {
    // The controller has said something newer, which is on its way here.
    leave_session(fetch);
    set_state(fetch, State::kFailed);
    return;
  }
  auto log = fetch.followed.partition->log();
  if (error.code == ErrorCode::kKafkaStorageError && !log->dir().online()) return give_up(fetch, log::Level::kError, error.what);
  // A full disk among them: there may be room later.
  note_error(fetch, error.code, error.what);
  delay(fetch);
}

// --- OFFSET_OUT_OF_RANGE ------------------------------------------------------------------------------------------------------------

namespace {
constexpr int64_t kLatest = -1, kEarliest = -2;
}

// The leader's log ends below the own one: cut. It begins above it: drop everything. Else go on.
void FetchLane::ask_for_ends(Fetch& fetch) {
  leave_session(fetch);
  set_state(fetch, State::kAsking);
  ask_for_end(fetch, kLatest, [](FetchLane& lane, Fetch& fetch, Offset leader_end) {
    Partition& partition = *fetch.followed.partition;
    const Offset end = partition.log()->log_end_offset();
    if (leader_end < end) {
      log::warn("replication", "{}: {} ends at {} on the leader: cut from {} to that (high watermark {})", lane.label_, fetch.tp().to_string(),
                leader_end.value, end.value, partition.high_watermark().value);
      auto cut = partition.truncate_as_follower(leader_end, fetch.followed.leader_epoch);
      if (!cut) return lane.on_log_error(fetch, cut.error());
      lane.resume(fetch);
      return lane.context_->on_progress(fetch.followed.partition);
    }
    lane.ask_for_end(fetch, kEarliest, [](FetchLane& lane, Fetch& fetch, Offset leader_start) {
      Partition& partition = *fetch.followed.partition;
      const Offset end = partition.log()->log_end_offset();
      if (leader_start > end) {
        log::warn("replication", "{}: {} begins at {} on the leader, above the own end {}: everything is dropped", lane.label_, fetch.tp().to_string(),
                  leader_start.value, end.value);
        auto restarted = partition.restart_as_follower(leader_start, fetch.followed.leader_epoch);
        if (!restarted) return lane.on_log_error(fetch, restarted.error());
        lane.context_->on_progress(fetch.followed.partition);
      }
      lane.resume(fetch);
    });
  });
}

void FetchLane::ask_for_end(const Fetch& fetch, int64_t which, UniqueFunction<void(FetchLane&, Fetch&, Offset)> then) {
  protocol::ListOffsetsRequest request;
  request.replica_id = options_.self.value;
  auto& topic = request.topics.emplace_back();
  topic.name = fetch.tp().topic;
  auto& partition = topic.partitions.emplace_back();
  partition.partition_index = fetch.tp().partition;
  partition.current_leader_epoch = fetch.followed.leader_epoch.value;
  partition.timestamp = which;
  link(0).list_offsets(std::move(request),
                      here<OffsetsAnswer>([tp = fetch.tp(), life = fetch.life, then = std::move(then)](FetchLane& lane, OffsetsAnswer answer) mutable {
                        if (!answer) return lane.pause(answer.error());
                        Fetch* fetch = lane.find(tp);
                        if (fetch == nullptr || fetch->life != life || fetch->state != State::kAsking) return;
                        const auto& topics = answer->message.topics;
                        if (topics.empty() || topics[0].partitions.empty()) {
                          lane.note_error(*fetch, ErrorCode::kUnknownServerError, "no answer to ListOffsets");
                          lane.delay(*fetch);
                        } else if (const auto code = static_cast<ErrorCode>(topics[0].partitions[0].error_code); code == ErrorCode::kFencedLeaderEpoch) {
                          lane.on_error(*fetch, code);
                        } else if (code != ErrorCode::kNone || topics[0].partitions[0].offset < 0) {
                          lane.note_error(*fetch, code, "ListOffsets");
                          lane.delay(*fetch);
                        } else {
                          then(lane, *fetch, {topics[0].partitions[0].offset});
                        }
                        lane.go_on();
                      }));
}

}  // namespace odradek::replication
