// The whole of a mirror: waits until this instance is the one that works, takes the stored positions over, and copies until it is stopped
// or another instance takes its place.
// One instance works at a time (lease.h). It produces only while its last heartbeat is young (Shared::lease_until_ns).
// Thread: run() on the caller's; stop(), status() and troubles() from any.
#pragma once

#include "client/cluster.h"
#include "metrics/registry.h"
#include "mirror/groups.h"
#include "mirror/lanes.h"
#include "mirror/lease.h"
#include "mirror/placing.h"
#include "mirror/positions.h"
#include "mirror/topics.h"

namespace odradek::mirror {

struct MirrorStatus {
  enum class Phase { kStarting, kStandby, kCopying, kCaughtUp, kStopped };
  Phase phase = Phase::kStarting;
  std::vector<std::pair<TopicPartition, Progress>> partitions;
  int64_t fetched_bytes = 0, buffered_bytes = 0, missed = 0, group_offsets = 0;
};
std::string_view name_of(MirrorStatus::Phase phase);

class Mirror {
 public:
  // `registry` may be null. All must outlive it.
  Mirror(base::Runtime& runtime, net::Dialer& dialer, MirrorOptions options, metrics::Registry* registry);
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  // Until stop(), or everything is copied (exit_when_caught_up). Errors: what no patience mends: a configuration that cannot be, positions
  // that cannot be read, another process with the same instance id.
  Result<void> run();
  void stop();

  MirrorStatus status() const;
  // Why it is not well, one line each; empty: it is.
  std::vector<std::string> troubles() const;

 private:
  struct Life;
  Result<void> make_positions_topic(client::Cluster& target);
  Result<Identity> make_identity(client::Cluster& target);
  void groups_loop();
  // From a take-over until this. Only kCaughtUp says that everything is copied: the lease may be held again when it is answered.
  enum class Ended { kCaughtUp, kStopped, kLeaseLost };
  Result<Ended> live();
  Result<void> begin(Life& life);
  Result<void> refresh(Life& life);
  void match_lanes(Life& life);
  Result<void> lanes_connected(const Life& life) const;
  bool caught_up(const Life& life) const;
  uint64_t checkpoint(Life& life);
  void note(const std::string& what, const Result<void>& result);
  void set_phase(MirrorStatus::Phase phase);
  void register_metrics(metrics::Registry& registry);

  base::Runtime& runtime_;
  net::Dialer& dialer_;
  const MirrorOptions options_;
  Shared shared_;
  std::atomic<bool> living_{false};
  std::atomic<bool> groups_now_{false};  // a round over the groups is wanted at once
  std::atomic<int64_t> rounds_begun_{0}, rounds_done_{0};
  std::atomic<int64_t> group_offsets_{0}, missed_{0}, source_cuts_{0}, topics_{0};
  mutable base::Mutex mutex_;
  MirrorStatus::Phase phase_ GUARDED_BY(mutex_) = MirrorStatus::Phase::kStarting;
  std::map<std::string, std::string> notes_ GUARDED_BY(mutex_);  // what goes wrong now, by what was tried
  Lease lease_;
  std::vector<metrics::Registration> registrations_;
};

}  // namespace odradek::mirror
