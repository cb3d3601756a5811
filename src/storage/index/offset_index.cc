#include "storage/index/offset_index.h"

#include <cerrno>

#include "model/error_code.h"

namespace odradek::storage {
namespace {

int32_t relative_offset(const uint8_t* entry) { return base::load_be<int32_t>(entry); }
int32_t file_position(const uint8_t* entry) { return base::load_be<int32_t>(entry + 4); }

}  // namespace

Result<OffsetPosition> OffsetIndex::lookup(Offset target, bool only_cached) {
  uint8_t entry[kEntrySize];
  auto at = file_.last_at_or_below(target - base_, [](const uint8_t* met, int64_t key) { return relative_offset(met) <= key; }, entry, 0, only_cached);
  if (!at) return fail(std::move(at.error()));
  if (*at < 0) return OffsetPosition{base_, 0};
  if (relative_offset(entry) < 0 || file_position(entry) < 0) return OffsetPosition{base_, 0};  // broken: all of the segment is searched
  return OffsetPosition{base_ + relative_offset(entry), file_position(entry)};
}

Result<std::optional<OffsetPosition>> OffsetIndex::batch_before(int64_t position, bool only_cached) {
  uint8_t entry[kEntrySize];
  // The entry above it says where the batch has ended at the latest.
  auto above = file_.last_at_or_below(position, [](const uint8_t* met, int64_t key) { return file_position(met) <= key; }, entry, 1, only_cached);
  if (!above && above.error().os_error == EAGAIN) return std::nullopt;
  if (!above) return fail(std::move(above.error()));
  if (*above <= 0 || relative_offset(entry) < 0 || file_position(entry) < 0) return std::nullopt;
  return OffsetPosition{base_ + relative_offset(entry), file_position(entry)};
}

Result<OffsetPosition> OffsetIndex::last() {
  uint8_t entry[kEntrySize];
  auto count = file_.ends({}, entry);
  if (!count) return fail(std::move(count.error()));
  if (*count == 0) return OffsetPosition{base_, 0};
  return OffsetPosition{base_ + relative_offset(entry), file_position(entry)};
}

Result<bool> OffsetIndex::full(int32_t max_bytes) {
  auto count = file_.count();
  if (!count) return fail(std::move(count.error()));
  return *count >= static_cast<uint32_t>(max_bytes) / kEntrySize;
}

Result<void> OffsetIndex::append(Offset offset, int32_t position, int32_t max_bytes) {
  auto is_full = full(max_bytes);
  if (!is_full) return fail(std::move(is_full.error()));
  if (*is_full) return {};
  uint8_t entry[kEntrySize];
  base::store_be<int32_t>(entry, static_cast<int32_t>(offset - base_));
  base::store_be<int32_t>(entry + 4, position);
  return file_.append(entry, max_bytes);
}

Result<void> OffsetIndex::truncate_to(Offset offset) {
  auto at = file_.last_at_or_below(offset - base_, [](const uint8_t* entry, int64_t key) { return relative_offset(entry) < key; }, {});
  if (!at) return fail(std::move(at.error()));
  return file_.truncate(static_cast<uint32_t>(*at + 1));
}

Result<void> OffsetIndex::check(int64_t log_size) {
  uint8_t first[kEntrySize], entry[kEntrySize];
  auto count = file_.ends(first, entry);
  if (!count) return fail(std::move(count.error()));
  if (*count == 0) return {};
  // Offsets rise; a tail of zeros is what an unclean stop leaves.
  if (relative_offset(entry) < 0 || (*count > 1 && relative_offset(entry) <= relative_offset(first)) || file_position(entry) < 0 || file_position(entry) >= log_size) {
    return fail(ErrorCode::kCorruptMessage, "last entry of an offset index: offset " + std::to_string(relative_offset(entry)) + ", position " +
                                                std::to_string(file_position(entry)) + " in a segment of " + std::to_string(log_size) + " bytes");
  }
  return {};
}

}  // namespace odradek::storage
