#include "replication/partition/log_dir_moves.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {

namespace {
constexpr int32_t kChunkBytes = 1 << 20;
constexpr int64_t kQuotaPauseMs = 100;
constexpr int64_t kErrorPauseMs = 1000;
// Readers that found the old log take a share of it within moments.
constexpr std::chrono::minutes kFormerLogsStay{10};
}  // namespace

LogDirMoves::LogDirMoves(base::Runtime& runtime, storage::LogManager& logs, quota::ReplicationQuota& quota, int32_t threads)
    : runtime_(runtime), logs_(logs), quota_(quota), threads_(std::max(threads, 1)) {}

LogDirMoves::~LogDirMoves() { stop(); }

void LogDirMoves::start(const std::shared_ptr<Partition>& partition) {
  auto move = std::make_shared<Move>();
  move->partition = partition;
  {
    base::MutexLock lock(mutex_);
    if (stopped_ || !moves_.emplace(partition->name(), move).second) return;
    if (executor_ == nullptr) executor_ = runtime_.make_executor("move-log-dirs", threads_);
  }
  if (auto future = partition->future()) log::info("replication", "{} moves to log dir {}", partition->name().to_string(), future->dir().path());
  again(move, 0);
}

void LogDirMoves::again(const std::shared_ptr<Move>& move, int64_t delay_ms) {
  base::MutexLock lock(mutex_);
  if (stopped_) return;
  // Weak: a timer may outlive everything here.
  Task task = [this, weak = std::weak_ptr<Move>(move)] {
    if (auto move = weak.lock()) step(move);
  };
  if (delay_ms == 0) return executor_->post(std::move(task));
  runtime_.timers().after(std::chrono::milliseconds(delay_ms), executor_->posting(std::move(task)));
}

void LogDirMoves::ended(const std::shared_ptr<Move>& move) {
  base::MutexLock lock(mutex_);
  auto found = moves_.find(move->partition->name());
  if (found != moves_.end() && found->second == move) moves_.erase(found);
}

void LogDirMoves::step(const std::shared_ptr<Move>& move) {
  Partition& partition = *move->partition;
  base::MutexLock running(move->mutex);
  if (move->cancelled) return;
  if (quota_.is_exceeded()) return again(move, kQuotaPauseMs);
  Result<void> done;
  auto copied = partition.copy_to_future(kChunkBytes);
  if (copied && *copied > 0) {
    quota_.record(*copied);
    return again(move, 0);
  }
  auto future = partition.future();
  if (!copied) {
    done = fail(std::move(copied.error()));
  } else if (done = future->flush(); done) {
    done = partition.swap_to_future([&] { return logs_.replace_with_future(partition.name()); });
  }
  if (done) {
    log::info("replication", "{} is in log dir {} now", partition.name().to_string(), partition.log()->dir().path());
    runtime_.timers().after(kFormerLogsStay, [weak = std::weak_ptr<Partition>(move->partition)] {
      if (auto moved = weak.lock()) moved->drop_former_logs();
    });
    return ended(move);
  }
  const bool over = future == nullptr || !future->dir().online() || partition.role() == Role::kNone || partition.role() == Role::kOffline;
  log::at("replication", over ? log::Level::kWarn : log::Level::kError, "{}: the move to another log dir {}: {}", partition.name().to_string(),
          over ? "ends" : "is tried again", done.error().what);
  if (!over) return again(move, kErrorPauseMs);
  if (future != nullptr && !future->dir().online()) (void)partition.set_future(nullptr);
  ended(move);
}

void LogDirMoves::cancel(const TopicPartition& tp) {
  std::shared_ptr<Move> move;
  {
    base::MutexLock lock(mutex_);
    auto found = moves_.find(tp);
    if (found == moves_.end()) return;
    move = std::move(found->second);
    moves_.erase(found);
  }
  base::MutexLock running(move->mutex);
  move->cancelled = true;
}

void LogDirMoves::stop() {
  std::map<TopicPartition, std::shared_ptr<Move>> moves;
  std::unique_ptr<base::Executor> executor;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    moves.swap(moves_);
    executor = std::move(executor_);
  }
  for (auto& [tp, move] : moves) {
    base::MutexLock running(move->mutex);
    move->cancelled = true;
  }
}

}  // namespace odradek::replication
