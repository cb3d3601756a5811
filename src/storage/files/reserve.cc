#include "storage/files/reserve.h"

#include <algorithm>
#include <cerrno>

#include "base/log.h"

namespace odradek::storage {
namespace {

constexpr int64_t kLargestMargin = 1 << 20;
constexpr int64_t kSmallestMargin = 1 << 14;

}  // namespace

int64_t Reserve::margin() const { return wanted_ == 0 ? kLargestMargin : std::clamp(wanted_ / 4, kSmallestMargin, kLargestMargin); }

void Reserve::open() {
  base::MutexLock lock(mutex_);
  if (wanted_ == 0) {
    (void)files_.remove(path_);
    return;
  }
  auto file = files_.open(path_, base::OpenMode::kCreate);
  if (!file) return log::warn("storage", "no room is kept for a full disk: {}", file.error().what);
  auto allocated = (*file)->allocate(wanted_);
  if (allocated) {
    (void)(*file)->truncate(wanted_);
    held_.store(wanted_, std::memory_order_relaxed);
    return;
  }
  const int error = allocated.error().os_error;
  if (error == ENOSPC || error == EDQUOT) {
    held_.store(std::min((*file)->size().value_or(0), wanted_), std::memory_order_relaxed);  // what an earlier run took
    return;
  }
  supported_ = false;
  (void)files_.remove(path_);
  log::warn("storage", "no room is kept for a full disk: {}", allocated.error().what);
}

bool Reserve::release() {
  base::MutexLock lock(mutex_);
  const int64_t held = held_.load(std::memory_order_relaxed);
  if (held == 0) return false;
  const int64_t left = std::max<int64_t>(held - std::max<int64_t>(wanted_ / kSteps, 4096), 0);
  auto file = files_.open(path_, base::OpenMode::kReadWrite);
  if (!file || !(*file)->truncate(left)) return false;
  held_.store(left, std::memory_order_relaxed);
  log::warn("storage", "{}: {} bytes of {} are left", path_, left, wanted_);
  return true;
}

bool Reserve::refill() {
  base::MutexLock lock(mutex_);
  if (!supported_) {
    const size_t slash = path_.rfind('/');
    auto space = files_.disk_space(path_.substr(0, slash));
    return space && space->available_bytes >= margin();
  }
  auto file = files_.open(path_, base::OpenMode::kCreate);
  if (!file) return false;
  const int64_t before = held_.load(std::memory_order_relaxed);
  const bool fits = (*file)->allocate(wanted_ + margin()).has_value();
  const bool cut = (*file)->truncate(fits ? wanted_ : before).has_value();
  if (fits && cut) held_.store(wanted_, std::memory_order_relaxed);
  if (wanted_ == 0) (void)files_.remove(path_);
  return fits && cut;
}

}  // namespace odradek::storage
