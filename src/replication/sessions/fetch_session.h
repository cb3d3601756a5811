// Incremental fetch sessions (KIP-227): the broker remembers what a client fetches, so that a request names only what changed and
// an answer holds only partitions with news. Source: behaviours.md §3; session eviction as in Apache Kafka 3.9.
// A request is open()ed to a FetchContext, which lives until its answer is made.
// Thread: any. A session is locked while it is read or changed; if a second request of a session comes in between, the first
// one's answer becomes INVALID_FETCH_SESSION_EPOCH.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/random.h"
#include "model/error_code.h"
#include "model/types.h"
#include "protocol/messages/fetch.h"
#include "replication/partition/partition.h"

namespace odradek::replication {

struct SessionTopic {
  std::string name;  // v13+: empty until the id is known
  Uuid id;           // zero below v13
};

// One partition of a session, or of a request without one.
struct SessionPartition {
  uint32_t topic = 0;
  int32_t partition = 0;
  // What the client asked last.
  int32_t max_bytes = 0;
  Offset fetch_offset;
  Offset log_start_offset{-1};
  LeaderEpoch current_leader_epoch = kNoLeaderEpoch;
  LeaderEpoch last_fetched_epoch = kNoLeaderEpoch;
  // What the client was told last; -1: nothing that holds.
  Offset told_high_watermark{-1};
  Offset told_log_start{-1};
  // For the reader: kept from request to request, so that not every one looks it up. Shared: it may be deleted meanwhile.
  std::shared_ptr<Partition> replica;
};

class FetchSession;
class FetchSessionCache;

class FetchContext {
 public:
  FetchContext();
  FetchContext(FetchContext&&) noexcept;
  FetchContext& operator=(FetchContext&&) noexcept;
  ~FetchContext();

  // Top-level error: to be answered with no topics and session id 0.
  ErrorCode error() const { return error_; }
  size_t size() const;
  // In the order to read them.
  void for_each(absl::FunctionRef<void(SessionTopic&, SessionPartition&)> visit);
  // Once, with the results in the order of for_each(): calls `visit` for each partition that the answer must hold (without an incremental
  // session: all; else those with records, an error, a diverging epoch, or another high watermark or log start than told before),
  // and remembers what is told now. Partitions that gave records move to the end of the session's order.
  // kInvalidFetchSessionEpoch: another request of the session came in between; nothing was visited.
  ErrorCode answer(std::span<const ReadResult> results,
                   absl::FunctionRef<void(uint32_t topic_index, const SessionTopic&, const SessionPartition&, const ReadResult&)> visit);
  // After answer(): the session id of the answer, 0 = none.
  int32_t session_id() const { return answered_id_; }

 private:
  friend class FetchSessionCache;
  ErrorCode error_ = ErrorCode::kNone;
  bool incremental_ = false;
  bool create_ = false;  // a full request that wants a session
  int32_t next_epoch_ = 0;
  int32_t answered_id_ = 0;
  FetchSessionCache* cache_ = nullptr;
  std::shared_ptr<FetchSession> session_;  // shared with the cache, which may evict it meanwhile
};

class FetchSessionCache {
 public:
  // slots: max.incremental.fetch.session.cache.slots. eviction_ms: idle longer than this, a session gives way to any other.
  // most_partitions: of all sessions together. One that would go beyond is not kept, and its client names all it wants in each request.
  FetchSessionCache(base::Clock& clock, base::Random& random, size_t slots, int64_t eviction_ms = 120'000, size_t most_partitions = 4'000'000);
  ~FetchSessionCache();

  // Applies the session rules to a request; takes names and partitions out of it.
  FetchContext open(protocol::FetchRequest& request, int16_t version);

  size_t sessions() const;
  size_t cached_partitions() const;
  uint64_t evictions() const;

 private:
  friend class FetchContext;
  struct State;
  // The id given, 0 if there is no room.
  int32_t keep(const std::shared_ptr<FetchSession>& session);
  std::unique_ptr<State> state_;
};

}  // namespace odradek::replication
