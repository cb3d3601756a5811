// What only the embedded store promises: its file.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include <csignal>

#include "base/file.h"
#include "base/random.h"
#include "metadata/store/embedded_store.h"
#include "metadata/store/store_test_backends.h"

namespace odradek::metadata {
namespace {

using testing::Sync;

class EmbeddedStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "odradek-store-" + std::to_string(runtime_->random().next());
    ASSERT_TRUE(base::posix_files().create_directories(folder_));
    path_ = folder_ + "/" + kEmbeddedStoreFile;
  }
  void TearDown() override { (void)base::posix_files().remove_all(folder_); }
  std::unique_ptr<Store> open() {
    auto store = make_embedded_store(*runtime_, *executor_, path_);
    EXPECT_TRUE(store) << store.error().what;
    (*store)->open([](SessionState) {});
    return std::move(*store);
  }

  std::unique_ptr<base::Runtime> runtime_ = base::make_system_runtime();
  std::unique_ptr<base::Executor> executor_ = runtime_->make_executor("callbacks", 1);
  std::string folder_, path_;
};

TEST_F(EmbeddedStoreTest, KeepsPersistentNodesAndForgetsEphemeralOnes) {
  Stat before;
  {
    auto store = open();
    Sync sync(*store);
    ASSERT_TRUE(sync.create("/a", "1"));
    ASSERT_TRUE(sync.create("/a/b", "two"));
    ASSERT_TRUE(sync.create("/a/e", "", CreateMode::kEphemeral));
    ASSERT_TRUE(sync.create("/a/s", "", CreateMode::kPersistentSequential));
    ASSERT_TRUE(sync.create("/a/gone"));
    ASSERT_TRUE(sync.remove("/a/gone"));
    before = sync.set("/a/b", "three").value();
  }
  auto store = open();
  Sync sync(*store);
  auto node = sync.get("/a/b");
  ASSERT_TRUE(node);
  EXPECT_EQ(as_text(node->data), "three");
  EXPECT_EQ(node->stat.czxid, before.czxid);
  EXPECT_EQ(node->stat.mzxid, before.mzxid);
  EXPECT_EQ(node->stat.version, 1);
  EXPECT_EQ(node->stat.ctime_ms, before.ctime_ms);
  EXPECT_EQ(sync.children("/a")->names, (std::vector<std::string>{"b", "s0000000002"}));
  // Numbers and transaction ids go on.
  EXPECT_EQ(sync.create("/a/s", "", CreateMode::kPersistentSequential)->path, "/a/s0000000004");
  EXPECT_GT(sync.create("/later")->stat.czxid, before.mzxid);
}

TEST_F(EmbeddedStoreTest, GivesEachRegistrationAHigherEpoch) {
  int64_t last = 0;
  for (int i = 0; i < 3; ++i) {
    auto store = open();
    auto made = Sync(*store).create("/id", "", CreateMode::kEphemeral);
    ASSERT_TRUE(made);
    EXPECT_GT(made->stat.czxid, last);
    last = made->stat.czxid;
  }
}

TEST_F(EmbeddedStoreTest, RefusesAFileThatIsOpenElsewhereOrNotItsOwn) {
  auto store = open();
  auto second = make_embedded_store(*runtime_, *executor_, path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, kStorageErrorCode);
  EXPECT_NE(second.error().what.find("another process"), std::string::npos) << second.error().what;

  std::string other = folder_ + "/other.db";
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(other.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "CREATE TABLE x(y)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  EXPECT_FALSE(make_embedded_store(*runtime_, *executor_, other));
  EXPECT_FALSE(make_embedded_store(*runtime_, *executor_, folder_ + "/no/such/folder.db"));
}

TEST_F(EmbeddedStoreTest, LeavesNoTraceOfAChangeThatTheDiskRefused) {
  auto store = open();
  Sync sync(*store);
  ASSERT_TRUE(sync.create("/a", "1"));
  // No file may grow: as a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  auto refused = sync.create("/big", std::string(1'000'000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), StoreError::kStorage);
  EXPECT_EQ(sync.exists("/big").error(), StoreError::kNoNode);
  EXPECT_EQ(as_text(sync.get("/a")->data), "1");
  EXPECT_EQ(sync.children("/")->stat.cversion, 1);
  EXPECT_TRUE(sync.create("/big", std::string(1'000'000, 'x')));
  store.reset();
  store = open();
  EXPECT_EQ(Sync(*store).get("/big")->data.size(), 1'000'000u);
}

}  // namespace
}  // namespace odradek::metadata
