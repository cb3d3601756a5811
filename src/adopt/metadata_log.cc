#include "adopt/metadata_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "adopt/log_files.h"
#include "model/error_code.h"
#include "protocol/messages/abort_transaction_record.h"
#include "protocol/messages/begin_transaction_record.h"
#include "protocol/messages/broker_registration_change_record.h"
#include "protocol/messages/clear_elr_record.h"
#include "protocol/messages/client_quota_record.h"
#include "protocol/messages/config_record.h"
#include "protocol/messages/end_transaction_record.h"
#include "protocol/messages/feature_level_record.h"
#include "protocol/messages/fence_broker_record.h"
#include "protocol/messages/no_op_record.h"
#include "protocol/messages/partition_change_record.h"
#include "protocol/messages/partition_record.h"
#include "protocol/messages/producer_ids_record.h"
#include "protocol/messages/register_broker_record.h"
#include "protocol/messages/register_controller_record.h"
#include "protocol/messages/remove_access_control_entry_record.h"
#include "protocol/messages/remove_delegation_token_record.h"
#include "protocol/messages/remove_topic_record.h"
#include "protocol/messages/remove_user_scram_credential_record.h"
#include "protocol/messages/topic_record.h"
#include "protocol/messages/unfence_broker_record.h"
#include "protocol/messages/unregister_broker_record.h"
#include "protocol/messages/unregister_controller_record.h"
#include "protocol/messages/zk_migration_state_record.h"

