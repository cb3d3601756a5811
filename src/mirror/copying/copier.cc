#include "mirror/copying/copier.h"

#include <algorithm>
#include <set>

#include "record/control.h"

namespace odradek::mirror {

using record::BatchView;

namespace {
// Messages of the old formats stand alone in the log; so many bytes of them become one batch.
constexpr size_t kOldMessagesBytes = 256 << 10;
}  // namespace

void seal(MutableByteView batch, ProducerId producer_id, int16_t producer_epoch, int32_t base_sequence) {
  uint8_t* at = batch.data();
  base::store_be<int64_t>(at + record::kBaseOffsetAt, 0);  // as a producer counts
  base::store_be<int32_t>(at + record::kLeaderEpochAt, kNoLeaderEpoch.value);
  auto attributes = base::load_be<int16_t>(at + record::kAttributesAt);
  base::store_be<int16_t>(at + record::kAttributesAt, static_cast<int16_t>(attributes & ~record::kTransactionalBit));
  base::store_be<int64_t>(at + record::kProducerIdAt, producer_id.value);
  base::store_be<int16_t>(at + record::kProducerEpochAt, producer_epoch);
  base::store_be<int32_t>(at + record::kBaseSequenceAt, base_sequence);
  record::set_crc(batch);
}

bool Copier::fits_as_it_is(const BatchView& batch, Offset from) {
  return batch.base_offset() >= from && batch.count() == batch.last_offset_delta() + 1 && batch.timestamp_type() == record::TimestampType::kCreateTime &&
         !batch.has_delete_horizon();
}

void Copier::note(CopiedBatch& batch, Offset source) {
  if (batch.pieces.empty() || batch.pieces.back().source + batch.pieces.back().count != source) {
    batch.pieces.push_back({source, 1});
  } else {
    ++batch.pieces.back().count;
  }
}

void Copier::begin(Making& making, record::Codec codec) {
  making.codec = codec;
  making.builder.emplace(record::BuilderOptions{.codec = codec});
  making.batch = {};
}

void Copier::finish(Making& making, Copied& copied) {
  if (!making.builder) return;
  if (!making.builder->empty()) {
    making.batch.count = making.builder->count();
    making.batch.owned = std::make_unique<Bytes>(making.builder->build());
    making.batch.bytes = *making.batch.owned;
    copied.batches.push_back(std::move(making.batch));
    ++copied.rebuilt;
  }
  making.builder.reset();
}

Result<void> Copier::rebuild(const BatchView& batch, Offset from, Making& making) {
  auto reader = record::RecordReader::open(batch, decompressor_);
  if (!reader) return fail(std::move(reader.error()));
  record::RecordView record;
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) return {};
    if (record.offset < from) continue;
    making.builder->append_at(Offset{making.builder->count()}, record.timestamp, record.key, record.value, record.headers);
    note(making.batch, record.offset);
  }
}

Result<void> Copier::convert(const record::MessageView& message, Offset from, Making& making, Copied& copied) {
  record::Codec codec = message.codec();
  // Plain messages are collected; a wrapper becomes a batch of its own.
  if (making.builder && (message.is_wrapper() || making.codec != codec || making.builder->size_in_bytes() >= kOldMessagesBytes)) finish(making, copied);
  auto reader = record::MessageReader::open(message, decompressor_);
  if (!reader) return fail(std::move(reader.error()));
  if (!making.builder) begin(making, codec);
  record::MessageRecord record;
  for (;;) {
    auto more = reader->next(record);
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
    if (record.offset < from) continue;
    making.builder->append(record.timestamp, record.key, record.value);
    note(making.batch, record.offset);
  }
  if (message.is_wrapper()) finish(making, copied);
  return {};
}

Result<Copied> Copier::copy(MutableByteView frames, Offset from, const std::vector<Aborted>& aborted) {
  Copied copied;
  copied.next = from;
  std::vector<Aborted> transactions = aborted;
  std::sort(transactions.begin(), transactions.end(), [](const Aborted& a, const Aborted& b) { return a.first_offset < b.first_offset; });
  size_t next_transaction = 0;
  std::set<int64_t> aborting;  // producers whose transaction will turn out to be aborted
  Making making;               // of old messages
  ByteView rest = frames;
  for (;;) {
    auto frame = record::next_frame(rest);
    if (!frame) return fail(std::move(frame.error()));
    if (!*frame) break;
    if (!frame->crc_matches()) return fail(ErrorCode::kCorruptMessage, frame->where() + " has a wrong CRC");
    const LeaderEpoch epoch = frame->is_batch() ? frame->batch().leader_epoch() : kNoLeaderEpoch;
    if (copied.epochs.empty() || copied.epochs.back().epoch != epoch) copied.epochs.push_back({epoch, frame->is_batch() ? frame->base_offset() : frame->last_offset(), {}});
    copied.epochs.back().last = frame->last_offset();
    if (!frame->is_batch()) {
      if (auto done = convert(frame->message(), from, making, copied); !done) return fail(std::move(done.error()));
      copied.next = std::max(copied.next, frame->last_offset() + 1);
      continue;
    }
    finish(making, copied);
    BatchView batch = frame->batch();
    copied.next = std::max(copied.next, batch.next_offset());
    for (; next_transaction < transactions.size() && transactions[next_transaction].first_offset <= batch.last_offset(); ++next_transaction) {
      aborting.insert(transactions[next_transaction].producer_id);
    }
    if (batch.is_control()) {
      auto marker = record::parse_end_txn_marker(batch);
      if (marker && marker->type == record::ControlType::kAbort) aborting.erase(batch.producer_id().value);
      continue;
    }
    if (batch.count() <= 0 || batch.last_offset() < from) continue;
    if (batch.is_transactional() && aborting.contains(batch.producer_id().value)) continue;
    if (fits_as_it_is(batch, from)) {
      CopiedBatch& taken = copied.batches.emplace_back();
      taken.bytes = frames.subspan(static_cast<size_t>(frame->bytes().data() - frames.data()), frame->size_in_bytes());
      taken.count = batch.count();
      taken.pieces = {{batch.base_offset(), batch.count()}};
      continue;
    }
    if (!batch.has_known_codec()) return fail(ErrorCode::kUnsupportedCompressionType, batch.where());
    Making one;
    begin(one, batch.codec());
    if (auto done = rebuild(batch, from, one); !done) return fail(std::move(done.error()));
    finish(one, copied);
  }
  finish(making, copied);
  return copied;
}

}  // namespace odradek::mirror
