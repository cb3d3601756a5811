// One partition's way from the source to the target.
//
//   fetched chunks (in order) → Copier → batches with their place in the target and its sequence number → target lane → acknowledged
//
// Invariants: batches are numbered by the target offset at which they will lie. A batch leaves only when the runs of its records are
// durable (its ticket). Until the first batch after a start is acknowledged it is alone on its way: a broker that does not know the producer
// in this partition takes any first number. Whatever goes wrong, everything not acknowledged is dropped, and the partition asks again where
// the target's log ends (State::kLost); what is still on its way then is either in the log by that time or refused by its number.
// A source that lost records by an unclean election may have others at their offsets. Where the leader epoch changes, the leader must
// therefore have said that the former one reaches to here in its log: in the fetch (Task::last_epoch), or when the partition was placed. Inside
// one epoch, and inside one answer, there is nothing to ask.
// Thread: any; guarded by one lock. Answers of a former life (generation) are ignored.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/mutex.h"
#include "mirror/copying/fetch_plan.h"
#include "mirror/copying/offset_map.h"

namespace odradek::mirror {

// Bytes fetched and not yet let go.
class Budget {
 public:
  explicit Budget(int64_t limit) : limit_(limit) {}
  // Whether more may be asked for: a range ahead must leave a quarter to those that nothing may hold up.
  bool open(bool first, int64_t bytes) const {
    int64_t used = used_.load(std::memory_order_relaxed);
    return first ? used < limit_ : used + bytes <= limit_ - limit_ / 4;
  }
  void add(int64_t bytes) { used_.fetch_add(bytes, std::memory_order_relaxed); }
  int64_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  const int64_t limit_;
  std::atomic<int64_t> used_{0};
};

// The producer that all partitions of a mirror write with.
struct Identity {
  ProducerId producer_id = kNoProducer;
  int16_t epoch = 0;
};
// The sequence number of the record at this target offset.
constexpr int32_t sequence_at(Offset target) { return static_cast<int32_t>(target.value & 0x7fffffff); }

// Makes the map's chunks from `first_chunk` on durable; the ticket tells when (Positions).
using Announce = std::function<uint64_t(const TopicPartition&, const OffsetMap&, int64_t first_chunk)>;

struct Progress {
  enum class State { kLost, kRunning, kFailed };
  State state = State::kLost;
  std::string why;         // kFailed; kLost: what was last
  Offset source{-1};       // next source offset to be acknowledged; -1: not known
  Offset source_end{-1};   // the readable end of the source
  Offset target{-1};       // its place in the target
  int64_t records = 0, bytes = 0, rebuilt = 0;  // copied by this process
  size_t runs = 0;
  int64_t lag() const { return source.value < 0 ? -1 : std::max<int64_t>(0, source_end - source); }
};

class Partition {
 public:
  Partition(TopicPartition name, const FetchPlanOptions& plan, IsolationLevel isolation, Identity identity, Announce announce, base::Clock& clock)
      : name(std::move(name)), isolation_(isolation), identity_(identity), announce_(std::move(announce)), clock_(clock), plan_(plan) {}

  const TopicPartition name;
  std::atomic<int32_t> source_leader{-1}, target_leader{-1};

  // --- source lanes
  struct Task {
    FetchTask fetch;
    uint64_t generation = 0;
    LeaderEpoch last_epoch = kNoLeaderEpoch;  // of the record before, where it is known
  };
  // Nothing while much waits to be sent.
  std::optional<Task> poll();
  std::optional<Task> next_range();
  void fetch_failed(const Task& task);
  // True: batches can be sent. Errors of the data themselves end the partition (kFailed).
  bool fetched(const Task& task, Chunk chunk, Offset limit);

  // --- target lanes
  struct Outgoing {
    MutableByteView bytes;
    std::shared_ptr<void> owner;
    int32_t count = 0;
    Offset target;
    Offset source_next;
    uint64_t ticket = 0;
    uint64_t generation = 0;
    int64_t at_ns = 0;
  };
  bool has_output() const { return has_output_.load(std::memory_order_acquire); }
  // The next batch, if its runs are durable and it may be sent now.
  std::optional<Outgoing> next_batch(uint64_t durable);
  // `log_start`: of the target's log, -1 where the answer does not say.
  void acknowledged(const Outgoing& batch, Offset base_offset, Offset log_start);
  // The target says that the batch is out of sequence.
  void out_of_place(const Outgoing& batch, const std::string& why);

