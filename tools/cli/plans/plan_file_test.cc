#include "cli/plans/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace odradek::cli {
namespace {

using testing::HasSubstr;

std::string fault(const std::string& text) {
  auto plan = parse_plan(text);
  return plan ? "none" : plan.error().what;
}

std::string with(const std::string& entries) { return R"({"version":1,"partitions":[)" + entries + "]}"; }

TEST(PlanFile, ReadsWhatKafkaWrites) {
  auto plan = parse_plan(R"({"version":1,"partitions":[{"topic":"foo","partition":1,"replicas":[3,1],"log_dirs":["any","/d/two"]},)"
                         R"({"topic":"foo","partition":0,"replicas":[1,2],"log_dirs":["any","any"]},{"topic":"bar","partition":0,"replicas":[2]}]})");
  ASSERT_TRUE(plan) << plan.error().what;
  std::vector<PlanEntry> expected = {{{"bar", 0}, {2}, {}}, {{"foo", 0}, {1, 2}, {}}, {{"foo", 1}, {3, 1}, {"any", "/d/two"}}};
  EXPECT_EQ(*plan, expected);
}

TEST(PlanFile, WritesWhatKafkaReads) {
  std::vector<PlanEntry> plan = {{{"a", 0}, {1, 2}, {}}, {{"b", 3}, {2, 1}, {"/x", "any"}}};
  EXPECT_EQ(plan_json(plan).dump(), R"({"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,2],"log_dirs":["any","any"]},)"
                                    R"({"topic":"b","partition":3,"replicas":[2,1],"log_dirs":["/x","any"]}]})");
  EXPECT_EQ(*parse_plan(plan_json(plan).dump()), plan);
}

TEST(PlanFile, RefusesWhatKafkaRefusesAndSaysWhere) {
  EXPECT_THAT(fault("nonsense"), HasSubstr("no JSON"));
  EXPECT_THAT(fault("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(fault(R"({"version":2,"partitions":[]})"), HasSubstr("version"));
  EXPECT_THAT(fault(R"({"version":1})"), HasSubstr("no partitions"));
  EXPECT_THAT(fault(with("")), HasSubstr("no partitions"));
  EXPECT_THAT(fault(with(R"({"topic":"t"})")), HasSubstr("without topic and number"));
  EXPECT_THAT(fault(with(R"({"topic":"t","partition":-1,"replicas":[1]})")), HasSubstr("without topic and number"));
  EXPECT_THAT(fault(with(R"({"topic":"t","partition":0})")), HasSubstr("t-0 has no list"));
  EXPECT_THAT(fault(with(R"({"topic":"t","partition":0,"replicas":[]})")), HasSubstr("t-0 has an empty list"));
  EXPECT_THAT(fault(with(R"({"topic":"t","partition":0,"replicas":[1,2,1]})")), HasSubstr("t-0 names broker 1 twice"));
  EXPECT_THAT(fault(with(R"({"topic":"t","partition":0,"replicas":["1"]})")), HasSubstr("no broker id"));
  EXPECT_THAT(fault(with(R"({"topic":"t","partition":0,"replicas":[1],"log_dirs":[]})")), HasSubstr("another number of log_dirs"));
  EXPECT_THAT(fault(with(R"({"topic":"t","partition":0,"replicas":[1],"log_dirs":["here"]})")), HasSubstr("absolute path"));
  std::string one = R"({"topic":"t","partition":0,"replicas":[1]})";
  EXPECT_THAT(fault(with(one + "," + one)), HasSubstr("t-0 twice"));
}

TEST(PlanFile, ReadsTopicsToMove) {
  EXPECT_EQ(*parse_topics_to_move(R"({"topics":[{"topic":"b"},{"topic":"a"},{"topic":"b"}],"version":1})"), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(parse_topics_to_move(R"({"topics":[],"version":1})"));
  EXPECT_FALSE(parse_topics_to_move(R"({"topics":["a"],"version":1})"));
}

}  // namespace
}  // namespace odradek::cli
