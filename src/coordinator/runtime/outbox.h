// Answers that may not leave yet: each stands on an append and waits until the high watermark has passed it, at most for a given time.
// A pure state machine: appends are numbered 1, 2, 3...; deadline() tells when expire() wants to be called.
// Thread: none of its own (a shard's strand).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/function.h"
#include "model/error_code.h"

namespace odradek::coordinator {

// A decided answer. Called exactly once: kNone sends it as decided; another code sends that error in its place.
using Answer = UniqueFunction<void(ErrorCode)>;

class Outbox {
 public:
  // The number of the next append.
  uint64_t next_append() { return ++last_append_; }
  uint64_t last_append() const { return last_append_; }
  // The high watermark has passed `append`, and with it all before it. `result` is for who waits for exactly this append (kNone, or
  // kNotEnoughReplicasAfterAppend translated by the caller).
  void committed(uint64_t append, ErrorCode result);
  bool is_committed(uint64_t append) const { return append <= committed_; }

  // Sends at once if `append` (0: nothing) is committed.
  void send_after(uint64_t append, int64_t deadline_ms, Answer answer);
  // Answers whose deadline is over get `error`.
  void expire(int64_t now_ms, ErrorCode error);
  // All get `error`: the log is no longer ours.
  void fail_all(ErrorCode error);

  std::optional<int64_t> deadline() const { return waiting_.empty() ? std::nullopt : std::optional(waiting_.front().deadline_ms); }
  size_t size() const { return waiting_.size(); }

 private:
  struct Waiting {
    uint64_t append;
    int64_t deadline_ms;
    Answer answer;
  };
  uint64_t last_append_ = 0;
  uint64_t committed_ = 0;
  // In order of arrival; all wait equally long, so in order of deadline too. Not in order of append: an answer may stand on an older one.
  std::deque<Waiting> waiting_;
};

}  // namespace odradek::coordinator
