// The records of __consumer_offsets in Kafka 3.9's bytes. Key: int16 type (0, 1: an offset; 2: a group), then its fields. Value: int16
// version, then its fields; null: removed. Source: disk.md §7.
#pragma once

#include <optional>
#include <variant>

#include "base/bytes.h"
#include "base/result.h"
#include "coordinator/group/group.h"
#include "coordinator/group/offsets.h"

namespace odradek::coordinator {

Bytes offset_key(std::string_view group, std::string_view topic, int32_t partition);
// Version 3, or 1 with an expiry of its own.
Bytes offset_value(const CommittedOffset& offset);
Bytes group_key(std::string_view group);
// Version 3.
Bytes group_value(const Group& group);

struct OffsetRecord {
  std::string group;
  std::string topic;
  int32_t partition = 0;
  std::optional<CommittedOffset> offset;  // nullopt: removed
};
struct GroupRecord {
  std::string group;
  std::optional<Group::Stored> stored;  // nullopt: removed
};
struct OtherRecord {};  // of another kind of group: not ours to read

using StoredRecord = std::variant<OffsetRecord, GroupRecord, OtherRecord>;

// Every version that Kafka wrote. Errors: kUnsupportedVersion (of a value: written by something newer), kInvalidRequest (not such a record).
Result<StoredRecord> parse_record(ByteView key, std::optional<ByteView> value);

}  // namespace odradek::coordinator
