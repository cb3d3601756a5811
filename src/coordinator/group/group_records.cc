#include "coordinator/group/group_records.h"

#include "protocol/codec.h"
#include "protocol/messages/group_metadata_key.h"
#include "protocol/messages/group_metadata_value.h"
#include "protocol/messages/offset_commit_key.h"
#include "protocol/messages/offset_commit_value.h"

namespace odradek::coordinator {

namespace {

constexpr int16_t kOffsetKeyVersion = 1;
constexpr int16_t kGroupKeyVersion = 2;
constexpr int16_t kOffsetValueVersion = 3;
constexpr int16_t kOffsetValueVersionWithExpiry = 1;
constexpr int16_t kGroupValueVersion = 3;

Result<StoredRecord> parse_offset(ByteView key, std::optional<ByteView> value) {
  auto parsed_key = protocol::decode_versioned<protocol::OffsetCommitKey>(key);
  if (!parsed_key) return fail(ErrorCode::kInvalidRequest, std::move(parsed_key.error().what));
  OffsetRecord record{std::move(parsed_key->group), std::move(parsed_key->topic), parsed_key->partition, std::nullopt};
  if (value) {
    auto parsed = protocol::decode_versioned<protocol::OffsetCommitValue>(*value);
    if (!parsed) return fail(std::move(parsed.error()));
    record.offset = CommittedOffset{.offset = {parsed->offset},
                                    .leader_epoch = {parsed->leader_epoch},
                                    .metadata = std::move(parsed->metadata),
                                    .commit_timestamp_ms = parsed->commit_timestamp,
                                    .expire_timestamp_ms = parsed->expire_timestamp};
  }
  return record;
}

Result<StoredRecord> parse_group(ByteView key, std::optional<ByteView> value) {
  auto parsed_key = protocol::decode_versioned<protocol::GroupMetadataKey>(key);
  if (!parsed_key) return fail(ErrorCode::kInvalidRequest, std::move(parsed_key.error().what));
  GroupRecord record{std::move(parsed_key->group), std::nullopt};
  if (value) {
    auto parsed = protocol::decode_versioned<protocol::GroupMetadataValue>(*value);
    if (!parsed) return fail(std::move(parsed.error()));
    Group::Stored& stored = record.stored.emplace();
    stored.protocol_type = std::move(parsed->protocol_type);
    stored.generation = parsed->generation;
    stored.protocol_name = std::move(parsed->protocol);
    stored.leader = std::move(parsed->leader);
    stored.state_timestamp_ms = parsed->current_state_timestamp;
    for (auto& member : parsed->members) {
      Group::Member& to = stored.members.emplace_back();
      to.id = std::move(member.member_id);
      to.instance_id = std::move(member.group_instance_id);
      to.client_id = std::move(member.client_id);
      to.client_host = std::move(member.client_host);
      to.session_timeout_ms = member.session_timeout;
      // Version 0 has none.
      to.rebalance_timeout_ms = member.rebalance_timeout < 0 ? member.session_timeout : member.rebalance_timeout;
      to.protocols.push_back({stored.protocol_name.value_or(""), std::move(member.subscription)});
      to.assignment = std::move(member.assignment);
    }
  }
  return record;
}

}  // namespace

Bytes offset_key(std::string_view group, std::string_view topic, int32_t partition) {
  protocol::OffsetCommitKey key;
  key.group = group;
  key.topic = topic;
  key.partition = partition;
  return protocol::encode_versioned(key, kOffsetKeyVersion);
}

Bytes offset_value(const CommittedOffset& offset) {
  protocol::OffsetCommitValue value;
  value.offset = offset.offset.value;
  value.leader_epoch = offset.leader_epoch.value;
  value.metadata = offset.metadata;
  value.commit_timestamp = offset.commit_timestamp_ms;
  value.expire_timestamp = offset.expire_timestamp_ms;
  return protocol::encode_versioned(value, offset.expire_timestamp_ms >= 0 ? kOffsetValueVersionWithExpiry : kOffsetValueVersion);
}

Bytes group_key(std::string_view group) {
  protocol::GroupMetadataKey key;
  key.group = group;
  return protocol::encode_versioned(key, kGroupKeyVersion);
}

Bytes group_value(const Group& group) {
  protocol::GroupMetadataValue value;
  value.protocol_type = group.protocol_type().value_or("");
  value.generation = group.generation();
  value.protocol = group.protocol_name();
  value.leader = group.leader();
  value.current_state_timestamp = group.state_timestamp_ms();
  value.members.reserve(group.members().size());
  for (const auto& member : group.members()) {
    auto& to = value.members.emplace_back();
    to.member_id = member->id;
    to.group_instance_id = member->instance_id;
    to.client_id = member->client_id;
    to.client_host = member->client_host;
    to.rebalance_timeout = member->rebalance_timeout_ms;
    to.session_timeout = member->session_timeout_ms;
    to.subscription = member->metadata(group.protocol_name().value_or(""));
    to.assignment = member->assignment;
  }
  return protocol::encode_versioned(value, kGroupValueVersion);
}

Result<StoredRecord> parse_record(ByteView key, std::optional<ByteView> value) {
  if (key.size() < 2) return fail(ErrorCode::kInvalidRequest, "a key of less than 2 bytes");
  auto type = base::load_be<int16_t>(key.data());
  if (type == 0 || type == kOffsetKeyVersion) return parse_offset(key, value);
  if (type == kGroupKeyVersion) return parse_group(key, value);
  return StoredRecord(OtherRecord{});
}

}  // namespace odradek::coordinator
