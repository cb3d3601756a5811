#include "adopt/internal_topics.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "adopt/log_files.h"
#include "model/error_code.h"
#include "protocol/codec.h"
#include "protocol/messages/group_metadata_value.h"
#include "protocol/messages/offset_commit_key.h"
#include "protocol/messages/offset_commit_value.h"
#include "protocol/messages/transaction_log_key.h"
#include "protocol/messages/transaction_log_value.h"
#include "record/control.h"
#include "record/record.h"

namespace odradek::adopt {

namespace {

// What releases up to 3.9 write.
constexpr int16_t kOffsetVersion = 3, kGroupVersion = 3, kTransactionVersion = 0;
// Types of keys.
constexpr int16_t kGroupType = 2;
constexpr std::string_view kKinds[] = {
    "", "", "", "ConsumerGroupMetadata", "ConsumerGroupPartitionMetadata", "ConsumerGroupMemberMetadata", "ConsumerGroupTargetAssignmentMetadata",
    "ConsumerGroupTargetAssignmentMember", "ConsumerGroupCurrentMemberAssignment", "ShareGroupPartitionMetadata", "ShareGroupMemberMetadata",
    "ShareGroupMetadata", "ShareGroupTargetAssignmentMetadata", "ShareGroupTargetAssignmentMember", "ShareGroupCurrentMemberAssignment",
    "ShareGroupStatePartitionMetadata", "ConsumerGroupRegularExpression", "StreamsGroupMetadata", "StreamsGroupPartitionMetadata",
    "StreamsGroupMemberMetadata", "StreamsGroupTargetAssignmentMetadata", "StreamsGroupTargetAssignmentMember", "StreamsGroupCurrentMemberAssignment",
    "StreamsGroupTopology",
};

std::string kind_of(int16_t type) {
  return type > kGroupType && static_cast<size_t>(type) < std::size(kKinds) ? std::string(kKinds[type]) : fmt::format("record type {}", type);
}

int16_t number_at(ByteView bytes) { return base::load_be<int16_t>(bytes.data()); }

// The last value of each key, with offset commits of transactions counted when they are committed.
class LastValues {
 public:
  struct Entry {
    Bytes value;
    Offset offset;
    int64_t timestamp = 0;
  };

  Result<void> read(base::FileSystem& files, const std::string& folder) {
    record::Decompressor decompressor;
    return each_frame(files, folder, [&](ByteView frame) -> Result<bool> {
      const bool v2 = frame[record::kMagicAt] == record::kMagicV2;
      record::BatchView batch = v2 ? record::BatchView(frame) : record::BatchView();
      if (v2 && batch.is_control()) {
        auto marker = record::parse_end_txn_marker(batch);
        if (marker) end(batch.producer_id().value, marker->type == record::ControlType::kCommit);
        return true;
      }
      const bool pending = v2 && batch.is_transactional();
      auto taken = each_record(frame, decompressor, [&](const LogRecord& record) -> Result<void> {
        if (!record.key || record.key->size() < 2) return {};
        Bytes key(record.key->begin(), record.key->end());
        std::optional<Entry> entry;
        if (record.value) entry = Entry{Bytes(record.value->begin(), record.value->end()), record.offset, record.timestamp};
        if (pending) {
          open_[batch.producer_id().value][key] = std::move(entry);
        } else {
          put(std::move(key), std::move(entry));
        }
        return {};
      });
      if (!taken) return fail(taken.error());
      return true;
    });
  }

  const std::map<Bytes, Entry>& values() const { return values_; }
  // A transaction that is open still has another value for it.
  bool is_open(const Bytes& key) const {
    return std::any_of(open_.begin(), open_.end(), [&](const auto& transaction) { return transaction.second.contains(key); });
  }

 private:
  void put(Bytes key, std::optional<Entry> entry) {
    if (!entry) {
      values_.erase(key);
      return;
    }
    auto [found, is_new] = values_.try_emplace(std::move(key));
    if (is_new || found->second.offset < entry->offset) found->second = std::move(*entry);
  }
  void end(int64_t producer, bool committed) {
    auto found = open_.find(producer);
    if (found == open_.end()) return;
    if (committed) {
      for (auto& [key, entry] : found->second) put(key, std::move(entry));
    }
    open_.erase(found);
  }

