// When something is due with the connections of one network thread: the end of a mute, a look at a request that is under way, a look at one
// that may be idle. A connection is on each list at most once, and knows it (mute_until_ns_, in_watched_, idle_check_ns_).
// Cost: nothing while nothing is due; what a connection does in between moves no timer, the look that comes finds it and sets the next one.
// Thread: the network thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <list>
#include <set>
#include <utility>

#include "net/connection.h"
#include "net/frame.h"
#include "net/options.h"

namespace odradek::net {

class ConnectionTimers {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void unmuted(Connection& connection) = 0;
    // It has to go; forget() has been called when this returns.
    virtual void overdue(Connection& connection, const char* why) = 0;
  };

  // Both outlive it.
  ConnectionTimers(const ReactorOptions& options, const FrameBudget& budget) : options_(options), budget_(budget) {}

  // A new connection, or one that comes from another thread and may be muted.
  void add(Connection& connection, int64_t now_ns);
  void forget(Connection& connection);
  // Until the later of this and what holds already.
  void mute(Connection& connection, int64_t until_ns);
  // The rest of a request has to come from the peer: looked at after reservation_stall, and again while it is so.
  void watch(Connection& connection, int64_t now_ns);

  // Not later than what is due first (perhaps earlier); kNever.
  int64_t next_ns() const { return next_ns_; }
  // Whatever is due. `stalled`: the thread reads nobody now, which is not to be laid to a peer's charge.
  void run(int64_t now_ns, bool stalled, Owner& owner);

 private:
  void at(int64_t ns) { next_ns_ = std::min(next_ns_, ns); }
  void look_at_request(Connection& connection, int64_t now_ns, bool stalled, Owner& owner);
  bool holds_up_others(const Connection& connection) const;

  const ReactorOptions& options_;
  const FrameBudget& budget_;
  int64_t next_ns_ = kNever;
  std::set<std::pair<int64_t, Connection*>> muted_;
  std::list<std::pair<int64_t, Connection*>> watched_;  // by the time of their next look
  std::set<std::pair<int64_t, Connection*>> idle_checks_;
};

}  // namespace odradek::net