  // --- what went wrong
  // Asks again where the target ends, at the earliest at a moment that comes later each time. `generation` 0: whatever it is.
  void lose(uint64_t generation, const std::string& why);
  void end(const std::string& why);

  // --- control
  // Moment from which a lost partition may be placed; nullopt: it is not lost.
  std::optional<int64_t> lost_until() const;
  // Brokers, kNoBroker: none now. Without one in the target a partition that runs is lost: what it holds ready would keep whole answers of the
  // source, with the records of others, in memory. It is placed again when there is one.
  void set_leaders(BrokerId source, BrokerId target);
  // A lost partition goes on: the next record goes from `source` to `target`. The source's log is known to be the one that was copied.
  void place(Offset source, Offset target);
  // Of the source's topic; another one than before: it was made anew, the partition is lost and its runs begin anew.
  void set_topic_id(const std::string& id);
  // The source's topic was made anew in the time of this mirror: where nothing of it is in the target yet, all of it is wanted.
  bool made_anew() const;
  OffsetMap map() const;
  void set_map(OffsetMap map);
  // The target's log starts here.
  void forget_below(Offset target_start);
  Progress progress() const;
  void set_source_end(Offset end);
  // Where a group stands in the target that stands at `source`; nullopt: not known.
  std::optional<Offset> translate(Offset source) const;

 private:
  void process() REQUIRES(mutex_);
  // A task at the place of the next record: what comes before it is known.
  Task task_of(const FetchTask& fetch) const REQUIRES(mutex_);
  // Whether these frames follow what was copied. If that is not known, they are asked for once more, with the question.
  bool follows(const Chunk& chunk, const Copied& copied) REQUIRES(mutex_);
  void enqueue(CopiedBatch batch, std::shared_ptr<void> owner, Offset source_next) REQUIRES(mutex_);
  void drop() REQUIRES(mutex_);

  const IsolationLevel isolation_;
  const Identity identity_;
  const Announce announce_;
  base::Clock& clock_;

  mutable base::Mutex mutex_;
  Progress progress_ GUARDED_BY(mutex_);
  uint64_t generation_ GUARDED_BY(mutex_) = 1;
  int failures_ GUARDED_BY(mutex_) = 0;
  int64_t not_before_ns_ GUARDED_BY(mutex_) = 0;
  FetchPlan plan_ GUARDED_BY(mutex_);
  Copier copier_ GUARDED_BY(mutex_);
  OffsetMap map_ GUARDED_BY(mutex_);
  // The map of the former generation, until the first batch of this one is acknowledged. Batches that were on their way may still arrive
  // behind the end that was found; they belong to this map, not to what compaction has left of the source since.
  std::optional<OffsetMap> former_map_ GUARDED_BY(mutex_);
  bool map_went_back_ GUARDED_BY(mutex_) = false;  // to the former one: all of it must be stored again
  bool made_anew_ GUARDED_BY(mutex_) = false;
  Offset copied_ GUARDED_BY(mutex_){0};  // next source offset to be copied
  Offset place_ GUARDED_BY(mutex_){0};   // target offset of the next record
  Offset compared_at_ GUARDED_BY(mutex_){-1};  // the place to which the source's log is known to be the one that was copied
  uint64_t ticket_ GUARDED_BY(mutex_) = 0;
  std::deque<Outgoing> outgoing_ GUARDED_BY(mutex_);
  int64_t outgoing_bytes_ GUARDED_BY(mutex_) = 0;
  int on_the_way_ GUARDED_BY(mutex_) = 0;
  bool known_ GUARDED_BY(mutex_) = false;  // the target's leader has acknowledged one of our batches since the start
  std::atomic<bool> has_output_{false};
};

}  // namespace odradek::mirror
