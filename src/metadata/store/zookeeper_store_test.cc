// What only a store with a wire promises: connections that are lost, sessions that end on the other side.
#include <gtest/gtest.h>

#include "base/random.h"
#include "metadata/store/store_test_backends.h"
#include "metadata/store/zookeeper_store.h"
#include "metadata/store/zookeeper_test_server.h"

namespace odradek::metadata {
namespace {

using testing::Forwarder;
using testing::noted;
using testing::Record;
using testing::shared_server;
using testing::Sync;

class ZooKeeperStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto why = shared_server().why_not(); !why.empty()) GTEST_SKIP() << "not run: " << why;
    wire_ = std::make_unique<Forwarder>(shared_server().port());
    chroot_ = "/wire" + std::to_string(runtime_->random().next());
    beside_ = connect(shared_server().address() + chroot_, beside_states_, 10'000);
  }
  std::unique_ptr<Store> make(const std::string& address, int32_t timeout_ms, int32_t max_in_flight = 10) {
    return std::move(*make_zookeeper_store(*runtime_, *executor_, {address, timeout_ms, max_in_flight}));
  }
  std::unique_ptr<Store> connect(const std::string& address, Record& states, int32_t timeout_ms) {
    auto store = make(address, timeout_ms);
    store->open([&states](SessionState state) { states.add(std::string(name_of(state))); });
    EXPECT_TRUE(states.wait_for("connected"));
    return store;
  }
  std::unique_ptr<Store> connect_by_wire(int32_t timeout_ms) { return connect(wire_->address() + chroot_, states_, timeout_ms); }

  Record states_, beside_states_;
  std::unique_ptr<base::Runtime> runtime_ = base::make_system_runtime();
  std::unique_ptr<base::Executor> executor_ = runtime_->make_executor("callbacks", 1);
  std::unique_ptr<Forwarder> wire_;
  std::string chroot_;
  std::unique_ptr<Store> beside_;  // a session that nothing happens to
};

