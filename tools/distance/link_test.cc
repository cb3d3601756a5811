#include "distance/link.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace odradek::distance {
namespace {

constexpr int64_t kMs = 1'000'000;

std::vector<std::byte> packet(uint32_t number, size_t size = 64) {
  std::vector<std::byte> bytes(size, std::byte(number));
  std::memcpy(bytes.data(), &number, sizeof(number));
  return bytes;
}

// Numbers of the packets that have arrived by `now`.
std::vector<uint32_t> arrived(Link& link, int64_t now_ns) {
  std::vector<uint32_t> numbers;
  link.deliver(now_ns, [&](std::span<const std::byte> data) {
    uint32_t number = 0;
    std::memcpy(&number, data.data(), sizeof(number));
    for (std::byte each : data.subspan(4)) EXPECT_EQ(each, std::byte(number)) << "packet " << number << " was overwritten";
    numbers.push_back(number);
  });
  return numbers;
}

void offer(Link& link, int64_t now_ns, uint32_t number, size_t size = 64) { link.offer(now_ns, packet(number, size), size); }

using Numbers = std::vector<uint32_t>;

TEST(Link, PacketsArriveAfterTheDelayInOrder) {
  Link link(1);
  link.configure({.delay_ns = 10 * kMs});
  offer(link, 0, 1);
  offer(link, 3 * kMs, 2);
  EXPECT_EQ(link.next_ns(), 10 * kMs);
  EXPECT_EQ(arrived(link, 10 * kMs - 1), Numbers{});
  EXPECT_EQ(arrived(link, 10 * kMs), Numbers{1});
  EXPECT_EQ(link.next_ns(), 13 * kMs);
  EXPECT_EQ(arrived(link, 20 * kMs), Numbers{2});
  EXPECT_EQ(link.next_ns(), INT64_MAX);
}

TEST(Link, JitterDelaysAndNeverReorders) {
  Link link(1);
  link.configure({.delay_ns = 10 * kMs, .jitter_ns = 5 * kMs});
  Numbers all;
  for (uint32_t i = 0; i < 1000; ++i) {
    offer(link, i * kMs / 10, i);
    all.push_back(i);
  }
  int64_t earliest = INT64_MAX, latest = 0;
  Numbers got;
  while (link.next_ns() != INT64_MAX) {
    int64_t now = link.next_ns();
    for (uint32_t each : arrived(link, now)) {
      got.push_back(each);
      earliest = std::min(earliest, now - each * kMs / 10);
      latest = std::max(latest, now - each * kMs / 10);
    }
  }
  EXPECT_EQ(got, all);
  EXPECT_GE(earliest, 10 * kMs);
  EXPECT_LE(latest, 15 * kMs);
  EXPECT_GT(latest, 14 * kMs);
}

TEST(Link, ALowerDelayDoesNotLetLaterPacketsOvertake) {
  Link link(1);
  link.configure({.delay_ns = 100 * kMs});
  offer(link, 0, 1);
  link.configure({.delay_ns = 0});
  offer(link, 10 * kMs, 2);
  EXPECT_EQ(arrived(link, 99 * kMs), Numbers{});
  EXPECT_EQ(arrived(link, 100 * kMs), (Numbers{1, 2}));
}

TEST(Link, ARateSpreadsPacketsAndItsFullBufferDropsThem) {
  Link link(1);
  link.configure({.delay_ns = 7 * kMs, .rate = 1e6, .buffer_ns = 3 * kMs});  // 1000 bytes a ms
  for (uint32_t i = 1; i <= 5; ++i) offer(link, 0, i, 1000);
  EXPECT_EQ(link.counts().dropped, 2u);
  EXPECT_EQ(arrived(link, 8 * kMs), Numbers{1});
  EXPECT_EQ(arrived(link, 9 * kMs), Numbers{2});
  EXPECT_EQ(arrived(link, 10 * kMs), Numbers{3});
  offer(link, 50 * kMs, 6, 1000);
  EXPECT_EQ(link.next_ns(), 58 * kMs) << "an idle sender saves nothing up";
}

TEST(Link, LosesTheShareThatIsSet) {
  Link link(1);
  link.configure({.loss = 0.1});
  for (uint32_t i = 0; i < 10'000; ++i) offer(link, 0, i);
  EXPECT_NEAR(static_cast<double>(link.counts().lost), 1000, 150);
  EXPECT_EQ(arrived(link, 0).size(), 10'000 - link.counts().lost);
  link.configure({.loss = 1});
  offer(link, 0, 1);
  EXPECT_EQ(link.next_ns(), INT64_MAX);
}

TEST(Link, ItsRingOverflowsWithoutHarm) {
  for (size_t size : {20, 64, 333, 500}) {
    Link link(1, 2048);
    uint32_t sent = 0;
    uint64_t dropped = 0;
    Numbers expected, got;
    for (int64_t round = 0; round < 2000; ++round) {
      link.configure({.delay_ns = (round % 7) * 10});
      for (int i = 0; i <= round % 5; ++i) {
        offer(link, round * 10, ++sent, size + static_cast<size_t>(round % 3) * 16);
        if (link.counts().dropped == dropped) expected.push_back(sent);
        dropped = link.counts().dropped;
      }
      for (uint32_t each : arrived(link, round * 10)) got.push_back(each);
    }
    for (uint32_t each : arrived(link, INT64_MAX - 1)) got.push_back(each);
    EXPECT_EQ(got, expected);
    EXPECT_GT(got.size(), 500u);
    if (size > 300) {
      EXPECT_GT(dropped, 0u);
    }
    EXPECT_EQ(link.next_ns(), INT64_MAX);
    EXPECT_EQ(link.counts().packets, got.size());
  }
}

}  // namespace
}  // namespace odradek::distance
