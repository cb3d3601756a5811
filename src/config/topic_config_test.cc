#include "config/topic_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/error_code.h"

namespace odradek::config {
namespace {

std::shared_ptr<const BrokerConfig> config_of(Properties values) { return *BrokerConfig::make(std::move(values)); }

void expect_refused(const Properties& overrides, const std::string& text) {
  auto result = validate_topic_config(*BrokerConfig::defaults(), overrides);
  ASSERT_FALSE(result) << text;
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidConfig);
  EXPECT_EQ(result.error().what, text);
}

TEST(TopicConfig, InheritsFromTheBroker) {
  auto values = effective_topic_config(*config_of({{"log.segment.bytes", "5000"}, {"log.cleanup.policy", "compact"}, {"message.max.bytes", "77"}}), {});
  EXPECT_EQ(values.get_int("segment.bytes"), 5000);
  EXPECT_EQ(values.get_list("cleanup.policy"), std::vector<std::string>{"compact"});
  EXPECT_EQ(values.get_int("max.message.bytes"), 77);
  EXPECT_EQ(values.get_long("retention.ms"), 604800000);
  EXPECT_EQ(values.get_long("segment.ms"), 604800000);
  EXPECT_EQ(values.get_long("flush.ms"), INT64_MAX);
  EXPECT_EQ(values.get_double("min.cleanable.dirty.ratio"), 0.5);
}

TEST(TopicConfig, TakesTheFinestBrokerKeyThatIsSet) {
  EXPECT_EQ(effective_topic_config(*config_of({{"log.retention.hours", "2"}}), {}).get_long("retention.ms"), 7200000);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.retention.hours", "2"}, {"log.retention.minutes", "3"}}), {}).get_long("retention.ms"), 180000);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.retention.ms", "9"}, {"log.retention.minutes", "3"}}), {}).get_long("retention.ms"), 9);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.retention.hours", "-1"}}), {}).get_long("retention.ms"), -1);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.retention.ms", "-7"}}), {}).get_long("retention.ms"), -1);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.roll.hours", "2"}}), {}).get_long("segment.ms"), 7200000);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.roll.jitter.hours", "1"}}), {}).get_long("segment.jitter.ms"), 3600000);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.flush.scheduler.interval.ms", "5"}}), {}).get_long("flush.ms"), 5);
  EXPECT_EQ(effective_topic_config(*config_of({{"log.flush.scheduler.interval.ms", "5"}, {"log.flush.interval.ms", "6"}}), {}).get_long("flush.ms"), 6);
}

TEST(TopicConfig, PrefersItsOwnValues) {
  auto values = effective_topic_config(*BrokerConfig::defaults(), {{"segment.bytes", "100"}, {"preallocate", "true"}, {"compression.type", "lz4"}, {"flush.ms", " 5 "}});
  EXPECT_EQ(values.get_int("segment.bytes"), 100);
  EXPECT_TRUE(values.get_bool("preallocate"));
  EXPECT_EQ(values.get_string("compression.type"), "lz4");
  EXPECT_EQ(values.get_long("flush.ms"), 5);
}

TEST(TopicConfig, IgnoresStoredValuesThatAreNotLegal) {
  auto values = effective_topic_config(*BrokerConfig::defaults(), {{"segment.bytes", "x"}, {"of.another.release", "1"}});
  EXPECT_EQ(values.get_int("segment.bytes"), 1073741824);
}

TEST(TopicConfig, FallsBackToTheOldTimestampLimit) {
  auto values = effective_topic_config(*BrokerConfig::defaults(), {{"message.timestamp.difference.max.ms", "5"}, {"message.timestamp.after.max.ms", "7"}});
  EXPECT_EQ(values.timestamp_before_max_ms(), 5);
  EXPECT_EQ(values.timestamp_after_max_ms(), 7);
}

TEST(TopicConfig, RefusesInKafkasWords) {
  expect_refused({{"nope", "1"}}, "Unknown topic config name: nope");
  expect_refused({{"segment.bytes", "13"}}, "Invalid value 13 for configuration segment.bytes: Value must be at least 14");
  expect_refused({{"segment.bytes", "abc"}}, "Invalid value abc for configuration segment.bytes: Not a number of type INT");
  expect_refused({{"cleanup.policy", "foo"}}, "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete");
  expect_refused({{"min.cleanable.dirty.ratio", "1.5"}}, "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1");
  expect_refused({{"min.compaction.lag.ms", "100"}, {"max.compaction.lag.ms", "50"}}, "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)");
  expect_refused({{"remote.storage.enable", "true"}}, "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.");
  expect_refused({{"leader.replication.throttled.replicas", "x"}},
                 "Invalid value [x] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal '*' or a list of "
                 "replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...");
  expect_refused({{"message.format.version", "zz"}}, "Invalid value zz for configuration message.format.version: Version zz is not a valid version");
  expect_refused({{"retention.ms", "-2"}}, "Invalid value -2 for configuration retention.ms: Value must be at least -1");
}

TEST(TopicConfig, TakesWhatKafkaTakes) {
  for (const Properties& overrides : std::vector<Properties>{{{"cleanup.policy", ""}}, {{"cleanup.policy", "compact,compact"}}, {{"retention.bytes", "-5"}}, {{"local.retention.ms", "99999999999"}},
                                                             {{"message.format.version", "0.9.0"}}, {{"leader.replication.throttled.replicas", "0:1,1:2"}}, {{"follower.replication.throttled.replicas", "*"}}}) {
    auto result = validate_topic_config(*BrokerConfig::defaults(), overrides);
    EXPECT_TRUE(result) << result.error().what;
  }
}

}  // namespace
}  // namespace odradek::config