  std::map<Bytes, Entry> values_;
  std::map<int64_t, std::map<Bytes, std::optional<Entry>>> open_;  // by producer id
};

// The value again in version `wanted`, if it is of a newer one.
template <class M>
Result<std::optional<Bytes>> in_version(const Bytes& value, int16_t wanted) {
  if (value.size() < 2 || number_at(value) <= wanted) return std::nullopt;
  auto message = protocol::decode_versioned<M>(value);
  if (!message) return fail(message.error());
  message->unknown_tags.clear();
  return protocol::encode_versioned(*message, wanted);
}

enum Status : int8_t { kEmpty, kOngoing, kPrepareCommit, kPrepareAbort, kCompleteCommit, kCompleteAbort, kDead, kPrepareEpochFence };
constexpr std::string_view kStatusNames[] = {"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"};

}  // namespace

Result<GroupTopic> read_group_topic(base::FileSystem& files, const std::string& folder) {
  LastValues last;
  if (auto read = last.read(files, folder); !read) return fail(read.error());
  GroupTopic topic;
  for (const auto& [key, entry] : last.values()) {
    const int16_t type = number_at(key);
    auto rewrite = [&](std::optional<Bytes> value, std::string reason) {
      topic.rewritten.push_back({key, std::move(value), entry.timestamp});
      ++topic.reasons[std::move(reason)];
    };
    auto in_folder = [&](Error error) {
      error.what = fmt::format("{}, offset {}: {}", folder, entry.offset.value, error.what);
      return fail(std::move(error));
    };
    if (type < kGroupType) {
      auto parsed = protocol::decode_versioned<protocol::OffsetCommitKey>(key);
      if (type == 1 && parsed) ++topic.groups[parsed->group];
      // While a transaction is open the record is left: what the marker brings must stay the newest.
      if (last.is_open(key)) continue;
      auto older = in_version<protocol::OffsetCommitValue>(entry.value, kOffsetVersion);
      if (!older) return in_folder(older.error());
      if (*older) rewrite(std::move(*older), fmt::format("OffsetCommitValue v{} as v{}", number_at(entry.value), kOffsetVersion));
    } else if (type == kGroupType) {
      auto older = in_version<protocol::GroupMetadataValue>(entry.value, kGroupVersion);
      if (!older) return in_folder(older.error());
      if (*older) rewrite(std::move(*older), fmt::format("GroupMetadataValue v{} as v{}", number_at(entry.value), kGroupVersion));
    } else {
      rewrite(std::nullopt, kind_of(type) + " ended by a tombstone");
    }
  }
  return topic;
}

Result<TransactionTopic> read_transaction_topic(base::FileSystem& files, const std::string& folder) {
  LastValues last;
  if (auto read = last.read(files, folder); !read) return fail(read.error());
  TransactionTopic topic;
  for (const auto& [key, entry] : last.values()) {
    auto id = protocol::decode_versioned<protocol::TransactionLogKey>(key);
    if (!id) continue;  // a kind that readers skip
    auto value = protocol::decode_versioned<protocol::TransactionLogValue>(entry.value);
    if (!value) {
      Error error = value.error();
      error.what = fmt::format("{}, offset {}: {}", folder, entry.offset.value, error.what);
      return fail(std::move(error));
    }
    ++topic.ids;
    topic.greatest_producer_id = std::max({topic.greatest_producer_id, value->producer_id, value->previous_producer_id, value->next_producer_id});
    const int8_t status = value->transaction_status;
    const bool at_rest = status == kEmpty || status == kCompleteCommit || status == kCompleteAbort || status == kDead;
    if (!at_rest) {
      auto& open = topic.open.emplace_back();
      open.id = id->transactional_id;
      open.producer_id = value->producer_id;
      open.state = status > 0 && static_cast<size_t>(status) < std::size(kStatusNames) ? std::string(kStatusNames[status]) : fmt::format("state {}", status);
      for (const auto& of_topic : value->transaction_partitions.value_or(std::vector<protocol::TransactionLogValue::PartitionsSchema>())) {
        for (int32_t partition : of_topic.partition_ids) open.partitions.push_back({of_topic.topic, partition});
      }
      continue;  // the newer fields say how it ends
    }
    auto older = in_version<protocol::TransactionLogValue>(entry.value, kTransactionVersion);
    if (!older) return fail(older.error());
    if (!*older) continue;
    topic.rewritten.push_back({key, std::move(*older), entry.timestamp});
    ++topic.reasons[fmt::format("TransactionLogValue v{} as v{}", number_at(entry.value), kTransactionVersion)];
  }
  return topic;
}

}  // namespace odradek::adopt
