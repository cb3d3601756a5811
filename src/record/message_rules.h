// The rules that a leader holds messages of v0 and v1 against, record by record, whatever becomes of them then.
// Thread: any; wrappers are decompressed in a buffer of the thread.
#pragma once

#include <absl/functional/function_ref.h>

#include "record/validate_messages.h"

namespace odradek::record {

// Reads every record of `records` (as convert_messages_up takes them), judges it, and hands it on as long as none was wrong.
// The views handed on are valid during the call. Errors: those of convert_messages_up, and what `take` returns.
using TakeMessage = absl::FunctionRef<Result<void>(const MessageView& entry, const MessageRecord& record)>;
tl::expected<void, AppendError> judge_messages(ByteView records, const ValidateOptions& options, TakeMessage take);

// The first frame of `records`.
MessageView first_message(ByteView records);

// What is said of records that pass max_message_bytes in the form in which they are to be stored.
tl::unexpected<AppendError> reject_messages(Error error, const ValidateOptions& options);

}  // namespace odradek::record
