// What a leader does with the records of one partition before it appends them: checks every rule of Kafka's, assigns offsets, and
// writes base offset, leader epoch and (only where they differ) timestamp type and max timestamp into the bytes as they stand.
// A batch is made anew only where the format forces it: its codec is not the topic's, or its offset deltas are not 0, 1, 2...
// Cost: uncompressed, one CRC and one walk over the bytes, no object and no allocation per record; compressed, one decompression
// in pieces through a buffer of the thread. Thread: any; no state but that buffer.
// Source: Apache Kafka 3.9's behaviour at its sockets.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "record/batch.h"
#include "record/compression.h"

namespace odradek::record {

// Who appends. Only a client's batches must start at offset 0, be no control batches and carry a sequence with a producer id.
enum class AppendOrigin : int8_t { kClient, kCoordinator, kReplication };

inline constexpr int64_t kNoTimestampLimit = INT64_MAX;

struct ValidateOptions {
  std::string_view partition;  // "orders-0", for error texts
  bool compacted = false;      // cleanup.policy has compact: every record needs a key
  TimestampType timestamp_type = TimestampType::kCreateTime;  // message.timestamp.type
  int64_t now_ms = 0;
  int64_t before_max_ms = kNoTimestampLimit;  // message.timestamp.before.max.ms
  int64_t after_max_ms = kNoTimestampLimit;   // message.timestamp.after.max.ms
  Offset first_offset{0};                     // the log end: offset of the first record
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
  std::optional<Codec> target_codec;  // compression.type; nullopt: producer, the codec stays
  std::optional<int> level;           // nullopt: the default of the target codec
  int32_t max_message_bytes = 1048588;
  AppendOrigin origin = AppendOrigin::kClient;
  bool keep_old_formats = false;  // message.format.policy=as-produced: messages of v0 and v1 stay what they are
  int16_t produce_version = 11;   // of the client's request: below 3 it may carry old formats, below 7 no zstd
  size_t max_decompressed_bytes = kMaxDecompressedBytes;
};

// A v0 wrapper before its offsets are known; the fields that matter for its bytes.
struct UnplacedWrapper {
  int8_t magic;
  Codec codec;
  int level;
  int64_t timestamp;
  TimestampType type;
  size_t max_bytes;  // of the wrapper
  Bytes messages;    // its content
};

struct ValidatedRecords {
  MutableByteView bytes;           // to be appended: the caller's bytes without a cut-off tail, or `rebuilt`; none: nothing came
  std::unique_ptr<Bytes> rebuilt;  // owns the bytes if the batch was made anew
  Offset first_offset;
  Offset last_offset;
  int64_t max_timestamp = kNoTimestamp;
  Offset offset_of_max_timestamp{-1};         // last offset of the batch that holds it: what a time index takes; -1 without one
  int64_t log_append_time_ms = kNoTimestamp; // -1 unless the topic is LogAppendTime
  int32_t record_count = 0;

  std::unique_ptr<UnplacedWrapper> unplaced;  // place() makes `bytes` of it

  bool is_rebuilt() const { return rebuilt != nullptr; }
  // False: `bytes` are messages of v0 or v1, or one wrapper of such.
  bool is_batch() const { return bytes[kMagicAt] == kMagicV2; }
  // The one batch in `bytes`; only if is_batch().
  BatchView batch() const { return BatchView(bytes); }
};

// One bad record of a rejected batch, as Produce v8 and above report it.
struct RecordError {
  int32_t batch_index = 0;  // index of the record in the batch
  std::string message;
};

// Error texts and record errors; at most kMaxRecordErrors of them are listed.
inline constexpr size_t kMaxRecordErrors = 10'000;
struct AppendError {
  Error error;
  std::vector<RecordError> records;
};

// `records` is one partition's field of a Produce request, or a batch of the broker's own.
// Errors, in the order of the checks:
//   kInvalidRecord                 client: no batch; magic below 2; more than one batch; base offset not 0
//   kUnsupportedCompressionType    zstd in a client's request below version 7; no such codec
//   kMessageTooLarge               a batch above max_message_bytes, as it came or rebuilt; more than max_decompressed_bytes
//   kCorruptMessage                frame not legal; CRC
//   kInvalidRecord                 count 0 or not last offset delta + 1; control batch or missing sequence from a client; records that
//                                  are not legal or not `count` many; no key on a compacted topic (record errors)
//   kInvalidTimestamp              out of range, or LogAppendTime claimed by the producer (record errors); on a CreateTime topic such a
//                                  claim is refused only without a timestamp, else it is taken off
// On an error the bytes are unchanged. A client's request below version 3 may carry messages of old formats: see
// validate_messages.h and keep_messages.h.
tl::expected<ValidatedRecords, AppendError> validate_and_assign_offsets(MutableByteView records, const ValidateOptions& options);

// Gives validated records their place in the log: writes their offsets, from `first`, into the bytes. No CRC covers them; only a v0
// wrapper is compressed again (kMessageTooLarge: now it is larger than max_message_bytes).
Result<void> place(ValidatedRecords& valid, Offset first);

}  // namespace odradek::record
