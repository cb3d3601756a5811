// The controller's way to another broker: LeaderAndIsr v7, UpdateMetadata v8, StopReplica v4 over one connection, without ApiVersions, as
// Apache Kafka 3.9's controller does. A new connection after each that broke. Source: interbroker.md §1.
// Thread: the metadata executor.
#pragma once

#include <memory>
#include <string>

#include "client/broker_link.h"
#include "controller/broker_channel.h"

namespace odradek::app {

struct BrokerChannelOptions {
  BrokerId self = kNoBroker;
  std::string listener;  // control.plane.listener.name, else inter.broker.listener.name
  std::chrono::milliseconds request_timeout{30'000};  // controller.socket.timeout.ms
  net::LinkOptions link;
};

// To a broker without that listener: every request fails with kBrokerNotAvailable.
std::unique_ptr<controller::BrokerChannel> make_network_channel(base::Executor& metadata, net::Links& links, const metadata::BrokerInfo& to,
                                                                const BrokerChannelOptions& options);

}  // namespace odradek::app
