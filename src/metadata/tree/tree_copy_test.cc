#include "metadata/tree/tree_copy.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "metadata/store/embedded_store.h"
#include "metadata/store/store_test_backends.h"

namespace odradek::metadata {
namespace {

using testing::Sync;

Bytes text(std::string_view words) { return Bytes(words.begin(), words.end()); }

TreeContent some_tree() {
  TreeContent tree;
  put_node(tree, "/cluster/id", text(R"({"version":"1","id":"AAAAAAAAAAAAAAAAAAAAAA"})"));
  put_node(tree, "/brokers/topics/a", text("{\"partitions\":{}}"), 3);
  put_node(tree, "/brokers/seqid", {}, 4);
  put_node(tree, "/config/users/x", Bytes{0xff, 0x00, 0x80}, 1);
  put_node(tree, "/odradek/config/topics/a", text("{}"));
  return tree;
}

class TreeCopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "odradek-copy-" + std::to_string(runtime_->random().next());
    ASSERT_TRUE(files_.create_directories(folder_));
    path_ = folder_ + "/store.db";
  }
  void TearDown() override { (void)files_.remove_all(folder_); }
  TreeClient client(Store& store) { return {*runtime_, *executor_, store}; }
  template <class T, class Work>
  T answered(Work work) {
    return testing::wait_for<T>([&](auto reply) { executor_->post([&work, reply = std::move(reply)]() mutable { work(std::move(reply)); }); });
  }
  std::unique_ptr<Store> session(const std::string& path) {
    auto store = make_embedded_store(*runtime_, *executor_, path);
    EXPECT_TRUE(store) << store.error().what;
    (*store)->open([](SessionState) {});
    return std::move(*store);
  }

  std::unique_ptr<base::Runtime> runtime_ = base::make_system_runtime();
  std::unique_ptr<base::Executor> executor_ = runtime_->make_executor("callbacks", 1);
  base::FileSystem& files_ = base::posix_files();
  std::string folder_, path_;
};

TEST_F(TreeCopyTest, AJsonFileGivesTheSameNodesBack) {
  auto back = decode_tree(as_bytes(encode_tree(some_tree())));
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(*back, some_tree());
}

TEST_F(TreeCopyTest, AFileThatIsNoTreeIsRefused) {
  for (const char* wrong : {"", "[]", "{}", R"({"format":"x","version":1,"nodes":{}})", R"({"format":"odradek-metadata","version":2,"nodes":{}})",
                            R"({"format":"odradek-metadata","version":1,"nodes":{"a":{}}})", R"({"format":"odradek-metadata","version":1,"nodes":{"/a":7}})",
                            R"({"format":"odradek-metadata","version":1,"nodes":{"/a":{"data_base64":"?"}}})"}) {
    EXPECT_FALSE(decode_tree(as_bytes(wrong))) << wrong;
  }
}

TEST_F(TreeCopyTest, AStoreFileKeepsDataAndVersionsAndWorksAsAStore) {
  ASSERT_TRUE(write_store_file(files_, path_, some_tree(), 1));
  auto back = read_store_file(files_, path_);
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(*back, some_tree());
  auto store = session(path_);
  Sync sync(*store);
  EXPECT_EQ(sync.get("/brokers/topics/a")->stat.version, 3);
  EXPECT_EQ(sync.set("/brokers/seqid", "")->version, 5);
  EXPECT_TRUE(sync.create("/brokers/topics/b"));
}

TEST_F(TreeCopyTest, AStoreFileWithAClusterIsNotOverwritten) {
  ASSERT_TRUE(write_store_file(files_, path_, some_tree(), 1));
  auto again = write_store_file(files_, path_, some_tree(), 1);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().what.find("already holds"), std::string::npos) << again.error().what;
}

