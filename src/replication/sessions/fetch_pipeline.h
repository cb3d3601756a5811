// Pipelined fetches of followers: several requests of one session on the way, over several connections. The leader's side.
//
// The wire is Fetch v17 with private tags, which others skip (schema/fetch.schema). A follower sends `pipeline` with a full request; a
// leader that takes it answers with `pipeline` and a session id. From then on the session epoch numbers the requests 1, 2, 3...; they
// may arrive in any order and are worked off in that of their numbers. Each says
//   fetch_offset  the end of what the follower has written: it alone counts for the high watermark and the ISR
//   flushed       what of it is on its disk
//   position      where to continue: named when a partition joins or must start again, else the leader goes on behind what it sent
// and, as in any session, only partitions with news. What it says of written and flushed records counts at once, in the order of the
// numbers; reads wait for their turn. The first in line waits for data; it is answered early when more than `depth` stand behind it,
// or when one behind it changes what is asked. A partition that gave an error or a diverging epoch stands still until a request names
// its position: answers on the way are of the old position, and the follower skips them.
// Answers name the leader epochs that begin in the records, which batches of the formats v0 and v1 do not say.
//
// Memory: at most kMostInLine requests a session wait, with what they name; sessions that nobody used for two minutes give way.
// Thread: any. No lock is held while `done` runs.
#pragma once

#include <map>
#include <memory>

#include "base/executor.h"
#include "base/function.h"
#include "base/mutex.h"
#include "protocol/messages/fetch.h"

namespace odradek::replication {

class ReplicaManager;
class FetchPipeline;

class FetchPipelines {
 public:
  using Done = UniqueFunction<void(protocol::FetchResponse)>;

  static constexpr size_t kMostInLine = 256;
  static constexpr size_t kMostSessions = 1000;
  static constexpr int64_t kIdleMs = 120'000;

  FetchPipelines(base::Runtime& runtime, ReplicaManager& replicas);
  ~FetchPipelines();
  FetchPipelines(const FetchPipelines&) = delete;

  // Whether this is for here: a follower's, with `pipeline`.
  static bool takes(const protocol::FetchRequest& request, int16_t version);
  // `done` runs once, on this thread before the return or on any other. `received_ms`: when the request came.
  void fetch(protocol::FetchRequest request, int64_t received_ms, Done done);
  // All that wait are answered; so is what comes later.
  void stop();
  size_t sessions() const;

 private:
  std::shared_ptr<FetchPipeline> open(const protocol::FetchRequest& request);

  base::Runtime& runtime_;
  ReplicaManager& replicas_;
  mutable base::Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::map<int32_t, std::shared_ptr<FetchPipeline>> sessions_ GUARDED_BY(mutex_);  // shared with the requests that wait
};

}  // namespace odradek::replication
