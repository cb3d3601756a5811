// One suite for every implementation of the store. What it says about ZooKeeper is checked against a real server.
#include <gtest/gtest.h>

#include "base/random.h"
#include "metadata/store/embedded_store.h"
#include "metadata/store/store_test_backends.h"
#include "metadata/store/zookeeper_store.h"
#include "metadata/store/zookeeper_test_server.h"

namespace odradek::metadata {
namespace {

using testing::Backend;
using testing::noted;
using testing::Record;
using testing::Sync;

class EmbeddedBackend : public Backend {
 public:
  EmbeddedBackend() : runtime_(base::make_system_runtime()), tree_(*open_embedded_tree(*runtime_, "")) {}
  std::unique_ptr<Store> make_store(base::Executor& callbacks) override { return make_embedded_store(tree_, callbacks); }
  void expire(Store& store) override { expire_session(store); }

 private:
  std::unique_ptr<base::Runtime> runtime_;
  std::shared_ptr<EmbeddedTree> tree_;
};

class ZooKeeperBackend : public Backend {
 public:
  ZooKeeperBackend() : runtime_(base::make_system_runtime()) {}
  std::string unavailable() override { return testing::shared_server().why_not(); }
  std::unique_ptr<Store> make_store(base::Executor& callbacks) override {
    return std::move(*make_zookeeper_store(*runtime_, callbacks, {testing::shared_server().address() + "/chroot/of/tests", 10'000, 0}));
  }
  void expire(Store& store) override { expire_zookeeper_session(store); }

 private:
  std::unique_ptr<base::Runtime> runtime_;
};

// Each test works below a node of its own.
template <class B>
class StoreTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { backend_ = new B; }
  static void TearDownTestSuite() {
    delete backend_;
    backend_ = nullptr;
  }
  void SetUp() override {
    if (auto why = backend_->unavailable(); !why.empty()) GTEST_SKIP() << "not run: " << why;
    runtime_ = base::make_system_runtime();
    executor_ = runtime_->make_executor("callbacks", 1);
    a_ = connect(states_a_);
    b_ = connect(states_b_);
    root_ = "/t" + std::to_string(runtime_->random().next());
    ASSERT_TRUE(sync_a().create(root_));
    ASSERT_TRUE(sync_b().sync());
  }
  std::unique_ptr<Store> connect(Record& states) {
    auto store = backend_->make_store(*executor_);
    store->open([&states](SessionState state) { states.add(std::string(name_of(state))); });
    EXPECT_TRUE(states.wait_for("connected"));
    return store;
  }
  Sync sync_a() { return Sync(*a_); }
  Sync sync_b() { return Sync(*b_); }
  std::string path(const char* name) { return root_ + "/" + name; }

  static B* backend_;
  Record states_a_, states_b_;
  std::unique_ptr<base::Runtime> runtime_;
  std::unique_ptr<base::Executor> executor_;
  std::unique_ptr<Store> a_, b_;
  std::string root_;
};
template <class B>
B* StoreTest<B>::backend_ = nullptr;

using Backends = ::testing::Types<EmbeddedBackend, ZooKeeperBackend>;
TYPED_TEST_SUITE(StoreTest, Backends);

std::string data_of(const StoreResult<NodeData>& node) { return node ? std::string(as_text(node->data)) : std::string(name_of(node.error())); }

TYPED_TEST(StoreTest, KeepsDataAndCountsItsVersions) {
  auto a = this->sync_a();
  auto created = a.create(this->path("n"), "one");
  ASSERT_TRUE(created);
  EXPECT_EQ(created->path, this->path("n"));
  auto stat = a.set(this->path("n"), "two");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->version, 1);
  auto read = a.get(this->path("n"));
  EXPECT_EQ(data_of(read), "two");
  EXPECT_EQ(read->stat.czxid, created->stat.czxid);
  EXPECT_GT(read->stat.mzxid, read->stat.czxid);
  EXPECT_EQ(read->stat.data_length, 3);
  EXPECT_EQ(read->stat.ephemeral_owner, 0);
  EXPECT_GT(read->stat.ctime_ms, 1'500'000'000'000);
}

TYPED_TEST(StoreTest, TellsWhyAnOperationIsRefused) {
  auto a = this->sync_a();
  EXPECT_EQ(a.get(this->path("no")).error(), StoreError::kNoNode);
  EXPECT_EQ(a.set(this->path("no"), "x").error(), StoreError::kNoNode);
  EXPECT_EQ(a.remove(this->path("no")).error(), StoreError::kNoNode);
  EXPECT_EQ(a.children(this->path("no")).error(), StoreError::kNoNode);
  EXPECT_EQ(a.exists(this->path("no")).error(), StoreError::kNoNode);
  EXPECT_EQ(a.create(this->path("no") + "/child").error(), StoreError::kNoNode);
  ASSERT_TRUE(a.create(this->path("n")));
  EXPECT_EQ(a.create(this->path("n")).error(), StoreError::kNodeExists);
  EXPECT_EQ(a.set(this->path("n"), "x", 7).error(), StoreError::kBadVersion);
  EXPECT_EQ(a.remove(this->path("n"), 7).error(), StoreError::kBadVersion);
  ASSERT_TRUE(a.create(this->path("n") + "/child"));
  EXPECT_EQ(a.remove(this->path("n")).error(), StoreError::kNotEmpty);
  ASSERT_TRUE(a.create(this->path("e"), "", CreateMode::kEphemeral));
  EXPECT_EQ(a.create(this->path("e") + "/child").error(), StoreError::kNoChildrenForEphemerals);
  EXPECT_EQ(a.create("no slash").error(), StoreError::kInvalidArguments);
  EXPECT_EQ(a.create("/trailing/").error(), StoreError::kInvalidArguments);
}

TYPED_TEST(StoreTest, NumbersSequentialNodesByTheCreationsBelowTheirParent) {
  auto a = this->sync_a();
  EXPECT_EQ(a.create(this->path("s_"), "", CreateMode::kPersistentSequential)->path, this->path("s_0000000000"));
  EXPECT_EQ(a.create(this->path("s_"), "", CreateMode::kPersistentSequential)->path, this->path("s_0000000001"));
  ASSERT_TRUE(a.remove(this->path("s_0000000001")));
  EXPECT_EQ(a.create(this->path("s_"), "", CreateMode::kEphemeralSequential)->path, this->path("s_0000000002"));
}

TYPED_TEST(StoreTest, ListsChildrenSortedAndCountsTheirChanges) {
  auto a = this->sync_a();
  for (const char* name : {"b", "a", "c"}) ASSERT_TRUE(a.create(this->path(name)));
  ASSERT_TRUE(a.remove(this->path("c")));
  auto list = a.children(this->root_);
  ASSERT_TRUE(list);
  EXPECT_EQ(list->names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(list->stat.num_children, 2);
  EXPECT_EQ(list->stat.cversion, 4);
  EXPECT_GT(list->stat.pzxid, list->stat.czxid);
}

TYPED_TEST(StoreTest, RunsAMultiWholeOrNotAtAll) {
  auto a = this->sync_a();
  ASSERT_TRUE(a.create(this->path("guard")));
  auto failed = a.multi({StoreOp::create(this->path("x"), {}), StoreOp::set(this->path("x"), {1}, 0), StoreOp::check(this->path("guard"), 5)});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().error, StoreError::kBadVersion);
  EXPECT_EQ(failed.error().op, 2);
  EXPECT_EQ(a.exists(this->path("x")).error(), StoreError::kNoNode);
  EXPECT_EQ(a.exists(this->root_)->cversion, 1);
  auto done = a.multi({StoreOp::check(this->path("guard"), 0), StoreOp::create(this->path("x_"), {7}, CreateMode::kPersistentSequential),
                       StoreOp::set(this->path("guard"), {2}, 0)});
  ASSERT_TRUE(done);
  EXPECT_EQ((*done)[1].path, this->path("x_0000000001"));
  EXPECT_EQ((*done)[2].stat.version, 1);
  auto removed = a.multi({StoreOp::remove(this->path("x_0000000001"), kAnyVersion), StoreOp::remove(this->path("guard"), 1)});
  EXPECT_TRUE(removed);
}

TYPED_TEST(StoreTest, GivesAllPartsOfAMultiOneTransaction) {
  auto a = this->sync_a();
  // As brokers register: the epoch is the czxid, known from the set's Stat.
  auto done = a.multi({StoreOp::create(this->path("id"), {}, CreateMode::kEphemeral), StoreOp::set(this->path("id"), {1, 2}, 0)});
  ASSERT_TRUE(done);
  EXPECT_EQ((*done)[1].stat.version, 1);
  EXPECT_EQ((*done)[1].stat.czxid, (*done)[1].stat.mzxid);
  EXPECT_EQ((*done)[1].stat.ephemeral_owner, this->a_->session_id());
}

TYPED_TEST(StoreTest, FiresADataWatchOnceWithTheFirstChange) {
  Record seen;
  auto a = this->sync_a();
  auto b = this->sync_b();
  ASSERT_TRUE(a.create(this->path("n")));
  ASSERT_TRUE(b.sync());
  ASSERT_TRUE(b.get(this->path("n"), noted(seen)));
  ASSERT_TRUE(a.set(this->path("n"), "1"));
  ASSERT_TRUE(a.set(this->path("n"), "2"));
  EXPECT_TRUE(seen.wait_for("data changed " + this->path("n")));
  ASSERT_TRUE(b.sync());
  EXPECT_EQ(seen.all().size(), 1u);
  ASSERT_TRUE(b.get(this->path("n"), noted(seen)));
  ASSERT_TRUE(a.remove(this->path("n")));
  EXPECT_TRUE(seen.wait_for("deleted " + this->path("n")));
}

TYPED_TEST(StoreTest, LetsAnExistsWatchSeeTheCreation) {
  Record seen;
  ASSERT_FALSE(this->sync_b().exists(this->path("n"), noted(seen)));
  // A get of a missing node sets no watch.
  ASSERT_FALSE(this->sync_b().get(this->path("n"), noted(seen)));
  ASSERT_TRUE(this->sync_a().create(this->path("n"), "x"));
  EXPECT_TRUE(seen.wait_for("created " + this->path("n")));
  ASSERT_TRUE(this->sync_b().sync());
  EXPECT_EQ(seen.all().size(), 1u);
}

TYPED_TEST(StoreTest, FiresAChildWatchForNewAndRemovedChildrenOnly) {
  Record seen;
  auto a = this->sync_a();
  auto b = this->sync_b();
  ASSERT_TRUE(b.children(this->root_, noted(seen)));
  ASSERT_TRUE(a.set(this->root_, "data"));
  ASSERT_TRUE(b.sync());
  EXPECT_TRUE(seen.all().empty());
  ASSERT_TRUE(a.create(this->path("n")));
  EXPECT_TRUE(seen.wait_for("children changed " + this->root_));
  ASSERT_TRUE(b.children(this->path("n"), noted(seen)));
  ASSERT_TRUE(a.remove(this->path("n")));
  EXPECT_TRUE(seen.wait_for("deleted " + this->path("n")));
}

TYPED_TEST(StoreTest, DeliversAWatchBeforeAnAnswerThatShowsTheChange) {
  for (int round = 0; round < 50; ++round) {
    std::string path = this->path("n") + std::to_string(round);
    Record order;
    ASSERT_TRUE(this->sync_a().create(path, "old"));
    ASSERT_TRUE(this->sync_b().sync());
    ASSERT_TRUE(this->sync_b().get(path, [&](const WatchEvent&) { order.add("watch"); }));
    // Reads of b race with the change of a.
    this->a_->set(path, {'n'}, kAnyVersion, [](StoreResult<Stat>) {});
    for (int i = 0; i < 20; ++i) {
      this->b_->get(path, {}, [&](StoreResult<NodeData> node) { order.add(node->data == Bytes{'n'} ? "new" : "old"); });
    }
    this->b_->sync([](StoreResult<void>) {});
    this->b_->get(path, {}, [&](StoreResult<NodeData>) { order.add("end"); });
    ASSERT_TRUE(order.wait_for("end"));
    ASSERT_TRUE(order.wait_for("watch"));
    auto all = order.all();
    auto watch = std::find(all.begin(), all.end(), "watch");
    auto first_new = std::find(all.begin(), all.end(), "new");
    EXPECT_LT(watch, first_new);
  }
}

TYPED_TEST(StoreTest, AnswersInTheOrderOfTheCalls) {
  Record order;
  for (int i = 0; i < 200; ++i) {
    std::string number = std::to_string(i);
    this->a_->create(this->path("n") + number, {}, CreateMode::kPersistent, [&order, number](StoreResult<CreatedNode> node) {
      EXPECT_TRUE(node);
      order.add(number);
    });
  }
  ASSERT_TRUE(order.wait_for("199"));
  auto all = order.all();
  for (int i = 0; i < 200; ++i) EXPECT_EQ(all[static_cast<size_t>(i)], std::to_string(i));
  EXPECT_EQ(this->sync_a().children(this->root_)->names.size(), 200u);
}

TYPED_TEST(StoreTest, RemovesEphemeralNodesWhenTheirSessionCloses) {
  Record seen;
  auto a = this->sync_a();
  auto b = this->sync_b();
  ASSERT_TRUE(a.create(this->path("e"), "", CreateMode::kEphemeral));
  ASSERT_TRUE(a.create(this->path("p")));
  ASSERT_TRUE(b.sync());
  auto stat = b.exists(this->path("e"), noted(seen));
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->ephemeral_owner, this->a_->session_id());
  a.close();
  EXPECT_TRUE(seen.wait_for("deleted " + this->path("e")));
  EXPECT_TRUE(b.exists(this->path("p")));
  EXPECT_EQ(a.get(this->path("p")).error(), StoreError::kClosed);
}

TYPED_TEST(StoreTest, TellsAnExpiredSessionAndOpensANewOne) {
  Record seen;
  auto a = this->sync_a();
  auto b = this->sync_b();
  ASSERT_TRUE(a.create(this->path("e"), "", CreateMode::kEphemeral));
  ASSERT_TRUE(b.sync());
  ASSERT_TRUE(b.exists(this->path("e"), noted(seen)));
  Record lost;
  ASSERT_TRUE(a.get(this->root_, noted(lost)));
  int64_t former = this->a_->session_id();
  this->backend_->expire(*this->a_);
  EXPECT_TRUE(seen.wait_for("deleted " + this->path("e")));
  ASSERT_TRUE(this->states_a_.wait_for("expired"));
  EXPECT_EQ(a.get(this->root_).error(), StoreError::kSessionExpired);
  Record again;
  this->a_->open([&](SessionState state) { again.add(std::string(name_of(state))); });
  ASSERT_TRUE(again.wait_for("connected"));
  EXPECT_NE(this->a_->session_id(), former);
  EXPECT_TRUE(a.set(this->root_, "x"));
  EXPECT_TRUE(lost.all().empty()) << "a watch of the former session fired";
  a.close();
}

TYPED_TEST(StoreTest, RemovesEphemeralSequentialNodesToo) {
  auto a = this->sync_a();
  auto b = this->sync_b();
  auto first = a.create(this->path("lock_"), "", CreateMode::kEphemeralSequential);
  auto second = b.create(this->path("lock_"), "", CreateMode::kEphemeralSequential);
  ASSERT_TRUE(first && second);
  EXPECT_LT(first->path, second->path);
  Record seen;
  ASSERT_TRUE(b.exists(first->path, noted(seen)));
  a.close();
  EXPECT_TRUE(seen.wait_for("deleted " + first->path));
  EXPECT_EQ(b.children(this->root_)->names.size(), 1u);
}

TYPED_TEST(StoreTest, RefusesMoreDataThanAServerTakes) {
  auto a = this->sync_a();
  std::string most(1'000'000, 'x'), more(1 << 20, 'x');
  ASSERT_TRUE(a.create(this->path("n"), most));
  EXPECT_EQ(a.get(this->path("n"))->data.size(), most.size());
  EXPECT_EQ(a.set(this->path("n"), more).error(), StoreError::kTooLarge);
  EXPECT_EQ(a.create(this->path("m"), more).error(), StoreError::kTooLarge);
  std::vector<StoreOp> parts;
  for (const char* name : {"p", "q"}) parts.push_back(StoreOp::create(this->path(name), Bytes(600'000, 1)));
  auto failed = a.multi(std::move(parts));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().error, StoreError::kTooLarge);
  EXPECT_EQ(failed.error().op, -1);
  // The session stands.
  EXPECT_EQ(a.children(this->root_)->names, std::vector<std::string>{"n"});
  EXPECT_NE(to_error(StoreError::kTooLarge, "set").what.find("1 MiB"), std::string::npos);
}

TYPED_TEST(StoreTest, AnswersTenThousandOperationsInFlight) {
  constexpr int kCount = 10'000;
  std::atomic<int> answered{0}, wrong{0};
  Record end;
  ASSERT_TRUE(this->sync_a().create(this->path("n")));
  for (int i = 0; i < kCount; ++i) {
    this->a_->set(this->path("n"), Bytes{1}, kAnyVersion, [&, i](StoreResult<Stat> stat) {
      if (!stat || stat->version != i + 1) ++wrong;
      if (++answered == kCount) end.add("end");
    });
  }
  EXPECT_TRUE(end.wait_for("end"));
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(answered, kCount);
}

TYPED_TEST(StoreTest, AnswersEverythingOnceWhenClosedMeanwhile) {
  constexpr size_t kCount = 2000;
  std::vector<int> answers(kCount);
  size_t created = 0, closed = 0;
  bool order = true;
  for (size_t i = 0; i < kCount; ++i) {
    this->a_->create(this->path("n") + std::to_string(i), {}, CreateMode::kPersistent, [&, i](StoreResult<CreatedNode> node) {
      ++answers[i];
      if (node) order = order && closed == 0;
      node ? ++created : ++closed;
      if (!node && node.error() != StoreError::kClosed) order = false;
    });
  }
  // Replies run before `done`, on one thread.
  this->sync_a().close();
  EXPECT_EQ(answers, std::vector<int>(kCount, 1));
  EXPECT_TRUE(order);
  EXPECT_LE(created, this->sync_b().children(this->root_)->names.size());
  EXPECT_EQ(this->sync_a().get(this->root_).error(), StoreError::kClosed);
}

TYPED_TEST(StoreTest, GrowsTransactionIdsAcrossSessions) {
  auto first = this->sync_a().create(this->path("one"));
  auto second = this->sync_b().create(this->path("two"));
  auto third = this->sync_a().create(this->path("three"));
  EXPECT_LT(first->stat.czxid, second->stat.czxid);
  EXPECT_LT(second->stat.czxid, third->stat.czxid);
}

}  // namespace
}  // namespace odradek::metadata
