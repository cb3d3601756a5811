// States that no controller of today writes, but an operator or an older program may have left in the tree.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "base/manual_runtime.h"
#include "controller/controller.h"
#include "controller/elections.h"
#include "controller/membership.h"
#include "metadata/cluster_config.h"
#include "metadata/store/embedded_store.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {
namespace {

std::vector<BrokerId> ids(std::initializer_list<int32_t> values) {
  std::vector<BrokerId> all;
  for (int32_t value : values) all.push_back({value});
  return all;
}

PartitionRecord record(int32_t leader, std::initializer_list<int32_t> isr, std::initializer_list<int32_t> replicas) {
  PartitionRecord record;
  record.has_state = true;
  record.leader = {leader};
  record.isr = ids(isr);
  record.replicas = ids(replicas);
  return record;
}

Online online(std::initializer_list<int32_t> brokers) {
  return [live = ids(brokers)](BrokerId broker) { return contains(live, broker); };
}

Leadership led(int32_t leader, std::initializer_list<int32_t> isr, bool recovering = false) { return {{leader}, ids(isr), recovering}; }

TEST(FlawedStates, AreToldFromTheOthers) {
  EXPECT_EQ(flaw_of(record(1, {1, 2}, {1, 2})), std::nullopt);
  EXPECT_EQ(flaw_of(record(-1, {2}, {1, 2})), std::nullopt);
  EXPECT_EQ(flaw_of(record(5, {1, 2}, {1, 2})), "its leader, broker 5, is none of its replicas [1, 2]");
  EXPECT_EQ(flaw_of(record(1, {}, {1, 2})), "its ISR is empty");
  EXPECT_EQ(flaw_of(record(-1, {}, {1, 2})), "its ISR is empty");
  EXPECT_EQ(flaw_of(record(1, {1, 5}, {1, 2})), "its ISR [1, 5] has members that are none of its replicas [1, 2]");
}

TEST(FlawedStates, ABrokerThatIsNoReplicaDoesNotLead) {
  EXPECT_EQ(elect_among_online(record(5, {2, 1}, {1, 2}), online({1, 2, 5}), false), led(1, {2, 1}));
  EXPECT_EQ(elect_among_online(record(5, {5, 2}, {1, 2}), online({1, 2, 5}), false), led(2, {2}));
  EXPECT_FALSE(is_led(record(5, {5}, {1, 2}), online({1, 2, 5})));
  // The only replica has all that is left.
  EXPECT_EQ(elect_among_online(record(5, {5}, {1}), online({1, 5}), false), led(1, {1}));
  EXPECT_EQ(elect_among_online(record(5, {}, {1}), online({5}), false), led(-1, {1}));
}

TEST(FlawedStates, WhereNobodyIsKnownToHaveEverythingOnlyAnUncleanElectionHelps) {
  EXPECT_EQ(elect_among_online(record(5, {5}, {1, 2}), online({1, 2, 5}), false), led(-1, {5}));
  EXPECT_EQ(elect_among_online(record(5, {5}, {1, 2}), online({2, 5}), true), led(2, {2}, true));
  EXPECT_EQ(elect_among_online(record(-1, {}, {1, 2}), online({1, 2}), false), led(-1, {}));
  EXPECT_EQ(elect_among_online(record(-1, {}, {1, 2}), online({1, 2}), true), led(1, {1}, true));
}

TEST(FlawedStates, ALeaderWithAnEmptyIsrIsInSyncWithItself) {
  EXPECT_EQ(elect_among_online(record(2, {}, {1, 2}), online({1, 2}), false), led(2, {2}));
  EXPECT_EQ(elect_among_online(record(2, {5}, {1, 2}), online({1, 2, 5}), false), led(2, {2}));
  // It is gone: when it comes back it leads again, and nobody else.
  EXPECT_EQ(elect_among_online(record(2, {}, {1, 2}), online({1}), false), led(-1, {2}));
  EXPECT_EQ(elect_among_online(record(-1, {2}, {1, 2}), online({1, 2}), false), led(2, {2}));
}

// Brokers that take what they are told and answer that it is done.
class FlawedTree : public ::testing::Test {
 protected:
  struct Node {
    Node(FlawedTree& test, BrokerId id)
        : store(metadata::make_embedded_store(test.tree_, *test.executor_)),
          configs(test.runtime_, *test.executor_, *store, [](metadata::EntityType, std::string_view) { return false; }),
          membership(test.runtime_, *test.executor_, *store, configs) {
      ControllerOptions options;
      options.self = id;
      options.unclean_election = [](const std::string&) { return false; };
      controller = std::make_unique<Controller>(
          test.runtime_, *test.executor_, *store, [&test](const BrokerInfo& to) { return std::make_unique<Channel>(test, to.id.value); }, options);
    }
    std::unique_ptr<metadata::Store> store;
    metadata::ConfigStore configs;
    Membership membership;
    std::unique_ptr<Controller> controller;
  };
  class Channel : public BrokerChannel {
   public:
    Channel(FlawedTree& test, int32_t to) : test_(test), to_(to) {}
    void send(const protocol::LeaderAndIsrRequest& request, Reply<protocol::LeaderAndIsrResponse> done) override {
      auto listed = [](const std::vector<int32_t>& ids) { return fmt::format("[{}]", fmt::join(ids, ",")); };
      for (const auto& topic : request.topic_states) {
        for (const auto& p : topic.partition_states) {
          test_.told_.insert(fmt::format("{}: {} L{} e{} isr{}{}", to_, topic.topic_name, p.leader, p.leader_epoch, listed(p.isr),
                                         p.leader_recovery_state != 0 ? " recov" : ""));
        }
      }
      answer<protocol::LeaderAndIsrResponse>(std::move(done));
    }
    void send(const protocol::UpdateMetadataRequest&, Reply<protocol::UpdateMetadataResponse> done) override {
      answer<protocol::UpdateMetadataResponse>(std::move(done));
    }
    void send(const protocol::StopReplicaRequest&, Reply<protocol::StopReplicaResponse> done) override {
      answer<protocol::StopReplicaResponse>(std::move(done));
    }

