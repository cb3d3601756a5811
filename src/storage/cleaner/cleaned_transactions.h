// Follows the transactions of a log while its batches are read in order: whose data was aborted, and which markers have nothing left
// before them. Rules: Kafka's.
// Thread: one.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <optional>
#include <queue>
#include <vector>

#include "record/batch.h"
#include "storage/log/types.h"

namespace odradek::storage {

class CleanedTransactions {
 public:
  // Those that may have records in what is read next (Log::aborted_transactions); they may come more than once.
  void add(const std::vector<AbortedTransaction>& aborted);

  // The next batch is one of data. True: it belongs to an aborted transaction, its records may go at once.
  bool read_data(const record::BatchHeader& batch);

  struct Control {
    bool may_go = false;                      // no batch of its transaction is left
    std::optional<AbortedTransaction> still;  // an abort marker with batches before it: stands in the new txn index
  };
  // The next batch is a control batch. Errors: kInvalidRecord: it does not hold a legal control record.
  Result<Control> read_control(const record::BatchView& batch);

 private:
  struct Aborted {
    AbortedTransaction transaction;
    bool has_batches = false;
  };
  struct Later {
    bool operator()(const AbortedTransaction& a, const AbortedTransaction& b) const { return a.first_offset > b.first_offset; }
  };
  void begin_up_to(Offset offset);

  std::priority_queue<AbortedTransaction, std::vector<AbortedTransaction>, Later> ahead_;
  absl::flat_hash_map<int64_t, Aborted> aborted_;  // open where the reader is, by producer id
  absl::flat_hash_set<int64_t> committed_;         // producers with batches of a transaction that is not aborted
};

}  // namespace odradek::storage