namespace odradek::adopt {

namespace {

using protocol::Reader;

constexpr std::string_view kCheckpointSuffix = ".checkpoint";
constexpr size_t kOffsetDigits = 20, kEpochDigits = 10;

struct Frame {
  uint32_t type = 0, version = 0;
};

Result<Frame> read_frame(Reader& reader) {
  Frame frame;
  uint32_t layout = reader.uvarint("frame version");
  frame.type = reader.uvarint("type");
  frame.version = reader.uvarint("version");
  if (auto read = reader.result("metadata record"); !read) return fail(read.error());
  if (layout != 1) return fail(ErrorCode::kInvalidRequest, fmt::format("metadata record: frame version {}", layout));
  return frame;
}

template <class M>
Result<M> body(Reader& reader, uint32_t version) {
  Result<M> message(tl::in_place);
  if (version > INT16_MAX) return fail(ErrorCode::kUnsupportedVersion, fmt::format("{}: version {}", M::kName, version));
  if (auto read = message->decode(reader, static_cast<int16_t>(version)); !read) return fail(read.error());
  if (reader.remaining() != 0) return fail(ErrorCode::kInvalidRequest, fmt::format("{}: {} bytes too many", M::kName, reader.remaining()));
  return message;
}

tl::unexpected<Error> contradiction(std::string_view what) {
  return fail(ErrorCode::kCorruptMessage, fmt::format("the metadata log contradicts itself: {}", what));
}

Result<void> take(MetadataImage& image, protocol::TopicRecord& record) {
  image.topics[record.topic_id] = {std::move(record.name), {}};
  return {};
}
Result<void> take(MetadataImage& image, protocol::RemoveTopicRecord& record) {
  auto topic = image.topics.find(record.topic_id);
  if (topic == image.topics.end()) return contradiction("a topic is removed that was never made");
  image.configs.erase({kTopicResource, topic->second.name});
  image.topics.erase(topic);
  return {};
}
Result<void> take(MetadataImage& image, protocol::PartitionRecord& record) {
  auto topic = image.topics.find(record.topic_id);
  if (topic == image.topics.end()) return contradiction("a partition of a topic that was never made");
  if (record.partition_id < 0) return contradiction("a partition with a negative number");
  topic->second.partitions[record.partition_id] = {.replicas = std::move(record.replicas), .isr = std::move(record.isr),
                                                   .elr = std::move(record.eligible_leader_replicas).value_or(std::vector<int32_t>()), .leader = record.leader,
                                                   .leader_epoch = record.leader_epoch, .partition_epoch = record.partition_epoch};
  return {};
}
Result<void> take(MetadataImage& image, protocol::PartitionChangeRecord& record) {
  constexpr int32_t kNoLeaderChange = -2;
  auto topic = image.topics.find(record.topic_id);
  if (topic == image.topics.end()) return contradiction("a change of a partition whose topic was never made");
  auto found = topic->second.partitions.find(record.partition_id);
  if (found == topic->second.partitions.end()) return contradiction("a change of a partition that was never made");
  MetadataImage::Partition& partition = found->second;
  if (record.isr) partition.isr = std::move(*record.isr);
  if (record.eligible_leader_replicas) partition.elr = std::move(*record.eligible_leader_replicas);
  if (record.replicas) partition.replicas = std::move(*record.replicas);
  if (record.leader != kNoLeaderChange) {
    partition.leader = record.leader;
    ++partition.leader_epoch;
  }
  ++partition.partition_epoch;
  return {};
}
Result<void> take(MetadataImage& image, protocol::ClearElrRecord& record) {
  for (auto& [id, topic] : image.topics) {
    if (!record.topic_name.empty() && topic.name != record.topic_name) continue;  // no name: all
    for (auto& [number, partition] : topic.partitions) partition.elr.clear();
  }
  return {};
}
Result<void> take(MetadataImage& image, protocol::ConfigRecord& record) {
  auto& config = image.configs[{record.resource_type, record.resource_name}];
  if (record.value) {
    config[record.name] = std::move(*record.value);
  } else {
    config.erase(record.name);
  }
  if (config.empty()) image.configs.erase({record.resource_type, record.resource_name});
  return {};
}
Result<void> take(MetadataImage& image, protocol::FeatureLevelRecord& record) {
  if (record.feature_level == 0) {
    image.features.erase(record.name);
  } else {
    image.features[record.name] = record.feature_level;
  }
  return {};
}
Result<void> take(MetadataImage& image, protocol::RegisterBrokerRecord& record) {
  image.brokers[record.broker_id] = record.end_points.empty() ? "" : fmt::format("{}:{}", record.end_points[0].host, record.end_points[0].port);
  return {};
}
Result<void> take(MetadataImage& image, protocol::UnregisterBrokerRecord& record) {
  image.brokers.erase(record.broker_id);
  return {};
}
Result<void> take(MetadataImage& image, protocol::ProducerIdsRecord& record) {
  image.next_producer_id = std::max(image.next_producer_id, record.next_producer_id);
  return {};
}
Result<void> take(MetadataImage& image, protocol::AccessControlEntryRecord& record) {
  Uuid id = record.id;
  image.acls[id] = std::move(record);
  return {};
}
Result<void> take(MetadataImage& image, protocol::RemoveAccessControlEntryRecord& record) {
  image.acls.erase(record.id);
  return {};
}
Result<void> take(MetadataImage& image, protocol::UserScramCredentialRecord& record) {
  std::pair key(record.name, record.mechanism);
  image.scram[key] = std::move(record);
  return {};
}
Result<void> take(MetadataImage& image, protocol::RemoveUserScramCredentialRecord& record) {
  image.scram.erase({record.name, record.mechanism});
  return {};
}
Result<void> take(MetadataImage& image, protocol::ClientQuotaRecord& record) {
  MetadataImage::QuotaEntity entity;
  for (auto& part : record.entity) entity.emplace_back(std::move(part.entity_type), std::move(part.entity_name));
  std::sort(entity.begin(), entity.end());
  if (record.remove) {
    auto found = image.quotas.find(entity);
    if (found == image.quotas.end()) return {};
    found->second.erase(record.key);
    if (found->second.empty()) image.quotas.erase(found);
  } else {
    image.quotas[entity][record.key] = record.value;
  }
  return {};
}
Result<void> take(MetadataImage& image, protocol::DelegationTokenRecord& record) {
  std::string id = record.token_id;
  image.tokens[id] = std::move(record);
  return {};
}
Result<void> take(MetadataImage& image, protocol::RemoveDelegationTokenRecord& record) {
  image.tokens.erase(record.token_id);
  return {};
}

template <class M>
Result<void> read_and_take(MetadataImage& image, Reader& reader, uint32_t version) {
  auto record = body<M>(reader, version);
  if (!record) return fail(record.error());
  return take(image, *record);
}

template <class... M>
struct Types {};

// What has a place in the tree.
using Taken = Types<protocol::TopicRecord, protocol::RemoveTopicRecord, protocol::PartitionRecord, protocol::PartitionChangeRecord, protocol::ClearElrRecord,
                    protocol::ConfigRecord, protocol::FeatureLevelRecord, protocol::RegisterBrokerRecord, protocol::UnregisterBrokerRecord, protocol::ProducerIdsRecord,
                    protocol::AccessControlEntryRecord, protocol::RemoveAccessControlEntryRecord, protocol::UserScramCredentialRecord,
                    protocol::RemoveUserScramCredentialRecord, protocol::ClientQuotaRecord, protocol::DelegationTokenRecord,
                    protocol::RemoveDelegationTokenRecord>;
// States of a running cluster: who is fenced, which controllers there are.
using Passing = Types<protocol::FenceBrokerRecord, protocol::UnfenceBrokerRecord, protocol::BrokerRegistrationChangeRecord, protocol::NoOpRecord,
                      protocol::ZkMigrationStateRecord, protocol::RegisterControllerRecord, protocol::UnregisterControllerRecord>;

template <class M>
bool is(uint32_t type) {
  return type == static_cast<uint32_t>(M::kRecordType);
}
template <class... M>
bool is_one_of(Types<M...>, uint32_t type) {
  return (is<M>(type) || ...);
}
// The one with the frame's type, read and taken.
template <class... M>
Result<void> take_one_of(Types<M...>, MetadataImage& image, const Frame& frame, Reader& reader) {
  Result<void> result;
  (void)((is<M>(frame.type) && (result = read_and_take<M>(image, reader, frame.version), true)) || ...);
  return result;
}

// The offset and epoch in a checkpoint's name.
std::optional<std::pair<int64_t, int32_t>> checkpoint_name(std::string_view name) {
  if (name.size() != kOffsetDigits + 1 + kEpochDigits + kCheckpointSuffix.size() || !name.ends_with(kCheckpointSuffix) || name[kOffsetDigits] != '-') {
    return std::nullopt;
  }
  int64_t offset = 0;
  int32_t epoch = 0;
  auto number = [](std::string_view text, auto& into) {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    return error == std::errc() && end == text.data() + text.size();
  };
  if (!number(name.substr(0, kOffsetDigits), offset) || !number(name.substr(kOffsetDigits + 1, kEpochDigits), epoch)) return std::nullopt;
  return std::pair(offset, epoch);
}

}  // namespace

const MetadataImage::Topic* MetadataImage::find_topic(std::string_view name, Uuid* id) const {
  for (const auto& [topic_id, topic] : topics) {
    if (topic.name != name) continue;
    if (id != nullptr) *id = topic_id;
    return &topic;
  }
  return nullptr;
}

Result<void> MetadataReplay::apply(ByteView value) {
  Bytes copy(value.begin(), value.end());
  Reader reader(copy);
  auto frame = read_frame(reader);
  if (!frame) return fail(frame.error());
  ++image_.records;
  if (is<protocol::BeginTransactionRecord>(frame->type)) {
    if (in_transaction_) return contradiction("a transaction begins in another");
    in_transaction_ = true;
    return {};
  }
  const bool aborted = is<protocol::AbortTransactionRecord>(frame->type);
  if (aborted || is<protocol::EndTransactionRecord>(frame->type)) {
    if (!in_transaction_) return contradiction("a transaction ends that has not begun");
    in_transaction_ = false;
    std::vector<Bytes> held = std::move(held_);
    held_.clear();
    if (aborted) return {};
    for (const Bytes& each : held) {
      if (auto applied = apply_now(each); !applied) return applied;
    }
    return {};
  }
  if (in_transaction_) {
    held_.push_back(std::move(copy));
    return {};
  }
  return apply_now(value);
}

Result<void> MetadataReplay::apply_now(ByteView value) {
  Bytes copy(value.begin(), value.end());
  Reader reader(copy);
  auto frame = read_frame(reader);
  if (!frame) return fail(frame.error());
  if (is_one_of(Taken{}, frame->type)) return take_one_of(Taken{}, image_, *frame, reader);
  if (!is_one_of(Passing{}, frame->type)) ++image_.unknown[fmt::format("metadata record type {}", frame->type)];
  return {};
}

Result<MetadataImage> read_metadata_log(base::FileSystem& files, const std::string& folder) {
  auto entries = files.list(folder);
  if (!entries) return fail(entries.error());
  std::optional<std::pair<int64_t, int32_t>> newest;
  std::string file;
  for (const auto& entry : *entries) {
    auto name = checkpoint_name(entry.name);
    if (name && (!newest || *name > *newest)) {
      newest = name;
      file = entry.name;
    }
  }
  MetadataReplay replay;
  MetadataImage& image = replay.image();
  record::Decompressor decompressor;
  auto take_frame = [&](ByteView frame) -> Result<bool> {
    if (frame[record::kMagicAt] != record::kMagicV2) return fail(ErrorCode::kCorruptMessage, folder + " holds messages of an old format");
    record::BatchView batch(frame);
    image.last_epoch = std::max(image.last_epoch, batch.leader_epoch().value);
    if (batch.is_control()) return true;
    auto taken = each_record(frame, decompressor, [&](const LogRecord& record) -> Result<void> {
      if (!record.value) return fail(ErrorCode::kCorruptMessage, fmt::format("{}: the record at {} has no value", folder, record.offset.value));
      auto applied = replay.apply(*record.value);
      if (!applied) applied.error().what = fmt::format("{}, offset {}: {}", folder, record.offset.value, applied.error().what);
      return applied;
    });
    if (!taken) return fail(taken.error());
    return true;
  };
  if (newest) {
    image.snapshot = file;
    if (auto read = each_frame_of_file(files, folder + "/" + file, take_frame); !read) return fail(read.error());
    image.end_offset = newest->first;
    image.last_epoch = std::max(image.last_epoch, newest->second);
  }
  auto bases = segment_bases(files, folder);
  if (!bases) return fail(bases.error());
  const int64_t from = image.end_offset;
  if (!bases->empty() && bases->front() > from) {
    return fail(ErrorCode::kCorruptMessage, fmt::format("{}: the records from {} to {} are missing", folder, from, bases->front()));
  }
  auto read = each_frame(files, folder, [&](ByteView frame) -> Result<bool> {
    record::BatchView batch(frame);
    if (frame[record::kMagicAt] == record::kMagicV2 && batch.last_offset().value < from) return true;
    auto taken = take_frame(frame);
    if (taken) image.end_offset = batch.next_offset().value;
    return taken;
  });
  if (!read) return fail(read.error());
  // A torn end was never acknowledged; what a damaged segment in the middle hides was.
  if (!bases->empty() && bases->back() > image.end_offset) {
    return fail(ErrorCode::kCorruptMessage, fmt::format("{}: the log is damaged at offset {}, and goes on at {}", folder, image.end_offset, bases->back()));
  }
  return std::move(image);
}

}  // namespace odradek::adopt
