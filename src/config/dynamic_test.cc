#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.h"
#include "config/topic_config.h"
#include "model/error_code.h"

namespace odradek::config {
namespace {

using testing::HasSubstr;

std::shared_ptr<const BrokerConfig> config_of(Properties values) { return *BrokerConfig::make(std::move(values)); }

void expect_refused(DynamicScope scope, const Properties& values, const std::string& text) {
  auto result = validate_dynamic(*BrokerConfig::defaults(), scope, values);
  ASSERT_FALSE(result) << text;
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidRequest);
  EXPECT_THAT(result.error().what, HasSubstr(text));
}

TEST(DynamicConfig, PrefersThisBrokerOverTheClusterOverTheFile) {
  ConfigHolder holder(config_of({{"log.segment.bytes", "1000"}}));
  holder.apply_dynamic(DynamicScope::kClusterDefault, {{"log.segment.bytes", "2000"}, {"log.roll.ms", "5"}});
  EXPECT_EQ(holder.current()->get_int("log.segment.bytes"), 2000);
  holder.apply_dynamic(DynamicScope::kThisBroker, {{"log.segment.bytes", "3000"}});
  EXPECT_EQ(holder.current()->get_int("log.segment.bytes"), 3000);
  EXPECT_EQ(holder.current()->get_long("log.roll.ms"), 5);
  holder.apply_dynamic(DynamicScope::kThisBroker, {});
  holder.apply_dynamic(DynamicScope::kClusterDefault, {});
  EXPECT_EQ(holder.current()->get_int("log.segment.bytes"), 1000);
}

TEST(DynamicConfig, CoversWeakerStaticKeysOfTheSameMeaning) {
  ConfigHolder holder(config_of({{"log.retention.minutes", "5"}}));
  EXPECT_EQ(effective_topic_config(*holder.current(), {}).get_long("retention.ms"), 300000);
  holder.apply_dynamic(DynamicScope::kThisBroker, {{"log.retention.ms", "7"}});
  EXPECT_EQ(effective_topic_config(*holder.current(), {}).get_long("retention.ms"), 7);
}

TEST(DynamicConfig, TellsSubscribersBeforeAndNow) {
  ConfigHolder holder(BrokerConfig::defaults());
  std::vector<std::pair<int, int>> seen;
  holder.subscribe([&](const BrokerConfig& before, const BrokerConfig& now) { seen.push_back({before.get_int("num.io.threads"), now.get_int("num.io.threads")}); });
  holder.apply_dynamic(DynamicScope::kThisBroker, {{"num.io.threads", "9"}});
  holder.apply_dynamic(DynamicScope::kThisBroker, {{"num.io.threads", "9"}});
  holder.apply_dynamic(DynamicScope::kThisBroker, {});
  EXPECT_EQ(seen, (std::vector<std::pair<int, int>>{{8, 9}, {9, 8}}));
}

TEST(DynamicConfig, LeavesOutStoredEntriesThatAreNotLegal) {
  ConfigHolder holder(BrokerConfig::defaults());
  holder.apply_dynamic(DynamicScope::kThisBroker, {{"num.io.threads", "x"}, {"log.segment.bytes", "5000"}, {"broker.id", "7"}, {"listeners", "PLAINTEXT://:1"}, {"custom", "1"}});
  EXPECT_EQ(holder.current()->dynamic_broker(), (Properties{{"log.segment.bytes", "5000"}, {"custom", "1"}}));
  EXPECT_EQ(holder.current()->get_int("num.io.threads"), 8);
}

TEST(DynamicConfig, TakesStoredEntriesThatAreLegalTogetherWhateverTheirOrder) {
  ConfigHolder holder(BrokerConfig::defaults());
  holder.apply_dynamic(DynamicScope::kThisBroker, {{"max.connections.per.ip", "0"}, {"max.connections.per.ip.overrides", "127.0.0.1:5"}, {"num.io.threads", "x"}});
  EXPECT_EQ(holder.current()->get_int("max.connections.per.ip"), 0);
}

TEST(DynamicConfig, RefusesWhatKafkaRefuses) {
  for (DynamicScope scope : {DynamicScope::kThisBroker, DynamicScope::kClusterDefault}) {
    expect_refused(scope, {{"broker.id", "5"}}, "Cannot update these configs dynamically: Set(broker.id)");
    expect_refused(scope, {{"log.retention.hours", "3"}}, "Cannot update these configs dynamically: Set(log.retention.hours)");
    expect_refused(scope, {{"num.io.threads", "0"}}, "Invalid value 0 for configuration num.io.threads: Value must be at least 1");
    expect_refused(scope, {{"num.io.threads", "100"}}, "num.io.threads=100, value should not be greater than double the current value 8");
    expect_refused(scope, {{"num.io.threads", "1"}}, "num.io.threads=1, value should be at least half the current value 8");
    expect_refused(scope, {{"num.replica.fetchers", "-1"}}, "value should be at least 1");
    expect_refused(scope, {{"ssl.keystore.password", "x"}}, "only per-listener using the listener prefix: Set(ssl.keystore.password)");
    expect_refused(scope, {{"leader.replication.throttled.rate", "-5"}}, "Invalid value -5 for configuration leader.replication.throttled.rate: Value must be at least 0");
    expect_refused(scope, {{"log.retention.ms", "0"}}, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1");
    expect_refused(scope, {{"log.cleaner.dedupe.buffer.size", "5"}}, "at least 1MB per cleaner thread");
    expect_refused(scope, {{"log.cleaner.threads", "0"}}, "log.cleaner.threads must be at least 1 while log.cleaner.enable is true");
    expect_refused(scope, {{"max.connections.per.ip", "0"}}, "max.connections.per.ip can be set to zero only if");
  }
  expect_refused(DynamicScope::kClusterDefault, {{"sasl.kerberos.min.time.before.relogin", "58000"}}, "broker id must be specified: Set(sasl.kerberos.min.time.before.relogin)");
  expect_refused(DynamicScope::kThisBroker, {{"sasl.kerberos.min.time.before.relogin", "soon"}}, "sasl.kerberos.min.time.before.relogin");
  expect_refused(DynamicScope::kClusterDefault, {{"listeners", "PLAINTEXT://:1"}}, "Cannot update these configs at default cluster level, broker id must be specified: Set(listeners)");
  expect_refused(DynamicScope::kThisBroker, {{"listeners", "PLAINTEXT://:1"}}, "restart it: Set(listeners)");
}

TEST(DynamicConfig, TakesWhatKafkaTakes) {
  for (const Properties& values : std::vector<Properties>{{{"nope", "1"}}, {{"log.cleanup.policy", "compact"}}, {{"listener.name.plaintext.max.connections", "4"}},
                                                          {{"leader.replication.throttled.rate", "5"}}, {{"num.io.threads", "16"}}, {}}) {
    auto result = validate_dynamic(*BrokerConfig::defaults(), DynamicScope::kClusterDefault, values);
    EXPECT_TRUE(result) << result.error().what;
  }
}

TEST(DynamicConfig, TakesSecurityOfOneBrokerWithoutAListenersPrefixButForStores) {
  ConfigHolder holder(BrokerConfig::defaults());
  Properties values{{"sasl.kerberos.min.time.before.relogin", "58000"}, {"ssl.endpoint.identification.algorithm", ""}};
  auto result = validate_dynamic(*holder.current(), DynamicScope::kThisBroker, values);
  EXPECT_TRUE(result) << result.error().what;
  values["ssl.truststore.location"] = "x";
  holder.apply_dynamic(DynamicScope::kThisBroker, values);
  values.erase("ssl.truststore.location");
  EXPECT_EQ(holder.current()->dynamic_broker(), values);
}

}  // namespace
}  // namespace odradek::config
