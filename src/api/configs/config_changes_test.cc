#include "api/configs/config_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>

#include "api/configs/broker_loggers.h"
#include "base/log.h"
#include "config/topic_config.h"
#include "model/error_code.h"

namespace odradek::api {
namespace {

using config::Properties;
using Op = ConfigOperation;

ResourceChange topic(std::vector<ConfigChange> changes, bool replace = false) { return {2, "t", std::move(changes), replace}; }

Properties applied(const ResourceChange& resource, const Properties& present) {
  auto next = apply_changes(resource, present, config::find_topic_key);
  EXPECT_TRUE(next) << next.error().what;
  return next ? *next : Properties{};
}

TEST(ConfigChanges, SetAndDeleteSingleConfigs) {
  EXPECT_EQ(applied(topic({{"a", Op::kSet, "1"}, {"b", Op::kDelete, std::nullopt}, {"x", Op::kDelete, std::nullopt}}), {{"a", "0"}, {"b", "2"}, {"c", "3"}}),
            (Properties{{"a", "1"}, {"c", "3"}}));
}

TEST(ConfigChanges, ReplaceTheWholeSet) { EXPECT_EQ(applied(topic({{"a", Op::kSet, "1"}}, true), {{"b", "2"}}), (Properties{{"a", "1"}})); }

TEST(ConfigChanges, AppendToAListOrItsDefault) {
  EXPECT_EQ(applied(topic({{"cleanup.policy", Op::kAppend, "compact"}}), {}), (Properties{{"cleanup.policy", "delete,compact"}}));
  EXPECT_EQ(applied(topic({{"cleanup.policy", Op::kAppend, "compact,delete"}}), {{"cleanup.policy", "compact"}}), (Properties{{"cleanup.policy", "compact,delete"}}));
}

TEST(ConfigChanges, SubtractFromAList) {
  EXPECT_EQ(applied(topic({{"cleanup.policy", Op::kSubtract, "delete"}}), {{"cleanup.policy", "compact,delete"}}), (Properties{{"cleanup.policy", "compact"}}));
  EXPECT_EQ(applied(topic({{"cleanup.policy", Op::kSubtract, "delete"}}), {}), (Properties{{"cleanup.policy", ""}}));
  const std::string replicas = "leader.replication.throttled.replicas";
  EXPECT_EQ(applied(topic({{replicas, Op::kSubtract, "0:1,9:9,0:1"}}), {{replicas, "0:1,1:1,0:1,2:1,0:1"}}), (Properties{{replicas, "1:1,2:1,0:1"}}));
  EXPECT_EQ(applied(topic({{replicas, Op::kAppend, "0:1,3:1,3:1"}}), {{replicas, "0:1,0:1"}}), (Properties{{replicas, "0:1,0:1,3:1,3:1"}}));
}

TEST(ConfigChanges, RefuseListOperationsOnWhatIsNoList) {
  auto next = apply_changes(topic({{"segment.bytes", Op::kAppend, "5"}}), {}, config::find_topic_key);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, ErrorCode::kInvalidConfig);
  EXPECT_EQ(next.error().what, "Config value append is not allowed for config key: segment.bytes");
}

TEST(ConfigChanges, RefuseUnknownOperations) {
  auto next = apply_changes(topic({{"segment.bytes", static_cast<Op>(9), "5"}}), {}, config::find_topic_key);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, ErrorCode::kInvalidRequest);
}

std::string fault_of(const std::vector<ResourceChange>& all, size_t index) {
  auto checked = check_resource(all[index], named_twice(all)[index]);
  if (checked) return "";
  EXPECT_EQ(checked.error().code, ErrorCode::kInvalidRequest);
  return checked.error().what;
}

TEST(ConfigChanges, AreRefusedWhenNamedTwiceOrNull) {
  EXPECT_EQ(fault_of({topic({{"a", Op::kSet, "1"}}), {4, "t", {}, false}}, 0), "");
  EXPECT_EQ(fault_of({topic({}), topic({})}, 1), "Each resource must appear at most once.");
  EXPECT_EQ(fault_of({topic({}), {4, "u", {}, false}, topic({})}, 1), "");
  EXPECT_EQ(fault_of({topic({{"a", Op::kSet, "1"}, {"a", Op::kDelete, std::nullopt}})}, 0), "Error due to duplicate config keys");
  EXPECT_EQ(fault_of({topic({{"a", Op::kSet, std::nullopt}, {"b", Op::kAppend, std::nullopt}, {"c", Op::kDelete, std::nullopt}})}, 0), "Null value not supported for : a,b");
}

TEST(BrokerResource, IsThisBrokerOrTheDefault) {
  EXPECT_EQ(*parse_broker_resource("", BrokerId{3}, true), std::nullopt);
  EXPECT_EQ(*parse_broker_resource("3", BrokerId{3}, true), BrokerId{3});
  EXPECT_EQ(parse_broker_resource("99", BrokerId{3}, true).error().what, "Unexpected broker id, expected 3 or empty string, but received 99");
  EXPECT_EQ(parse_broker_resource("99", BrokerId{3}, false).error().what, "Unexpected broker id, expected 3, but received 99");
  EXPECT_EQ(parse_broker_resource("abc", BrokerId{3}, true).error().what, "Broker id must be an integer, but it is: abc");
  EXPECT_EQ(parse_broker_resource("abc", BrokerId{3}, false).error().what, "Node id must be an integer, but it is: abc");
}

TEST(BrokerLoggers, ChangeTheirLevels) {
  EXPECT_TRUE(check_logger_level("storage", "DEBUG"));
  EXPECT_EQ(check_logger_level("storage", "FOO").error().code, ErrorCode::kInvalidConfig);
  EXPECT_EQ(check_logger_level("nothing", "DEBUG").error().what, "Logger nothing does not exist!");
  EXPECT_EQ(check_logger_level("root", std::nullopt).error().code, ErrorCode::kInvalidRequest);
  set_logger_level("storage", "DEBUG");
  EXPECT_EQ(log::level_of("storage"), log::Level::kDebug);
  EXPECT_EQ(log::level_of("net"), log::Level::kInfo);
  set_logger_level("storage", std::nullopt);
  EXPECT_EQ(log::level_of("storage"), log::Level::kInfo);
}

TEST(BrokerLoggers, AreAllThatTheSourcesName) {
  std::regex call(R"(\blog::(?:debug|info|warn|error|at|enabled)\("([^"]+)\")");
  auto known = broker_loggers();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(ODRADEK_SOURCE_DIR) + "/src")) {
    std::string path = entry.path();
    if (!path.ends_with(".cc") || path.ends_with("_test.cc")) continue;
    if (path.find("/src/mirror/") != std::string::npos) continue;  // a program of its own, not the broker
    std::ifstream file(path);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    for (std::sregex_iterator at(text.begin(), text.end(), call), end; at != end; ++at) {
      EXPECT_NE(std::find(known.begin(), known.end(), (*at)[1].str()), known.end()) << (*at)[1] << " in " << path << " is missing in broker_loggers.cc";
    }
  }
}

}  // namespace
}  // namespace odradek::api
