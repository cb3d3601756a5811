#include "storage/log/producer_state.h"

#include <algorithm>

#include "base/check.h"
#include "base/crc.h"

namespace odradek::storage {
namespace {

constexpr int16_t kSnapshotVersion = 1;
constexpr size_t kSnapshotHeader = 10;  // version, CRC, count
constexpr size_t kCrcEnd = 6;
constexpr size_t kSnapshotEntry = 46;

bool follows(int32_t last, int32_t next) { return next == record::add_sequence(last, 1); }

}  // namespace

void Producer::add(const ProducerBatch& batch) {
  if (count_ == kBatches) {
    std::move(batches_.begin() + 1, batches_.end(), batches_.begin());
    --count_;
  }
  batches_[count_++] = batch;
}

const ProducerBatch* Producer::find(int32_t first_sequence, int32_t last_sequence) const {
  for (size_t i = 0; i < count_; ++i) {
    if (batches_[i].last_sequence == last_sequence && batches_[i].first_sequence() == first_sequence) return &batches_[i];
  }
  return nullptr;
}

void Producer::recall(const Producer& told) {
  if (empty() || told.empty() || told.epoch != epoch || told.newest().last_offset != oldest().last_offset) return;
  const size_t taken = std::min<size_t>(told.count_ - 1u, kBatches - count_);
  std::move_backward(batches_.begin(), batches_.begin() + count_, batches_.begin() + count_ + taken);
  std::copy_n(told.batches_.begin() + (told.count_ - 1u - taken), taken, batches_.begin());
  count_ = static_cast<uint8_t>(count_ + taken);
}

std::optional<Offset> ProducerStateManager::untold_below(const record::BatchHeader& batch) const {
  if (!snapshot_) return std::nullopt;
  auto found = producers_.find(batch.producer_id().value);
  if (found == producers_.end()) return std::nullopt;
  const Producer& producer = found->second;
  const bool complete = producer.epoch != batch.producer_epoch() || producer.empty() || producer.full() || producer.oldest().last_offset >= *snapshot_;
  return complete ? std::nullopt : snapshot_;
}

void ProducerStateManager::recall(const ProducerStateManager& told) {
  for (const auto& [id, producer] : told.producers_) {
    if (auto found = producers_.find(id); found != producers_.end()) found->second.recall(producer);
  }
  snapshot_.reset();
}

const ProducerBatch* ProducerStateManager::find_duplicate(const record::BatchHeader& batch) const {
  if (!batch.has_producer()) return nullptr;
  auto found = producers_.find(batch.producer_id().value);
  if (found == producers_.end() || found->second.epoch != batch.producer_epoch()) return nullptr;
  return found->second.find(batch.base_sequence(), batch.last_sequence());
}

Result<void> ProducerStateManager::check(const record::BatchView& batch, bool epoch_only, bool from_zero) const {
  if (!batch.has_producer()) return {};
  auto found = producers_.find(batch.producer_id().value);
  const Producer* known = found == producers_.end() ? nullptr : &found->second;
  auto who = [&] { return "producer " + std::to_string(batch.producer_id().value) + " epoch " + std::to_string(batch.producer_epoch()); };

  if (known != nullptr && batch.producer_epoch() < known->epoch) {
    return fail(ErrorCode::kInvalidProducerEpoch, who() + " is below the known epoch " + std::to_string(known->epoch));
  }
  if (batch.is_control()) {
    auto marker = record::parse_end_txn_marker(batch);
    if (!marker) return fail(std::move(marker.error()));
    if (known != nullptr && marker->coordinator_epoch < known->coordinator_epoch) {
      return fail(ErrorCode::kTransactionCoordinatorFenced, "coordinator epoch " + std::to_string(marker->coordinator_epoch) + " for " + who() +
                                                                " is below the known " + std::to_string(known->coordinator_epoch));
    }
    return {};
  }
  if (!epoch_only && known != nullptr && known->epoch != -1) {
    int32_t first = batch.base_sequence();
    bool legal = batch.producer_epoch() != known->epoch ? first == 0 : follows(known->last_sequence(), first);
    if (!legal) {
      return fail(ErrorCode::kOutOfOrderSequenceNumber, "sequence " + std::to_string(first) + " of " + who() + " does not follow " +
                                                            std::to_string(known->last_sequence()) + " of epoch " + std::to_string(known->epoch));
    }
  }
  if (!epoch_only && known == nullptr) {
    if (from_zero && batch.base_sequence() != 0) {
      // What every client tries again. OUT_OF_ORDER_SEQUENCE_NUMBER of the batch that librdkafka expects to be taken next ends the producer, and
      // nobody knows here whether its state has only expired.
      return fail(ErrorCode::kNotLeaderOrFollower,
                  "sequence " + std::to_string(batch.base_sequence()) + " of " + who() + ": what comes before it has not come to this leader yet");
    }
    auto refused = refused_.find(batch.producer_id().value);
    if (refused != refused_.end() && refused->second.epoch == batch.producer_epoch() && refused->second.first_sequence != batch.base_sequence()) {
      return fail(ErrorCode::kOutOfOrderSequenceNumber, "sequence " + std::to_string(batch.base_sequence()) + " of " + who() + ": sequence " +
                                                            std::to_string(refused->second.first_sequence) + " was refused and comes first");
    }
  }
  if (known != nullptr && known->current_txn_first_offset.value >= 0 && !batch.is_transactional()) {
    return fail(ErrorCode::kInvalidTxnState, "batch of " + who() + " outside of its open transaction");
  }
  return {};
}

void ProducerStateManager::note_refused(const record::BatchHeader& batch) {
  if (!batch.has_producer() || batch.is_control() || producers_.contains(batch.producer_id().value)) return;
  if (refused_.size() >= kMostRefused) refused_.clear();
  Refused& refused = refused_[batch.producer_id().value];
  if (refused.epoch != batch.producer_epoch()) refused = {batch.producer_epoch(), batch.base_sequence()};
}

std::optional<CompletedTransaction> ProducerStateManager::update(const record::BatchView& batch) {
  std::optional<record::EndTxnMarker> marker;
  if (batch.is_control()) {
    auto parsed = record::parse_end_txn_marker(batch);
    if (parsed) marker = *parsed;
  }
  return update(batch, marker);
}

std::optional<CompletedTransaction> ProducerStateManager::update(const record::BatchHeader& batch,
                                                                 const std::optional<record::EndTxnMarker>& marker) {
  if (!batch.has_producer() || (batch.is_control() && !marker)) return std::nullopt;
  if (!refused_.empty()) refused_.erase(batch.producer_id().value);
  Producer& producer = producers_[batch.producer_id().value];
  if (producer.epoch != batch.producer_epoch()) {
    producer.forget_batches();
    producer.epoch = batch.producer_epoch();
  }
  producer.last_timestamp = batch.max_timestamp();

  if (marker) {
    producer.coordinator_epoch = marker->coordinator_epoch;
    if (producer.current_txn_first_offset.value < 0) return std::nullopt;  // nothing was written in the transaction
    CompletedTransaction ended{batch.producer_id(), producer.current_txn_first_offset, batch.last_offset(),
                               marker->type == record::ControlType::kAbort};
    producer.current_txn_first_offset = {-1};
    return ended;
  }
  producer.add({batch.last_sequence(), batch.last_offset_delta(), batch.last_offset(), batch.max_timestamp()});
  if (batch.is_transactional() && producer.current_txn_first_offset.value < 0) {
    producer.current_txn_first_offset = batch.base_offset();
    open_[batch.base_offset().value] = batch.producer_id().value;
  }
  return std::nullopt;
}

Offset ProducerStateManager::last_stable_after(const CompletedTransaction& ended) const {
  for (const auto& [first, producer] : open_) {
    if (producer != ended.producer_id.value) return {first};
  }
  return ended.last_offset + 1;
}

void ProducerStateManager::end_transaction(const CompletedTransaction& ended) {
  open_.erase(ended.first_offset.value);
  unreplicated_[ended.first_offset.value] = ended;
}

std::optional<Offset> ProducerStateManager::first_unstable() const {
  int64_t first = INT64_MAX;
  if (!open_.empty()) first = open_.begin()->first;
  if (!unreplicated_.empty()) first = std::min(first, unreplicated_.begin()->first);
  if (first == INT64_MAX) return std::nullopt;
  return Offset{first};
}

bool ProducerStateManager::advance_high_watermark(Offset high_watermark) {
  size_t before = unreplicated_.size();
  std::erase_if(unreplicated_, [&](const auto& entry) { return entry.second.last_offset < high_watermark; });
  return unreplicated_.size() != before;
}

int64_t ProducerStateManager::first_unreplicated() const {
  int64_t first = INT64_MAX;
  for (const auto& [offset, ended] : unreplicated_) first = std::min(first, ended.last_offset.value);
  return first;
}

void ProducerStateManager::expire(int64_t now_ms, int64_t expiration_ms) {
  absl::erase_if(producers_, [&](const auto& entry) {
    return entry.second.current_txn_first_offset.value < 0 && now_ms - entry.second.last_timestamp >= expiration_ms;
  });
}

void ProducerStateManager::clear() {
  producers_.clear();
  refused_.clear();
  open_.clear();
  unreplicated_.clear();
  snapshot_.reset();
}

void ProducerStateManager::truncate_start(Offset start) {
  std::erase_if(unreplicated_, [&](const auto& entry) { return entry.second.last_offset < start; });
  end_ = std::max(end_, start);
}

std::vector<ProducerStateEntry> ProducerStateManager::list() const {
  std::vector<ProducerStateEntry> all;
  all.reserve(producers_.size());
  for (const auto& [id, producer] : producers_) {
    all.push_back({{id}, producer.epoch, producer.last_sequence(), producer.last_timestamp, producer.coordinator_epoch,
                   producer.current_txn_first_offset, producer.last_offset()});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.producer_id < b.producer_id; });
  return all;
}

