// Requests leave: what the leader has to know, in one session, as many on the way as the window takes.
#include <algorithm>
#include <utility>

#include "replication/fetcher/fetch_lane.h"
#include "replication/fetcher/fetch_lane_step.h"

namespace odradek::replication {

FetchLane::Told FetchLane::now_of(const Fetch& fetch) const {
  auto log = fetch.followed.partition->log();
  Told now;
  now.position = fetch.position.value;
  now.log_start = log->log_start_offset().value;
  now.leader_epoch = fetch.followed.leader_epoch.value;
  // A leader that goes on behind what it sent knows the epoch.
  now.last_fetched_epoch = pipelined() && fetch.told && !fetch.names_position ? fetch.told->last_fetched_epoch : fetch.last_fetched_epoch.value;
  if (pipelined() && fetch.followed.partition->wants_flushed()) now.flushed = log->flushed_offset().value;
  return now;
}

void FetchLane::mark_dirty(Fetch& fetch) {
  if (fetch.dirty) return;
  fetch.dirty = true;
  dirty_.push_back(&fetch);
}

void FetchLane::leave_session(Fetch& fetch) {
  if (!fetch.told) return;
  fetch.told.reset();
  --in_session_;
  forgotten_.insert({fetch.followed.topic_id, fetch.tp().topic, fetch.tp().partition});
}

// What is on the way is void.
void FetchLane::new_session(bool same_id) {
  ++session_;
  in_flight_ = 0;
  early_.clear();
  if (!same_id) session_id_ = 0;
  session_epoch_ = next_answer_ = 0;
  window_ = kSmallestWindow;
  in_session_ = 0;
  forgotten_.clear();
  for (auto& [tp, fetch] : fetches_) {
    fetch->told.reset();
    fetch->names_position = true;
    fetch->valid_from = INT32_MAX;
    mark_dirty(*fetch);
  }
}

void FetchLane::go_on() {
  if (waits_) return;
  hold_throttled();
  if (by_name_ != (without_id_ > 0)) {
    if (in_flight_ > 0 && !pipelined()) return;
    by_name_ = without_id_ > 0;
    new_session(true);
  }
  // The session has to be there first: of a new one, as of a new connection, the leader knows nothing but its full request.
  if (session_epoch_ == 0 || next_answer_ == 0 || !pipelined()) {
    if (in_flight_ == 0) send(false);
    return;
  }
  if (session_epoch_ == INT32_MAX) {
    new_session(true);
    send(false);
    return;
  }
  // Answers that came before their turn wait for a slow connection; the others go on meanwhile, as far as memory goes.
  const size_t most = 2 * striping_.most_requests();
  while (in_flight_ - early_.size() < window_ && in_flight_ < most && send(false)) {
  }
  if ((!dirty_.empty() || !forgotten_.empty()) && in_flight_ < most) send(true);
}

LeaderLink& FetchLane::link(size_t connection) {
  if (connections_.size() <= connection) connections_.resize(connection + 1);
  auto& link = connections_[connection];
  if (link == nullptr) {
    LinkTarget target = target_;
    target.connection += static_cast<int32_t>(connection);
    link = links_.open(target);
  }
  return *link;
}

// False: there is nothing to ask for, or, with `only_news`, nothing that the leader does not know.
bool FetchLane::send(bool only_news) {
  const bool full = session_epoch_ == 0;
  const bool offers = options_.in_flight_bytes > 0 && !by_name_;
  if (full && !offers) pipelined_.store(false, std::memory_order_relaxed);
  const int32_t number = session_epoch_;
  std::map<Forgotten, Fetch*> asked;  // by topic and partition
  for (Fetch* fetch : dirty_) {
    fetch->dirty = false;
    if (fetch->state != State::kFetching) continue;
    Told now = now_of(*fetch);
    if (fetch->told == now && !fetch->names_position) continue;
    if (!fetch->told) ++in_session_;
    fetch->told = now;
    asked.emplace(Forgotten{fetch->followed.topic_id, fetch->tp().topic, fetch->tp().partition}, fetch);
  }
  dirty_.clear();
  if (full) forgotten_.clear();
  if (in_session_ == 0 && forgotten_.empty()) return false;
  if (only_news && asked.empty() && forgotten_.empty()) return false;

  protocol::FetchRequest request;
  for (const auto& [key, fetch] : asked) {
    forgotten_.erase(key);
    if (request.topics.empty() || request.topics.back().topic != std::get<1>(key) || request.topics.back().topic_id != std::get<0>(key)) {
      auto& topic = request.topics.emplace_back();
      topic.topic = std::get<1>(key);
      topic.topic_id = std::get<0>(key);
    }
    auto& partition = request.topics.back().partitions.emplace_back();
    partition.partition = std::get<2>(key);
    partition.current_leader_epoch = fetch->told->leader_epoch;
    partition.fetch_offset = fetch->told->position;
    partition.last_fetched_epoch = fetch->told->last_fetched_epoch;
    partition.log_start_offset = fetch->told->log_start;
    partition.partition_max_bytes = options_.max_bytes;
    if (pipelined()) {
      partition.flushed = fetch->told->flushed;
      if (fetch->names_position) partition.position = fetch->told->position;
    }
    if (fetch->names_position) fetch->valid_from = number;
    fetch->names_position = false;
  }
  for (const Forgotten& key : forgotten_) {
    auto& topics = request.forgotten_topics_data;
    if (topics.empty() || topics.back().topic != std::get<1>(key) || topics.back().topic_id != std::get<0>(key)) {
      auto& topic = topics.emplace_back();
      topic.topic = std::get<1>(key);
      topic.topic_id = std::get<0>(key);
    }
    topics.back().partitions.push_back(std::get<2>(key));
  }
  forgotten_.clear();

  request.replica_id = options_.self.value;
  request.replica_state.replica_id = options_.self.value;
  request.replica_state.replica_epoch = context_->broker_epoch.load(std::memory_order_relaxed);
  request.max_wait_ms = options_.wait_max_ms;
  request.min_bytes = options_.min_bytes;
  request.max_bytes = options_.response_max_bytes;
  request.session_id = session_id_;
  request.session_epoch = number;
  std::optional<size_t> striped;
  if (offers && (full || pipelined())) {
    request.pipeline = protocol::FetchRequest::Pipeline{};
    request.pipeline->depth = static_cast<int32_t>(window_);
  }
  // What comes of a full request is needed before anything can be pipelined; where no session was given, all that comes is another full one.
  if (request.pipeline && !(full && no_session_given_)) {
    if (full) request.max_wait_ms = 0;
    striped = striping_.take(context_->runtime.clock().monotonic_ms());
    request.max_bytes = static_cast<int32_t>(striping_.answer_bytes(*striped));
  }

  session_epoch_ = number == INT32_MAX ? 1 : number + 1;
  ++in_flight_;
  requests_.fetch_add(1, std::memory_order_relaxed);
  link(striped.value_or(0)).fetch(std::move(request), by_name_ ? kFollowerFetchVersionWithoutIds : kFollowerFetchVersion,
                                  here<FetchAnswer>([number, striped, session = session_](FetchLane& lane, FetchAnswer answer) {
                                    if (striped) lane.answered(*striped, answer);
                                    if (lane.session_ == session) lane.on_fetched(number, std::move(answer));
                                  }));
  return true;
}

}  // namespace odradek::replication
