// Configs, registration and producer ids on a tree in memory, driven by hand.
#include <gtest/gtest.h>

#include "base/manual_runtime.h"
#include "metadata/cluster_config.h"
#include "metadata/producer_ids.h"
#include "metadata/registration.h"
#include "metadata/store/embedded_store.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::metadata {
namespace {

class ClusterTest : public ::testing::Test {
 protected:
  struct Node {
    explicit Node(ClusterTest& test)
        : store(make_embedded_store(test.tree_, *test.executor_)),
          configs(test.runtime_, *test.executor_, *store,
                  [](EntityType, std::string_view key) { return key == "flush.before.ack"; }) {
      store->open([](SessionState) {});
      test.runtime_.run_until_idle();
      configs.subscribe([this](const ConfigEntity& entity, const Properties& now) { heard[entity.path()] = now; });
    }
    std::unique_ptr<Store> store;
    ConfigStore configs;
    std::map<std::string, Properties> heard;
  };
  void SetUp() override {
    create_base_paths(client(a_), [](Result<void> result) { ASSERT_TRUE(result); });
    runtime_.run_until_idle();
  }
  TreeClient client(Node& node) { return {runtime_, *executor_, *node.store}; }

  std::string data_of(const std::string& path) {
    std::string text = "not answered";
    a_.store->get(path, {}, [&](StoreResult<NodeData> node) { text = node ? std::string(as_text(node->data)) : std::string(name_of(node.error())); });
    runtime_.run_until_idle();
    return text;
  }
  void put(const std::string& path, std::string_view data, CreateMode mode = CreateMode::kPersistent) {
    a_.store->create(path, Bytes(data.begin(), data.end()), mode, [](StoreResult<CreatedNode> made) { EXPECT_TRUE(made); });
    runtime_.run_until_idle();
  }
  void set(const std::string& path, std::string_view data) {
    a_.store->set(path, Bytes(data.begin(), data.end()), kAnyVersion, [](StoreResult<Stat> done) { EXPECT_TRUE(done); });
    runtime_.run_until_idle();
  }
  void remove(const std::string& path) {
    a_.store->remove(path, kAnyVersion, [](StoreResult<void> done) { EXPECT_TRUE(done); });
    runtime_.run_until_idle();
  }
  void load(Node& node) {
    bool loaded = false;
    node.configs.load([&](Result<void> result) { loaded = result.has_value(); });
    runtime_.run_until_idle();
    EXPECT_TRUE(loaded);
  }
  Result<void> alter(Node& node, const ConfigEntity& entity, Properties wanted, bool validate_only = false) {
    Result<void> result = fail(ErrorCode::kUnknownServerError, "not answered");
    node.configs.alter(entity, [wanted](const Properties&) -> Result<Properties> { return wanted; }, validate_only,
                       [&](Result<void> answer) { result = std::move(answer); });
    runtime_.run_until_idle();
    return result;
  }

