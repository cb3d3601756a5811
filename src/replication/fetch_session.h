// Incremental fetch sessions (KIP-227): the broker remembers what a client fetches, so that a request names only what changed and
// an answer holds only partitions with news. Source: behaviours.md §3 (Sessions, Topic ids).
// Thread: any; a session is locked by who works with it. Clients send one request of a session after the other.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/random.h"
#include "model/error_code.h"
#include "model/types.h"
#include "protocol/messages/fetch.h"
#include "replication/partition.h"

namespace odradek::replication {

// One partition of a session (or of a request without session).
struct SessionPartition {
  std::string topic;  // empty: the id is not known (yet)
  Uuid topic_id;      // zero: requests below v13
  int32_t partition = 0;
  // What the client asked last.
  Offset fetch_offset;
  Offset log_start_offset{-1};
  int32_t max_bytes = 0;
  LeaderEpoch current_leader_epoch = kNoLeaderEpoch;
  LeaderEpoch last_fetched_epoch = kNoLeaderEpoch;
  // What the client was told last.
  Offset told_high_watermark{-1};
  Offset told_log_start{-1};
};

class FetchSession;

// What one request is about, from its arrival to its answer.
class FetchContext {
 public:
  FetchContext() = default;
  FetchContext(FetchContext&&) = default;
  FetchContext& operator=(FetchContext&&) = default;

  // Top-level error: answer it with an empty list and session id 0.
  ErrorCode error() const { return error_; }
  int32_t session_id() const;
  // What to read, in the order to read it. Valid until finish().
  const std::vector<SessionPartition>& partitions() const { return partitions_; }
  std::vector<SessionPartition>& partitions() { return partitions_; }
  // Whether the answer must hold partitions()[i]: always without an incremental session; else with records, an error, a diverging
  // epoch, or another high watermark or log start than told before.
  bool must_answer(size_t i, const ReadResult& result) const;
  // The answer is made: remembers what was told and moves answered partitions to the end of the session's order.
  // `results` in the order of partitions(). Returns the session id for the answer (0: none).
  int32_t finish(const std::vector<ReadResult>& results);

 private:
  friend class FetchSessionCache;
  ErrorCode error_ = ErrorCode::kNone;
  bool incremental_ = false;
  int32_t id_ = 0;
  int32_t epoch_ = 0;
  std::shared_ptr<FetchSession> session_;  // shared with the cache, which may evict it meanwhile
  std::vector<SessionPartition> partitions_;
};

class FetchSessionCache {
 public:
  // slots: max.incremental.fetch.session.cache.slots.
  FetchSessionCache(base::Clock& clock, base::Random& random, size_t slots);
  ~FetchSessionCache();

  // Applies the session rules to a request. `topic_names(id)`: the name of a topic id, "" if unknown (v13+).
  FetchContext open(const protocol::FetchRequest& request, int16_t version, const std::function<std::string(const Uuid&)>& topic_names);

  size_t sessions() const;
  size_t cached_partitions() const;
  uint64_t evictions() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace odradek::replication
