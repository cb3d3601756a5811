#include "storage/index/time_index.h"

#include "model/error_code.h"

namespace odradek::storage {
namespace {

int64_t entry_timestamp(const uint8_t* entry) { return base::load_be<int64_t>(entry); }
int32_t relative_offset(const uint8_t* entry) { return base::load_be<int32_t>(entry + 8); }

}  // namespace

Result<TimestampOffset> TimeIndex::lookup(int64_t timestamp) {
  uint8_t entry[kEntrySize];
  auto at = file_.last_at_or_below(timestamp, [](const uint8_t* met, int64_t key) { return entry_timestamp(met) <= key; }, entry);
  if (!at) return fail(std::move(at.error()));
  if (*at < 0) return TimestampOffset{kNoTimestamp, base_};
  return TimestampOffset{entry_timestamp(entry), base_ + relative_offset(entry)};
}

Result<TimestampOffset> TimeIndex::last() {
  uint8_t entry[kEntrySize];
  auto count = file_.ends({}, entry);
  if (!count) return fail(std::move(count.error()));
  if (*count == 0) return TimestampOffset{kNoTimestamp, base_};
  return TimestampOffset{entry_timestamp(entry), base_ + relative_offset(entry)};
}

Result<bool> TimeIndex::full(int32_t max_bytes) {
  auto count = file_.count();
  if (!count) return fail(std::move(count.error()));
  return *count + 1 >= static_cast<uint32_t>(max_bytes) / kEntrySize;
}

Result<void> TimeIndex::maybe_append(int64_t timestamp, Offset offset, int32_t max_bytes, bool final) {
  auto newest = last();
  if (!newest) return fail(std::move(newest.error()));
  if (timestamp <= newest->timestamp) return {};
  auto is_full = full(max_bytes);
  if (!is_full) return fail(std::move(is_full.error()));
  if (*is_full && !final) return {};
  uint8_t entry[kEntrySize];
  base::store_be<int64_t>(entry, timestamp);
  base::store_be<int32_t>(entry + 8, static_cast<int32_t>(offset - base_));
  return file_.append(entry, max_bytes);
}

Result<void> TimeIndex::truncate_to(Offset offset) {
  auto at = file_.last_at_or_below(offset - base_, [](const uint8_t* entry, int64_t key) { return relative_offset(entry) < key; }, {});
  if (!at) return fail(std::move(at.error()));
  return file_.truncate(static_cast<uint32_t>(*at + 1));
}

Result<void> TimeIndex::check() {
  uint8_t first[kEntrySize], newest[kEntrySize];
  auto count = file_.ends(first, newest);
  if (!count) return fail(std::move(count.error()));
  if (*count == 0) return {};
  if ((*count > 1 && entry_timestamp(newest) <= entry_timestamp(first)) || relative_offset(newest) < 0) {
    return fail(ErrorCode::kCorruptMessage, "last entry of a time index: timestamp " + std::to_string(entry_timestamp(newest)) + ", offset " +
                                                std::to_string(relative_offset(newest)));
  }
  return {};
}

}  // namespace odradek::storage
