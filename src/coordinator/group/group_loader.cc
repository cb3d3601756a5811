#include "coordinator/group/group_loader.h"

#include "base/log.h"
#include "record/control.h"
#include "record/frame.h"
#include "record/record.h"

namespace odradek::coordinator {

Result<void> GroupLoader::add(ByteView batches) {
  record::Decompressor decompressor;
  auto take = [&](auto reader, auto view, bool transactional, ProducerId producer) -> Result<void> {
    if (!reader) return fail(std::move(reader.error()));
    while (true) {
      auto more = reader->next(view);
      if (!more) return fail(std::move(more.error()));
      if (!*more) return {};
      ++state_.records;
      auto parsed = view.key ? parse_record(*view.key, view.value) : fail(ErrorCode::kInvalidRequest, "no key");
      if (parsed) {
        add_record(std::move(*parsed), view.offset, transactional, producer);
      } else if (parsed.error().code == ErrorCode::kUnsupportedVersion) {
        return fail(ErrorCode::kUnsupportedVersion, fmt::format("record {}: {}", view.offset.value, parsed.error().what));
      } else {
        ++state_.unreadable;
        log::error("group", "{}: record {} is left out: {}", tp_.to_string(), view.offset.value, parsed.error().what);
      }
    }
  };
  while (true) {
    auto frame = record::next_frame(batches);
    if (!frame) return fail(std::move(frame.error()));
    if (!*frame) return {};
    state_.end = frame->last_offset() + 1;
    if (!frame->is_batch()) {
      // What a Kafka of before 0.11 wrote.
      auto taken = take(record::MessageReader::open(frame->message(), decompressor), record::MessageRecord(), false, kNoProducer);
      if (!taken) return taken;
      continue;
    }
    const record::BatchView batch = frame->batch();
    if (batch.is_control()) {
      auto marker = record::parse_end_txn_marker(batch);
      if (!marker) continue;  // another kind of control batch
      auto open = open_.find(batch.producer_id().value);
      if (open == open_.end()) continue;
      for (const std::string& group : open->second) {
        auto found = state_.groups.find(group);
        if (found != state_.groups.end()) found->second.offsets.complete(batch.producer_id(), marker->type == record::ControlType::kCommit);
      }
      open_.erase(open);
      continue;
    }
    auto taken = take(record::RecordReader::open(batch, decompressor), record::RecordView(), batch.is_transactional(), batch.producer_id());
    if (!taken) return taken;
  }
}

void GroupLoader::add_record(StoredRecord record, Offset at, bool transactional, ProducerId producer) {
  if (auto* offset = std::get_if<OffsetRecord>(&record)) {
    if (!offset->offset) {
      auto known = state_.groups.find(offset->group);
      if (known != state_.groups.end()) known->second.offsets.remove(offset->topic, offset->partition);
      return;
    }
    offset->offset->record = at;
    GroupOffsets& offsets = state_.groups[offset->group].offsets;
    if (transactional) {
      open_[producer.value].insert(offset->group);
      offsets.put_pending(producer, offset->topic, offset->partition, std::move(*offset->offset));
    } else {
      offsets.put(offset->topic, offset->partition, std::move(*offset->offset));
    }
  } else if (auto* group = std::get_if<GroupRecord>(&record)) {
    if (group->stored) {
      state_.groups[group->group].stored = std::move(group->stored);
    } else if (auto known = state_.groups.find(group->group); known != state_.groups.end()) {
      known->second.stored.reset();
    }
  }
}

LoadedState GroupLoader::finish() && {
  // What was removed again.
  absl::erase_if(state_.groups, [](const auto& entry) { return !entry.second.stored && entry.second.offsets.empty(); });
  return std::move(state_);
}

Result<LoadedState> load_groups(LogAccess& log, const TopicPartition& tp, LeaderEpoch epoch, int32_t buffer_bytes, UniqueFunction<bool()> go_on) {
  auto bounds = log.bounds(tp, epoch);
  if (!bounds) return fail(std::move(bounds.error()));
  GroupLoader loader(tp);
  Offset next = bounds->start;
  while (next < bounds->end) {
    if (!go_on()) return fail(ErrorCode::kNotCoordinator, tp.to_string());
    auto batches = log.read(tp, epoch, next, buffer_bytes);
    if (!batches) return fail(std::move(batches.error()));
    if (batches->empty()) break;
    if (auto added = loader.add(*batches); !added) return fail(std::move(added.error()));
    if (loader.next_offset() <= next) return fail(ErrorCode::kCorruptMessage, fmt::format("{}: no batch at {}", tp.to_string(), next.value));
    next = loader.next_offset();
  }
  LoadedState state = std::move(loader).finish();
  state.end = std::max(next, bounds->end);
  return state;
}

}  // namespace odradek::coordinator
