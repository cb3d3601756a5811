// Controllers on a tree in memory, with brokers that answer as told. What is expected was seen on a 3.9 cluster (interbroker.md).
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/manual_runtime.h"
#include "controller/controller.h"
#include "controller/controller_test_stores.h"
#include "controller/membership.h"
#include "controller/state.h"
#include "controller/topic_admin.h"
#include "metadata/image/image_waits.h"
#include "metadata/store/embedded_store.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using protocol::LeaderAndIsrRequest;
using protocol::StopReplicaRequest;
using protocol::UpdateMetadataRequest;

inline std::string join(const std::vector<int32_t>& ids) {
  std::string text;
  for (int32_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return "[" + text + "]";
}

// What a broker was sent, in the short form of interbroker.md: "a-0 L1 e0 pe0 isr[1,2] rep[1,2] NEW".
inline std::vector<std::string> lines(const LeaderAndIsrRequest& request) {
  std::vector<std::string> all;
  for (const auto& topic : request.topic_states) {
    for (const auto& p : topic.partition_states) {
      std::string line = fmt::format("LI {}-{} L{} e{} pe{} isr{} rep{}", topic.topic_name, p.partition_index, p.leader, p.leader_epoch, p.partition_epoch,
                                     join(p.isr), join(p.replicas));
      if (!p.adding_replicas.empty()) line += " add" + join(p.adding_replicas);
      if (!p.removing_replicas.empty()) line += " rem" + join(p.removing_replicas);
      if (p.is_new) line += " NEW";
      if (p.leader_recovery_state != 0) line += " recov";
      all.push_back(line);
    }
  }
  return all;
}
inline std::vector<std::string> lines(const UpdateMetadataRequest& request) {
  std::vector<int32_t> live;
  for (const auto& broker : request.live_brokers) live.push_back(broker.id);
  std::vector<std::string> all{"UM live" + join(live)};
  for (const auto& topic : request.topic_states) {
    for (const auto& p : topic.partition_states) {
      std::string line = fmt::format("UM {}-{} L{} e{} zv{} isr{}", topic.topic_name, p.partition_index, p.leader, p.leader_epoch, p.zk_version, join(p.isr));
      if (!p.offline_replicas.empty()) line += " off" + join(p.offline_replicas);
      all.push_back(line);
    }
  }
  return all;
}
inline std::vector<std::string> lines(const StopReplicaRequest& request) {
  std::vector<std::string> all;
  for (const auto& topic : request.topic_states) {
    for (const auto& p : topic.partition_states) {
      all.push_back(fmt::format("SR {}-{} e{}{}", topic.topic_name, p.partition_index, p.leader_epoch, p.delete_partition ? " DELETE" : ""));
    }
  }
  return all;
}

class ControllerTest : public ::testing::Test {
 protected:
  JoinOptions join_options_;
  std::function<std::unique_ptr<metadata::Store>(std::unique_ptr<metadata::Store>)> wrap_ = [](auto store) { return store; };
  // One broker: its session, its controller, its image, and how it answers.
  struct Broker {
    Broker(ControllerTest& t, int32_t number)
        : test(t),
          id{number},
          store(t.wrap_(metadata::make_embedded_store(t.tree_, *t.executor_))),
          configs(t.runtime_, *t.executor_, *store, [](metadata::EntityType, std::string_view) { return false; }),
          membership(t.runtime_, *t.executor_, *store, configs),
          config(config::BrokerConfig::defaults()),
          admin(t.runtime_, *t.executor_, *store, image, config, true) {
      ControllerOptions options;
      options.self = id;
      options.unclean_election = [&t](const std::string&) { return t.unclean_; };
      options.told = [this] { return image.current(); };
      controller = std::make_unique<Controller>(
          t.runtime_, *t.executor_, *store, [&t](const BrokerInfo& to) { return std::make_unique<Channel>(t, to.id); }, options);
    }
    ControllerTest& test;
    BrokerId id;
    std::unique_ptr<metadata::Store> store;
    metadata::ConfigStore configs;
    Membership membership;
    metadata::ImageHolder image;
    config::ConfigHolder config;
    TopicAdmin admin;
    std::unique_ptr<Controller> controller;
    int64_t epoch = -1;
    std::optional<std::string> rack;

    std::vector<std::string> heard;
    bool answers = true;             // false: keeps requests without an answer
    int undelivered = 0;             // so many sends fail first
    int in_flight = 0, most_in_flight = 0;
    ErrorCode partition_error = ErrorCode::kNone;  // to every partition
    std::vector<Task> kept;
  };

  class Channel : public BrokerChannel {
   public:
    Channel(ControllerTest& test, BrokerId to) : test_(test), to_(to) {}
    void send(const LeaderAndIsrRequest& request, Reply<protocol::LeaderAndIsrResponse> done) override {
      protocol::LeaderAndIsrResponse response;
      for (const auto& topic : request.topic_states) {
        auto& answer = response.topics.emplace_back();
        answer.topic_id = topic.topic_id;
        for (const auto& p : topic.partition_states) {
          auto& error = answer.partition_errors.emplace_back();
          error.partition_index = p.partition_index;
          error.error_code = static_cast<int16_t>(test_.broker(to_.value).partition_error);
        }
      }
      deliver(request, std::move(response), std::move(done));
    }
    void send(const UpdateMetadataRequest& request, Reply<protocol::UpdateMetadataResponse> done) override {
      if (test_.brokers_.contains(to_.value)) test_.broker(to_.value).image.apply(request);
      deliver(request, protocol::UpdateMetadataResponse{}, std::move(done));
    }
    void send(const StopReplicaRequest& request, Reply<protocol::StopReplicaResponse> done) override {
      protocol::StopReplicaResponse response;
      for (const auto& topic : request.topic_states) {
        for (const auto& p : topic.partition_states) {
          auto& error = response.partition_errors.emplace_back();
          error.topic_name = topic.topic_name;
          error.partition_index = p.partition_index;
          error.error_code = static_cast<int16_t>(test_.broker(to_.value).partition_error);
        }
      }
      deliver(request, std::move(response), std::move(done));
    }

   private:
    template <class Request, class Response>
    void deliver(const Request& request, Response response, Reply<Response> done) {
      auto found = test_.brokers_.find(to_.value);
      if (found == test_.brokers_.end()) return;  // dead: never answers
      Broker& broker = *found->second;
      if (broker.undelivered > 0) {
        --broker.undelivered;
        test_.executor_->post([done = std::move(done)]() mutable { done(fail(ErrorCode::kNetworkException, "not delivered")); });
        return;
      }
      ++broker.in_flight;
      broker.most_in_flight = std::max(broker.most_in_flight, broker.in_flight);
      for (std::string& line : lines(request)) broker.heard.push_back(std::move(line));
      Task answer = [&broker, response = std::move(response), done = std::move(done)]() mutable {
        --broker.in_flight;
        done(std::move(response));
      };
      if (broker.answers) {
        test_.executor_->post(std::move(answer));
      } else {
        broker.kept.push_back(std::move(answer));
      }
    }
    ControllerTest& test_;
    BrokerId to_;
  };

  void TearDown() override {
    for (auto& [id, broker] : brokers_) broker->membership.leave([] {});
    runtime_.run_until_idle();
    runtime_.advance(10'000);  // who waits before the next look at the office ends its wait
    brokers_.clear();
  }

  Broker& broker(int32_t id) { return *brokers_.at(id); }
  Broker& start(int32_t id, std::optional<std::string> rack = {}) {
    auto made = std::make_unique<Broker>(*this, id);
    Broker& broker = *made;
    broker.rack = rack;
    brokers_[id] = std::move(made);
    bool joined = false;
    broker.membership.connect("", [](Result<Connected> result) { ASSERT_TRUE(result) << result.error().what; });
    runtime_.run_until_idle();
    BrokerInfo info{{id}, {{"PLAINTEXT", "127.0.0.1", 9090 + id, SecurityProtocol::kPlaintext}}, rack, -1};
    broker.membership.join(info, *broker.controller, join_options_, [&broker](int64_t epoch) { broker.epoch = epoch; },
                           [&](Result<void> result) { joined = result.has_value(); });
    runtime_.run_until_idle();
    EXPECT_TRUE(joined);
    return broker;
  }
  // As kill -9: the session goes, the broker never answers again.
  void kill(int32_t id) {
    brokers_.erase(id);
    runtime_.run_until_idle();
  }
  Controller& active() {
    for (auto& [id, broker] : brokers_) {
      if (broker->controller->is_active()) return *broker->controller;
    }
    ADD_FAILURE() << "no controller";
    std::abort();
  }
  void forget() {
    for (auto& [id, broker] : brokers_) broker->heard.clear();
  }
  bool heard(int32_t id, const std::string& line) {
    auto& all = broker(id).heard;
    return std::find(all.begin(), all.end(), line) != all.end();
  }
  std::string all_heard(int32_t id) {
    std::string text;
    for (const std::string& line : broker(id).heard) text += line + "\n";
    return text;
  }

  TopicCreated create(NewTopic topic, bool validate_only = false) { return create_all({std::move(topic)}, validate_only)[0]; }
  std::vector<TopicCreated> create_all(std::vector<NewTopic> topics, bool validate_only = false) {
    std::vector<TopicCreated> results;
    brokers_.begin()->second->admin.create_topics(std::move(topics), validate_only, [&](std::vector<TopicCreated> all) { results = std::move(all); });
    runtime_.run_until_idle();
    return results;
  }
  static NewTopic assigned(std::string name, std::vector<std::vector<int32_t>> replicas) {
    NewTopic topic;
    topic.name = std::move(name);
    for (size_t i = 0; i < replicas.size(); ++i) {
      std::vector<BrokerId> ids;
      for (int32_t id : replicas[i]) ids.push_back({id});
      topic.assignment.emplace_back(static_cast<int32_t>(i), ids);
    }
    return topic;
  }
  TopicOutcome erase(std::string name) {
    TopicOutcome outcome;
    brokers_.begin()->second->admin.delete_topics({std::move(name)}, [&](std::vector<TopicOutcome> all) { outcome = all[0]; });
    runtime_.run_until_idle();
    return outcome;
  }
  TopicOutcome enlarge(std::string name, int32_t total) {
    TopicOutcome outcome;
    std::vector<NewPartitions> wanted(1);
    wanted[0].topic = std::move(name);
    wanted[0].total = total;
    brokers_.begin()->second->admin.create_partitions(std::move(wanted), false, [&](std::vector<TopicOutcome> all) { outcome = all[0]; });
    runtime_.run_until_idle();
    return outcome;
  }
  Uuid id_of(const std::string& topic) { return brokers_.begin()->second->image.current()->find_topic(topic)->id; }

  protocol::AlterPartitionResponse::PartitionData alter_isr(int32_t from, const std::string& topic, std::vector<int32_t> isr, int32_t leader_epoch,
                                                            int32_t partition_epoch, int8_t recovery = 0, std::optional<Uuid> id = {}) {
    protocol::AlterPartitionRequest request;
    request.broker_id = from;
    request.broker_epoch = broker(from).epoch;
    auto& one = request.topics.emplace_back();
    one.topic_id = id ? *id : id_of(topic);
    auto& partition = one.partitions.emplace_back();
    partition.leader_epoch = leader_epoch;
    partition.partition_epoch = partition_epoch;
    partition.leader_recovery_state = recovery;
    partition.new_isr = isr;  // as IsrUpdates: both, whatever the version
    for (int32_t id : isr) partition.new_isr_with_epochs.emplace_back().broker_id = id;
    protocol::AlterPartitionResponse response;
    active().alter_partition(request, 3, [&](protocol::AlterPartitionResponse answer) { response = std::move(answer); });
    runtime_.run_until_idle();
    if (response.topics.empty()) {
      protocol::AlterPartitionResponse::PartitionData top;
      top.error_code = response.error_code;
      return top;
    }
    return response.topics.at(0).partitions.at(0);
  }
  ErrorCode reassign(const std::string& name, std::vector<int32_t> targets) {
    protocol::AlterPartitionReassignmentsRequest request;
    auto& topic = request.topics.emplace_back();
    topic.name = name;
    topic.partitions.emplace_back().replicas = std::move(targets);
    ErrorCode error = ErrorCode::kUnknownServerError;
    active().alter_partition_reassignments(request, [&](protocol::AlterPartitionReassignmentsResponse response) {
      error = static_cast<ErrorCode>(response.responses.at(0).partitions.at(0).error_code);
    });
    runtime_.run_until_idle();
    return error;
  }
  // The answer is there when it has come.
  std::shared_ptr<std::optional<protocol::ControlledShutdownResponse>> shut_down(int32_t id) {
    protocol::ControlledShutdownRequest request;
    request.broker_id = id;
    request.broker_epoch = broker(id).epoch;
    auto response = std::make_shared<std::optional<protocol::ControlledShutdownResponse>>();
    active().controlled_shutdown(request, [response](protocol::ControlledShutdownResponse answer) { *response = std::move(answer); });
    runtime_.run_until_idle();
    return response;
  }
  ErrorCode elect(int8_t type, const std::string& topic) {
    protocol::ElectLeadersRequest request;
    request.election_type = type;
    auto& one = request.topic_partitions.emplace().emplace_back();
    one.topic = topic;
    one.partitions = {0};
    ErrorCode error = ErrorCode::kUnknownServerError;
    active().elect_leaders(request, [&](protocol::ElectLeadersResponse response) {
      error = static_cast<ErrorCode>(response.replica_election_results.at(0).partition_result.at(0).error_code);
    });
    runtime_.run_until_idle();
    return error;
  }
  std::string data_of(const std::string& path) {
    std::string text = "not answered";
    brokers_.begin()->second->store->get(path, {}, [&](metadata::StoreResult<metadata::NodeData> node) {
      text = node ? std::string(as_text(node->data)) : std::string(name_of(node.error()));
    });
    runtime_.run_until_idle();
    return text;
  }
  void write(const std::string& path, Bytes data) {
    brokers_.begin()->second->store->create(path, std::move(data), metadata::CreateMode::kPersistent,
                                            [](metadata::StoreResult<metadata::CreatedNode> made) { EXPECT_TRUE(made); });
    runtime_.run_until_idle();
  }

  base::ManualRuntime runtime_;
  std::unique_ptr<base::Executor> executor_ = runtime_.make_executor("metadata", 1);
  std::shared_ptr<metadata::EmbeddedTree> tree_ = *metadata::open_embedded_tree(runtime_, "");
  bool unclean_ = false;
  RefusingStore::Refuse refuse_;
  bool armed_ = false;
  Bytes meddling_;
  std::vector<Task> held_;
  std::map<int32_t, std::unique_ptr<Broker>> brokers_;
};

}  // namespace odradek::controller
