// A LogAccess in memory, for tests: one partition whose leader, high watermark and errors are in the test's hand.
// Thread: that of the test.
#pragma once

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "coordinator/runtime/log_access.h"
#include "model/error_code.h"
#include "record/batch.h"
#include "record/record.h"

namespace odradek::coordinator {

class FakeLog : public LogAccess {
 public:
  LeaderEpoch leader_epoch{0};
  bool leads = true;
  bool commit_at_once = true;                // as with one replica in the ISR
  std::optional<ErrorCode> refuse_append;    // before anything is written
  std::optional<ErrorCode> refuse_read;
  int32_t read_limit = INT32_MAX;            // bytes a read
  int asked_for_bounds = 0;
  int32_t batch_limit = INT32_MAX;           // told, not kept
  std::vector<Bytes> batches;                // as they stand in the log

  Offset end() const { return end_; }
  Offset high_watermark() const { return high_watermark_; }
  size_t waiting() const { return waiting_.size(); }

  // All that was appended is committed now.
  void commit_all() { commit_to(end_); }
  void commit_to(Offset offset) {
    high_watermark_ = offset;
    while (!waiting_.empty() && waiting_.front().end <= offset) {
      auto committed = std::move(waiting_.front().committed);
      waiting_.pop_front();
      committed(ErrorCode::kNone);
    }
  }
  // Leadership goes; what is not committed may be cut off by the next leader.
  void lose_leadership(bool truncate) {
    leads = false;
    leading_since_.reset();
    auto all = std::exchange(waiting_, {});
    for (auto& each : all) each.committed(ErrorCode::kNotLeaderOrFollower);
    if (!truncate) return;
    while (!batches.empty() && record::BatchHeader(batches.back().data()).next_offset() > high_watermark_) batches.pop_back();
    end_ = batches.empty() ? Offset{0} : record::BatchHeader(batches.back().data()).next_offset();
  }
  // This or another broker leads again: everything in the log is committed.
  void take_leadership() {
    leads = true;
    leader_epoch.value += 1;
    high_watermark_ = end_;
  }
  // It goes on leading, in a new epoch: what is on its way stays so.
  void go_on_leading() {
    if (!leading_since_) leading_since_ = leader_epoch;
    leader_epoch.value += 1;
  }
  // As another broker would have written it.
  Offset put(Bytes batch) {
    Offset first = end_;
    record::set_base_offset(batch, first);
    end_ = record::BatchHeader(batch.data()).next_offset();
    batches.push_back(std::move(batch));
    if (commit_at_once) high_watermark_ = end_;
    return first;
  }

  Result<Offset> append(const TopicPartition& tp, LeaderEpoch epoch, Bytes batch, UniqueFunction<void(ErrorCode)> committed) override {
    const bool led_then = leads && leading_since_ && epoch >= *leading_since_ && epoch <= leader_epoch;
    if (auto error = check(tp, epoch); error && !led_then) {
      committed(error->code);
      return fail(*error);
    }
    if (refuse_append) {
      committed(*refuse_append);
      return fail(*refuse_append, "refused by the test");
    }
    Offset first = put(std::move(batch));
    if (commit_at_once) {
      committed(ErrorCode::kNone);
    } else {
      waiting_.push_back({end_, std::move(committed)});
    }
    return first;
  }
  Result<LogBounds> bounds(const TopicPartition& tp, LeaderEpoch epoch) override {
    ++asked_for_bounds;
    if (auto error = check(tp, epoch)) return fail(*error);
    return LogBounds{{0}, high_watermark_, end_};
  }
  std::optional<int32_t> max_batch_bytes(const TopicPartition&) override { return leads ? std::optional(batch_limit) : std::nullopt; }
  Result<Bytes> read(const TopicPartition& tp, LeaderEpoch epoch, Offset from, int32_t max_bytes) override {
    if (auto error = check(tp, epoch)) return fail(*error);
    if (refuse_read) return fail(*refuse_read, "refused by the test");
    Bytes result;
    for (const Bytes& batch : batches) {
      if (record::BatchHeader(batch.data()).next_offset() <= from) continue;
      if (!result.empty() && result.size() + batch.size() > static_cast<size_t>(std::min(max_bytes, read_limit))) break;
      result.insert(result.end(), batch.begin(), batch.end());
    }
    return result;
  }

  // All records, in order: key and value (nullopt: null).
  std::vector<std::pair<Bytes, std::optional<Bytes>>> records() const {
    std::vector<std::pair<Bytes, std::optional<Bytes>>> result;
    record::Decompressor decompressor;
    for (const Bytes& batch : batches) {
      auto reader = record::RecordReader::open(record::BatchView(batch), decompressor);
      CHECK(reader);
      record::RecordView view;
      while (*reader->next(view)) {
        auto& [key, value] = result.emplace_back();
        if (view.key) key.assign(view.key->begin(), view.key->end());
        if (view.value) value.emplace(view.value->begin(), view.value->end());
      }
    }
    return result;
  }

 private:
  struct Waiting {
    Offset end;
    UniqueFunction<void(ErrorCode)> committed;
  };
  std::optional<Error> check(const TopicPartition& tp, LeaderEpoch epoch) const {
    if (leads && epoch == leader_epoch) return std::nullopt;
    return Error{ErrorCode::kNotLeaderOrFollower, tp.to_string()};
  }
  std::optional<LeaderEpoch> leading_since_;  // set by go_on_leading()
  Offset end_{0};
  Offset high_watermark_{0};
  std::deque<Waiting> waiting_;
};

}  // namespace odradek::coordinator