TEST_F(TreeCopyTest, EphemeralNodesAndNotificationsAreLeftOut) {
  {
    auto store = session(path_);
    Sync sync(*store);
    ASSERT_TRUE(sync.create("/config"));
    ASSERT_TRUE(sync.create("/config/changes"));
    ASSERT_TRUE(sync.create("/config/changes/config_change_", "x", CreateMode::kPersistentSequential));
    ASSERT_TRUE(sync.create("/controller", "x", CreateMode::kEphemeral));
    auto tree = answered<Result<TreeContent>>([&](auto reply) { read_tree(client(*store), std::move(reply)); });
    ASSERT_TRUE(tree) << tree.error().what;
    EXPECT_EQ(tree->size(), 2u);
    sync.close();
  }
  auto tree = read_store_file(files_, path_);
  ASSERT_TRUE(tree) << tree.error().what;
  EXPECT_EQ(tree->size(), 2u);
}

TEST_F(TreeCopyTest, ATreeIsWrittenIntoAStoreThatHasOnlyBasePaths) {
  auto store = session(path_);
  Sync sync(*store);
  ASSERT_TRUE(sync.create("/brokers"));
  ASSERT_TRUE(sync.create("/brokers/topics"));
  ASSERT_TRUE(sync.create("/config"));
  auto written = answered<Result<void>>([&](auto reply) { write_tree(client(*store), some_tree(), std::move(reply)); });
  ASSERT_TRUE(written) << written.error().what;
  auto back = answered<Result<TreeContent>>([&](auto reply) { read_tree(client(*store), std::move(reply)); });
  ASSERT_TRUE(back) << back.error().what;
  for (const auto& [path, node] : some_tree()) EXPECT_EQ((*back)[path].data, node.data) << path;
  EXPECT_EQ(back->size(), some_tree().size());
  EXPECT_EQ((*back)["/brokers/seqid"].version, 4);
  auto again = answered<Result<void>>([&](auto reply) { write_tree(client(*store), some_tree(), std::move(reply)); });
  EXPECT_FALSE(again);
}

TEST_F(TreeCopyTest, ACopyThatWasBrokenOffCanBeRepeated) {
  auto store = session(path_);
  Sync sync(*store);
  for (const char* path : {"/odradek", "/odradek/copying", "/brokers", "/brokers/topics", "/brokers/topics/a"}) ASSERT_TRUE(sync.create(path, "half"));
  auto written = answered<Result<void>>([&](auto reply) { write_tree(client(*store), some_tree(), std::move(reply)); });
  ASSERT_TRUE(written) << written.error().what;
  EXPECT_EQ(as_text(sync.get("/brokers/topics/a")->data), "{\"partitions\":{}}");
  EXPECT_EQ(sync.get("/odradek/copying").error(), StoreError::kNoNode);
}

TEST_F(TreeCopyTest, ATreeWithTopicsOfSomebodyElseIsNotTouched) {
  auto store = session(path_);
  Sync sync(*store);
  for (const char* path : {"/brokers", "/brokers/topics", "/brokers/topics/other"}) ASSERT_TRUE(sync.create(path));
  auto written = answered<Result<void>>([&](auto reply) { write_tree(client(*store), some_tree(), std::move(reply)); });
  EXPECT_FALSE(written);
  EXPECT_EQ(sync.get("/cluster").error(), StoreError::kNoNode);
}

TEST_F(TreeCopyTest, ATreeWithLiveBrokersIsNeitherReadNorWritten) {
  auto store = session(path_);
  Sync sync(*store);
  for (const char* path : {"/brokers", "/brokers/ids"}) ASSERT_TRUE(sync.create(path));
  ASSERT_TRUE(sync.create("/brokers/ids/1", "", CreateMode::kEphemeral));
  EXPECT_FALSE(answered<Result<TreeContent>>([&](auto reply) { read_tree(client(*store), std::move(reply)); }));
  EXPECT_FALSE(answered<Result<void>>([&](auto reply) { write_tree(client(*store), some_tree(), std::move(reply)); }));
}

}  // namespace
}  // namespace odradek::metadata
