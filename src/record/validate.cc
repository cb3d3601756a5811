#include "record/validate.h"

#include <algorithm>

#include "base/varint.h"
#include "record/frame.h"
#include "record/keep_messages.h"
#include "record/validate_messages.h"
#include "record/walk.h"

namespace odradek::record {
namespace {

using Rejected = tl::unexpected<AppendError>;

Rejected reject(ErrorCode code, std::string what) { return Rejected(AppendError{{code, std::move(what)}, {}}); }
Rejected reject(Error error) { return Rejected(AppendError{std::move(error), {}}); }

// The pieces of a thread's compressed batches; kept from batch to batch.
Decompressor& thread_decompressor() {
  static thread_local Decompressor decompressor;
  return decompressor;
}
Compressor& thread_compressor() {
  static thread_local Compressor compressor;
  return compressor;
}

// The loop over a batch only gathers this; the rules are judged once behind it, and record by record only if one may be broken.
struct Gathered {
  int64_t lowest_delta = INT64_MAX;
  int64_t highest_delta = INT64_MIN;
  int32_t null_keys = 0;       // negative: one key size at least is
  int32_t offset_differs = 0;  // bits in which offset deltas differ from 0, 1, 2...
  int32_t index = 0;

  void operator()(const RawRecord& record) {
    lowest_delta = std::min(lowest_delta, record.timestamp_delta);
    highest_delta = std::max(highest_delta, record.timestamp_delta);
    null_keys |= record.key_size;
    offset_differs |= record.offset_delta ^ index;
    ++index;
  }
};

// The same for timestamps beyond the ends of an int64: only a forged batch has them.
struct WrappingTimestamps {
  int64_t base;
  int64_t lowest = INT64_MAX;
  int64_t highest = INT64_MIN;

  void operator()(const RawRecord& record) {
    int64_t timestamp = wrapping_add(base, record.timestamp_delta);
    lowest = std::min(lowest, timestamp);
    highest = std::max(highest, timestamp);
  }
};

// One batch on its way through the checks.
class Validator {
 public:
  Validator(const ValidateOptions& options, BatchView batch) : options_(options), batch_(batch) {}

  tl::expected<void, AppendError> check_frame() const;
  tl::expected<ValidatedRecords, AppendError> run(MutableByteView bytes);

 private:
  bool from_client() const { return options_.origin == AppendOrigin::kClient; }
  std::string in_partition() const { return " in topic partition " + std::string(options_.partition); }
  // What the rules judge. A claim of LogAppendTime that passes them (see validate.h) is taken off, and the records' own timestamps count.
  int64_t record_timestamp(const RawRecord& record) const {
    return claims_append_time_ ? batch_.max_timestamp() : wrapping_add(batch_.base_timestamp(), record.timestamp_delta);
  }
  Codec target_codec() const {
    if (!options_.target_codec || (batch_.is_control() && !batch_.is_compressed())) return batch_.codec();
    return *options_.target_codec;
  }
  bool in_range(int64_t timestamp) const;
  bool surely_in_range(int64_t timestamp) const;

  tl::expected<void, AppendError> check_header() const;
  tl::expected<void, AppendError> check_records();
  tl::expected<void, AppendError> collect_record_errors() const;
  tl::expected<std::unique_ptr<Bytes>, AppendError> rebuild() const;
  // Calls `visit` for each record, whether compressed or not.
  template <class Visit>
  Result<void> walk(Visit& visit) const;

