// Followers' connections to their leaders over the network: Fetch and ListOffsets in fixed versions, no ApiVersions, client id
// broker-<id>-fetcher-<n>. Source: interbroker.md §1, §7.
#pragma once

#include <memory>
#include <string>

#include "base/executor.h"
#include "metadata/image/image.h"
#include "net/link.h"
#include "replication/fetcher/leader_link.h"

namespace odradek::app {

struct LeaderLinkOptions {
  BrokerId self = kNoBroker;
  std::string listener;                               // inter.broker.listener.name
  std::chrono::milliseconds request_timeout{30'000};  // replica.socket.timeout.ms
  net::LinkOptions link;
};

// The addresses come from `image`, when a link is opened. Answers are decoded on an executor of its own. All outlive it.
std::unique_ptr<replication::LeaderLinks> make_leader_links(base::Runtime& runtime, net::Links& links, metadata::ImageHolder& image,
                                                            LeaderLinkOptions options);

}  // namespace odradek::app
