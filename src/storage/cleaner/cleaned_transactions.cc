#include "storage/cleaner/cleaned_transactions.h"

#include "record/control.h"
#include "record/record.h"

namespace odradek::storage {

void CleanedTransactions::add(const std::vector<AbortedTransaction>& aborted) {
  for (const AbortedTransaction& transaction : aborted) ahead_.push(transaction);
}

void CleanedTransactions::begin_up_to(Offset offset) {
  while (!ahead_.empty() && ahead_.top().first_offset <= offset) {
    aborted_.try_emplace(ahead_.top().producer_id.value, Aborted{ahead_.top()});
    ahead_.pop();
  }
}

bool CleanedTransactions::read_data(const record::BatchHeader& batch) {
  begin_up_to(batch.last_offset());
  if (!batch.is_transactional()) return false;
  auto aborted = aborted_.find(batch.producer_id().value);
  if (aborted == aborted_.end()) {
    committed_.insert(batch.producer_id().value);
    return false;
  }
  aborted->second.has_batches = true;
  return true;
}

Result<CleanedTransactions::Control> CleanedTransactions::read_control(const record::BatchView& batch) {
  begin_up_to(batch.last_offset());
  record::Decompressor unused;
  auto reader = record::RecordReader::open(batch, unused);
  if (!reader) return fail(std::move(reader.error()));
  record::RecordView record;
  auto found = reader->next(record);
  if (!found) return fail(std::move(found.error()));
  Control control;
  if (!*found) {
    control.may_go = true;  // its marker went before
    return control;
  }
  auto type = record::parse_control_type(record.key);
  if (!type) return fail(std::move(type.error()));
  const int64_t producer = batch.producer_id().value;
  if (*type == record::ControlType::kAbort) {
    auto aborted = aborted_.extract(producer);
    control.may_go = aborted.empty() || !aborted.mapped().has_batches;
    if (!control.may_go) control.still = aborted.mapped().transaction;
  } else if (*type == record::ControlType::kCommit) {
    control.may_go = committed_.erase(producer) == 0;
  }
  return control;
}

}  // namespace odradek::storage
