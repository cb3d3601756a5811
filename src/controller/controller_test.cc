// The controller on a tree in memory, with brokers that answer as told. What is expected was seen on a 3.9 cluster (interbroker.md).
#include "controller/controller.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/manual_runtime.h"
#include "controller/assignment.h"
#include "controller/elections.h"
#include "controller/membership.h"
#include "controller/topic_admin.h"
#include "metadata/image/image_waits.h"
#include "metadata/store/embedded_store.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {
namespace {

namespace paths = metadata::paths;
using protocol::LeaderAndIsrRequest;
using protocol::StopReplicaRequest;
using protocol::UpdateMetadataRequest;

std::string join(const std::vector<int32_t>& ids) {
  std::string text;
  for (int32_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return "[" + text + "]";
}

// What a broker was sent, in the short form of interbroker.md: "a-0 L1 e0 pe0 isr[1,2] rep[1,2] NEW".
std::vector<std::string> lines(const LeaderAndIsrRequest& request) {
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
std::vector<std::string> lines(const UpdateMetadataRequest& request) {
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
std::vector<std::string> lines(const StopReplicaRequest& request) {
  std::vector<std::string> all;
  for (const auto& topic : request.topic_states) {
    for (const auto& p : topic.partition_states) {
      all.push_back(fmt::format("SR {}-{} e{}{}", topic.topic_name, p.partition_index, p.leader_epoch, p.delete_partition ? " DELETE" : ""));
    }
  }
  return all;
}

// Answers so many multis that begin at a path with an error, undone.
class FailingStore : public metadata::Store {
 public:
  FailingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, metadata::StoreError error, int& failures)
      : store_(std::move(store)), callbacks_(callbacks), path_(std::move(path)), error_(error), failures_(failures) {}
  metadata::Store& inner() { return *store_; }
  void open(metadata::SessionListener listener) override { store_->open(std::move(listener)); }
  void close(Task done) override { store_->close(std::move(done)); }
  metadata::SessionState state() const override { return store_->state(); }
  int64_t session_id() const override { return store_->session_id(); }
  void create(std::string path, Bytes data, metadata::CreateMode mode, metadata::StoreReply<metadata::CreatedNode> reply) override {
    store_->create(std::move(path), std::move(data), mode, std::move(reply));
  }
  void get(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::NodeData> reply) override {
    store_->get(std::move(path), std::move(watch), std::move(reply));
  }
  void exists(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::Stat> reply) override {
    store_->exists(std::move(path), std::move(watch), std::move(reply));
  }
  void children(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::ChildList> reply) override {
    store_->children(std::move(path), std::move(watch), std::move(reply));
  }
  void set(std::string path, Bytes data, int32_t version, metadata::StoreReply<metadata::Stat> reply) override {
    store_->set(std::move(path), std::move(data), version, std::move(reply));
  }
  void remove(std::string path, int32_t version, metadata::StoreReply<void> reply) override { store_->remove(std::move(path), version, std::move(reply)); }
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    if (failures_ > 0 && ops.front().path == path_) {
      --failures_;
      return callbacks_.post([error = error_, reply = std::move(reply)]() mutable { reply(tl::unexpected(metadata::MultiFailure{error, -1})); });
    }
    store_->multi(std::move(ops), std::move(reply));
  }
  void sync(metadata::StoreReply<void> reply) override { store_->sync(std::move(reply)); }

 private:
  std::unique_ptr<metadata::Store> store_;
  base::Executor& callbacks_;
  const std::string path_;
  const metadata::StoreError error_;
  int& failures_;
};

// Keeps the sizes of the multis, the check of the controller's epoch among them.
class CountingStore final : public FailingStore {
 public:
  CountingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::vector<size_t>& sizes)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), sizes_(sizes) {}
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    sizes_.push_back(ops.size());
    FailingStore::multi(std::move(ops), std::move(reply));
  }

 private:
  int none_ = 0;
  std::vector<size_t>& sizes_;
};

// Keeps the reads of partition states until they are let go.
class HoldingStore final : public FailingStore {
 public:
  HoldingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::vector<Task>& held)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), held_(held) {}
  void get(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::NodeData> reply) override {
    if (!path.ends_with("/state")) return FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    held_.push_back([this, path = std::move(path), watch = std::move(watch), reply = std::move(reply)]() mutable {
      FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    });
  }

 private:
  int none_ = 0;
  std::vector<Task>& held_;
};

// Keeps the reads of one node while it is armed.
class HoldingNodeStore final : public FailingStore {
 public:
  HoldingNodeStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, const bool& armed, std::vector<Task>& held)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), path_(std::move(path)), armed_(armed), held_(held) {}
  void get(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::NodeData> reply) override {
    if (!armed_ || path != path_) return FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    held_.push_back([this, path = std::move(path), watch = std::move(watch), reply = std::move(reply)]() mutable {
      FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    });
  }

 private:
  int none_ = 0;
  const std::string path_;
  const bool& armed_;
  std::vector<Task>& held_;
};

// Answers multis with an operation that `refuse` names as if its version were wrong.
class RefusingStore final : public FailingStore {
 public:
  using Refuse = std::function<bool(const metadata::StoreOp&)>;
  RefusingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, const Refuse& refuse)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), callbacks_(callbacks), refuse_(refuse) {}
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    auto refused = refuse_ ? std::find_if(ops.begin(), ops.end(), refuse_) : ops.end();
    if (refused == ops.end()) return FailingStore::multi(std::move(ops), std::move(reply));
    metadata::MultiFailure failure{metadata::StoreError::kBadVersion, static_cast<int32_t>(refused - ops.begin())};
    callbacks_.post([failure, reply = std::move(reply)]() mutable { reply(tl::unexpected(failure)); });
  }

 private:
  int none_ = 0;
  base::Executor& callbacks_;
  const Refuse& refuse_;
};

// Somebody else sets a node just before it is set here, once this is armed.
class MeddlingStore final : public FailingStore {
 public:
  MeddlingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, const Bytes& data, bool& armed)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), path_(std::move(path)), data_(data), armed_(armed) {}
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    for (const metadata::StoreOp& op : ops) {
      if (op.kind == metadata::StoreOp::Kind::kSet) meddle(op.path);
    }
    FailingStore::multi(std::move(ops), std::move(reply));
  }
  void set(std::string path, Bytes data, int32_t version, metadata::StoreReply<metadata::Stat> reply) override {
    meddle(path);
    FailingStore::set(std::move(path), std::move(data), version, std::move(reply));
  }

 private:
  void meddle(const std::string& path) {
    if (path != path_ || !std::exchange(armed_, false)) return;
    inner().set(path_, data_, metadata::kAnyVersion, [](auto done) { EXPECT_TRUE(done); });
  }
  int none_ = 0;
  const std::string path_;
  const Bytes& data_;
  bool& armed_;
};

// The connection is lost with the first creation under a path, which has not taken effect.
class LosingStore final : public FailingStore {
 public:
  LosingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, int& losses)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), callbacks_(callbacks), path_(std::move(path)), losses_(losses) {}
  void create(std::string path, Bytes data, metadata::CreateMode mode, metadata::StoreReply<metadata::CreatedNode> reply) override {
    if (!path.starts_with(path_) || losses_++ > 0) return FailingStore::create(std::move(path), std::move(data), mode, std::move(reply));
    callbacks_.post([reply = std::move(reply)]() mutable { reply(tl::unexpected(metadata::StoreError::kConnectionLoss)); });
  }

 private:
  int none_ = 0;
  base::Executor& callbacks_;
  const std::string path_;
  int& losses_;
};

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

