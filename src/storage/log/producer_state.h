// What one log knows of its producers: epoch, the last five batches, the open transaction. From this come the duplicate and
// sequence checks of idempotent producers and the last stable offset of transactions.
// File `<offset>.snapshot`: i16 version 1, u32 CRC-32C of what follows, i32 count, then 46 bytes per producer (disk.md §6); it holds
// the last batch of each producer only.
// Thread: one at a time (the Log guards it).
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "record/batch.h"
#include "record/control.h"
#include "storage/log/types.h"

namespace odradek::storage {

// One batch that a producer appended.
struct ProducerBatch {
  int32_t last_sequence = -1;
  int32_t offset_delta = 0;  // last offset - first offset
  Offset last_offset{-1};
  int64_t timestamp = kNoTimestamp;

  Offset first_offset() const { return last_offset + -static_cast<int64_t>(offset_delta); }
  int32_t first_sequence() const { return record::add_sequence(last_sequence, -offset_delta); }
};

class Producer {
 public:
  static constexpr size_t kBatches = 5;

  int16_t epoch = -1;
  int32_t coordinator_epoch = -1;
  int64_t last_timestamp = kNoTimestamp;
  Offset current_txn_first_offset{-1};  // -1: none

  bool empty() const { return count_ == 0; }
  const ProducerBatch& newest() const { return batches_[count_ - 1u]; }
  int32_t last_sequence() const { return empty() ? -1 : newest().last_sequence; }
  Offset last_offset() const { return empty() ? Offset{-1} : newest().last_offset; }
  void add(const ProducerBatch& batch);
  void forget_batches() { count_ = 0; }
  bool full() const { return count_ == kBatches; }
  const ProducerBatch& oldest() const { return batches_[0]; }
  // Puts the batches that stand before the newest one of `told` in front of the oldest one here, if they are the same.
  void recall(const Producer& told);
  // The one with exactly these sequences, if it is remembered.
  const ProducerBatch* find(int32_t first_sequence, int32_t last_sequence) const;

 private:
  std::array<ProducerBatch, kBatches> batches_;  // oldest first
  uint8_t count_ = 0;
};

// A transaction that a marker ended.
struct CompletedTransaction {
  ProducerId producer_id;
  Offset first_offset;
  Offset last_offset;  // of the marker
  bool aborted = false;
};

class ProducerStateManager {
 public:
  // The first remembered batch with the header's producer, epoch and sequences.
  const ProducerBatch* find_duplicate(const record::BatchHeader& batch) const;
  // Whether a leader may append this batch; `epoch_only`: no sequence rules (offset commits, markers). A producer that is not known begins
  // with any sequence, since what was known of it may have expired; `from_zero`: with 0 only.
  // Errors: kNotLeaderOrFollower (`from_zero`), kInvalidProducerEpoch, kOutOfOrderSequenceNumber, kInvalidTxnState, kTransactionCoordinatorFenced.
  Result<void> check(const record::BatchView& batch, bool epoch_only, bool from_zero = false) const;
  // A batch was refused that may be taken later (no room on the disk). Of a producer that is not known here any sequence would be taken as
  // its first one: those that were on their way behind the refused batch would go in before it.
  void note_refused(const record::BatchHeader& batch);
  // Takes over an appended batch. The transaction that it ended, if any: the caller adds it to the txn index, then end_transaction().
  std::optional<CompletedTransaction> update(const record::BatchView& batch);
  // The same from a header alone (recovery below the recovery point); `marker` for control batches.
  std::optional<CompletedTransaction> update(const record::BatchHeader& batch, const std::optional<record::EndTxnMarker>& marker);

  // Last stable offset once `ended` is over and its marker is the last record.
  Offset last_stable_after(const CompletedTransaction& ended) const;
  void end_transaction(const CompletedTransaction& ended);
  // First offset of a transaction that is open, or ended above the high watermark.
  std::optional<Offset> first_unstable() const;
  // Forgets transactions that ended below it. True: first_unstable() may have changed.
  bool advance_high_watermark(Offset high_watermark);
  // Smallest last offset of ended transactions that are not replicated; INT64_MAX: none.
  int64_t first_unreplicated() const;

  void expire(int64_t now_ms, int64_t expiration_ms);
  void clear();
  // Transactions wholly below `start` go.
  void truncate_start(Offset start);
  bool empty() const { return producers_.empty(); }
  size_t size() const { return producers_.size(); }
  std::vector<ProducerStateEntry> list() const;
  // Offset up to which the state goes (exclusive).
  Offset end() const { return end_; }
  void set_end(Offset end) { end_ = end; }

  // A snapshot tells of the last batch of a producer only. The offset below which the log may hold others that count as one of the last five
  // of the header's producer and epoch; nullopt: none.
  std::optional<Offset> untold_below(const record::BatchHeader& batch) const;
  // `told`: what update() made of the batches just below untold_below(). Those of them that are missing here are known from now on, and
  // nothing is untold any more.
  void recall(const ProducerStateManager& told);

  Bytes encode_snapshot() const;
  // Replaces the state. Errors: kCorruptMessage: version, CRC or length wrong; then the state is unchanged.
  Result<void> load_snapshot(ByteView content, Offset end);

 private:
  struct Refused {
    int16_t epoch = -1;
    int32_t first_sequence = 0;
  };
  static constexpr size_t kMostRefused = 10'000;

  absl::flat_hash_map<int64_t, Producer> producers_;
  absl::flat_hash_map<int64_t, Refused> refused_;              // of producers that are not known, by id
  std::map<int64_t, int64_t> open_;                            // first offset → producer id
  std::map<int64_t, CompletedTransaction> unreplicated_;       // by first offset
  Offset end_{0};
  std::optional<Offset> snapshot_;  // what is known below it comes from the snapshot of that offset
};

}  // namespace odradek::storage
