#include "mirror/positions.h"

#include <gtest/gtest.h>

namespace odradek::mirror {
namespace {

using Records = std::vector<std::pair<std::string, std::optional<std::string>>>;
const TopicPartition kOrders{"orders", 3};

TEST(Positions, AreThoseOfTheYoungestWholeLife) {
  Records records{{"producer", R"({"producer_id":4711,"source_cluster":"a","target_cluster":"b"})"},
                  {"1/runs/orders/3/0", R"({"first":0,"runs":[5,0]})"},
                  {"1/whole", "{}"},
                  {"2/runs/orders/3/0", R"({"first":0,"runs":[7,0]})"},
                  {"2/at/orders/3", R"({"source":9,"target":2,"time":1})"},
                  {"2/whole", "{}"},
                  {"3/runs/orders/3/0", R"({"first":0,"runs":[99,0]})"},
                  // of the first life, late
                  {"1/runs/orders/3/0", R"({"first":0,"runs":[1,0]})"}};
  auto stored = parse_positions(records);
  ASSERT_TRUE(stored) << stored.error().what;
  EXPECT_EQ(stored->producer_id, ProducerId{4711});
  EXPECT_EQ(stored->life, 3);
  EXPECT_EQ(stored->maps.at(kOrders).source_at(Offset{1}), Offset{8});
  EXPECT_EQ(stored->at.at(kOrders).source, Offset{9});
  EXPECT_EQ(stored->keys.size(), 7u);
}

TEST(Positions, TheLastValueOfAKeyCountsAndDeletedOnesAreGone) {
  Records records{{"1/runs/orders/3/0", R"({"first":0,"runs":[5,0]})"},
                  {"1/runs/orders/3/1", R"({"first":256,"runs":[900,800]})"},
                  {"1/whole", "{}"},
                  {"1/runs/orders/3/1", std::nullopt},
                  {"1/runs/orders/3/0", R"({"first":0,"runs":[5,0,10,4]})"}};
  auto stored = parse_positions(records);
  ASSERT_TRUE(stored) << stored.error().what;
  EXPECT_EQ(stored->maps.at(kOrders).size(), 2u);
  EXPECT_FALSE(stored->producer_id);
}

TEST(Positions, RefuseWhatCannotBeRead) {
  EXPECT_FALSE(parse_positions({{"producer", "?"}}));
  EXPECT_FALSE(parse_positions({{"1/whole", "{}"}, {"1/runs/orders/3/0", R"({"first":0,"runs":[1]})"}}));
  EXPECT_FALSE(parse_positions({{"1/whole", "{}"}, {"1/runs/orders/x/0", R"({"first":0,"runs":[1,1]})"}}));
}

}  // namespace
}  // namespace odradek::mirror
