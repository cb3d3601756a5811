// Outgoing connections of one broker to the others, over the simulated networks.
// Thread: one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "net/link.h"
#include "sim/network.h"
#include "sim/runtime.h"

namespace odradek::sim {

struct LinkState;

class SimLinks final : public net::Links {
 public:
  // `to(endpoint)`: the network of who listens there; null: nobody. `self`: who dials.
  SimLinks(World& world, SimRuntime& runtime, int self, std::function<Network*(const net::Endpoint&)> to)
      : world_(world), runtime_(runtime), self_(self), to_(std::move(to)) {}
  // The process has ended: nothing of it hears of a link any more, also of one that was not closed.
  ~SimLinks() override;
  std::unique_ptr<net::Link> open(const net::Endpoint& to, net::LinkOptions options, base::Executor& executor) override;

 private:
  World& world_;
  SimRuntime& runtime_;
  const int self_;
  const std::function<Network*(const net::Endpoint&)> to_;
  std::vector<std::weak_ptr<LinkState>> made_;
};

}  // namespace odradek::sim