  base::ManualRuntime runtime_;
  std::unique_ptr<base::Executor> executor_ = runtime_.make_executor("metadata", 1);
  std::shared_ptr<EmbeddedTree> tree_ = *open_embedded_tree(runtime_, "");
  Node a_{*this}, b_{*this};
};

TEST_F(ClusterTest, TakesEffectEverywhereThroughTheNotification) {
  put("/brokers/topics/t", "{}");
  load(a_);
  load(b_);
  ASSERT_TRUE(alter(a_, ConfigEntity::topic("t"), {{"retention.ms", "5"}}));
  EXPECT_EQ(data_of("/config/topics/t"), R"({"config":{"retention.ms":"5"},"version":1})");
  EXPECT_EQ(data_of("/config/changes/config_change_0000000000"), R"({"entity_path":"topics/t","version":2})");
  EXPECT_EQ(a_.heard["topics/t"].at("retention.ms"), "5");
  EXPECT_EQ(b_.heard["topics/t"].at("retention.ms"), "5");
  EXPECT_EQ(b_.configs.topic("t")->at("retention.ms"), "5");
  EXPECT_TRUE(b_.configs.topic("other")->empty());
}

TEST_F(ClusterTest, KeepsKeysOfItsOwnOutOfKafkasNodes) {
  put("/brokers/topics/t", "{}");
  load(b_);
  ASSERT_TRUE(alter(a_, ConfigEntity::topic("t"), {{"retention.ms", "5"}, {"flush.before.ack", "all"}}));
  EXPECT_EQ(data_of("/config/topics/t"), R"({"config":{"retention.ms":"5"},"version":1})");
  EXPECT_EQ(data_of("/odradek/config/topics/t"), R"({"config":{"flush.before.ack":"all"},"version":1})");
  EXPECT_EQ(b_.heard["topics/t"].size(), 2u);
  ASSERT_TRUE(alter(a_, ConfigEntity::topic("t"), {}));
  EXPECT_EQ(data_of("/config/topics/t"), R"({"config":{},"version":1})");
  EXPECT_EQ(data_of("/odradek/config/topics/t"), "NO_NODE");
  EXPECT_TRUE(b_.configs.topic("t")->empty());
}

TEST_F(ClusterTest, RefusesToAlterATopicThatIsNotThere) {
  EXPECT_EQ(alter(a_, ConfigEntity::topic("none"), {}).error().code, ErrorCode::kUnknownTopicOrPartition);
}

TEST_F(ClusterTest, WritesNothingWhenItOnlyValidates) {
  ASSERT_TRUE(alter(a_, ConfigEntity::broker({1}), {{"x", "1"}}, true));
  EXPECT_EQ(data_of("/config/brokers/1"), "NO_NODE");
}

TEST_F(ClusterTest, ReadsEverythingAtTheStartAndAgainAfterANewSession) {
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), {{"log.retention.ms", "7"}}));
  ASSERT_TRUE(alter(a_, {EntityType::kUserClient, "x y", "c"}, {{"producer_byte_rate", "9"}}));
  load(b_);
  EXPECT_EQ(b_.heard["brokers/<default>"].at("log.retention.ms"), "7");
  EXPECT_EQ(b_.heard["users/x%20y/clients/c"].at("producer_byte_rate"), "9");
  expire_session(*b_.store);
  runtime_.run_until_idle();
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), {{"log.retention.ms", "8"}}));
  ASSERT_TRUE(alter(a_, {EntityType::kUserClient, "x y", "c"}, {}));
  EXPECT_EQ(b_.heard["brokers/<default>"].at("log.retention.ms"), "7");
  b_.store->open({});
  load(b_);
  EXPECT_TRUE(b_.heard["users/x%20y/clients/c"].empty());
  EXPECT_EQ(b_.heard["brokers/<default>"].at("log.retention.ms"), "8");
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), {{"log.retention.ms", "9"}}));
  EXPECT_EQ(b_.heard["brokers/<default>"].at("log.retention.ms"), "9");
}

TEST_F(ClusterTest, RemovesQuotaNodesThatAreEmptyWithTheirParents) {
  ConfigEntity entity{EntityType::kUserClient, "u", std::string(kDefaultEntity)};
  ASSERT_TRUE(alter(a_, entity, {{"producer_byte_rate", "9"}}));
  EXPECT_EQ(data_of("/config/users/u/clients/<default>"), R"({"config":{"producer_byte_rate":"9"},"version":1})");
  ASSERT_TRUE(alter(a_, entity, {}));
  EXPECT_EQ(data_of("/config/users/u/clients"), "NO_NODE");
  EXPECT_EQ(data_of("/config/users/u"), "NO_NODE");
  EXPECT_EQ(data_of("/config/users"), "");
}

TEST_F(ClusterTest, DropsOldNotifications) {
  load(a_);
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), {{"x", "1"}}));
  runtime_.advance(16 * 60 * 1000);
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), {{"x", "2"}}));
  EXPECT_EQ(data_of("/config/changes/config_change_0000000000"), "NO_NODE");
  EXPECT_NE(data_of("/config/changes/config_change_0000000001"), "NO_NODE");
}

TEST_F(ClusterTest, ReadsTheConfigsOfANewTopicOnDemand) {
  load(b_);
  put("/config/topics/fresh", R"({"version":1,"config":{"segment.bytes":"99"}})");
  bool ready = false;
  b_.configs.ensure_topics({"fresh", "plain"}, [&] { ready = true; });
  runtime_.run_until_idle();
  EXPECT_TRUE(ready);
  EXPECT_EQ(b_.configs.topic("fresh")->at("segment.bytes"), "99");
  ready = false;
  b_.configs.ensure_topics({"fresh", "plain"}, [&] { ready = true; });
  EXPECT_TRUE(ready) << "known ones need no reading";
}

