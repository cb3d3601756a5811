// Kafka's nouns as types: integers that could be swapped are distinct types.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/uuid.h"

namespace odradek {

template <class Tag, class Rep>
struct Strong {
  Rep value{};
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;
};

using Offset = Strong<struct OffsetTag, int64_t>;            // index of a record in its partition
using LeaderEpoch = Strong<struct LeaderEpochTag, int32_t>;  // rises at each leader change; -1 = unknown
using BrokerId = Strong<struct BrokerIdTag, int32_t>;        // -1 = none
using ProducerId = Strong<struct ProducerIdTag, int64_t>;    // -1 = none

constexpr Offset operator+(Offset offset, int64_t records) { return {offset.value + records}; }
constexpr int64_t operator-(Offset a, Offset b) { return a.value - b.value; }

inline constexpr LeaderEpoch kNoLeaderEpoch{-1};
inline constexpr BrokerId kNoBroker{-1};
inline constexpr ProducerId kNoProducer{-1};
inline constexpr int64_t kNoTimestamp = -1;

struct TopicPartition {
  std::string topic;
  int32_t partition = 0;
  friend auto operator<=>(const TopicPartition&, const TopicPartition&) = default;
  // "<topic>-<partition>", the name of its folder.
  std::string to_string() const { return topic + "-" + std::to_string(partition); }
};

// One of "1..249 chars of [a-zA-Z0-9._-], not . or ..". Empty result: legal; else the reason in words, as Kafka's.
std::string topic_name_fault(std::string_view name);
// __consumer_offsets and __transaction_state.
bool is_internal_topic(std::string_view name);
inline constexpr std::string_view kGroupMetadataTopic = "__consumer_offsets";
inline constexpr std::string_view kTransactionStateTopic = "__transaction_state";
inline constexpr std::string_view kKraftMetadataTopic = "__cluster_metadata";  // of KRaft's controllers; no broker makes it

// Java's String.hashCode over UTF-16 units of UTF-8 `text`, and Kafka's partition of a coordinator topic for a group or
// transactional id: abs(hash) % partitions, with abs(INT_MIN) = 0.
int32_t java_hash(std::string_view text);
int32_t coordinator_partition(std::string_view id, int32_t partitions);

enum class IsolationLevel : int8_t { kReadUncommitted = 0, kReadCommitted = 1 };
enum class SecurityProtocol : int16_t { kPlaintext = 0, kSsl = 1, kSaslPlaintext = 2, kSaslSsl = 3 };
std::string_view name_of(SecurityProtocol protocol);

}  // namespace odradek

template <class Tag, class Rep>
struct std::hash<odradek::Strong<Tag, Rep>> {
  size_t operator()(const odradek::Strong<Tag, Rep>& strong) const noexcept { return std::hash<Rep>{}(strong.value); }
};

template <>
struct std::hash<odradek::TopicPartition> {
  size_t operator()(const odradek::TopicPartition& tp) const noexcept {
    return std::hash<std::string>{}(tp.topic) * 31 + static_cast<size_t>(tp.partition);
  }
};
