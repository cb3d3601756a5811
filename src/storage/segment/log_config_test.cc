#include "storage/segment/log_config.h"

#include <gtest/gtest.h>

#include "config/topic_config.h"

namespace odradek::storage {
namespace {

TEST(LogConfig, TheOldTimestampLimitCountsWhereTheNewOnesAreNotSet) {
  const auto broker = config::BrokerConfig::defaults();
  auto made = [&](const config::Properties& topic) { return make_log_config(config::effective_topic_config(*broker, topic)); };
  const LogConfig both = made({{"message.timestamp.difference.max.ms", "5"}, {"message.timestamp.after.max.ms", "7"}});
  EXPECT_EQ(both.timestamp_before_max_ms, 5);
  EXPECT_EQ(both.timestamp_after_max_ms, 7);
  const LogConfig none = made({});
  EXPECT_EQ(none.timestamp_before_max_ms, INT64_MAX);
  EXPECT_EQ(none.timestamp_after_max_ms, INT64_MAX);
}

}  // namespace
}  // namespace odradek::storage