// A throttle that is set just before a reassignment: LeaderAndIsr comes from the controller, the change by way of ZooKeeper.
TEST_F(ClusterTest, HearsOfEveryChangeBeforeReplicasJoin) {
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), {{"leader.replication.throttled.rate", "7"}}));
  ASSERT_TRUE(alter(a_, ConfigEntity::broker({4}), {{"leader.replication.throttled.rate", "8"}}));
  bool ready = false;  // no watch: the word of the changes is not here yet
  EXPECT_TRUE(b_.heard.empty());
  b_.configs.after_changes([&] {
    ready = true;
    EXPECT_EQ(b_.heard["brokers/<default>"].at("leader.replication.throttled.rate"), "7");
    EXPECT_EQ(b_.heard["brokers/4"].at("leader.replication.throttled.rate"), "8");
  });
  runtime_.run_until_idle();
  EXPECT_TRUE(ready);
  expire_session(*b_.store);
  ready = false;
  b_.configs.after_changes([&] { ready = true; });
  runtime_.run_until_idle();
  EXPECT_TRUE(ready) << "without a session it goes on with what is known";
}

// Answers reads of one path late, with what stood there when they were asked.
class LateStore final : public Store {
 public:
  LateStore(Store& store, std::string path) : store_(store), path_(std::move(path)) {}
  void answer() {
    for (Task& reply : std::exchange(late_, {})) reply();
  }
  void open(SessionListener listener) override { store_.open(std::move(listener)); }
  void close(Task done) override { store_.close(std::move(done)); }
  SessionState state() const override { return store_.state(); }
  int64_t session_id() const override { return store_.session_id(); }
  void create(std::string path, Bytes data, CreateMode mode, StoreReply<CreatedNode> reply) override {
    store_.create(std::move(path), std::move(data), mode, std::move(reply));
  }
  void get(std::string path, Watch watch, StoreReply<NodeData> reply) override {
    if (path != path_ || asked_++ > 0) return store_.get(std::move(path), std::move(watch), std::move(reply));
    store_.get(std::move(path), std::move(watch), [this, reply = std::move(reply)](StoreResult<NodeData> node) mutable {
      late_.push_back([reply = std::move(reply), node = std::move(node)]() mutable { reply(std::move(node)); });
    });
  }
  void exists(std::string path, Watch watch, StoreReply<Stat> reply) override { store_.exists(std::move(path), std::move(watch), std::move(reply)); }
  void children(std::string path, Watch watch, StoreReply<ChildList> reply) override { store_.children(std::move(path), std::move(watch), std::move(reply)); }
  void set(std::string path, Bytes data, int32_t version, StoreReply<Stat> reply) override {
    store_.set(std::move(path), std::move(data), version, std::move(reply));
  }
  void remove(std::string path, int32_t version, StoreReply<void> reply) override { store_.remove(std::move(path), version, std::move(reply)); }
  void multi(std::vector<StoreOp> ops, MultiReply reply) override { store_.multi(std::move(ops), std::move(reply)); }
  void sync(StoreReply<void> reply) override { store_.sync(std::move(reply)); }

 private:
  Store& store_;
  const std::string path_;
  int asked_ = 0;
  std::vector<Task> late_;
};

// After a new session, while everything was read over a connection that was lost meanwhile: a throttle that had gone came back for good (cluster
// simulation, seed 200).
TEST_F(ClusterTest, WhatWasReadBeforeAChangeDoesNotUndoIt) {
  const auto rate = [](const char* value) { return Properties{{"leader.replication.throttled.rate", value}}; };
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), rate("7")));
  LateStore late(*b_.store, "/config/brokers/<default>");
  ConfigStore configs(runtime_, *executor_, late, [](EntityType, std::string_view) { return false; });
  bool loaded = false;
  configs.load([&](Result<void> result) { loaded = result.has_value(); });
  runtime_.run_until_idle();
  EXPECT_FALSE(loaded);
  ASSERT_TRUE(alter(a_, ConfigEntity::broker_default(), rate("8")));
  EXPECT_EQ(*configs.find(ConfigEntity::broker_default()), rate("8"));
  late.answer();
  runtime_.run_until_idle();
  EXPECT_TRUE(loaded);
  EXPECT_EQ(*configs.find(ConfigEntity::broker_default()), rate("8"));
}