TEST_F(ControllerTest, TakesOfficeAndGreetsItsBroker) {
  start(0);
  EXPECT_TRUE(broker(0).controller->is_active());
  EXPECT_EQ(broker(0).controller->epoch(), 1);
  EXPECT_EQ(data_of("/controller_epoch"), "1");
  EXPECT_EQ(metadata::decode_controller(as_bytes(data_of("/controller")))->broker, BrokerId{0});
  EXPECT_TRUE(heard(0, "UM live[0]"));
  EXPECT_EQ(broker(0).image.current()->controller(), BrokerId{0});
  EXPECT_EQ(data_of("/feature"), R"({"features":{},"status":1,"version":2})");
}

TEST_F(ControllerTest, CreatesATopicInTheOrderAndFormOfKafka) {
  start(0);
  forget();
  auto made = create(assigned("a", {{0}, {0}}));
  ASSERT_EQ(made.error, ErrorCode::kNone) << made.message;
  EXPECT_EQ(data_of("/config/topics/a"), R"({"config":{},"version":1})");
  auto node = metadata::decode_topic(as_bytes(data_of("/brokers/topics/a")));
  ASSERT_TRUE(node);
  EXPECT_EQ(node->id, made.id);
  EXPECT_EQ(data_of("/brokers/topics/a/partitions/1/state"), R"({"controller_epoch":1,"isr":[0],"leader":0,"leader_epoch":0,"version":1})");
  EXPECT_EQ(all_heard(0),
            "LI a-0 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "LI a-1 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "UM live[0]\n"
            "UM a-0 L0 e0 zv0 isr[0]\n"
            "UM a-1 L0 e0 zv0 isr[0]\n");
  EXPECT_EQ(broker(0).image.current()->find_topic("a")->id, made.id);
}

TEST_F(ControllerTest, RefusesTopicsAsKafkaDoes) {
  start(0);
  ASSERT_EQ(create(assigned("a.b", {{0}})).error, ErrorCode::kNone);
  EXPECT_EQ(create(assigned("a.b", {{0}})).error, ErrorCode::kTopicAlreadyExists);
  EXPECT_EQ(create(assigned("a_b", {{0}})).error, ErrorCode::kInvalidTopicException);
  EXPECT_EQ(create(assigned("no way", {{0}})).error, ErrorCode::kInvalidTopicException);
  EXPECT_EQ(create(assigned("x", {{0, 0}})).error, ErrorCode::kInvalidReplicaAssignment);
  EXPECT_EQ(create(assigned("x", {{0}, {}})).error, ErrorCode::kInvalidReplicaAssignment);
  auto gap = assigned("x", {{0}, {0}});
  gap.assignment[1].first = 2;
  EXPECT_EQ(create(gap).error, ErrorCode::kInvalidReplicaAssignment);
  auto both = assigned("x", {{0}});
  both.partitions = 1;
  EXPECT_EQ(create(both).error, ErrorCode::kInvalidRequest);
  NewTopic counts;
  counts.name = "x";
  counts.partitions = 0;
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidPartitions);
  counts.partitions = 1;
  counts.replication_factor = 2;
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidReplicationFactor);
  counts.replication_factor = 1;
  counts.configs["retention.ms"] = "abc";
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidConfig);
  counts.configs["retention.ms"] = std::nullopt;
  EXPECT_EQ(create(counts).error, ErrorCode::kInvalidConfig);
  auto twice = create_all({assigned("y", {{0}}), assigned("y", {{0}}), assigned("z", {{0}})});
  EXPECT_EQ(twice[0].error, ErrorCode::kInvalidRequest);
  EXPECT_EQ(twice[1].error, ErrorCode::kInvalidRequest);
  EXPECT_EQ(twice[2].error, ErrorCode::kNone);
  counts.configs = {{"retention.ms", "5"}};
  auto only_checked = create(counts, true);
  EXPECT_EQ(only_checked.error, ErrorCode::kNone);
  EXPECT_EQ(only_checked.partitions, 1);
  EXPECT_EQ(data_of("/brokers/topics/x"), "NO_NODE");
  EXPECT_EQ(data_of("/config/topics/x"), "NO_NODE");
}

TEST_F(ControllerTest, AddsPartitionsAndTellsOnlyThoseThatAreNew) {
  start(0);
  create(assigned("a", {{0}}));
  forget();
  EXPECT_EQ(enlarge("a", 3).error, ErrorCode::kNone);
  EXPECT_EQ(all_heard(0),
            "LI a-1 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "LI a-2 L0 e0 pe0 isr[0] rep[0] NEW\n"
            "UM live[0]\n"
            "UM a-1 L0 e0 zv0 isr[0]\n"
            "UM a-2 L0 e0 zv0 isr[0]\n");
  EXPECT_EQ(enlarge("a", 3).error, ErrorCode::kInvalidPartitions);
  EXPECT_EQ(enlarge("a", 2).error, ErrorCode::kInvalidPartitions);
  EXPECT_EQ(enlarge("none", 2).error, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(enlarge("a", INT32_MIN).error, ErrorCode::kInvalidPartitions);  // whose difference to 3 has no place in 32 bits
  EXPECT_EQ(enlarge("a", INT32_MAX).error, ErrorCode::kInvalidPartitions);
  NewTopic huge;
  huge.name = "huge";
  huge.partitions = INT32_MAX;
  huge.replication_factor = 1;
  EXPECT_EQ(create(huge).error, ErrorCode::kInvalidPartitions);
}

TEST_F(ControllerTest, DeletesATopicAfterItsReplicas) {
  start(0);
  create(assigned("a", {{0}}));
  forget();
  broker(0).answers = false;
  EXPECT_EQ(erase("a").error, ErrorCode::kNone);
  EXPECT_NE(data_of("/brokers/topics/a"), "NO_NODE") << "the replica has not answered";
  broker(0).answers = true;
  for (Task& answer : std::exchange(broker(0).kept, {})) answer();
  runtime_.run_until_idle();
  EXPECT_EQ(all_heard(0),
            "UM live[0]\n"
            "UM a-0 L-2 e0 zv0 isr[0]\n"
            "SR a-0 e-2\n"
            "SR a-0 e-2 DELETE\n");
  for (const char* path : {"/brokers/topics/a", "/config/topics/a", "/admin/delete_topics/a"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
  EXPECT_EQ(broker(0).image.current()->find_topic("a"), nullptr);
  EXPECT_EQ(erase("a").error, ErrorCode::kUnknownTopicOrPartition);
  auto again = create(assigned("a", {{0}}));
  EXPECT_EQ(again.error, ErrorCode::kNone);
  EXPECT_EQ(broker(0).image.current()->find_topic("a")->id, again.id);
}

TEST_F(ControllerTest, SendsOneRequestAtATimeAndRepeatsUntilItIsAnswered) {
  start(0);
  broker(0).undelivered = 3;
  create(assigned("a", {{0}}));
  create(assigned("b", {{0}}));
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).most_in_flight, 1);
  EXPECT_TRUE(heard(0, "LI a-0 L0 e0 pe0 isr[0] rep[0] NEW"));
  EXPECT_TRUE(heard(0, "UM b-0 L0 e0 zv0 isr[0]"));
}

TEST_F(ControllerTest, GivesPartitionsOfADeadBrokerToTheRest) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("led", {{1, 2}}));
  create(assigned("followed", {{0, 1, 2}}));
  create(assigned("alone", {{1}}));
  forget();
  kill(1);
  EXPECT_TRUE(heard(2, "LI led-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(0, "LI followed-0 L0 e1 pe1 isr[0,2] rep[0,1,2]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "UM alone-0 L-1 e1 zv1 isr[1] off[1]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "UM live[0,2]"));
  EXPECT_EQ(broker(0).image.current()->find_partition("led", 0)->leader, BrokerId{2});

  // It comes back: everything it has, the leaderless one gets its leader.
  forget();
  start(1);
  auto& told = broker(1).heard;
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told[0], "UM live[0,1,2]") << "all partitions first";
  EXPECT_TRUE(heard(1, "LI led-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI alone-0 L1 e2 pe2 isr[1] rep[1]")) << all_heard(1);
  EXPECT_TRUE(heard(2, "UM led-0 L2 e1 zv1 isr[2]"));
}

