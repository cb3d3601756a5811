#include "coordinator/runtime/outbox.h"

#include <gtest/gtest.h>

#include <string>

namespace odradek::coordinator {
namespace {

struct OutboxTest : ::testing::Test {
  Outbox outbox;
  std::vector<std::pair<std::string, ErrorCode>> sent;
  Answer answer(std::string name) {
    return [this, name = std::move(name)](ErrorCode error) { sent.emplace_back(name, error); };
  }
};

TEST_F(OutboxTest, AnswerThatStandsOnNothingLeavesAtOnce) {
  outbox.send_after(0, 100, answer("a"));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].second, ErrorCode::kNone);
}

TEST_F(OutboxTest, AnswersLeaveWhenTheirAppendOrALaterOneIsCommitted) {
  uint64_t first = outbox.next_append(), second = outbox.next_append(), third = outbox.next_append();
  outbox.send_after(second, 100, answer("second"));
  outbox.send_after(first, 100, answer("first"));
  outbox.send_after(third, 100, answer("third"));
  EXPECT_TRUE(sent.empty());
  outbox.committed(second, ErrorCode::kNone);
  EXPECT_EQ(sent.size(), 2u);
  outbox.committed(first, ErrorCode::kNone);
  EXPECT_EQ(sent.size(), 2u);
  outbox.committed(third, ErrorCode::kNone);
  EXPECT_EQ(sent.size(), 3u);
  EXPECT_EQ(outbox.size(), 0u);
}

TEST_F(OutboxTest, OnlyTheAnswerOfThatAppendGetsItsResult) {
  uint64_t first = outbox.next_append(), second = outbox.next_append();
  outbox.send_after(first, 100, answer("first"));
  outbox.send_after(second, 100, answer("second"));
  outbox.committed(second, ErrorCode::kCoordinatorNotAvailable);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0], std::pair(std::string("first"), ErrorCode::kNone));
  EXPECT_EQ(sent[1], std::pair(std::string("second"), ErrorCode::kCoordinatorNotAvailable));
}

TEST_F(OutboxTest, DeadlineEndsTheWait) {
  uint64_t first = outbox.next_append();
  outbox.send_after(first, 100, answer("a"));
  outbox.send_after(first, 200, answer("b"));
  EXPECT_EQ(outbox.deadline(), 100);
  outbox.expire(99, ErrorCode::kCoordinatorNotAvailable);
  EXPECT_TRUE(sent.empty());
  outbox.expire(100, ErrorCode::kCoordinatorNotAvailable);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].second, ErrorCode::kCoordinatorNotAvailable);
  EXPECT_EQ(outbox.deadline(), 200);
  outbox.fail_all(ErrorCode::kNotCoordinator);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[1].second, ErrorCode::kNotCoordinator);
  EXPECT_FALSE(outbox.deadline());
}

TEST_F(OutboxTest, AnswerMayBringTheNextOne) {
  uint64_t first = outbox.next_append();
  outbox.send_after(first, 100, [&](ErrorCode) { outbox.send_after(outbox.next_append(), 100, answer("next")); });
  outbox.committed(first, ErrorCode::kNone);
  EXPECT_TRUE(sent.empty());
  EXPECT_EQ(outbox.size(), 1u);
  outbox.fail_all(ErrorCode::kNone);
}

}  // namespace
}  // namespace odradek::coordinator
