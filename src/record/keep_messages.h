// What a leader does with messages of v0 and v1 that stay in their format (message.format.policy=as-produced): the checks of
// validate.h, and the offsets in place. Only where the format forces it are the bytes made anew:
//   the topic's codec is another than theirs; inner offsets of a v1 wrapper are not 0, 1, 2... (very old producers send zeros);
//   a v0 wrapper, whose inner offsets are absolute and stand inside the compressed bytes.
// A topic of codec zstd, which these formats do not have, takes them as one v2 batch.
// On a LogAppendTime topic messages of v1 get the time; v0 has no place for it.
// Thread: any. Source: Apache Kafka 3.9's behaviour with message.format.version below 0.11.
#pragma once

#include "record/validate.h"

namespace odradek::record {

// `records` and errors: as convert_messages_up. The result's offsets are counted from 0 until place() gives them their place.
tl::expected<ValidatedRecords, AppendError> keep_messages(MutableByteView records, const ValidateOptions& options);

}  // namespace odradek::record