Bytes ProducerStateManager::encode_snapshot() const {
  std::vector<int64_t> ids;
  ids.reserve(producers_.size());
  for (const auto& entry : producers_) ids.push_back(entry.first);
  std::sort(ids.begin(), ids.end());

  Bytes bytes;
  bytes.reserve(kSnapshotHeader + ids.size() * kSnapshotEntry);
  base::append_be<int16_t>(bytes, kSnapshotVersion);
  base::append_be<uint32_t>(bytes, 0);
  base::append_be<int32_t>(bytes, static_cast<int32_t>(ids.size()));
  for (int64_t id : ids) {
    const Producer& producer = producers_.at(id);
    const ProducerBatch newest = producer.empty() ? ProducerBatch{} : producer.newest();
    base::append_be<int64_t>(bytes, id);
    base::append_be<int16_t>(bytes, producer.epoch);
    base::append_be<int32_t>(bytes, newest.last_sequence);
    base::append_be<int64_t>(bytes, newest.last_offset.value);
    base::append_be<int32_t>(bytes, newest.offset_delta);
    base::append_be<int64_t>(bytes, producer.last_timestamp);
    base::append_be<int32_t>(bytes, producer.coordinator_epoch);
    base::append_be<int64_t>(bytes, producer.current_txn_first_offset.value);
  }
  base::store_be<uint32_t>(bytes.data() + 2, base::crc32c(ByteView(bytes).subspan(kCrcEnd)));
  return bytes;
}

