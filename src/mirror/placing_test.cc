#include "mirror/placing.h"

#include <gtest/gtest.h>

namespace odradek::mirror {
namespace {

const TopicPartition kOrders{"orders", 3};

// What a mirror that copied 1000 records to `from` and behind it left when it died: it had announced more, and never sent it.
StoredPositions left_behind(Offset from) {
  StoredPositions stored;
  OffsetMap& map = stored.maps[kOrders];
  map.extend(Offset{5}, from, 1000);
  map.extend(Offset{1006}, from + 1000, 50);
  map.extend(Offset{1057}, from + 1050, 50);
  map.extend(Offset{1108}, from + 1100, 50);
  stored.at[kOrders] = {Offset{1006}, from + 1000, 1};
  return stored;
}

TEST(Placing, LooksForTheRecordsOfOthersFromWhatTheOtherMirrorHasWrittenNotFromWhatItAnnounced) {
  StoredPositions before = left_behind(Offset{0});
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{0}, Offset{1080}), Offset{1000}) << "others wrote less than was announced";
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{0}, Offset{5000}), Offset{1000}) << "others wrote more than was announced";
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{1010}, Offset{5000}), Offset{1010}) << "retention has taken the rest";
  before.at.clear();
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{0}, Offset{5000}), Offset{0}) << "nothing says that it was acknowledged";
}

TEST(Placing, LooksForTheRecordsOfOthersNotBelowTheFirstRunOfTheOtherMirror) {
  StoredPositions before = left_behind(Offset{300});
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{0}, Offset{5000}), Offset{1300});
  before.at.clear();
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{0}, Offset{5000}), Offset{300});
}

TEST(Placing, TakesNothingOfTheOtherMirrorForKnownInALogThatEndsBeforeIt) {
  StoredPositions before = left_behind(Offset{300});
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{0}, Offset{1290}), Offset{300}) << "acknowledged records are gone";
  EXPECT_EQ(known_of_the_other(before, kOrders, Offset{0}, Offset{20}), Offset{0}) << "the topic was made anew";
  EXPECT_EQ(known_of_the_other(before, {"orders", 4}, Offset{7}, Offset{20}), Offset{7}) << "it knows nothing of this one";
}

}  // namespace
}  // namespace odradek::mirror
