#include "storage/segment/record_at_time.h"

#include <utility>

#include "record/record.h"
#include "record/walk.h"

namespace odradek::storage {
namespace {

// Sees the records of a batch pass by.
struct FirstRecord {
  record::BatchHeader batch;
  int64_t timestamp;
  Offset lowest;
  std::optional<TimestampOffset> found;

  void operator()(const record::RawRecord& record) {
    if (found) return;
    const int64_t time = batch.timestamp_type() == record::TimestampType::kLogAppendTime
                             ? batch.max_timestamp()
                             : record::wrapping_add(batch.base_timestamp(), record.timestamp_delta);
    const Offset offset{record::wrapping_add(batch.base_offset().value, record.offset_delta)};
    if (time >= timestamp && offset >= lowest) found = TimestampOffset{time, offset, batch.leader_epoch()};
  }
};

}  // namespace

Result<std::optional<TimestampOffset>> find_record(const record::Frame& frame, int64_t timestamp, Offset lowest) {
  static thread_local record::Decompressor decompressor;
  // In pieces: a small batch may hold as much as the broker has memory.
  if (frame.is_batch() && frame.batch().is_compressed() && frame.batch().count() > 0) {
    if (auto started = decompressor.start(frame.batch().codec(), frame.batch().records()); !started) return fail(std::move(started.error()));
    FirstRecord search{frame.batch(), timestamp, lowest, std::nullopt};
    if (auto walked = record::RecordStream(decompressor).walk(frame.batch().count(), search); !walked) return fail(std::move(walked.error()));
    return search.found;
  }
  auto search = [&](auto reader, auto record) -> Result<std::optional<TimestampOffset>> {
    if (!reader) return fail(std::move(reader.error()));
    for (;;) {
      auto more = reader->next(record);
      if (!more) return fail(std::move(more.error()));
      if (!*more) return std::nullopt;
      if (record.timestamp >= timestamp && record.offset >= lowest) return TimestampOffset{record.timestamp, record.offset, frame.leader_epoch()};
    }
  };
  if (frame.is_batch()) return search(record::RecordReader::open(frame.batch(), decompressor), record::RecordView());
  return search(record::MessageReader::open(frame.message(), decompressor), record::MessageRecord());
}

}  // namespace odradek::storage