TEST_F(ClusterTest, WhatWasReadOfADeletedTopicDoesNotMeetTheNextOneOfItsName) {
  put("/brokers/topics/t", "{}");
  put("/config/topics/t", R"({"version":1,"config":{"segment.bytes":"99"}})");
  LateStore late(*b_.store, "/config/topics/t");
  ConfigStore configs(runtime_, *executor_, late, [](EntityType, std::string_view) { return false; });
  configs.ensure_topics({"t"}, [] {});
  runtime_.run_until_idle();
  configs.forget_topic("t");
  set("/config/topics/t", R"({"version":1,"config":{"segment.bytes":"100"}})");
  late.answer();
  runtime_.run_until_idle();
  EXPECT_TRUE(configs.topic("t")->empty());
  configs.ensure_topics({"t"}, [] {});
  runtime_.run_until_idle();
  EXPECT_EQ(configs.topic("t")->at("segment.bytes"), "100");
}

TEST_F(ClusterTest, AChangeThatIsToldAfterTheEndOfItsTopicSaysNothingOfTheNextOne) {
  load(b_);
  put("/brokers/topics/t", "{}");
  ASSERT_TRUE(alter(a_, ConfigEntity::topic("t"), {{"segment.bytes", "99"}}));
  for (const char* node : {"/brokers/topics/t", "/config/topics/t"}) remove(node);
  b_.configs.forget_topic("t");
  const Bytes change = encode_config_change("topics/t");
  put("/config/changes/config_change_", as_text(change), CreateMode::kPersistentSequential);
  runtime_.run_until_idle();
  put("/brokers/topics/t", "{}");
  put("/config/topics/t", R"({"version":1,"config":{"segment.bytes":"100"}})");
  b_.configs.ensure_topics({"t"}, [] {});
  runtime_.run_until_idle();
  EXPECT_EQ(b_.configs.topic("t")->at("segment.bytes"), "100");
}

TEST_F(ClusterTest, DoesNotBelieveTheConfigsThatAFailedCreationLeft) {
  put("/config/topics/t", R"({"version":1,"config":{"segment.bytes":"99"}})");
  load(b_);
  EXPECT_TRUE(b_.configs.topic("t")->empty());
  for (const char* parent : {"/odradek", "/odradek/config", "/odradek/config/topics"}) put(parent, "");
  put("/odradek/config/topics/t", R"({"version":1,"config":{"flush.before.ack":"all"}})");
  put("/brokers/topics/t", "{}");
  b_.configs.ensure_topics({"t"}, [] {});
  runtime_.run_until_idle();
  EXPECT_EQ(b_.configs.topic("t")->at("flush.before.ack"), "all");
}

TEST_F(ClusterTest, NamesEntitiesAsKafkaDoes) {
  EXPECT_EQ(sanitise("CN=a b,O=x*y/é"), "CN%3Da%20b%2CO%3Dx%2Ay%2F%C3%A9");
  EXPECT_EQ(desanitise(sanitise("CN=a b,O=x*y/é")), "CN=a b,O=x*y/é");
  for (const char* path : {"topics/a", "brokers/<default>", "clients/c%201", "users/u/clients/<default>", "ips/10.0.0.1"}) {
    auto entity = ConfigEntity::parse(path);
    ASSERT_TRUE(entity) << path;
    EXPECT_EQ(entity->path(), path);
  }
  for (const char* path : {"", "topics", "topics/", "what/a", "users/u/x/c", "topics/a/b"}) EXPECT_FALSE(ConfigEntity::parse(path)) << path;
}

TEST_F(ClusterTest, AgreesOnOneClusterId) {
  std::string first, second;
  create_or_read_cluster_id(client(a_), "", [&](Result<std::string> id) { first = *id; });
  create_or_read_cluster_id(client(b_), "wanted", [&](Result<std::string> id) { second = *id; });
  runtime_.run_until_idle();
  EXPECT_EQ(first.size(), 22u);
  EXPECT_EQ(first, second);
}

