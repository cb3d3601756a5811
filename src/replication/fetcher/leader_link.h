// A follower's way to one leader: requests leave in the order of the calls, over one connection. After the first error it is broken
// for good; the follower opens another when its back-off is over. Filled by app over the network, by tests and the simulation in memory.
// The versions are fixed by the inter-broker protocol, without ApiVersions (interbroker.md §1): Fetch 17 (12 while a topic has no id),
// ListOffsets 9. Client id: `broker-<id>-fetcher-<index>`.
// Thread: calls come from one executor. Nothing here waits.
#pragma once

#include <chrono>
#include <memory>

#include "base/bytes.h"
#include "base/function.h"
#include "base/result.h"
#include "model/types.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/list_offsets.h"

namespace odradek::replication {

inline constexpr int16_t kFollowerFetchVersion = 17;
inline constexpr int16_t kFollowerFetchVersionWithoutIds = 12;
inline constexpr int16_t kFollowerListOffsetsVersion = 9;

template <class Response>
struct LinkAnswer {
  std::shared_ptr<const void> frame;  // owns the bytes that the message's records point into; whoever made them chose how
  Response message;
};

class LeaderLink {
 public:
  // Runs once, on any thread, answers in the order of the requests. An Error: not delivered, or no answer came in time
  // (replica.socket.timeout.ms) or none that can be read; then every request behind it fails too, and so does every later one.
  template <class Response>
  using Done = UniqueFunction<void(Result<LinkAnswer<Response>>)>;

  // Closes the connection. What is not answered yet may be dropped without its `done`.
  virtual ~LeaderLink() = default;

  virtual void fetch(protocol::FetchRequest request, int16_t version, Done<protocol::FetchResponse> done) = 0;
  virtual void list_offsets(protocol::ListOffsetsRequest request, Done<protocol::ListOffsetsResponse> done) = 0;
  // How long the way there and back takes at least; 0: not known.
  virtual std::chrono::microseconds round_trip() const { return {}; }
};

// Where a link leads. The address is looked up when it connects: brokers move.
struct LinkTarget {
  BrokerId leader = kNoBroker;
  int32_t fetcher = 0;     // 0..num.replica.fetchers-1
  int32_t connection = 0;  // 0..: connections of one fetcher
  friend auto operator<=>(const LinkTarget&, const LinkTarget&) = default;
};

// Called on a fetcher's executor; outlives the ReplicaManager.
class LeaderLinks {
 public:
  virtual ~LeaderLinks() = default;
  virtual std::unique_ptr<LeaderLink> open(const LinkTarget& target) = 0;
};

}  // namespace odradek::replication
