#include "api/groups/consumer_offsets_tree.h"

#include <gtest/gtest.h>

#include "api/groups/group_client.h"
#include "base/manual_runtime.h"
#include "metadata/store/embedded_store.h"

namespace odradek::api {
namespace {

struct ConsumerOffsetsTree : ::testing::Test {
  base::ManualRuntime runtime;
  std::unique_ptr<base::Executor> callbacks = runtime.make_executor("callbacks", 1);
  std::unique_ptr<metadata::Store> store;

  void SetUp() override {
    auto opened = metadata::make_embedded_store(runtime, *callbacks, "");
    ASSERT_TRUE(opened) << opened.error().what;
    store = std::move(*opened);
    store->open([](metadata::SessionState) {});
    runtime.run_until_idle();
  }
  void TearDown() override {
    store.reset();
    runtime.run_until_idle();
  }
  ErrorCode write(const std::string& group, const std::string& topic, int32_t partition, int64_t offset) {
    auto result = ErrorCode::kUnknownServerError;
    write_consumer_offset(*store, *consumer_offset_path(group, topic, partition), offset, [&](ErrorCode error) { result = error; });
    runtime.run_until_idle();
    return result;
  }
  std::pair<ErrorCode, int64_t> read(const std::string& group, const std::string& topic, int32_t partition) {
    std::pair<ErrorCode, int64_t> result{ErrorCode::kUnknownServerError, -7};
    read_consumer_offset(*store, *consumer_offset_path(group, topic, partition), [&](ErrorCode error, int64_t offset) { result = {error, offset}; });
    runtime.run_until_idle();
    return result;
  }
};

TEST_F(ConsumerOffsetsTree, OffsetIsDecimalTextWhereOldConsumersKeptIt) {
  EXPECT_EQ(write("g", "t", 3, 42), ErrorCode::kNone);
  std::string text;
  store->get("/consumers/g/offsets/t/3", nullptr, [&](metadata::StoreResult<metadata::NodeData> node) {
    if (node) text = as_text(node->data);
  });
  runtime.run_until_idle();
  EXPECT_EQ(text, "42");
  EXPECT_EQ(read("g", "t", 3), std::pair(ErrorCode::kNone, int64_t{42}));
}

TEST_F(ConsumerOffsetsTree, LaterOffsetReplacesTheEarlierOne) {
  write("g", "t", 0, 1);
  EXPECT_EQ(write("g", "t", 0, 2), ErrorCode::kNone);
  EXPECT_EQ(write("g", "u", 0, 9), ErrorCode::kNone);
  EXPECT_EQ(read("g", "t", 0).second, 2);
}

TEST_F(ConsumerOffsetsTree, WritesThatMakeTheSameParentsAtOnceAllSucceed) {
  int done = 0;
  for (int partition = 0; partition < 8; ++partition) {
    write_consumer_offset(*store, *consumer_offset_path("g", "t", partition), partition, [&](ErrorCode error) {
      EXPECT_EQ(error, ErrorCode::kNone);
      ++done;
    });
  }
  runtime.run_until_idle();
  EXPECT_EQ(done, 8);
  for (int partition = 0; partition < 8; ++partition) EXPECT_EQ(read("g", "t", partition).second, partition);
}

TEST_F(ConsumerOffsetsTree, NothingThereIsAnUnknownPartition) {
  EXPECT_EQ(read("g", "t", 0), std::pair(ErrorCode::kUnknownTopicOrPartition, int64_t{-1}));
}

TEST(ConsumerOffsetPath, GroupsThatAreNoPathElementHaveNoPlace) {
  EXPECT_EQ(consumer_offset_path("g", "t", 3), "/consumers/g/offsets/t/3");
  EXPECT_FALSE(consumer_offset_path("", "t", 3));
  EXPECT_FALSE(consumer_offset_path("a/b", "t", 3));
  EXPECT_FALSE(consumer_offset_path("..", "t", 3));
}

TEST(GroupClient, AddressIsPrintedAsJavaDoes) {
  EXPECT_EQ(java_address("127.0.0.1"), "/127.0.0.1");
  EXPECT_EQ(java_address("::1"), "/0:0:0:0:0:0:0:1");
  EXPECT_EQ(java_address("::ffff:10.0.0.7"), "/10.0.0.7");
  EXPECT_EQ(java_address("2001:db8::a"), "/2001:db8:0:0:0:0:0:a");
}

}  // namespace
}  // namespace odradek::api
