// The metadata of a KRaft cluster, replayed from the folder of its log: the newest `<end offset>-<epoch>.checkpoint` and what the log
// holds behind it. Record: varint frame version 1, varint type, varint version, body. Records between BeginTransaction and EndTransaction
// count with the latter. Source: messages-data.txt, metadata records.
// Thread: any; blocks on the disk.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "base/uuid.h"
#include "protocol/messages/access_control_entry_record.h"
#include "protocol/messages/delegation_token_record.h"
#include "protocol/messages/user_scram_credential_record.h"

namespace odradek::adopt {

// Resource types of ConfigRecord.
inline constexpr int8_t kTopicResource = 2;
inline constexpr int8_t kBrokerResource = 4;

struct MetadataImage {
  struct Partition {
    std::vector<int32_t> replicas, isr;
    std::vector<int32_t> elr;  // with everything up to the high watermark although not in the ISR, which may be empty (4.x; KIP-966)
    int32_t leader = -1;
    int32_t leader_epoch = 0;
    int32_t partition_epoch = 0;
  };
  struct Topic {
    std::string name;
    std::map<int32_t, Partition> partitions;
  };
  // (entity type, name; no name: the default) of one quota, in the order of the record.
  using QuotaEntity = std::vector<std::pair<std::string, std::optional<std::string>>>;

  std::map<Uuid, Topic> topics;
  std::map<std::pair<int8_t, std::string>, std::map<std::string, std::string, std::less<>>> configs;
  std::map<std::string, int16_t> features;
  std::map<int32_t, std::string> brokers;  // registered; first endpoint
  std::map<Uuid, protocol::AccessControlEntryRecord> acls;
  std::map<std::pair<std::string, int8_t>, protocol::UserScramCredentialRecord> scram;
  std::map<QuotaEntity, std::map<std::string, double>> quotas;
  std::map<std::string, protocol::DelegationTokenRecord> tokens;
  int64_t next_producer_id = 0;
  // What this release has no place for: "record type 42" → how many.
  std::map<std::string, int64_t> unknown;

  int64_t records = 0;
  int64_t end_offset = 0;
  int32_t last_epoch = 0;
  std::string snapshot;  // the checkpoint it begins with; empty: none

  const Topic* find_topic(std::string_view name, Uuid* id = nullptr) const;
};

// Replays one record's value after the other.
class MetadataReplay {
 public:
  // Errors: kInvalidRequest: not a record, or a version that this release does not know; kCorruptMessage: it contradicts those before.
  Result<void> apply(ByteView value);
  // A transaction that never ended does not count.
  bool in_transaction() const { return in_transaction_; }
  MetadataImage& image() { return image_; }

 private:
  Result<void> apply_now(ByteView value);
  MetadataImage image_;
  bool in_transaction_ = false;
  std::vector<Bytes> held_;
};

// Errors: those of apply; kCorruptMessage: a damaged checkpoint, records missing between it and the log, or a damaged segment before the last.
Result<MetadataImage> read_metadata_log(base::FileSystem& files, const std::string& folder);

}  // namespace odradek::adopt