  const ValidateOptions& options_;
  BatchView batch_;
  bool claims_append_time_ = false;
  // What the walk found.
  int64_t lowest_timestamp_ = INT64_MAX;
  int64_t highest_timestamp_ = INT64_MIN;
  bool consecutive_ = true;
};

// As Kafka computes it, in 64 bits that wrap.
bool Validator::in_range(int64_t timestamp) const {
  int64_t age = wrapping_subtract(options_.now_ms, timestamp);
  return age <= options_.before_max_ms && wrapping_subtract(0, age) <= options_.after_max_ms;
}

// True only where no wrap can occur, so that two true ends of an interval speak for all between them.
bool Validator::surely_in_range(int64_t timestamp) const {
  int64_t age;
  return !__builtin_sub_overflow(options_.now_ms, timestamp, &age) && age != INT64_MIN && in_range(timestamp);
}

tl::expected<void, AppendError> Validator::check_frame() const {
  if (from_client() && batch_.base_offset().value != 0) {
    return reject(ErrorCode::kInvalidRecord, "The baseOffset of the record batch in the append to " + std::string(options_.partition) +
                                                 " should be 0, but it is " + std::to_string(batch_.base_offset().value));
  }
  if (batch_.size_in_bytes() > static_cast<size_t>(std::max(options_.max_message_bytes, 0))) {
    return reject(ErrorCode::kMessageTooLarge, "The record batch size in the append to " + std::string(options_.partition) + " is " +
                                                   std::to_string(batch_.size_in_bytes()) +
                                                   " bytes which exceeds the maximum configured value of " +
                                                   std::to_string(options_.max_message_bytes) + ".");
  }
  if (!batch_.crc_matches()) {
    return reject(ErrorCode::kCorruptMessage,
                  "Record is corrupt (stored crc = " + std::to_string(batch_.crc()) + ")" + in_partition() + ".");
  }
  if (!batch_.has_known_codec()) {
    return reject(ErrorCode::kUnsupportedCompressionType, "Unknown compression type id: " + std::to_string(static_cast<int>(batch_.codec())));
  }
  return {};
}

tl::expected<void, AppendError> Validator::check_header() const {
  int64_t range = int64_t{batch_.last_offset_delta()} + 1;
  auto ends = [&] { return std::string("[") + std::to_string(batch_.base_offset().value) + ", " + std::to_string(batch_.last_offset().value) + "]"; };
  if (range <= 0) return reject(ErrorCode::kInvalidRecord, "Batch has an invalid offset range: " + ends() + in_partition());
  if (batch_.count() <= 0) {
    return reject(ErrorCode::kInvalidRecord, "Invalid reported count for record batch: " + std::to_string(batch_.count()) + in_partition());
  }
  if (range != batch_.count()) {
    return reject(ErrorCode::kInvalidRecord, "Inconsistent batch offset range " + ends() + " and count of records " +
                                                 std::to_string(batch_.count()) + in_partition());
  }
  if (!from_client()) return {};
  if (batch_.is_control()) {
    return reject(ErrorCode::kInvalidRecord, "Clients are not allowed to write control records" + in_partition());
  }
  if (batch_.has_producer() && batch_.base_sequence() < 0) {
    return reject(ErrorCode::kInvalidRecord, "Invalid sequence number " + std::to_string(batch_.base_sequence()) +
                                                 " in record batch with producerId " + std::to_string(batch_.producer_id().value) +
                                                 in_partition());
  }
  return {};
}

template <class Visit>
Result<void> Validator::walk(Visit& visit) const {
  if (batch_.is_compressed()) {
    Decompressor& decompressor = thread_decompressor();
    auto started = decompressor.start(batch_.codec(), batch_.records(), options_.max_decompressed_bytes);
    if (!started) return started;
    return RecordStream(decompressor).walk(batch_.count(), visit);
  }
  ByteView bytes = batch_.records();
  const uint8_t* end = bytes.data() + bytes.size();
  int32_t left = batch_.count();
  RecordFault fault = nullptr;
  const uint8_t* at = walk_records(bytes.data(), end, left, fault, visit);
  if (fault == nullptr) fault = left > 0 ? kEndsEarly : at != end ? kBytesLeft : nullptr;
  return fault == nullptr ? Result<void>() : fail(ErrorCode::kInvalidRecord, fault);
}

tl::expected<void, AppendError> Validator::check_records() {
  claims_append_time_ = batch_.timestamp_type() == TimestampType::kLogAppendTime;
  Gathered found;
  auto walked = walk(found);
  if (!walked) return reject(std::move(walked.error()));
  consecutive_ = found.offset_differs == 0;
  bool has_null_key = found.null_keys < 0;
  int64_t base = batch_.base_timestamp();
  if (__builtin_add_overflow(base, found.lowest_delta, &lowest_timestamp_) ||
      __builtin_add_overflow(base, found.highest_delta, &highest_timestamp_)) [[unlikely]] {
    WrappingTimestamps wrapping{base};
    walked = walk(wrapping);
    if (!walked) return reject(std::move(walked.error()));
    lowest_timestamp_ = wrapping.lowest;
    highest_timestamp_ = wrapping.highest;
  }
  bool key_rule = options_.compacted && has_null_key;
  bool time_rule = claims_append_time_ || (options_.timestamp_type == TimestampType::kCreateTime &&
                                           !(surely_in_range(lowest_timestamp_) && surely_in_range(highest_timestamp_)));
  if (key_rule || time_rule) return collect_record_errors();
  return {};
}

tl::expected<void, AppendError> Validator::collect_record_errors() const {
  AppendError rejected;
  bool bad_timestamp = false;
  size_t total = 0;
  int32_t index = 0;
  // A small batch may hold millions of records: what is not listed costs no text.
  auto add = [&](auto&& message) {
    if (++total <= kMaxRecordErrors) rejected.records.push_back({index, message()});
  };
  auto judge = [&](const RawRecord& record) {
    int64_t timestamp = record_timestamp(record);
    int64_t offset = wrapping_add(batch_.base_offset().value, record.offset_delta);
    if (options_.compacted && record.key_size < 0) {
      add([&] { return "Compacted topic cannot accept message without key" + in_partition(); });
    } else if (options_.timestamp_type == TimestampType::kCreateTime && timestamp != kNoTimestamp) {
      if (!in_range(timestamp)) {
        bad_timestamp = true;
        add([&] {
          return "Timestamp " + std::to_string(timestamp) + " of message with offset " + std::to_string(offset) +
                 " is out of range. The timestamp should be within [" +
                 std::to_string(wrapping_subtract(options_.now_ms, options_.before_max_ms)) + ", " +
                 std::to_string(wrapping_add(options_.now_ms, options_.after_max_ms)) + "]";
        });
      }
    } else if (claims_append_time_) {
      bad_timestamp = true;
      // The name that Kafka gives the record: its reader of batches that need not be written again skips the fields.
      bool skipped = batch_.is_compressed() && target_codec() == batch_.codec();
      add([&] {
        return std::string("Invalid timestamp type in message ") + (skipped ? "PartialDefaultRecord" : "DefaultRecord") +
               "(offset=" + std::to_string(offset) + ", timestamp=" + std::to_string(timestamp) +
               ", key=" + std::to_string(std::max(record.key_size, 0)) + " bytes, value=" + std::to_string(std::max(record.value_size, 0)) +
               " bytes). Producer should not set timestamp type to LogAppendTime.";
      });
    }
    ++index;
  };
  struct Each {
    decltype(judge)* rule;
    void operator()(const RawRecord& record) { (*rule)(record); }
  } each{&judge};
  auto walked = walk(each);
  if (!walked) return reject(std::move(walked.error()));
  if (total == 0) return {};
  if (bad_timestamp) {
    rejected.error = {ErrorCode::kInvalidTimestamp, "One or more records have been rejected due to invalid timestamp"};
  } else {
    std::string shown;
    for (size_t i = 0; i < std::min<size_t>(rejected.records.size(), 3); ++i) {
      shown += (i == 0 ? "" : ", ");
      shown += "RecordError(batchIndex=" + std::to_string(rejected.records[i].batch_index) + ", message='" + rejected.records[i].message + "')";
    }
    rejected.error = {ErrorCode::kInvalidRecord, "One or more records have been rejected due to " + std::to_string(total) +
                                                     " record errors in total, and only showing the first three errors at most: [" + shown +
                                                     "]"};
  }
  return Rejected(std::move(rejected));
}

// Writes a record's head again with the offset delta that its place gives it; its other bytes are copied as they come.
Result<void> renumber(RecordStream& from, Compressor& to, int32_t count) {
  constexpr uint64_t kEnded = UINT64_MAX;
  uint8_t head[32];
  for (int32_t index = 0; index < count; ++index) {
    size_t taken = 0;
    auto number = [&]() -> uint64_t {
      uint64_t raw = 0;
      uint8_t byte = 0x80;
      for (int shift = 0; (byte & 0x80) != 0 && shift < 70; shift += 7) {
        if (!from.byte(byte)) return kEnded;
        ++taken;
        raw |= static_cast<uint64_t>(byte & 0x7f) << shift;
      }
      return raw;
    };
    uint64_t size = number();
    taken = 0;
    uint8_t attributes = 0;
    if (size == kEnded || !from.byte(attributes)) return from.stopped();
    ++taken;
    uint64_t timestamp_delta = number();
    if (number() == kEnded) return from.stopped();
    auto old_size = static_cast<size_t>(base::unzigzag(size));
    size_t body = old_size - std::min(taken, old_size);
    uint64_t offset_delta = base::zigzag(index);
    size_t new_size = 1 + base::uvarint_size(timestamp_delta) + base::uvarint_size(offset_delta) + body;
    size_t used = base::encode_uvarint(head, base::zigzag(static_cast<int64_t>(new_size)));
    head[used++] = attributes;
    used += base::encode_uvarint(head + used, timestamp_delta);
    used += base::encode_uvarint(head + used, offset_delta);
    auto written = to.write({head, used});
    while (written && body > 0) {
      ByteView piece = from.piece(body);
      if (piece.empty()) return from.stopped();
      body -= piece.size();
      written = to.write(piece);
    }
    if (!written) return written;
  }
  return {};
}

tl::expected<std::unique_ptr<Bytes>, AppendError> Validator::rebuild() const {
  Codec codec = target_codec();
  int level = options_.target_codec && options_.level ? *options_.level : default_level(codec);
  size_t limit = static_cast<size_t>(options_.max_message_bytes);
  auto out = std::make_unique<Bytes>();
  out->reserve(std::min(limit, batch_.size_in_bytes() + 512));
  out->resize(kBatchHeaderSize);
  std::memcpy(out->data(), batch_.bytes().data(), kBatchHeaderSize);

  Decompressor& decompressor = thread_decompressor();
  Compressor& compressor = thread_compressor();
  auto done = decompressor.start(batch_.codec(), batch_.records(), options_.max_decompressed_bytes);
  if (done) {
    size_t about = batch_.records().size() * (batch_.is_compressed() ? 8 : 1);
    compressor.start(codec, level, *out, limit - std::min(limit, kBatchHeaderSize), about);
    if (!consecutive_) {
      RecordStream stream(decompressor);
      done = renumber(stream, compressor, batch_.count());
    } else {
      for (;;) {
        auto piece = decompressor.next();
        if (!piece) return reject(std::move(piece.error()));
        if (piece->empty()) break;
        done = compressor.write(*piece);
        if (!done) break;
      }
    }
    if (done) done = compressor.finish();
  }
  if (!done) {
    if (done.error().code == ErrorCode::kMessageTooLarge) {
      done.error().what = "Message batch in append to partition " + std::string(options_.partition) +
                          " exceeds the maximum configured size of " + std::to_string(options_.max_message_bytes) +
                          " once it is written again as the topic wants it.";
    }
    return reject(std::move(done.error()));
  }
  uint8_t* at = out->data();
  constexpr int16_t kKept = kLogAppendTimeBit | kTransactionalBit | kControlBit;
  base::store_be<int32_t>(at + kSizeAt, static_cast<int32_t>(out->size() - kFrameOverhead));
  base::store_be<int16_t>(at + kAttributesAt, static_cast<int16_t>((batch_.attributes() & kKept) | static_cast<int16_t>(codec)));
  return out;
}

tl::expected<ValidatedRecords, AppendError> Validator::run(MutableByteView bytes) {
  auto checked = check_frame();
  if (checked) checked = check_header();
  if (checked) checked = check_records();
  if (!checked) return Rejected(std::move(checked.error()));

  bool append_time = options_.timestamp_type == TimestampType::kLogAppendTime;
  ValidatedRecords valid;
  valid.bytes = bytes;
  valid.record_count = batch_.count();
  valid.first_offset = options_.first_offset;
  valid.last_offset = options_.first_offset + batch_.last_offset_delta();
  valid.max_timestamp = append_time ? options_.now_ms : std::max(highest_timestamp_, kNoTimestamp);
  if (valid.max_timestamp > kNoTimestamp) valid.offset_of_max_timestamp = valid.last_offset;
  if (append_time) valid.log_append_time_ms = options_.now_ms;

  bool again = target_codec() != batch_.codec() || !consecutive_;
  if (again) {
    auto out = rebuild();
    if (!out) return Rejected(std::move(out.error()));
    valid.rebuilt = std::move(*out);
    valid.bytes = *valid.rebuilt;
  }
  set_base_offset(valid.bytes, valid.first_offset);
  set_leader_epoch(valid.bytes, options_.leader_epoch);
  set_max_timestamp(valid.bytes, options_.timestamp_type, valid.max_timestamp);
  if (again) set_crc(valid.bytes);
  return valid;
}

// A Produce request below v3 may carry a set of messages of any one format; what is checked, and in which order, is another than there.
tl::expected<ValidatedRecords, AppendError> validate_message_set(MutableByteView records, const ValidateOptions& options) {
  size_t whole = 0;
  size_t frames = 0;
  int8_t magic = 0;
  bool magic_differs = false;
  bool compressed = false;
  ByteView rest = records;
  for (;;) {
    auto next = next_frame(rest);
    if (!next) return reject(std::move(next.error()));
    if (!*next) break;
    const Frame& frame = *next;
    if (frame.is_batch()) {
      if (auto legal = Validator(options, frame.batch()).check_frame(); !legal) return Rejected(std::move(legal.error()));
      compressed = compressed || frame.batch().is_compressed();
    } else {
      if (frame.size_in_bytes() > static_cast<size_t>(std::max(options.max_message_bytes, 0))) {
        return reject(ErrorCode::kMessageTooLarge, "The record batch size in the append to " + std::string(options.partition) + " is " +
                                                       std::to_string(frame.size_in_bytes()) +
                                                       " bytes which exceeds the maximum configured value of " +
                                                       std::to_string(options.max_message_bytes) + ".");
      }
      if (!frame.crc_matches()) {
        return reject(ErrorCode::kCorruptMessage, "Record is corrupt (stored crc = " + std::to_string(frame.message().crc()) +
                                                      ") in topic partition " + std::string(options.partition) + ".");
      }
      compressed = compressed || frame.message().is_wrapper();
    }
    if (frames++ == 0) magic = frame.magic();
    magic_differs = magic_differs || frame.magic() != magic;
    whole += frame.size_in_bytes();
  }
  if (frames == 0) return ValidatedRecords{};
  if (frames > 1 && (compressed || magic == kMagicV2)) return reject(ErrorCode::kInvalidRecord, "Compressed outer record has more than one batch");
  if (magic_differs) {
    return reject(ErrorCode::kInvalidRecord, "Batch magic is not the same as the first batch's magic byte " + std::to_string(magic) +
                                                 " in topic partition " + std::string(options.partition) + ".");
  }
  MutableByteView taken = records.first(whole);
  if (magic == kMagicV2) return Validator(options, BatchView(taken)).run(taken);
  return options.keep_old_formats ? keep_messages(taken, options) : convert_messages_up(taken, options);
}

}  // namespace

tl::expected<ValidatedRecords, AppendError> validate_and_assign_offsets(MutableByteView records, const ValidateOptions& options) {
  bool client = options.origin == AppendOrigin::kClient;
  if (client && options.produce_version < 3) return validate_message_set(records, options);
  auto who = [&] {
    return client ? "Produce requests with version " + std::to_string(options.produce_version) : std::string("Appends of the broker");
  };
  auto frame = peek_frame(records);
  if (!frame) return reject(std::move(frame.error()));
  if (!*frame || (*frame)->total_size > records.size()) return reject(ErrorCode::kInvalidRecord, who() + " must have at least one record batch");
  if ((*frame)->magic != kMagicV2) {
    return reject(ErrorCode::kInvalidRecord, who() + " are only allowed to contain record batches with magic version 2");
  }
  MutableByteView first = records.first((*frame)->total_size);
  BatchView batch(first);
  if (client && options.produce_version < 7 && batch.codec() == Codec::kZstd) {
    return reject(ErrorCode::kUnsupportedCompressionType, who() + " are not allowed to use ZStandard compression");
  }
  ByteView rest = records.subspan(first.size());
  auto second = peek_frame(rest);
  if (!second) return reject(std::move(second.error()));
  if (*second && (*second)->total_size <= rest.size()) {
    return reject(ErrorCode::kInvalidRecord, who() + " are only allowed to contain exactly one record batch per partition");
  }
  return Validator(options, batch).run(first);
}

}  // namespace odradek::record