   private:
    template <class Response>
    void answer(Reply<Response> done) {
      if (test_.nodes_.contains(to_)) test_.executor_->post([done = std::move(done)]() mutable { done(Response{}); });
    }
    FlawedTree& test_;
    const int32_t to_;
  };

  void TearDown() override {
    for (auto& [id, node] : nodes_) node->membership.leave([] {});
    runtime_.run_until_idle();
    runtime_.advance(10'000);
    nodes_.clear();
  }
  void start(int32_t id) {
    auto& node = nodes_[id] = std::make_unique<Node>(*this, BrokerId{id});
    node->membership.connect("", [](Result<Connected> result) { ASSERT_TRUE(result) << result.error().what; });
    runtime_.run_until_idle();
    BrokerInfo info{{id}, {{"PLAINTEXT", "127.0.0.1", 9090 + id, SecurityProtocol::kPlaintext}}, {}, -1};
    bool joined = false;
    node->membership.join(info, *node->controller, {}, [](int64_t) {}, [&](Result<void> result) { joined = result.has_value(); });
    runtime_.run_until_idle();
    ASSERT_TRUE(joined);
  }
  // A topic whose one partition is on the brokers 1 and 2, as somebody has written it.
  void write(const std::string& topic, int32_t leader, std::initializer_list<int32_t> isr) {
    metadata::TopicNode node;
    node.partitions[0] = ids({1, 2});
    metadata::PartitionStateNode state;
    state.controller_epoch = 1;
    state.leader = {leader};
    state.leader_epoch = {4};
    state.isr = ids(isr);
    std::vector<metadata::StoreOp> ops;
    ops.push_back(metadata::StoreOp::create(metadata::paths::topic(topic), metadata::encode_topic(node)));
    ops.push_back(metadata::StoreOp::create(metadata::paths::partitions(topic), {}));
    ops.push_back(metadata::StoreOp::create(metadata::paths::partition(topic, 0), {}));
    ops.push_back(metadata::StoreOp::create(metadata::paths::partition_state(topic, 0), metadata::encode_partition_state(state)));
    nodes_.at(1)->store->multi(std::move(ops), [](metadata::MultiResult made) { EXPECT_TRUE(made); });
    runtime_.run_until_idle();
  }
  ErrorCode elect_uncleanly(const std::string& topic) {
    protocol::ElectLeadersRequest request;
    request.election_type = 1;
    auto& one = request.topic_partitions.emplace().emplace_back();
    one.topic = topic;
    one.partitions = {0};
    ErrorCode error = ErrorCode::kUnknownServerError;
    for (auto& [id, node] : nodes_) {
      if (!node->controller->is_active()) continue;
      node->controller->elect_leaders(request, [&](protocol::ElectLeadersResponse response) {
        error = static_cast<ErrorCode>(response.replica_election_results.at(0).partition_result.at(0).error_code);
      });
    }
    runtime_.run_until_idle();
    return error;
  }
  std::string told() const { return fmt::format("{}", fmt::join(told_, "\n")); }

  base::ManualRuntime runtime_;
  std::unique_ptr<base::Executor> executor_ = runtime_.make_executor("metadata", 1);
  std::shared_ptr<metadata::EmbeddedTree> tree_ = *metadata::open_embedded_tree(runtime_, "");
  std::map<int32_t, std::unique_ptr<Node>> nodes_;
  std::set<std::string> told_;  // "to whom: topic Lleader eepoch isr[...]"
};

TEST_F(FlawedTree, IsMendedByTheNextController) {
  for (int32_t id : {0, 1, 2, 3}) start(id);
  write("stranger", 3, {2, 1});
  write("empty", 1, {});
  write("unknown", -1, {});
  write("elsewhere", 3, {3});
  told_.clear();
  nodes_.erase(0);
  runtime_.run_until_idle();
  runtime_.advance(5'000);
  for (int32_t to : {1, 2}) {
    EXPECT_TRUE(told_.contains(fmt::format("{}: stranger L1 e5 isr[2,1]", to))) << told();
    EXPECT_TRUE(told_.contains(fmt::format("{}: empty L1 e5 isr[1]", to))) << told();
    // Nobody is known to have everything: nobody leads, and what is known of the ISR stays.
    EXPECT_TRUE(told_.contains(fmt::format("{}: elsewhere L-1 e5 isr[3]", to))) << told();
    EXPECT_TRUE(told_.contains(fmt::format("{}: unknown L-1 e4 isr[]", to))) << told();
  }
  EXPECT_EQ(elect_uncleanly("stranger"), ErrorCode::kElectionNotNeeded);
  EXPECT_EQ(elect_uncleanly("elsewhere"), ErrorCode::kNone);
  EXPECT_EQ(elect_uncleanly("unknown"), ErrorCode::kNone);
  EXPECT_TRUE(told_.contains("2: elsewhere L1 e6 isr[1] recov")) << told();
  EXPECT_TRUE(told_.contains("2: unknown L1 e5 isr[1] recov")) << told();
}

// As it is when it is enlarged or elected for later: a state that is written while a controller is in office is not looked at again by it.
TEST_F(FlawedTree, AStrangerThatLeadsDoesNotKeepAPartitionFromAnElection) {
  for (int32_t id : {0, 1, 2, 3}) start(id);
  write("stranger", 3, {3});
  EXPECT_EQ(elect_uncleanly("stranger"), ErrorCode::kNone);
  EXPECT_TRUE(told_.contains("2: stranger L1 e5 isr[1] recov")) << told();
}

}  // namespace
}  // namespace odradek::controller
