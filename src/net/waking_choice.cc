#include "net/waking_choice.h"

namespace odradek::net {
namespace {

// Requests a second from which on, and below which, a thread counts as busy.
constexpr uint64_t kBusy = 5'000;
constexpr uint64_t kCalm = 2'500;

}  // namespace

void WakingChoice::choose(int64_t now_ns) {
  auto rate = frames_ * 1'000'000'000 / static_cast<uint64_t>(now_ns - chosen_ns_);
  auto wanted = rate >= kBusy ? base::Waking::kNotPreempting : rate < kCalm ? base::Waking::kPreempting : waking_;
  if (wanted != waking_) base::set_waking_of_this_thread(wanted);
  waking_ = wanted;
  chosen_ns_ = now_ns;
  frames_ = 0;
}

}  // namespace odradek::net
