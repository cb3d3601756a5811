#include "storage/scrubber/scrubber.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "config/config.h"
#include "metrics/catalog.h"
#include "record/frame.h"
#include "storage/dir/log_dir.h"
#include "storage/files/passing_read.h"
#include "storage/log/log.h"
#include "storage/log_manager.h"
#include "storage/segment/segment.h"

namespace odradek::storage {
namespace {

constexpr int64_t kPiece = 256 << 10;
constexpr std::chrono::milliseconds kStep{1'000};

}  // namespace

ScrubberOptions make_scrubber_options(const config::BrokerConfig& config) {
  return {config.get_long("log.scrub.max.bytes.per.second"), config.get_long("log.scrub.interval.ms")};
}

class Scrubber::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(base::Runtime& runtime, LogManager& logs, const ScrubberOptions& options, metrics::Registry& metrics)
      : runtime_(runtime),
        logs_(logs),
        options_(options),
        read_(metrics.counter(metrics::kScrubbedBytes)),
        bad_(metrics.gauge(metrics::kScrubCorruptSegments)),
        executor_(runtime.make_executor("scrubber", 1)) {}

  void start() {
    if (options_.bytes_per_second > 0) call_after(std::chrono::milliseconds(options_.interval_ms), [this] { begin_round(); });
  }

  void stop() {
    {
      base::MutexLock lock(mutex_);
      stopped_ = true;
      if (timer_ != 0) runtime_.timers().cancel(timer_);
    }
    executor_.reset();  // waits for the step that runs
  }

 private:
  void call_after(std::chrono::milliseconds delay, std::function<void()> step) {
    base::MutexLock lock(mutex_);
    if (stopped_) return;
    timer_ = runtime_.timers().after(delay, [weak = weak_from_this(), step = std::move(step)] {
      auto self = weak.lock();
      if (self == nullptr) return;
      base::MutexLock posting(self->mutex_);
      if (!self->stopped_) self->executor_->post(step);
    });
  }

  void begin_round() {
    round_began_ms_ = runtime_.clock().monotonic_ms();
    queue_.clear();
    for (const auto& log : logs_.all()) queue_.push_back(log);
    log_.reset();
    segments_ = {};
    at_ = 0;
    position_ = 0;
    bad_now_.clear();
    step();
  }

  void step() {
    int64_t left = options_.bytes_per_second;
    while (left > 0) {
      {
        base::MutexLock lock(mutex_);
        if (stopped_) return;
      }
      auto used = advance(std::min(left, kPiece));
      if (!used) return end_round();
      left -= *used;
    }
    call_after(kStep, [this] { step(); });
  }

  void end_round() {
    bad_->set(static_cast<int64_t>(bad_now_.size()));
    known_bad_ = bad_now_;
    const int64_t left = options_.interval_ms - (runtime_.clock().monotonic_ms() - round_began_ms_);
    call_after(std::chrono::milliseconds(std::clamp<int64_t>(left, kStep.count(), options_.interval_ms)), [this] { begin_round(); });
  }

  // Checks about so many bytes more of the present segment, or goes on to the next one. The bytes read; nullopt: the round is over.
  std::optional<int64_t> advance(int64_t bytes) {
    while (at_ == segments_.segments.size()) {
      if (queue_.empty()) return std::nullopt;
      log_ = queue_.back().lock();
      queue_.pop_back();
      at_ = 0;
      position_ = 0;
      segments_ = log_ != nullptr && log_->dir().online() ? log_->closed_segments() : ClosedSegments{};
    }
    Segment& segment = *segments_.segments[at_];
    const int64_t size = segment.size();
    if (position_ >= size) return next_segment();
    auto opened = segment.file();
    if (!opened) return next_segment();  // retention or the cleaner has taken it away, or its dir is offline
    base::File& file = (*opened)->file();
    const int64_t wanted = std::min(std::max(bytes, batch_bytes_), size - position_);
    batch_bytes_ = 0;
    buffer_.resize(static_cast<size_t>(wanted));
    passing_.begin(file, position_, wanted);
    auto got = file.pread(position_, buffer_);
    if (!got) {
      // The disk itself says that it has lost something. That is for a reader of this log to find final.
      report(segment, got.error().what);
      return next_segment();
    }
    passing_.end(file, position_, wanted);
    read_->inc(*got);
    check(segment, ByteView(buffer_).first(*got), size - position_);
    return static_cast<int64_t>(*got);
  }

  // `bytes`: from the present position on, of `left` that the segment has there.
  void check(Segment& segment, ByteView bytes, int64_t left) {
    ByteView rest = bytes;
    auto bad = [&](const std::string& why) {
      report(segment, "position " + std::to_string(position_) + ": " + why);
      next_segment();
    };
    while (!rest.empty()) {
      auto header = record::peek_frame(rest);
      if (!header) return bad(header.error().what);
      const bool whole = *header && (*header)->total_size <= rest.size();
      if (!whole) {
        const auto size = *header ? static_cast<int64_t>((*header)->total_size) : static_cast<int64_t>(record::kFrameHeaderSize);
        if (size > left) return bad("a batch that is cut off");
        if (rest.size() == bytes.size()) batch_bytes_ = size;  // the next piece is to hold it whole
        return;
      }
      auto frame = record::next_frame(rest);
      if (!frame) return bad(frame.error().what);
      if (!frame->crc_matches()) return bad("the CRC of the batch at offset " + std::to_string(frame->base_offset().value) + " does not match");
      position_ += static_cast<int64_t>(frame->size_in_bytes());
      left -= static_cast<int64_t>(frame->size_in_bytes());
    }
  }

  std::optional<int64_t> next_segment() {
    ++at_;
    position_ = 0;
    return 0;
  }

  void report(const Segment& segment, const std::string& why) {
    // What was cut off or replaced while it was read says nothing.
    if (!log_->still_has(segments_, segment)) return;
    const std::string name = log_->path() + "/" + segment_name(segment.base_offset()) + ".log";
    bad_now_.insert(name);
    bad_->set(static_cast<int64_t>(std::max(bad_now_.size(), known_bad_.size())));
    if (!known_bad_.contains(name)) log::error("storage", "{}: a closed segment is damaged: {}", name, why);
  }

  base::Runtime& runtime_;
  LogManager& logs_;
  const ScrubberOptions options_;
  const std::shared_ptr<metrics::Counter> read_;
  const std::shared_ptr<metrics::Gauge> bad_;
  base::Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  base::TimerId timer_ GUARDED_BY(mutex_) = 0;

  // On the executor.
  int64_t round_began_ms_ = 0;
  std::vector<std::weak_ptr<Log>> queue_;
  std::shared_ptr<Log> log_;
  ClosedSegments segments_;
  size_t at_ = 0;             // in segments_
  int64_t position_ = 0;      // of the next batch there
  int64_t batch_bytes_ = 0;   // the next batch is greater than a piece
  PassingRead passing_;
  Bytes buffer_;
  std::set<std::string> bad_now_, known_bad_;  // of this round, of the one before

  std::unique_ptr<base::Executor> executor_;  // last: its end waits for the step that runs
};

Scrubber::Scrubber(base::Runtime& runtime, LogManager& logs, const ScrubberOptions& options, metrics::Registry& metrics)
    : impl_(std::make_shared<Impl>(runtime, logs, options, metrics)) {}
Scrubber::~Scrubber() { stop(); }
void Scrubber::start() { impl_->start(); }
void Scrubber::stop() { impl_->stop(); }

}  // namespace odradek::storage
