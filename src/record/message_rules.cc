#include "record/message_rules.h"

#include <algorithm>

namespace odradek::record {
namespace {

using Rejected = tl::unexpected<AppendError>;

// No wrapper may hold more: its content stands in memory as a whole. Far above what an honest one of legal size has.
constexpr size_t kLeastDecompressedBytes = size_t{64} << 20;
constexpr size_t kDecompressedPerByte = 16;

Decompressor& thread_decompressor() {
  static thread_local Decompressor decompressor;
  return decompressor;
}

class Judge {
 public:
  explicit Judge(const ValidateOptions& options) : options_(options) {}

  Result<void> entry(const MessageView& entry, TakeMessage take);
  bool content() const { return wrong_.empty(); }
  Rejected rejection() {
    return Rejected(AppendError{{bad_timestamp_ ? ErrorCode::kInvalidTimestamp : ErrorCode::kInvalidRecord,
                                 "One or more records have been rejected: " + wrong_.front().message, 0},
                                std::move(wrong_)});
  }

 private:
  std::string in_partition() const { return " in topic partition " + std::string(options_.partition); }
  void judge(const MessageView& entry, const MessageRecord& record);

  const ValidateOptions& options_;
  int32_t index_ = 0;  // of the record in its message or wrapper
  bool bad_timestamp_ = false;
  std::vector<RecordError> wrong_;
};

void Judge::judge(const MessageView& entry, const MessageRecord& record) {
  // A small wrapper may hold millions of records: what is not listed costs no text.
  auto add = [&](auto&& why) {
    if (wrong_.size() < kMaxRecordErrors) wrong_.push_back({index_, why()});
  };
  if (options_.compacted && !record.key) {
    add([&] { return "Compacted topic cannot accept message without key" + in_partition(); });
  } else if (options_.timestamp_type == TimestampType::kCreateTime && record.timestamp != kNoTimestamp) {
    const int64_t age = wrapping_subtract(options_.now_ms, record.timestamp);
    if (age > options_.before_max_ms || wrapping_subtract(0, age) > options_.after_max_ms) {
      bad_timestamp_ = true;
      add([&] {
        return "Timestamp " + std::to_string(record.timestamp) + " of message with offset " + std::to_string(record.offset.value) +
               " is out of range. The timestamp should be within [" + std::to_string(wrapping_subtract(options_.now_ms, options_.before_max_ms)) +
               ", " + std::to_string(wrapping_add(options_.now_ms, options_.after_max_ms)) + "]";
      });
    }
  } else if (entry.timestamp_type() == TimestampType::kLogAppendTime) {
    bad_timestamp_ = true;
    add([&] {
      return "Invalid timestamp type in message at offset " + std::to_string(record.offset.value) +
             ". Producer should not set timestamp type to LogAppendTime.";
    });
  }
  ++index_;
}

Result<void> Judge::entry(const MessageView& entry, TakeMessage take) {
  const auto most = static_cast<size_t>(std::max(options_.max_message_bytes, 0));
  const size_t limit = std::min(options_.max_decompressed_bytes, std::max(kLeastDecompressedBytes, kDecompressedPerByte * most));
  auto reader = MessageReader::open(entry, thread_decompressor(), limit);
  if (!reader) return fail(std::move(reader.error()));
  index_ = 0;
  MessageRecord record;
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) return {};
    if (entry.is_wrapper() && !record.inner.crc_matches()) {
      return fail(ErrorCode::kCorruptMessage, "Record is corrupt (stored crc = " + std::to_string(record.inner.crc()) + ")" + in_partition() + ".");
    }
    judge(entry, record);
    if (!content()) continue;
    if (auto taken = take(entry, record); !taken) return taken;
  }
}

}  // namespace

tl::expected<void, AppendError> judge_messages(ByteView records, const ValidateOptions& options, TakeMessage take) {
  Judge judge(options);
  for (ByteView rest = records; !rest.empty();) {
    const MessageView entry = first_message(rest);
    rest = rest.subspan(entry.size_in_bytes());
    if (auto judged = judge.entry(entry, take); !judged) return reject_messages(std::move(judged.error()), options);
    if (!judge.content()) return judge.rejection();
  }
  return {};
}

MessageView first_message(ByteView records) { return MessageView(records.first(peek_frame(records)->value().total_size)); }

tl::unexpected<AppendError> reject_messages(Error error, const ValidateOptions& options) {
  if (error.code == ErrorCode::kMessageTooLarge) {
    error.what = "Message batch in append to partition " + std::string(options.partition) + " exceeds the maximum configured size of " +
                 std::to_string(options.max_message_bytes) + " once it is converted.";
  }
  return tl::unexpected<AppendError>(AppendError{std::move(error), {}});
}

}  // namespace odradek::record