TEST_F(ClusterTest, RegistersABrokerUnderItsEpochAndRefusesASecondOne) {
  BrokerInfo info{{4}, {{"PLAINTEXT", "127.0.0.1", 9092, SecurityProtocol::kPlaintext}}, "r", -1};
  Result<int64_t> epoch, other, again;
  register_broker(client(a_), info, 0, [&](Result<int64_t> result) { epoch = result; });
  runtime_.run_until_idle();
  ASSERT_TRUE(epoch);
  EXPECT_GT(*epoch, 0);
  register_broker(client(b_), info, 0, [&](Result<int64_t> result) { other = result; });
  runtime_.run_until_idle();
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kDuplicateBrokerRegistration);
  register_broker(client(a_), info, 0, [&](Result<int64_t> result) { again = result; });
  runtime_.run_until_idle();
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *epoch) << "its own node counts, as after a lost connection";
  // The node of its own expired session is taken over.
  register_broker(client(b_), info, a_.store->session_id(), [&](Result<int64_t> result) { other = result; });
  runtime_.run_until_idle();
  ASSERT_TRUE(other);
  EXPECT_GT(*other, *epoch);
}

TEST_F(ClusterTest, GivesGeneratedBrokerIdsOnce) {
  std::vector<int32_t> ids;
  for (Node* node : {&a_, &b_, &a_}) generate_broker_id(client(*node), 1000, [&](Result<BrokerId> id) { ids.push_back(id->value); });
  runtime_.run_until_idle();
  EXPECT_EQ(ids, (std::vector<int32_t>{1001, 1002, 1003}));
}

class Blocks : public ProducerIdChannel {
 public:
  void send(protocol::AllocateProducerIdsRequest, UniqueFunction<void(Result<protocol::AllocateProducerIdsResponse>)> done) override {
    ++asked;
    pending.push_back(std::move(done));
  }
  void answer(int32_t length) {
    auto done = std::move(pending.front());
    pending.erase(pending.begin());
    protocol::AllocateProducerIdsResponse response;
    response.producer_id_start = next;
    response.producer_id_len = length;
    next += length;
    done(response);
  }
  int64_t next = 0;
  int asked = 0;
  std::vector<UniqueFunction<void(Result<protocol::AllocateProducerIdsResponse>)>> pending;
};

TEST_F(ClusterTest, GivesEachProducerIdOnceAndAsksAheadOfTime) {
  Blocks blocks;
  ProducerIds ids(runtime_, {1}, blocks);
  std::vector<int64_t> given;
  auto note = [&](Result<ProducerId> id) { given.push_back(id ? id->value : -1); };
  ids.next(note);
  ids.next(note);
  EXPECT_TRUE(given.empty());
  EXPECT_EQ(blocks.asked, 1) << "one request in flight";
  blocks.answer(10);
  EXPECT_EQ(given, (std::vector<int64_t>{0, 1}));
  for (int i = 0; i < 7; ++i) ids.next(note);
  EXPECT_EQ(blocks.asked, 2) << "one left of ten";
  ids.next(note);
  ids.next(note);
  EXPECT_EQ(given.back(), 9);
  EXPECT_EQ(given.size(), 10u);
  blocks.answer(10);
  EXPECT_EQ(given.back(), 10);
}

TEST_F(ClusterTest, TellsProducersToTryAgainWhileThereAreNoIds) {
  Blocks blocks;
  ProducerIds ids(runtime_, {1}, blocks);
  Result<ProducerId> result;
  ids.next([&](Result<ProducerId> id) { result = std::move(id); });
  runtime_.advance(2000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCoordinatorLoadInProgress);
}

TEST_F(ClusterTest, AsksAgainForProducerIdsOnlyWhileSomebodyWants) {
  Blocks blocks;
  ProducerIds ids(runtime_, {1}, blocks);
  std::vector<int64_t> given;
  auto note = [&](Result<ProducerId> id) { given.push_back(id ? id->value : -1); };
  ids.next(note);
  blocks.answer(0);  // the controller refuses
  EXPECT_EQ(blocks.asked, 1);
  runtime_.advance(100);
  EXPECT_EQ(blocks.asked, 2) << "one waits";
  runtime_.advance(1000);
  EXPECT_EQ(given, (std::vector<int64_t>{-1}));
  blocks.answer(0);
  runtime_.advance(10'000);
  EXPECT_EQ(blocks.asked, 2) << "nobody waits any more";
  ids.next(note);
  EXPECT_EQ(blocks.asked, 3);
  blocks.answer(10);
  EXPECT_EQ(given.back(), 0);
}

}  // namespace
}  // namespace odradek::metadata
