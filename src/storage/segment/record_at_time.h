// A search by time inside one batch, or wrapper message, of any format; compressed ones are opened.
// Thread: any.
#pragma once

#include <optional>

#include "base/result.h"
#include "record/frame.h"
#include "storage/index/entries.h"

namespace odradek::storage {

// The first record at or above `lowest` whose timestamp is at or after the given one. Errors: kCorruptMessage: its records cannot be read.
Result<std::optional<TimestampOffset>> find_record(const record::Frame& frame, int64_t timestamp, Offset lowest);

}  // namespace odradek::storage