TEST_F(ControllerTest, WritesManyStatesInFewMultis) {
  std::vector<size_t> sizes;
  wrap_ = [&](auto store) { return std::make_unique<CountingStore>(std::move(store), *executor_, sizes); };
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("many", std::vector<std::vector<int32_t>>(600, {1, 2})));
  sizes.clear();
  kill(1);
  EXPECT_EQ(sizes, (std::vector<size_t>{251, 251, 101}));
  const auto* topic = broker(0).image.current()->find_topic("many");
  ASSERT_NE(topic, nullptr);
  EXPECT_EQ(std::count_if(topic->partitions.begin(), topic->partitions.end(), [](const auto& p) { return p.leader == BrokerId{2}; }), 600);
  EXPECT_EQ(data_of("/brokers/topics/many/partitions/599/state"), R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":1,"version":1})");
}

TEST_F(ControllerTest, WritesTheOtherStatesWhenOneIsRefused) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{1, 2}, {1, 2}, {1, 2}}));
  // What the controller has not heard of, as after a connection that was lost with an answer.
  metadata::PartitionStateNode other;
  other.controller_epoch = 1;
  other.leader = {2};
  other.leader_epoch = {7};
  other.isr = {{2}};
  broker(0).store->set("/brokers/topics/a/partitions/1/state", metadata::encode_partition_state(other), metadata::kAnyVersion, [](auto) {});
  runtime_.run_until_idle();
  kill(1);
  EXPECT_TRUE(heard(2, "LI a-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(2, "LI a-1 L2 e7 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(2, "LI a-2 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, AnElectionOfAllLeavesOutWhatNeverHadALeader) {
  start(0);
  start(1);
  kill(1);
  create(assigned("never", {{1}}));
  create(assigned("led", {{0}}));
  protocol::ElectLeadersRequest all;
  all.topic_partitions.reset();
  std::optional<protocol::ElectLeadersResponse> answer;
  active().elect_leaders(all, [&](protocol::ElectLeadersResponse response) { answer = std::move(response); });
  runtime_.run_until_idle();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error_code, 0);
  EXPECT_TRUE(answer->replica_election_results.empty()) << answer->replica_election_results.front().topic;
  EXPECT_EQ(elect(0, "never"), ErrorCode::kPreferredLeaderNotAvailable) << "who names it is told";
}

TEST_F(ControllerTest, ElectsOutsideTheIsrOnlyIfAllowed) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("u", {{1, 2}}));
  ASSERT_EQ(alter_isr(1, "u", {1}, 0, 0).error_code, 0);
  kill(1);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, kNoBroker);
  EXPECT_EQ(elect(0, "u"), ErrorCode::kPreferredLeaderNotAvailable);
  unclean_ = true;
  forget();
  active().on_unclean_election_enabled("u");
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(2, "LI u-0 L2 e2 pe3 isr[2] rep[1,2] recov")) << all_heard(2);
  EXPECT_EQ(data_of("/brokers/topics/u/partitions/0/state"),
            R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":2,"leader_recovery_state":1,"version":1})");
  // The new leader says that it has recovered.
  EXPECT_EQ(alter_isr(2, "u", {2}, 2, 3).error_code, 0);
  EXPECT_EQ(data_of("/brokers/topics/u/partitions/0/state"), R"({"controller_epoch":1,"isr":[2],"leader":2,"leader_epoch":2,"version":1})");
  EXPECT_EQ(elect(1, "u"), ErrorCode::kElectionNotNeeded);
}

TEST_F(ControllerTest, CountsEachElectionOutsideTheIsr) {
  for (int32_t id : {0, 1, 2, 3}) start(id);
  create(assigned("u", {{1, 2, 3}}));
  ASSERT_EQ(alter_isr(1, "u", {1}, 0, 0).error_code, 0);
  unclean_ = true;
  kill(1);
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, BrokerId{2});
  EXPECT_EQ(active().counts().unclean_elections, 1);
  kill(2);  // before it has recovered
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).image.current()->find_partition("u", 0)->leader, BrokerId{3});
  EXPECT_EQ(active().counts().unclean_elections, 2);
}

TEST_F(ControllerTest, ChangesTheIsrForTheLeaderAlone) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{1, 2}}));
  forget();
  auto shrunk = alter_isr(1, "a", {1}, 0, 0);
  EXPECT_EQ(shrunk.error_code, 0);
  EXPECT_EQ(shrunk.partition_epoch, 1);
  EXPECT_EQ(shrunk.leader_epoch, 0);
  EXPECT_EQ(shrunk.isr, std::vector<int32_t>{1});
  EXPECT_EQ(all_heard(2), "UM live[0,1,2]\nUM a-0 L1 e0 zv1 isr[1]\n") << "no LeaderAndIsr, no new leader epoch";

  auto error = [&](int32_t from, std::vector<int32_t> isr, int32_t epoch, int32_t version, int8_t recovery = 0) {
    return static_cast<ErrorCode>(alter_isr(from, "a", std::move(isr), epoch, version, recovery).error_code);
  };
  EXPECT_EQ(error(1, {1}, 0, 0), ErrorCode::kNone) << "what holds already is success without a write";
  EXPECT_EQ(error(1, {1, 2}, 0, 0), ErrorCode::kInvalidUpdateVersion);
  EXPECT_EQ(error(1, {1, 2}, 0, 9), ErrorCode::kNotController);
  EXPECT_EQ(error(1, {1, 2}, 1, 1), ErrorCode::kNotController);
  EXPECT_EQ(error(1, {1, 7}, 0, 1), ErrorCode::kIneligibleReplica);
  EXPECT_EQ(error(1, {1, 2}, 0, 1, 1), ErrorCode::kInvalidRequest);
  EXPECT_EQ(error(1, {1}, 0, 1, 1), ErrorCode::kInvalidRequest) << "nobody goes back to recovering";
  EXPECT_EQ(error(2, {2}, 0, 1), ErrorCode::kInvalidRequest) << "only the leader asks";
  int64_t epoch = std::exchange(broker(1).epoch, 1);
  EXPECT_EQ(error(1, {1, 2}, 0, 1), ErrorCode::kStaleBrokerEpoch);
  broker(1).epoch = epoch;
  EXPECT_EQ(error(1, {1, 2}, 0, 1), ErrorCode::kNone);
  EXPECT_EQ(alter_isr(1, "a", {1, 2}, 0, 2).partition_epoch, 2);
}

