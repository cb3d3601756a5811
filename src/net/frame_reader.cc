#include "net/frame_reader.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace odradek::net {
namespace {

constexpr size_t kSizeBytes = 4;
constexpr size_t kGuessFrom = 4 * 1024;  // smaller frames are copied: cheaper than a buffer each read
constexpr size_t kRoomier = 4;  // a frame may be in a buffer of this many times its size
constexpr size_t kFirstRoom = 64 * 1024;
constexpr int kReadsPerTurn = 8;

}  // namespace

ReadContext::ReadContext(BufferPool& the_pool, FrameBudget& the_budget, int64_t the_max_frame)
    : pool(the_pool), budget(the_budget), max_frame(the_max_frame), memory(new uint8_t[kLargestGuess + kRead]) {}

FrameReader::~FrameReader() {
  if (waiter_) context_->budget.cancel(*waiter_);
  drop_stash();
}

void FrameReader::move_to(ReadContext& context) {
  if (waiter_) context_->budget.cancel(*waiter_);
  waiter_.reset();
  context_ = &context;
}

void FrameReader::drop_stash() {
  if (stash_.data == nullptr) return;
  context_->budget.release(FrameBudget::Pool::kSmall, static_cast<int64_t>(stash_.capacity));
  context_->pool.give(stash_);
  stash_ = {};
}

void FrameReader::stash(const uint8_t* from, size_t size) {
  if (size == 0) return;
  CHECK(stash_.data == nullptr);
  stash_ = context_->pool.take(size);
  context_->budget.force(static_cast<int64_t>(stash_.capacity));
  std::memcpy(stash_.data, from, size);
  stash_begin_ = 0;
  stash_end_ = size;
}

FrameBudget::Pool FrameReader::reserve(size_t size, const std::function<void()>& wake) {
  FrameBudget& budget = context_->budget;
  if (waiter_) {
    // The place in the line is for this very frame: the stash has not moved since.
    auto pool = budget.collect(*waiter_);
    if (pool != FrameBudget::Pool::kNone) waiter_.reset();
    return pool;
  }
  auto pool = budget.try_reserve(static_cast<int64_t>(size));
  if (pool != FrameBudget::Pool::kNone) return pool;
  waiter_ = std::make_unique<FrameBudget::Waiter>();
  waiter_->size = static_cast<int64_t>(size);
  waiter_->wake = wake;
  pool = budget.wait(*waiter_);
  if (pool != FrameBudget::Pool::kNone) waiter_.reset();
  return pool;
}

void FrameReader::begin_in(BufferPool::Buffer buffer, FrameBudget::Pool pool, size_t size, uint32_t offset) {
  frame_.pool_ = &context_->pool;
  frame_.budget_ = &context_->budget;
  frame_.buffer_ = buffer;
  frame_.reserved_in_ = pool;
  frame_.offset_ = offset;
  frame_.size_ = size;
  filled_ = 0;
  in_frame_ = true;
  ++frames_begun_;
}

bool FrameReader::begin_frame(size_t size, const std::function<void()>& wake) {
  auto pool = reserve(size, wake);
  if (pool == FrameBudget::Pool::kNone) return false;
  // A first frame of many MiB starts small; one like the last is taken at its word.
  size_t room = std::min(size, std::max(kFirstRoom, std::min(last_size_, BufferPool::kLargestClass)));
  begin_in(context_->pool.take(room), pool, size, 0);
  return true;
}

void FrameReader::make_room() {
  size_t capacity = frame_.buffer_.capacity - frame_.offset_;
  if (filled_ < capacity || filled_ == frame_.size_) return;
  size_t larger = std::min(frame_.size_, capacity * 2);
  frame_.buffer_ = context_->pool.grow(frame_.buffer_, frame_.offset_ + filled_, frame_.offset_ + larger);
}

// Cuts frames out of `from`; stops early only if a frame cannot be handed on or begun.
FrameReader::Stop FrameReader::parse(const uint8_t* from, size_t size, size_t& used, Taker& taker,
                                     const std::function<void()>& wake) {
  used = 0;
  for (;;) {
    if (in_frame_) {
      while (filled_ < frame_.size_ && used < size) {
        make_room();
        size_t step = std::min({size - used, frame_.size_ - filled_, frame_.buffer_.capacity - frame_.offset_ - filled_});
        std::memcpy(frame_.bytes().data() + filled_, from + used, step);
        filled_ += step;
        used += step;
      }
      if (filled_ < frame_.size_) return Stop::kDrained;
      if (!taker.may_take()) return Stop::kRefused;
      last_size_ = frame_.size_;
      in_frame_ = false;
      taker.take(std::move(frame_));
      frame_ = Frame();
    }
    if (size - used < kSizeBytes) return Stop::kDrained;
    auto claimed = base::load_be<int32_t>(from + used);
    if (claimed < 0 || claimed > context_->max_frame) {
      refused_size_ = claimed;
      return Stop::kTooLarge;
    }
    if (!begin_frame(static_cast<size_t>(claimed), wake)) return Stop::kNoRoom;
    used += kSizeBytes;
  }
}