Result<void> ProducerStateManager::load_snapshot(ByteView content, Offset end) {
  auto broken = [](const char* why) { return fail(ErrorCode::kCorruptMessage, std::string("producer snapshot: ") + why); };
  if (content.size() < kSnapshotHeader) return broken("too short");
  if (base::load_be<int16_t>(content.data()) != kSnapshotVersion) return broken("another version");
  if (base::load_be<uint32_t>(content.data() + 2) != base::crc32c(content.subspan(kCrcEnd))) return broken("CRC");
  auto count = base::load_be<int32_t>(content.data() + kCrcEnd);
  if (count < 0 || static_cast<size_t>(count) * kSnapshotEntry != content.size() - kSnapshotHeader) return broken("number of entries");

  clear();
  producers_.reserve(static_cast<size_t>(count));
  const uint8_t* at = content.data() + kSnapshotHeader;
  for (int32_t i = 0; i < count; ++i, at += kSnapshotEntry) {
    auto id = base::load_be<int64_t>(at);
    Producer producer;
    producer.epoch = base::load_be<int16_t>(at + 8);
    ProducerBatch newest;
    newest.last_sequence = base::load_be<int32_t>(at + 10);
    newest.last_offset = {base::load_be<int64_t>(at + 14)};
    newest.offset_delta = base::load_be<int32_t>(at + 22);
    newest.timestamp = base::load_be<int64_t>(at + 26);
    producer.last_timestamp = newest.timestamp;
    producer.coordinator_epoch = base::load_be<int32_t>(at + 34);
    producer.current_txn_first_offset = {base::load_be<int64_t>(at + 38)};
    if (newest.last_offset.value >= 0) producer.add(newest);
    if (producer.current_txn_first_offset.value >= 0) open_[producer.current_txn_first_offset.value] = id;
    producers_[id] = producer;
  }
  end_ = end;
  snapshot_ = end;
  return {};
}

}  // namespace odradek::storage
