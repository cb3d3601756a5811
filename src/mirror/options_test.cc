#include "mirror/options.h"

#include <gtest/gtest.h>

#include "model/error_code.h"

namespace odradek::mirror {
namespace {

config::Properties with(config::Properties more) {
  more.emplace("source.bootstrap.servers", "a:1");
  more.emplace("target.bootstrap.servers", "b:1");
  return more;
}

TEST(MirrorOptions, CopyEverythingButInternalTopicsByDefault) {
  auto options = read_options(with({}));
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_TRUE(options->topics.allows("orders"));
  EXPECT_FALSE(options->topics.allows("__consumer_offsets"));
  EXPECT_FALSE(options->topics.allows("odradek-mirror-mirror-positions"));
  EXPECT_FALSE(options->groups.allows("console-consumer-123"));
  EXPECT_TRUE(options->config_keys.allows("retention.ms"));
  EXPECT_FALSE(options->config_keys.allows("min.insync.replicas"));
}

TEST(MirrorOptions, ExpressionsMatchWholeNamesAndMayHoldCommas) {
  auto options = read_options(with({{"topics", "orders, logs-[0-9]{1,2}"}, {"topics.exclude", "logs-7"}}));
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_TRUE(options->topics.allows("orders"));
  EXPECT_FALSE(options->topics.allows("orders2"));
  EXPECT_TRUE(options->topics.allows("logs-12"));
  EXPECT_FALSE(options->topics.allows("logs-123"));
  EXPECT_FALSE(options->topics.allows("logs-7"));
}

TEST(MirrorOptions, ReadWhereAPartitionBegins) {
  EXPECT_EQ(read_options(with({{"start", "latest"}}))->start, MirrorOptions::Start::kLatest);
  auto after = read_options(with({{"start", "after:there"}}));
  ASSERT_TRUE(after);
  EXPECT_EQ(after->start, MirrorOptions::Start::kAfter);
  EXPECT_EQ(after->after, "there");
}

TEST(MirrorOptions, RefuseWhatCannotBe) {
  for (config::Properties wrong : {config::Properties{{"topic", "x"}}, {{"topics", "("}}, {{"start", "after:"}}, {{"start", "5"}}, {{"isolation.level", "none"}},
                                   {{"fetch.connections", "0"}}, {{"buffer.memory", "1x"}}, {{"delete.topics", "yes"}}, {{"name", "a b"}}}) {
    auto options = read_options(with(wrong));
    ASSERT_FALSE(options) << wrong.begin()->first;
    EXPECT_EQ(options.error().code, ErrorCode::kInvalidConfig);
  }
  EXPECT_FALSE(read_options({{"source.bootstrap.servers", "a:1"}}));
}

}  // namespace
}  // namespace odradek::mirror