TEST_F(ControllerTest, AnswersNotControllerOutOfOffice) {
  start(0);
  start(1);
  create(assigned("a", {{0, 1}}));
  Controller& other = *broker(1).controller;
  ASSERT_FALSE(other.is_active());
  int answers = 0;
  other.alter_partition({}, 3, [&](protocol::AlterPartitionResponse r) { answers += r.error_code == 41; });
  other.allocate_producer_ids({}, [&](protocol::AllocateProducerIdsResponse r) { answers += r.error_code == 41; });
  other.elect_leaders({}, [&](protocol::ElectLeadersResponse r) { answers += r.error_code == 41; });
  other.controlled_shutdown({}, [&](protocol::ControlledShutdownResponse r) { answers += r.error_code == 41; });
  other.list_partition_reassignments({}, [&](protocol::ListPartitionReassignmentsResponse r) { answers += r.error_code == 41; });
  other.alter_partition_reassignments({}, [&](protocol::AlterPartitionReassignmentsResponse r) { answers += r.error_code == 41; });
  runtime_.run_until_idle();
  EXPECT_EQ(answers, 6);
}

TEST_F(ControllerTest, HandsTheOfficeOnWhenTheControllerDies) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{0, 1}, {1, 0}}));
  forget();
  kill(0);
  EXPECT_TRUE(active().is_active());
  EXPECT_EQ(active().epoch(), 2);
  EXPECT_EQ(data_of("/controller_epoch"), "2");
  EXPECT_TRUE(heard(1, "LI a-0 L1 e1 pe1 isr[1] rep[0,1]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-1 L1 e1 pe1 isr[1] rep[1,0]")) << all_heard(1);
  EXPECT_EQ(std::count(broker(1).heard.begin(), broker(1).heard.end(), "LI a-0 L1 e1 pe1 isr[1] rep[0,1]"), 1) << "once is enough";
  EXPECT_EQ(broker(2).image.current()->find_partition("a", 0)->leader, BrokerId{1});
  EXPECT_EQ(create(assigned("b", {{1, 2}})).error, ErrorCode::kNone);
  EXPECT_EQ(broker(2).image.current()->find_partition("b", 0)->leader, BrokerId{1});
}

