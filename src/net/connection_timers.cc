#include "net/connection_timers.h"

#include <chrono>

namespace odradek::net {
namespace {

constexpr size_t kPartPerLook = 4;  // of a request, which has to come between two looks (reservation_stall) while others wait

int64_t nanoseconds(std::chrono::milliseconds time) { return std::chrono::nanoseconds(time).count(); }

}  // namespace

void ConnectionTimers::add(Connection& connection, int64_t now_ns) {
  if (int64_t idle_ns = nanoseconds(options_.max_idle); idle_ns > 0) {
    connection.idle_check_ns_ = now_ns + idle_ns;
    idle_checks_.insert({connection.idle_check_ns_, &connection});
    at(connection.idle_check_ns_);
  }
  if (connection.mute_until_ns_ != 0) {
    muted_.insert({connection.mute_until_ns_, &connection});
    at(connection.mute_until_ns_);
  }
}

void ConnectionTimers::forget(Connection& connection) {
  idle_checks_.erase({connection.idle_check_ns_, &connection});
  if (connection.mute_until_ns_ != 0) muted_.erase({connection.mute_until_ns_, &connection});
  if (connection.in_watched_) std::erase_if(watched_, [&](auto& entry) { return entry.second == &connection; });
  connection.in_watched_ = false;
}

void ConnectionTimers::mute(Connection& connection, int64_t until_ns) {
  if (connection.mute_until_ns_ != 0) {
    if (connection.mute_until_ns_ >= until_ns) return;
    muted_.erase({connection.mute_until_ns_, &connection});
  }
  connection.mute_until_ns_ = until_ns;
  muted_.insert({until_ns, &connection});
  at(until_ns);
}

void ConnectionTimers::watch(Connection& connection, int64_t now_ns) {
  connection.in_watched_ = true;
  connection.seen_progress_ = connection.reader_->progress();
  connection.seen_frame_ = connection.reader_->under_way();
  int64_t check = now_ns + nanoseconds(options_.reservation_stall);
  watched_.push_back({check, &connection});
  at(check);
}

// Since it was looked at last its request has got on by too small a part, and there is no memory for somebody else's.
bool ConnectionTimers::holds_up_others(const Connection& connection) const {
  if (!budget_.somebody_waits()) return false;
  const FrameReader::UnderWay now = connection.reader_->under_way();
  return now.number == connection.seen_frame_.number && now.received - connection.seen_frame_.received < now.size / kPartPerLook;
}

void ConnectionTimers::look_at_request(Connection& connection, int64_t now_ns, bool stalled, Owner& owner) {
  if (!connection.reader_->waits_for_peer()) return;
  bool reads = connection.mute_until_ns_ == 0 && !connection.pipeline_full_ && !stalled && !connection.readable_;
  if (reads && connection.reader_->progress() == connection.seen_progress_) {
    owner.overdue(connection, "a request stopped in the middle");
  } else if (reads && holds_up_others(connection)) {
    owner.overdue(connection, "a request comes too slowly while others wait for its memory");
  } else {
    watch(connection, now_ns);
  }
}

void ConnectionTimers::run(int64_t now_ns, bool stalled, Owner& owner) {
  next_ns_ = kNever;
  while (!muted_.empty() && muted_.begin()->first <= now_ns) {
    Connection& connection = *muted_.begin()->second;
    muted_.erase(muted_.begin());
    connection.mute_until_ns_ = 0;
    owner.unmuted(connection);
  }
  if (!muted_.empty()) at(muted_.begin()->first);

  while (!watched_.empty() && watched_.front().first <= now_ns) {
    Connection& connection = *watched_.front().second;
    watched_.pop_front();
    connection.in_watched_ = false;
    look_at_request(connection, now_ns, stalled, owner);
  }
  if (!watched_.empty()) at(watched_.front().first);

  int64_t idle_ns = nanoseconds(options_.max_idle);
  while (!idle_checks_.empty() && idle_checks_.begin()->first <= now_ns) {
    Connection& connection = *idle_checks_.begin()->second;
    // Who has ended its side while a request of it is parked may be gone, and the request may be parked for as long as it asked for.
    // Who takes nothing of the answer that is there for it keeps its memory from others.
    const bool takes_nothing = connection.writer_.has_answer() && !connection.writable_;
    bool may_go = connection.open_exchanges_ == 0 || connection.peer_closed_ || takes_nothing;
    if (may_go && now_ns - connection.active_ns_ >= idle_ns) {
      owner.overdue(connection, "idle");
      continue;
    }
    // One check a period is enough: activity in between only moves the next one.
    idle_checks_.erase(idle_checks_.begin());
    connection.idle_check_ns_ = (may_go ? connection.active_ns_ : now_ns) + idle_ns;
    idle_checks_.insert({connection.idle_check_ns_, &connection});
  }
  if (!idle_checks_.empty()) at(idle_checks_.begin()->first);
}

}  // namespace odradek::net
