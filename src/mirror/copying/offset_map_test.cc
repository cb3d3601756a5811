#include "mirror/copying/offset_map.h"

#include <gtest/gtest.h>

#include <set>

namespace odradek::mirror {
namespace {

// A source log with holes, copied record by record.
struct Copied {
  OffsetMap map;
  std::map<int64_t, int64_t> target_of;  // of each source offset that was copied
  int64_t end = 0;
};

Copied copy(uint64_t seed, int64_t records, int64_t target_start) {
  Copied copied;
  copied.end = target_start;
  int64_t source = 1000;
  for (int64_t i = 0; i < records; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    if ((seed >> 33) % 5 == 0) source += static_cast<int64_t>((seed >> 40) % 7);
    copied.map.extend(Offset{source}, Offset{copied.end});
    copied.target_of[source++] = copied.end++;
  }
  return copied;
}

TEST(OffsetMap, FindsTheTargetOfEverySourceOffsetAndBack) {
  Copied copied = copy(7, 5000, 40);
  for (auto [source, target] : copied.target_of) {
    EXPECT_EQ(copied.map.target_at(Offset{source}), Offset{target});
    EXPECT_EQ(copied.map.source_at(Offset{target}), Offset{source});
  }
  // What is not in the target is found as the next record that is.
  for (int64_t source = 1000; source < copied.target_of.rbegin()->first; ++source) {
    EXPECT_EQ(copied.map.target_at(Offset{source}), Offset{copied.target_of.lower_bound(source)->second});
  }
  EXPECT_EQ(copied.map.target_at(Offset{3}), Offset{40});
  EXPECT_EQ(copied.map.source_at(Offset{39}), std::nullopt);
  EXPECT_EQ(copied.map.source_at(Offset{copied.end}), Offset{copied.target_of.rbegin()->first + 1});
}

TEST(OffsetMap, ComesBackFromItsChunks) {
  Copied copied = copy(3, 9000, 0);
  ASSERT_GT(copied.map.end_chunk(), 3);
  OffsetMap again;
  for (int64_t chunk = copied.map.first_chunk(); chunk < copied.map.end_chunk(); ++chunk) {
    ASSERT_TRUE(again.decode_chunk(copied.map.encode_chunk(chunk)));
  }
  ASSERT_EQ(again.size(), copied.map.size());
  for (auto [source, target] : copied.target_of) EXPECT_EQ(again.target_at(Offset{source}), Offset{target});
}

TEST(OffsetMap, KeepsTheSourcesLeaderEpochs) {
  OffsetMap map;
  EXPECT_EQ(map.epoch_before(Offset{5}), kNoLeaderEpoch);
  EXPECT_TRUE(map.note_epoch({3}, Offset{10}, Offset{14}));
  EXPECT_FALSE(map.note_epoch({3}, Offset{15}, Offset{19}));
  EXPECT_TRUE(map.note_epoch({5}, Offset{20}, Offset{29}));
  EXPECT_TRUE(map.note_epoch({-1}, Offset{30}, Offset{30}));  // a format that does not say
  EXPECT_EQ(map.epoch_before(Offset{10}), kNoLeaderEpoch);
  EXPECT_EQ(map.epoch_before(Offset{11}), LeaderEpoch{3});
  EXPECT_EQ(map.epoch_before(Offset{20}), LeaderEpoch{3});
  EXPECT_EQ(map.epoch_before(Offset{21}), LeaderEpoch{5});
  EXPECT_EQ(map.epoch_before(Offset{99}), kNoLeaderEpoch);
  // Once more, from the middle.
  EXPECT_FALSE(map.note_epoch({3}, Offset{15}, Offset{19}));
  EXPECT_FALSE(map.note_epoch({5}, Offset{20}, Offset{24}));
  EXPECT_FALSE(map.note_epoch({5}, Offset{25}, Offset{29}));
  // Other records than those that were announced and never written.
  EXPECT_TRUE(map.note_epoch({3}, Offset{20}, Offset{22}));
  EXPECT_TRUE(map.note_epoch({7}, Offset{23}, Offset{40}));
  EXPECT_EQ(map.epochs(), (std::deque<SourceEpoch>{{{3}, Offset{10}}, {{7}, Offset{23}}}));
  // They are in each chunk; those of the last one hold.
  map.extend(Offset{10}, Offset{0}, 5);
  OffsetMap again;
  ASSERT_TRUE(again.decode_chunk(map.encode_chunk(0)));
  EXPECT_EQ(again.epochs(), map.epochs());
  map.forget_epochs_below(Offset{23});
  EXPECT_EQ(map.epoch_before(Offset{23}), LeaderEpoch{3});
  map.forget_epochs_below(Offset{24});
  EXPECT_EQ(map.epochs(), (std::deque<SourceEpoch>{{{7}, Offset{23}}}));
  map.set_topic_id("a");
  EXPECT_EQ(map.epoch_before(Offset{24}), LeaderEpoch{7});
  map.set_topic_id("b");
  EXPECT_EQ(map.epoch_before(Offset{24}), kNoLeaderEpoch);
  for (const char* wrong : {R"([1])", R"([5,10,6,10])", R"([-2,10])", R"(["x",10])", R"([2147483648,10])", "{}"}) {
    OffsetMap none;
    EXPECT_FALSE(none.decode_chunk(R"({"first":0,"runs":[1,1],"topic":"a","epochs":)" + std::string(wrong) + "}")) << wrong;
  }
  EXPECT_TRUE(again.decode_chunk(R"({"first":1,"runs":[50,50],"topic":""})"));  // by an earlier version
  EXPECT_TRUE(again.epochs().empty());
}

TEST(OffsetMap, KeepsNumbersOfRunsWhenTheFirstOnesAreForgotten) {
  Copied copied = copy(3, 9000, 0);
  Offset start{4000};
  copied.map.forget_below(start);
  EXPECT_GT(copied.map.first_chunk(), 0);
  EXPECT_LE(copied.map.first().target, start);
  OffsetMap again;
  for (int64_t chunk = copied.map.first_chunk(); chunk < copied.map.end_chunk(); ++chunk) {
    ASSERT_TRUE(again.decode_chunk(copied.map.encode_chunk(chunk)));
  }
  EXPECT_EQ(again.first_chunk(), copied.map.first_chunk());
  for (auto [source, target] : copied.target_of) {
    if (target >= start.value) {
      EXPECT_EQ(again.source_at(Offset{target}), Offset{source});
    }
  }
}

TEST(OffsetMap, KeepsRunsThatWereAnnouncedAsLongAsTheRecordsAgree) {
  OffsetMap map;
  map.extend(Offset{0}, Offset{0}, 10);
  map.extend(Offset{20}, Offset{10}, 5);
  map.extend(Offset{40}, Offset{15}, 5);
  EXPECT_FALSE(map.extend(Offset{22}, Offset{12}, 3));
  EXPECT_FALSE(map.extend(Offset{40}, Offset{15}, 1));
  EXPECT_EQ(map.size(), 3u);
  // The source has lost the records from 23 on to compaction.
  EXPECT_TRUE(map.extend(Offset{50}, Offset{13}, 1));
  EXPECT_EQ(map.size(), 3u);
  EXPECT_EQ(map.last(), (mirror::Run{Offset{50}, Offset{13}}));
}

TEST(OffsetMap, DropsAnAnnouncedRunThatWouldBeginAmongTheRecords) {
  OffsetMap map;
  map.extend(Offset{0}, Offset{0}, 3);
  map.extend(Offset{5}, Offset{3}, 3);
  EXPECT_TRUE(map.extend(Offset{0}, Offset{0}, 4));
  EXPECT_EQ(map.size(), 1u);
}

TEST(OffsetMap, ReplacesARunThatHoldsNoRecord) {
  OffsetMap map;
  EXPECT_TRUE(map.extend(Offset{5}, Offset{0}));
  EXPECT_FALSE(map.extend(Offset{7}, Offset{2}));
  EXPECT_TRUE(map.extend(Offset{9}, Offset{3}));
  EXPECT_TRUE(map.extend(Offset{11}, Offset{3}));
  EXPECT_EQ(map.size(), 2u);
  EXPECT_EQ(map.last(), (mirror::Run{Offset{11}, Offset{3}}));
}

TEST(OffsetMap, BeginsAnewWithATopicThatWasMadeAnew) {
  OffsetMap map;
  map.set_topic_id("a");
  map.extend(Offset{5000}, Offset{0});
  map.extend(Offset{6000}, Offset{7});
  OffsetMap again;
  ASSERT_TRUE(again.decode_chunk(map.encode_chunk(0)));
  map.set_topic_id("a");
  EXPECT_EQ(map.size(), 2u);
  map.set_topic_id("b");
  EXPECT_TRUE(map.empty());
  EXPECT_TRUE(map.extend(Offset{0}, Offset{30}));
  EXPECT_EQ(map.first_chunk(), 1) << "the chunks of the old topic are not overwritten half";
  ASSERT_TRUE(again.decode_chunk(map.encode_chunk(1)));
  EXPECT_EQ(again.size(), 1u);
  EXPECT_EQ(again.source_at(Offset{31}), Offset{1});
  EXPECT_EQ(again.topic_id(), "b");
}

TEST(OffsetMap, RefusesChunksThatAreNoRuns) {
  for (const char* text : {"", "[]", "{}", R"({"first":0,"runs":[1]})", R"({"first":0,"runs":[1,"x"]})", R"({"first":0,"runs":[5,5,0,1]})",
                           R"({"first":0,"runs":[5,5,1,0]})", R"({"first":0,"runs":[-5,5]})"}) {
    OffsetMap map;
    EXPECT_FALSE(map.decode_chunk(text)) << text;
  }
  OffsetMap map;
  ASSERT_TRUE(map.decode_chunk(R"({"first":3,"runs":[5,5,2,1]})"));
  EXPECT_FALSE(map.decode_chunk(R"({"first":9,"runs":[50,50]})"));
}

}  // namespace
}  // namespace odradek::mirror