TEST_F(ControllerTest, ElectsLeadersBeforeItHasReadWhatItWasTold) {
  start(0);
  std::vector<Task> held;
  wrap_ = [&](auto store) { return std::make_unique<HoldingStore>(std::move(store), *executor_, held); };
  start(1);
  start(2);
  create(assigned("a", {{0, 1, 2}, {1, 0, 2}}));
  create(assigned("b", {{2, 1}}));
  create(assigned("alone", {{0}}));
  runtime_.advance(60'000);
  forget();
  kill(0);
  ASSERT_EQ(held.size(), 4u);
  EXPECT_TRUE(heard(1, "LI a-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(2, "LI a-1 L1 e1 pe1 isr[1,2] rep[1,0,2]")) << all_heard(2);
  EXPECT_FALSE(heard(1, "LI b-0 L2 e0 pe0 isr[2,1] rep[2,1]")) << all_heard(1);
  for (Task& read : std::exchange(held, {})) read();
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(1, "LI b-0 L2 e0 pe0 isr[2,1] rep[2,1]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "UM alone-0 L-1 e1 zv1 isr[0] off[0]")) << all_heard(1);
  EXPECT_EQ(std::count(broker(1).heard.begin(), broker(1).heard.end(), "LI a-0 L1 e1 pe1 isr[1,2] rep[0,1,2]"), 1) << "once is enough";
}

TEST_F(ControllerTest, ReadsFirstWhereABrokerCameWhileTheFormerControllerMayHaveBeenDead) {
  start(0);
  std::vector<Task> held;
  wrap_ = [&](auto store) { return std::make_unique<HoldingStore>(std::move(store), *executor_, held); };
  start(1);
  create(assigned("a", {{0, 1}}));
  runtime_.advance(60'000);
  start(2);
  create(assigned("b", {{0, 1, 2}}));
  forget();
  kill(0);
  EXPECT_FALSE(heard(2, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(2);
  for (Task& read : std::exchange(held, {})) read();
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(2, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, BelievesTheTreeMoreThanWhatItWasTold) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{0, 1, 2}, {0, 1, 2}, {0, 1, 2}}));
  // The former controller wrote this and died before it told anybody.
  metadata::PartitionStateNode newer;
  newer.controller_epoch = 1;
  newer.leader = {0};
  newer.leader_epoch = {4};
  newer.isr = {{0}, {2}};
  broker(0).store->set("/brokers/topics/a/partitions/1/state", metadata::encode_partition_state(newer), metadata::kAnyVersion, [](auto) {});
  runtime_.advance(60'000);
  forget();
  kill(0);
  EXPECT_TRUE(heard(1, "LI a-0 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-1 L2 e5 pe2 isr[2] rep[0,1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-2 L1 e1 pe1 isr[1,2] rep[0,1,2]")) << all_heard(1);
  for (const std::string& line : broker(1).heard) EXPECT_FALSE(line.starts_with("LI a-1 L1")) << line;
}

TEST_F(ControllerTest, StopsActingWhenItsWritesAreRefused) {
  start(0);
  start(1);
  // Another one takes the epoch without the first one hearing of it.
  broker(1).store->set("/controller_epoch", metadata::encode_controller_epoch(7), metadata::kAnyVersion, [](auto) {});
  runtime_.run_until_idle();
  ASSERT_TRUE(broker(0).controller->is_active());
  create(assigned("a", {{0}}));
  EXPECT_FALSE(broker(0).controller->is_active());
  EXPECT_EQ(data_of("/brokers/topics/a/partitions"), "NO_NODE");
}

TEST_F(ControllerTest, ComesBackAfterItsSessionExpired) {
  start(0);
  create(assigned("a", {{0}}));
  int64_t before = broker(0).epoch;
  expire_session(*broker(0).store);
  runtime_.run_until_idle();
  EXPECT_GT(broker(0).epoch, before);
  EXPECT_TRUE(broker(0).controller->is_active());
  EXPECT_EQ(broker(0).controller->epoch(), 2);
  EXPECT_EQ(create(assigned("b", {{0}})).error, ErrorCode::kNone);
  EXPECT_NE(broker(0).image.current()->find_topic("b"), nullptr);
}

// Who ran for office in a session that has ended must not win in the next one: it would hold the office and do nothing.
TEST_F(ControllerTest, RulesAlsoIfItsSessionEndedWhileItRanForOffice) {
  start(0);
  int losses = 0;
  wrap_ = [&](auto store) {
    return std::make_unique<FailingStore>(std::move(store), *executor_, "/controller", metadata::StoreError::kConnectionLoss, losses);
  };
  start(1);
  losses = 1;
  kill(0);
  ASSERT_EQ(losses, 0) << "it has run, and waits to try again";
  expire_session(dynamic_cast<FailingStore&>(*broker(1).store).inner());
  runtime_.run_until_idle();
  forget();
  runtime_.advance(10'000);
  EXPECT_TRUE(broker(1).controller->is_active());
  EXPECT_TRUE(heard(1, "UM live[1]")) << all_heard(1);
  EXPECT_EQ(create(assigned("a", {{1}})).error, ErrorCode::kNone);
  EXPECT_NE(broker(1).image.current()->find_topic("a"), nullptr);
}

TEST_F(ControllerTest, WritesAgainWhatItsStoreCouldNotWrite) {
  int refusals = 0;
  wrap_ = [&](auto store) {  // each write of a controller begins with the check of its epoch
    return std::make_unique<FailingStore>(std::move(store), *executor_, "/controller_epoch", metadata::StoreError::kStorage, refusals);
  };
  start(0);
  refusals = 5;
  EXPECT_EQ(create(assigned("a", {{0}, {0}})).error, ErrorCode::kNone);
  for (int second = 0; second < 10; ++second) {
    runtime_.advance(1000);
  }
  EXPECT_EQ(refusals, 0);
  EXPECT_TRUE(broker(0).controller->is_active());
  const auto* topic = broker(0).image.current()->find_topic("a");
  ASSERT_NE(topic, nullptr);
  EXPECT_EQ(topic->partitions.size(), 2u);
}

// They may have lost what they had not on their disks, in the very epoch that their logs end with (cluster simulation, seed 57).
TEST_F(ControllerTest, LeadersThatStartedAgainWhileNobodyWasInOfficeLeadInANewEpoch) {
  int nobody_wins = 0;
  wrap_ = [&](auto store) {
    return std::make_unique<FailingStore>(std::move(store), *executor_, paths::kController, metadata::StoreError::kConnectionLoss, nobody_wins);
  };
  for (int32_t id : {3, 1, 2}) start(id);
  ASSERT_EQ(create(assigned("a", {{1, 2}, {2, 1}})).error, ErrorCode::kNone);
  nobody_wins = 1'000'000;
  brokers_.erase(3);
  kill(1);
  start(1);
  nobody_wins = 0;
  runtime_.advance(5'000);
  EXPECT_TRUE(heard(1, "LI a-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "LI a-1 L2 e1 pe1 isr[2] rep[2,1]")) << all_heard(1);
  // Now all of them.
  nobody_wins = 1'000'000;
  brokers_.clear();
  runtime_.run_until_idle();
  start(1);
  start(2);
  nobody_wins = 0;
  runtime_.advance(5'000);
  EXPECT_TRUE(heard(2, "LI a-0 L2 e2 pe2 isr[2] rep[1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, StaysOutOfAClusterThatHasTransactions) {
  start(1);
  Broker& second = *(brokers_[0] = std::make_unique<Broker>(*this, 0));
  second.membership.connect("", [](Result<Connected> result) { ASSERT_TRUE(result); });
  runtime_.run_until_idle();
  ASSERT_EQ(broker(1).id, BrokerId{1});
  TopicCreated made;
  broker(1).admin.create_topics({assigned("__transaction_state", {{1}})}, false, [&](std::vector<TopicCreated> all) { made = std::move(all[0]); });
  runtime_.run_until_idle();
  ASSERT_EQ(made.error, ErrorCode::kNone) << made.message;
  BrokerInfo info{{0}, {{"PLAINTEXT", "127.0.0.1", 9090, SecurityProtocol::kPlaintext}}, {}, -1};
  for (bool holds : {false, true}) {  // a transactions' log of its own does not help while another broker is alive
    std::optional<Result<void>> joined;
    second.membership.join(info, *second.controller, {.refuse_transactions = true, .holds_transactions = holds}, [](int64_t) {},
                           [&](Result<void> result) { joined = std::move(result); });
    runtime_.run_until_idle();
    ASSERT_TRUE(joined && !*joined);
    EXPECT_EQ(joined->error().code, ErrorCode::kInvalidConfig);
    EXPECT_NE(joined->error().what.find("__transaction_state"), std::string::npos) << joined->error().what;
  }
  EXPECT_EQ(data_of("/brokers/ids/0"), "NO_NODE");
}

TEST_F(ControllerTest, SendsWhatWaitsToTheNewAddressOfABroker) {
  for (int32_t id : {0, 1}) start(id);
  broker(1).answers = false;
  create(assigned("a", {{1}}));  // the first request to broker 1 stays without an answer
  forget();
  broker(1).kept.clear();
  broker(1).answers = true;
  BrokerInfo moved{{1}, {{"PLAINTEXT", "127.0.0.1", 9999, SecurityProtocol::kPlaintext}}, {}, -1};
  Bytes data = metadata::encode_broker(moved, 0);
  broker(1).store->set("/brokers/ids/1", data, metadata::kAnyVersion, [](auto result) { ASSERT_TRUE(result); });
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(1, "LI a-0 L1 e0 pe0 isr[1] rep[1] NEW")) << all_heard(1);
  EXPECT_EQ(broker(1).image.current()->find_broker({1})->endpoints[0].port, 9999);
}

TEST_F(ControllerTest, LetsABrokerShutDownWithoutALeaderlessMoment) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("led", {{1, 2}}));
  create(assigned("followed", {{2, 1}}));
  create(assigned("alone", {{1}}));
  forget();
  protocol::ControlledShutdownRequest request;
  request.broker_id = 1;
  request.broker_epoch = broker(1).epoch;
  std::optional<protocol::ControlledShutdownResponse> response;
  active().controlled_shutdown(request, [&](protocol::ControlledShutdownResponse answer) { response = std::move(answer); });
  runtime_.run_until_idle();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->error_code, 0);
  EXPECT_TRUE(response->remaining_partitions.empty()) << "a partition without other replicas stays where it is";
  EXPECT_TRUE(heard(1, "LI led-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(1);
  EXPECT_TRUE(heard(1, "SR followed-0 e0")) << all_heard(1);
  EXPECT_TRUE(heard(2, "LI followed-0 L2 e1 pe1 isr[2] rep[2,1]")) << all_heard(2);
  EXPECT_TRUE(heard(0, "UM led-0 L2 e1 zv1 isr[2] off[1]")) << all_heard(0);
  EXPECT_EQ(static_cast<ErrorCode>(alter_isr(2, "led", {2, 1}, 1, 1).error_code), ErrorCode::kIneligibleReplica);
  EXPECT_EQ(broker(0).image.current()->find_partition("alone", 0)->leader, BrokerId{1});
}

TEST_F(ControllerTest, MovesReplicasOnceTheTargetsAreInSync) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  forget();
  protocol::AlterPartitionReassignmentsRequest request;
  auto& topic = request.topics.emplace_back();
  topic.name = "b";
  topic.partitions.emplace_back().replicas = std::vector<int32_t>{0, 2};
  ErrorCode error = ErrorCode::kUnknownServerError;
  auto note = [&](protocol::AlterPartitionReassignmentsResponse response) {
    error = static_cast<ErrorCode>(response.responses.at(0).partitions.at(0).error_code);
  };
  active().alter_partition_reassignments(request, note);
  runtime_.run_until_idle();
  EXPECT_EQ(error, ErrorCode::kNone);
  EXPECT_TRUE(heard(0, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,2,1] add[0] rem[1] NEW")) << all_heard(0);
  EXPECT_TRUE(heard(1, "LI b-0 L1 e1 pe1 isr[1,2] rep[0,2,1] add[0] rem[1]")) << all_heard(1);
  std::optional<protocol::ListPartitionReassignmentsResponse> list;
  active().list_partition_reassignments({}, [&](protocol::ListPartitionReassignmentsResponse answer) { list = std::move(answer); });
  runtime_.run_until_idle();
  EXPECT_EQ(list->topics.at(0).partitions.at(0).adding_replicas, std::vector<int32_t>{0});
  EXPECT_EQ(enlarge("b", 2).error, ErrorCode::kReassignmentInProgress);

  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 1).error_code, 0);
  EXPECT_TRUE(heard(0, "LI b-0 L0 e2 pe3 isr[1,2,0] rep[0,2]")) << all_heard(0);
  EXPECT_TRUE(heard(2, "LI b-0 L0 e3 pe4 isr[2,0] rep[0,2]")) << all_heard(2);
  EXPECT_TRUE(heard(1, "SR b-0 e3 DELETE")) << all_heard(1);
  auto node = metadata::decode_topic(as_bytes(data_of("/brokers/topics/b")));
  EXPECT_EQ(node->partitions.at(0), (std::vector<BrokerId>{{0}, {2}}));
  EXPECT_TRUE(node->adding.empty() && node->removing.empty());

  request.topics[0].partitions[0].replicas.reset();
  active().alter_partition_reassignments(request, note);
  runtime_.run_until_idle();
  EXPECT_EQ(error, ErrorCode::kNoReassignmentInProgress);
  request.topics[0].partitions[0].replicas = std::vector<int32_t>{9};
  active().alter_partition_reassignments(request, note);
  runtime_.run_until_idle();
  EXPECT_EQ(error, ErrorCode::kInvalidReplicaAssignment);
}

TEST_F(ControllerTest, NeitherNewPartitionsNorAMoveUndoTheOther) {
  wrap_ = [&](auto store) { return std::make_unique<MeddlingStore>(std::move(store), *executor_, "/brokers/topics/b", meddling_, armed_); };
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  metadata::TopicNode larger;
  larger.id = id_of("b");
  larger.partitions = {{0, {{1}, {2}}}};
  larger.adding = {{0, {{0}}}};
  meddling_ = metadata::encode_topic(larger);
  armed_ = true;
  EXPECT_EQ(enlarge("b", 2).error, ErrorCode::kReassignmentInProgress);
  EXPECT_EQ(data_of("/brokers/topics/b"), std::string(as_text(meddling_)));

  larger.partitions = {{0, {{1}, {2}}}, {1, {{1}, {2}}}};
  meddling_ = metadata::encode_topic(larger);
  armed_ = true;
  EXPECT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  EXPECT_FALSE(armed_);
  auto node = metadata::decode_topic(as_bytes(data_of("/brokers/topics/b")));
  EXPECT_EQ(node->partitions.size(), 2u);
  EXPECT_EQ(node->adding.at(0), std::vector<BrokerId>{{0}});
  EXPECT_TRUE(heard(1, "LI b-1 L1 e0 pe0 isr[1,2] rep[1,2] NEW")) << all_heard(1);
}

// Neither when replicas take over nor when a plan is given up: who leaves may be the leader still, or the one that has everything.
TEST_F(ControllerTest, NobodyDeletesAReplicaBeforeTheStateSaysThatItHasLeft) {
  wrap_ = [&](auto store) { return std::make_unique<RefusingStore>(std::move(store), *executor_, refuse_); };
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  ASSERT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  auto stopped = [&](int32_t id) {
    return std::any_of(broker(id).heard.begin(), broker(id).heard.end(), [](const std::string& line) { return line.starts_with("SR "); });
  };
  auto is_moving = [&] { return !metadata::decode_topic(as_bytes(data_of("/brokers/topics/b")))->adding.empty(); };
  auto refuse_epoch = [&](int32_t epoch) {
    refuse_ = [epoch](const metadata::StoreOp& op) {
      if (!op.path.ends_with("/state")) return false;
      auto node = metadata::decode_partition_state(op.data);
      return node && node->leader_epoch == LeaderEpoch{epoch};
    };
  };
  refuse_epoch(2);  // another leader
  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 1).error_code, 0);
  EXPECT_FALSE(stopped(1)) << all_heard(1);
  EXPECT_TRUE(is_moving());
  refuse_epoch(3);  // a smaller ISR
  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 2).error_code, 0);
  EXPECT_FALSE(stopped(1)) << all_heard(1);
  EXPECT_TRUE(is_moving());
  refuse_ = nullptr;
  EXPECT_EQ(alter_isr(0, "b", {1, 2, 0}, 2, 3).error_code, 0);
  EXPECT_TRUE(stopped(1));
  EXPECT_FALSE(is_moving());

  create(assigned("c", {{1, 2}}));
  ASSERT_EQ(reassign("c", {0, 2}), ErrorCode::kNone);
  forget();
  refuse_epoch(2);
  reassign("c", {1, 2});
  EXPECT_FALSE(stopped(0)) << all_heard(0);
}

// Seed 5832 of the cluster simulation: the target of a move was alone in the ISR when the move was given up; it was told to delete its log
// and led on, with nobody in sync.
TEST_F(ControllerTest, DoesNotGiveUpAMoveWhoseTargetAloneIsInSync) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  ASSERT_EQ(reassign("b", {0, 2}), ErrorCode::kNone);
  ASSERT_EQ(alter_isr(1, "b", {1, 0}, 1, 1).error_code, 0);
  kill(1);
  ASSERT_TRUE(heard(0, "LI b-0 L0 e2 pe3 isr[0] rep[0,2,1] add[0] rem[1]")) << all_heard(0);
  forget();
  std::string why;
  auto cancel = [&](std::optional<std::vector<int32_t>> targets) {
    protocol::AlterPartitionReassignmentsRequest request;
    auto& topic = request.topics.emplace_back();
    topic.name = "b";
    topic.partitions.emplace_back().replicas = std::move(targets);
    ErrorCode error = ErrorCode::kUnknownServerError;
    active().alter_partition_reassignments(request, [&](protocol::AlterPartitionReassignmentsResponse response) {
      error = static_cast<ErrorCode>(response.responses.at(0).partitions.at(0).error_code);
      why = response.responses.at(0).partitions.at(0).error_message.value_or("");
    });
    runtime_.run_until_idle();
    return error;
  };
  EXPECT_EQ(cancel(std::nullopt), ErrorCode::kInvalidReplicaAssignment);
  EXPECT_EQ(why, "Unable to revert partition assignment for b-0 because it would require an unclean leader election.");
  EXPECT_EQ(cancel(std::vector<int32_t>{2, 1}), ErrorCode::kInvalidReplicaAssignment);
  EXPECT_EQ(why, "Unable to revert partition assignment for b-0 because it would require an unclean leader election.");
  EXPECT_EQ(all_heard(0) + all_heard(2), "");
  unclean_ = true;
  EXPECT_EQ(cancel(std::nullopt), ErrorCode::kNone);
  EXPECT_TRUE(heard(2, "LI b-0 L2 e3 pe4 isr[2] rep[2,1] recov")) << all_heard(2);
  EXPECT_TRUE(heard(0, "SR b-0 e3 DELETE")) << all_heard(0);
}

TEST_F(ControllerTest, DeletesATopicOnlyWhenItsReplicasHaveMoved) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  const Uuid id = id_of("b");
  reassign("b", {0, 2});
  forget();
  erase("b");
  EXPECT_NE(data_of("/admin/delete_topics/b"), "NO_NODE");
  EXPECT_EQ(all_heard(0) + all_heard(1) + all_heard(2), "") << "nobody is stopped as long as replicas move";
  EXPECT_EQ(reassign("b", {1, 2}), ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(elect(0, "b"), ErrorCode::kInvalidTopicException) << "the topic is being deleted";
  EXPECT_EQ(alter_isr(1, "b", {1, 2, 0}, 1, 1, 0, id).error_code, 0);
  EXPECT_TRUE(heard(0, "LI b-0 L0 e2 pe3 isr[1,2,0] rep[0,2]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "UM b-0 L-2 e0 zv0 isr[1,2,0]")) << all_heard(0);
  EXPECT_TRUE(heard(0, "SR b-0 e-2 DELETE")) << all_heard(0);
  for (const char* path : {"/brokers/topics/b", "/config/topics/b", "/admin/delete_topics/b"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
}

// Also when the controller changes and the target is away for a while: brokers are told of such a topic as of any other.
TEST_F(ControllerTest, EndsTheMovesOfATopicThatIsToBeDeleted) {
  for (int32_t id : {0, 1, 2, 3}) start(id);
  create(assigned("b", {{2, 3}}));
  const Uuid id = id_of("b");
  reassign("b", {1, 3});
  erase("b");
  kill(1);
  forget();
  kill(0);
  ASSERT_FALSE(brokers_.contains(0));
  EXPECT_TRUE(heard(2, "LI b-0 L2 e1 pe1 isr[2,3] rep[1,3,2] add[1] rem[2]")) << all_heard(2);
  EXPECT_TRUE(heard(3, "UM b-0 L-2 e0 zv0 isr[2,3] off[1]")) << "clients do not see it again: " << all_heard(3);
  EXPECT_FALSE(heard(2, "UM b-0 L2 e1 zv1 isr[2,3] off[1]")) << all_heard(2);
  start(1);
  EXPECT_TRUE(heard(1, "LI b-0 L2 e1 pe1 isr[2,3] rep[1,3,2] add[1] rem[2]")) << all_heard(1);
  // Its leader goes, too: who is to catch up needs another.
  kill(2);
  EXPECT_TRUE(heard(1, "LI b-0 L3 e2 pe2 isr[3] rep[1,3,2] add[1] rem[2]")) << all_heard(1);
  EXPECT_EQ(alter_isr(3, "b", {3, 1}, 2, 2, 0, id).error_code, 0);
  EXPECT_TRUE(heard(1, "SR b-0 e-2 DELETE")) << all_heard(1);
  for (const char* path : {"/brokers/topics/b", "/admin/delete_topics/b"}) EXPECT_EQ(data_of(path), "NO_NODE") << path;
}

TEST_F(ControllerTest, ObeysWhatOldToolsLeaveInTheTree) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  kill(1);
  start(1);
  ASSERT_EQ(alter_isr(2, "b", {2, 1}, 1, 1).error_code, 0);
  ASSERT_EQ(broker(0).image.current()->find_partition("b", 0)->leader, BrokerId{2});
  std::string_view election = R"({"version":1,"partitions":[{"topic":"b","partition":0}]})";
  write("/admin/preferred_replica_election", Bytes(election.begin(), election.end()));
  EXPECT_EQ(data_of("/admin/preferred_replica_election"), "NO_NODE");
  EXPECT_EQ(broker(0).image.current()->find_partition("b", 0)->leader, BrokerId{1});
  write("/admin/reassign_partitions", metadata::encode_reassignment({{{"b", 0}, {{0}, {1}}}}));
  EXPECT_EQ(data_of("/admin/reassign_partitions"), "NO_NODE");
  EXPECT_EQ(broker(0).image.current()->find_partition("b", 0)->replicas.size(), 3u);
}

TEST_F(ControllerTest, GivesPartitionsBackToPreferredLeaders) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("b", {{1, 2}}));
  kill(1);
  start(1);
  ASSERT_EQ(alter_isr(2, "b", {2, 1}, 1, 1).error_code, 0);
  runtime_.advance(301'000);
  EXPECT_EQ(broker(0).image.current()->find_partition("b", 0)->leader, BrokerId{1});
  EXPECT_EQ(elect(0, "b"), ErrorCode::kElectionNotNeeded);
}

TEST_F(ControllerTest, MovesLeadersAwayFromAFailedLogDir) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("d", {{1, 2}}));
  forget();
  broker(1).partition_error = ErrorCode::kKafkaStorageError;
  broker(1).store->create(paths::kLogDirEventPrefix, metadata::encode_log_dir_event({1}), metadata::CreateMode::kPersistentSequential, [](auto) {});
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(2, "LI d-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
  EXPECT_TRUE(heard(0, "UM d-0 L2 e1 zv1 isr[2] off[1]")) << all_heard(0);
  brokers_.clear();  // their stores look at `losses`
  runtime_.run_until_idle();
}

TEST_F(ControllerTest, HearsOfAFailedLogDirAlthoughTheConnectionIsLostMeanwhile) {
  start(0);
  int losses = 0;
  wrap_ = [&](auto store) { return std::make_unique<LosingStore>(std::move(store), *executor_, paths::kLogDirEventPrefix, losses); };
  for (int32_t id : {1, 2}) start(id);
  create(assigned("d", {{1, 2}}));
  broker(1).partition_error = ErrorCode::kKafkaStorageError;
  metadata::report_log_dir_event({runtime_, *executor_, *broker(1).store}, {1});
  runtime_.advance(1000);
  EXPECT_EQ(losses, 2);
  EXPECT_TRUE(heard(2, "LI d-0 L2 e1 pe1 isr[2] rep[1,2]")) << all_heard(2);
}

TEST_F(ControllerTest, DoesNotBringBackWhatIsDeletedWhenALogDirHasRoomAgain) {
  for (int32_t id : {0, 1, 2}) start(id);
  create(assigned("a", {{1, 2}}));
  create(assigned("b", {{1, 2}}));
  kill(2);
  erase("a");
  EXPECT_TRUE(heard(1, "SR a-0 e-2 DELETE")) << all_heard(1);
  ASSERT_NE(data_of("/brokers/topics/a"), "NO_NODE") << "it waits for broker 2";
  forget();
  metadata::report_log_dir_event({runtime_, *executor_, *broker(1).store}, {1});
  runtime_.run_until_idle();
  EXPECT_TRUE(heard(1, "LI b-0 L1 e1 pe1 isr[1] rep[1,2]")) << all_heard(1);
  for (const std::string& line : broker(1).heard) EXPECT_FALSE(line.starts_with("LI a-0")) << line;
}

// Else the topic would wait for the broker's next start.
TEST_F(ControllerTest, TakesNoAnswerOfABrokersFormerLifeForOneOfItsPresent) {
  wrap_ = [&](auto store) { return std::make_unique<HoldingNodeStore>(std::move(store), *executor_, "/brokers/ids/0", armed_, held_); };
  start(0);
  wrap_ = [](auto store) { return store; };
  start(1);
  create(assigned("a", {{1}}));
  broker(1).answers = false;
  broker(1).partition_error = ErrorCode::kUnknownServerError;
  erase("a");
  while (!heard(1, "SR a-0 e-2 DELETE")) {
    ASSERT_EQ(broker(1).kept.size(), 1u);
    for (Task& answer : std::exchange(broker(1).kept, {})) answer();
    runtime_.run_until_idle();
  }
  ASSERT_EQ(broker(1).kept.size(), 1u);
  broker(1).answers = true;
  broker(1).partition_error = ErrorCode::kNone;
  armed_ = true;
  expire_session(*broker(1).store);
  runtime_.run_until_idle();
  ASSERT_EQ(held_.size(), 1u);
  for (Task& answer : std::exchange(broker(1).kept, {})) answer();
  runtime_.run_until_idle();
  armed_ = false;
  for (Task& read : std::exchange(held_, {})) read();
  runtime_.run_until_idle();
  EXPECT_EQ(data_of("/brokers/topics/a"), "NO_NODE");
}

TEST_F(ControllerTest, GivesBlocksOfProducerIdsThatNeverMeet) {
  start(0);
  start(1);
  auto ask = [&](int32_t id) {
    protocol::AllocateProducerIdsRequest request;
    request.broker_id = id;
    request.broker_epoch = broker(id).epoch;
    protocol::AllocateProducerIdsResponse response;
    active().allocate_producer_ids(request, [&](protocol::AllocateProducerIdsResponse answer) { response = std::move(answer); });
    runtime_.run_until_idle();
    return response;
  };
  EXPECT_EQ(ask(0).producer_id_start, 0);
  EXPECT_EQ(ask(1).producer_id_start, 1000);
  EXPECT_EQ(ask(1).producer_id_len, 1000);
  EXPECT_EQ(data_of("/latest_producer_id_block"), R"({"block_end":"2999","block_start":"2000","broker":1,"version":1})");
  int64_t epoch = std::exchange(broker(0).epoch, 1);
  EXPECT_EQ(ask(0).error_code, static_cast<int16_t>(ErrorCode::kStaleBrokerEpoch));
  broker(0).epoch = epoch;
}

TEST_F(ControllerTest, CreatesInternalTopicsWithAsManyReplicasAsThereAreBrokers) {
  start(0);
  std::vector<ErrorCode> results;
  for (int i = 0; i < 2; ++i) broker(0).admin.auto_create("__consumer_offsets", [&](ErrorCode error) { results.push_back(error); });
  runtime_.run_until_idle();
  EXPECT_EQ(results, (std::vector<ErrorCode>{ErrorCode::kNone, ErrorCode::kNone}));
  EXPECT_EQ(broker(0).image.current()->find_topic("__consumer_offsets")->partitions.size(), 50u);
  EXPECT_EQ(data_of("/config/topics/__consumer_offsets"),
            R"({"config":{"cleanup.policy":"compact","compression.type":"producer","segment.bytes":"104857600"},"version":1})");
}

TEST_F(ControllerTest, FindsATopicWhoseBrokersCameLater) {
  start(0);
  create(assigned("later", {{5}}));
  EXPECT_EQ(broker(0).image.current()->find_topic("later"), nullptr) << "no replica is live";
  start(5);
  EXPECT_EQ(broker(0).image.current()->find_partition("later", 0)->leader, BrokerId{5});
}

TEST_F(ControllerTest, CountsWhatItRules) {
  start(0);
  create(assigned("a", {{0}, {0}}));
  runtime_.advance(1000);
  EXPECT_EQ(broker(0).controller->counts().partitions, 2);
  EXPECT_EQ(broker(0).controller->counts().offline_partitions, 0);
}

// --- assignment ----------------------------------------------------------------------------------------------------------------------------

std::vector<BrokerRack> racks(std::vector<std::pair<int32_t, const char*>> list) {
  std::vector<BrokerRack> brokers;
  for (auto& [id, rack] : list) brokers.push_back({{id}, rack == nullptr ? std::nullopt : std::optional<std::string>(rack)});
  return brokers;
}

TEST(Assignment, SpreadsLeadersAndReplicasEvenly) {
  base::ManualRuntime runtime;
  auto assignment = assign_replicas(racks({{0, nullptr}, {1, nullptr}, {2, nullptr}, {3, nullptr}, {4, nullptr}}), 50, 3, runtime.random());
  ASSERT_TRUE(assignment);
  std::map<BrokerId, int> leaders, replicas;
  for (const auto& partition : *assignment) {
    ++leaders[partition[0]];
    EXPECT_EQ(std::set<BrokerId>(partition.begin(), partition.end()).size(), 3u);
    for (BrokerId id : partition) ++replicas[id];
  }
  for (const auto& [id, count] : leaders) EXPECT_EQ(count, 10);
  for (const auto& [id, count] : replicas) EXPECT_EQ(count, 30);
}

TEST(Assignment, FollowsThePatternOfKafka) {
  base::ManualRuntime runtime;
  // Five brokers, start 0: the table in Kafka's documentation of the rack-unaware pattern.
  auto assignment = assign_replicas(racks({{0, nullptr}, {1, nullptr}, {2, nullptr}, {3, nullptr}, {4, nullptr}}), 10, 3, runtime.random(), 0);
  ASSERT_TRUE(assignment);
  std::vector<std::vector<int32_t>> ids;
  for (const auto& partition : *assignment) {
    ids.emplace_back();
    for (BrokerId id : partition) ids.back().push_back(id.value);
  }
  EXPECT_EQ(ids, (std::vector<std::vector<int32_t>>{
                     {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 0}, {4, 0, 1}, {0, 2, 3}, {1, 3, 4}, {2, 4, 0}, {3, 0, 1}, {4, 1, 2}}));
}

TEST(Assignment, PutsReplicasIntoDifferentRacks) {
  base::ManualRuntime runtime;
  auto brokers = racks({{0, "a"}, {1, "b"}, {2, "c"}, {3, "c"}, {4, "a"}, {5, "b"}});
  std::map<int32_t, std::string> rack_of;
  for (const auto& broker : brokers) rack_of[broker.id.value] = *broker.rack;
  for (int round = 0; round < 20; ++round) {
    auto assignment = assign_replicas(brokers, 12, 3, runtime.random());
    ASSERT_TRUE(assignment);
    std::map<BrokerId, int> leaders;
    for (const auto& partition : *assignment) {
      ++leaders[partition[0]];
      std::set<std::string> used;
      for (BrokerId id : partition) used.insert(rack_of[id.value]);
      EXPECT_EQ(used.size(), 3u);
    }
    for (const auto& [id, count] : leaders) EXPECT_EQ(count, 2);
  }
  // More replicas than racks, and racks of unequal size.
  auto many = assign_replicas(racks({{0, "a"}, {1, "a"}, {2, "a"}, {3, "b"}}), 8, 4, runtime.random());
  ASSERT_TRUE(many);
  for (const auto& partition : *many) EXPECT_EQ(std::set<BrokerId>(partition.begin(), partition.end()).size(), 4u);
}

TEST(Assignment, RefusesWhatCannotBe) {
  base::ManualRuntime runtime;
  EXPECT_EQ(assign_replicas(racks({{0, nullptr}}), 1, 2, runtime.random()).error().code, ErrorCode::kInvalidReplicationFactor);
  EXPECT_EQ(assign_replicas({}, 1, 1, runtime.random()).error().code, ErrorCode::kInvalidReplicationFactor);
  EXPECT_EQ(assign_replicas(racks({{0, nullptr}}), 0, 1, runtime.random()).error().code, ErrorCode::kInvalidPartitions);
}

}  // namespace
}  // namespace odradek::controller