// One system call. What is not in the frame under way is at `rest`: the bytes of head_, then new ones.
ssize_t FrameReader::read_more(int socket, size_t& asked, const uint8_t*& rest, size_t& rest_size, bool& guessed) {
  uint8_t* scratch = context_->read_at();
  iovec parts[2];
  int count = 0;
  guessed = false;
  BufferPool::Buffer guess;
  size_t into_frame = 0;
  if (in_frame_) {
    make_room();
    into_frame = std::min(frame_.size_ - filled_, frame_.buffer_.capacity - frame_.offset_ - filled_);
    parts[count++] = {frame_.bytes().data() + filled_, into_frame};
    if (filled_ + into_frame == frame_.size_) parts[count++] = {scratch, ReadContext::kRead};
  } else if (last_size_ >= kGuessFrom && last_size_ <= ReadContext::kLargestGuess - kSizeBytes) {
    guess = context_->pool.take(last_size_ + kSizeBytes);
    std::memcpy(guess.data, head_, head_size_);
    CHECK(guess.capacity <= ReadContext::kLargestGuess);  // all of it may have to move in front of the read buffer
    parts[count++] = {guess.data + head_size_, guess.capacity - head_size_};
    parts[count++] = {scratch, ReadContext::kRead};
    guessed = true;
  } else {
    parts[count++] = {scratch, ReadContext::kRead};
  }
  asked = parts[0].iov_len + (count == 2 ? parts[1].iov_len : 0);
  ssize_t got;
  do {
    got = count == 1 ? ::recv(socket, parts[0].iov_base, parts[0].iov_len, 0) : ::readv(socket, parts, count);
  } while (got < 0 && errno == EINTR);
  int error = errno;
  rest_size = 0;
  if (got <= 0) {
    context_->pool.give(guess);
    errno = error;
    return got;
  }
  ++progress_;
  auto bytes = static_cast<size_t>(got);
  if (in_frame_) {
    size_t taken = std::min(bytes, into_frame);
    filled_ += taken;
    rest = scratch;
    rest_size = bytes - taken;
    return got;
  }
  if (!guessed) {
    std::memcpy(scratch - head_size_, head_, head_size_);
    rest = scratch - head_size_;
    rest_size = bytes + head_size_;
    head_size_ = 0;
    return got;
  }
  // A frame that fits stays in the buffer of the guess; the bytes behind it move in front of those in the read buffer.
  size_t total = bytes + head_size_;
  size_t in_guess = std::min(total, guess.capacity);
  size_t keep = 0;
  if (total >= kSizeBytes) {
    auto claimed = base::load_be<int32_t>(guess.data);
    // Not one that is much smaller than the buffer: it may wait long in the broker, and is counted by its size.
    const auto needed = static_cast<size_t>(claimed) + kSizeBytes;
    if (claimed >= 0 && claimed <= context_->max_frame && needed <= guess.capacity && needed >= guess.capacity / kRoomier) {
      auto pool = context_->budget.try_reserve(claimed);
      if (pool != FrameBudget::Pool::kNone) {
        begin_in(guess, pool, static_cast<size_t>(claimed), kSizeBytes);
        filled_ = std::min(in_guess - kSizeBytes, frame_.size_);
        keep = filled_ + kSizeBytes;
      }
    }
  }
  size_t moved = in_guess - keep;
  std::memcpy(scratch - moved, guess.data + keep, moved);
  rest = scratch - moved;
  rest_size = total - keep;
  head_size_ = 0;
  if (!in_frame_) context_->pool.give(guess);
  return got;
}

FrameReader::Stop FrameReader::run(int socket, bool readable, Taker& taker, const std::function<void()>& wake) {
  size_t used = 0;
  if (has_leftover()) {
    Stop stop = parse(stash_.data + stash_begin_, stash_.data != nullptr ? stash_end_ - stash_begin_ : 0, used, taker, wake);
    stash_begin_ += used;
    if (stop != Stop::kDrained) {
      if (stash_.data != nullptr && stash_begin_ == stash_end_) drop_stash();
      return stop;
    }
    if (stash_.data != nullptr) {
      head_size_ = static_cast<uint8_t>(stash_end_ - stash_begin_);
      std::memcpy(head_, stash_.data + stash_begin_, head_size_);
      drop_stash();
    }
  }
  if (!readable) return Stop::kDrained;
  for (int turn = 0; turn < kReadsPerTurn; ++turn) {
    size_t asked = 0;
    const uint8_t* rest = nullptr;
    size_t rest_size = 0;
    bool guessed = false;
    ssize_t got = read_more(socket, asked, rest, rest_size, guessed);
    if (got == 0) return Stop::kEnd;
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? Stop::kDrained : Stop::kBroken;
    Stop stop = parse(rest, rest_size, used, taker, wake);
    if (stop == Stop::kTooLarge) return stop;
    if (stop != Stop::kDrained) {
      stash(rest + used, rest_size - used);
      return stop;
    }
    head_size_ = static_cast<uint8_t>(rest_size - used);
    std::memcpy(head_, rest + used, head_size_);
    if (static_cast<size_t>(got) < asked) return Stop::kDrained;
  }
  return Stop::kTurnOver;
}

}  // namespace odradek::net
