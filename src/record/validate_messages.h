// What a leader does with messages of the formats v0 and v1: the checks of validate.h, and one v2 batch made of them all.
// A Produce request below v3 may carry such messages, or one v2 batch. No whole message in it is no error: then the result has no
// bytes and no records. The order of the checks: each frame (kCorruptMessage, kMessageTooLarge; a v2 batch's base offset:
// kInvalidRecord); more than one frame where one is compressed or v2, different magics: kInvalidRecord; then the records.
// A log holds v2 only (the leader epoch, sequences and exact compaction need it), so that old clients pay for the conversion once.
// Cost: every record is copied once; a wrapper is decompressed whole, within a bound. Thread: any.
// Source: Apache Kafka 3.9's behaviour at its sockets.
#pragma once

#include "record/message.h"
#include "record/validate.h"

namespace odradek::record {

// `records`: whole frames of one magic, 0 or 1, each with a right CRC and of a legal size: uncompressed messages, or one wrapper.
// Errors: kCorruptMessage: lengths, or the CRC of an inner message. kInvalidRecord: see MessageReader; no key on a compacted topic.
// kInvalidTimestamp. kMessageTooLarge: the batch, or what the wrapper holds.
tl::expected<ValidatedRecords, AppendError> convert_messages_up(ByteView records, const ValidateOptions& options);

}  // namespace odradek::record