TEST_F(ZooKeeperStoreTest, MakesItsChrootBeforeTheFirstOperation) {
  auto store = make(shared_server().address() + chroot_ + "/a/b", 10'000);
  // Called before there is a session: it waits.
  store->create("/n", {}, CreateMode::kPersistent, [](StoreResult<CreatedNode> node) { EXPECT_EQ(node->path, "/n"); });
  Record states;
  store->open([&states](SessionState state) { states.add(std::string(name_of(state))); });
  EXPECT_TRUE(Sync(*store).exists("/n"));
  EXPECT_TRUE(Sync(*beside_).exists("/a/b/n"));
  EXPECT_EQ(Sync(*store).children("/")->names, std::vector<std::string>{"n"});
  // A path that the chroot would make legal.
  EXPECT_EQ(Sync(*store).create("x").error(), StoreError::kInvalidArguments);
  EXPECT_EQ(Sync(*store).multi({StoreOp::create("x", {})}).error().error, StoreError::kInvalidArguments);
}

TEST_F(ZooKeeperStoreTest, RefusesAddressesOfAnotherForm) {
  for (const char* wrong : {"", "/chroot", "host:1/trailing/", "host:1//x"}) {
    auto store = make_zookeeper_store(*runtime_, *executor_, {wrong});
    ASSERT_FALSE(store) << wrong;
    EXPECT_NE(store.error().what.find("zookeeper.connect"), std::string::npos);
  }
}

TEST_F(ZooKeeperStoreTest, KeepsSessionWatchesAndEphemeralNodesWhenTheConnectionIsCut) {
  auto store = connect_by_wire(10'000);
  Sync sync(*store), beside(*beside_);
  Record seen;
  ASSERT_TRUE(sync.create("/e", "", CreateMode::kEphemeral));
  ASSERT_TRUE(sync.create("/n"));
  ASSERT_TRUE(sync.get("/n", noted(seen)));
  ASSERT_TRUE(sync.children("/", noted(seen)));
  int64_t session = store->session_id();
  wire_->cut(true);
  ASSERT_TRUE(states_.wait_for("connecting"));
  // While it is away: the watch tells when it is back.
  ASSERT_TRUE(beside.set("/n", "x"));
  wire_->accept_again();
  EXPECT_TRUE(seen.wait_for("data changed /n"));
  EXPECT_EQ(store->session_id(), session);
  EXPECT_TRUE(sync.create("/m"));
  EXPECT_TRUE(seen.wait_for("children changed /"));
  EXPECT_TRUE(beside.exists("/e"));
  EXPECT_EQ(store->state(), SessionState::kConnected);
}

TEST_F(ZooKeeperStoreTest, TellsConnectionLossForWhatWasUnderWayAndSendsTheRestLater) {
  auto store = connect_by_wire(10'000);
  Sync sync(*store);
  wire_->hold(true);  // a server that was stopped
  std::vector<StoreError> errors(30);
  Record end;
  for (size_t i = 0; i < errors.size(); ++i) {
    store->create("/n" + std::to_string(i), {}, CreateMode::kPersistent, [&errors, &end, i](StoreResult<CreatedNode> node) {
      errors[i] = node ? StoreError::kNone : node.error();
      if (i + 1 == errors.size()) end.add("end");
    });
  }
  wire_->cut(true);
  ASSERT_TRUE(states_.wait_for("connecting"));
  wire_->hold(false);
  wire_->accept_again();
  ASSERT_TRUE(end.wait_for("end"));
  // max_in_flight had been sent; the others waited for the connection.
  for (size_t i = 0; i < errors.size(); ++i) EXPECT_EQ(errors[i], i < 10 ? StoreError::kConnectionLoss : StoreError::kNone) << i;
  // Their bytes stayed on the wire.
  EXPECT_EQ(sync.children("/")->names.size(), 20u);
}

TEST_F(ZooKeeperStoreTest, HearsThatItsSessionEndedWhileItWasAway) {
  auto store = connect_by_wire(1000);
  Sync sync(*store), beside(*beside_);
  Record gone, never;
  ASSERT_TRUE(sync.create("/e", "", CreateMode::kEphemeral));
  ASSERT_TRUE(sync.get("/e", noted(never)));
  ASSERT_TRUE(beside.exists("/e", noted(gone)));
  int64_t session = store->session_id();
  wire_->cut(true);
  ASSERT_TRUE(gone.wait_for("deleted /e"));
  // What is called meanwhile belongs to the session that ended.
  StoreError error = StoreError::kNone;
  Record answered;
  store->create("/late", {}, CreateMode::kPersistent, [&](StoreResult<CreatedNode> node) {
    error = node ? StoreError::kNone : node.error();
    answered.add("answered");
  });
  wire_->accept_again();
  ASSERT_TRUE(states_.wait_for("expired"));
  ASSERT_TRUE(answered.wait_for("answered"));
  EXPECT_EQ(error, StoreError::kSessionExpired);
  EXPECT_EQ(sync.get("/").error(), StoreError::kSessionExpired);
  store->open({});
  // Waits for the new session.
  EXPECT_EQ(sync.exists("/e").error(), StoreError::kNoNode);
  EXPECT_NE(store->session_id(), session);
  EXPECT_TRUE(never.all().empty());
}

// A server closes each connection on which the library names more watches than it takes, and the session would live on, unusable.
TEST_F(ZooKeeperStoreTest, EndsTheSessionWithTheConnectionIfItHasMoreWatchesThanAServerTakes) {
  auto store = connect_by_wire(1000);
  Sync sync(*store), beside(*beside_);
  Record gone;
  ASSERT_TRUE(sync.create("/e", "", CreateMode::kEphemeral));
  ASSERT_TRUE(beside.exists("/e", noted(gone)));
  const int64_t session = store->session_id();
  auto watch = [&](int count, std::vector<Record>& seen) {
    for (int i = 0; i < count; ++i) {
      const std::string path = "/" + std::string(1000, 'w') + std::to_string(i);
      EXPECT_EQ(sync.exists(path, noted(seen[static_cast<size_t>(i)])).error(), StoreError::kNoNode);
    }
  };
  std::vector<Record> seen(1100), again(10);
  watch(1100, seen);
  wire_->cut(true);
  ASSERT_TRUE(states_.wait_for("expired"));
  EXPECT_EQ(sync.exists("/e").error(), StoreError::kSessionExpired);
  wire_->accept_again();
  ASSERT_TRUE(gone.wait_for("deleted /e"));
  Record states;
  store->open([&states](SessionState state) { states.add(std::string(name_of(state))); });
  EXPECT_EQ(sync.exists("/e").error(), StoreError::kNoNode);
  const int64_t second = store->session_id();
  EXPECT_NE(second, session);
  // The watches went with the session: a few do it no harm.
  watch(10, again);
  wire_->cut(true);
  ASSERT_TRUE(states.wait_for("connecting"));
  wire_->accept_again();
  EXPECT_EQ(sync.exists("/e").error(), StoreError::kNoNode);
  EXPECT_EQ(store->session_id(), second);
}

TEST_F(ZooKeeperStoreTest, ClosesWithoutAnyServer) {
  auto store = connect_by_wire(10'000);
  wire_->cut(true);
  ASSERT_TRUE(states_.wait_for("connecting"));
  Record answered;
  store->create("/n", {}, CreateMode::kPersistent, [&](StoreResult<CreatedNode> node) {
    EXPECT_EQ(node.error(), StoreError::kClosed);
    answered.add("closed");
  });
  Sync(*store).close();
  EXPECT_EQ(answered.all().size(), 1u);
  // One that never was connected, and one that is destroyed as it is.
  auto second = make(wire_->address(), 10'000);
  second->open([](SessionState) {});
  Sync(*second).close();
  auto third = make(wire_->address(), 10'000);
  third->open([](SessionState) {});
  third->get("/", {}, [](StoreResult<NodeData>) {});
}

TEST_F(ZooKeeperStoreTest, HasNoBoundOfWaitingAnswersIfNoneIsAsked) {
  for (int32_t bound : {0, 1, 100}) {
    auto store = make(shared_server().address() + chroot_, 10'000, bound);
    store->open([](SessionState) {});
    std::vector<int> order;
    Record end;
    for (int i = 0; i < 500; ++i) {
      store->exists("/", {}, [&, i](StoreResult<Stat> stat) {
        EXPECT_TRUE(stat);
        order.push_back(i);
        if (i == 499) end.add("end");
      });
    }
    ASSERT_TRUE(end.wait_for("end"));
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  }
}

}  // namespace
}  // namespace odradek::metadata
