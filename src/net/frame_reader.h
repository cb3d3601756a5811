// Cuts the byte stream of one socket into frames: int32 size (big-endian), then that many bytes.
// Small frames come through the thread's read buffer, many with one system call, and are copied into buffers of their size. A
// connection whose last frame was of 4 KiB or more is expected to send another like it: the bytes are read straight into a frame
// buffer. The rest of a frame that has begun always is.
// Memory: a frame's buffer grows with the bytes that arrived (to 64 KiB at once, then at most doubling, or to the size of the
// connection's last frame). Thread: the connection's network thread.
#pragma once

#include <cstdint>
#include <memory>

#include "net/frame.h"

namespace odradek::net {

// What the readers of one network thread share.
struct ReadContext {
  static constexpr size_t kRead = 64 * 1024;          // asked for with one call
  static constexpr size_t kLargestGuess = 256 * 1024;  // frames above are not read in one go

  ReadContext(BufferPool& pool, FrameBudget& budget, int64_t max_frame);
  BufferPool& pool;
  FrameBudget& budget;
  const int64_t max_frame;
  uint8_t* read_at() { return memory.get() + kLargestGuess; }  // in front of it: room to put the bytes that came before
  std::unique_ptr<uint8_t[]> memory;
};

class FrameReader {
 public:
  // Takes the frames of one reader.
  class Taker {
   public:
    virtual ~Taker() = default;
    // False: not now; the reader keeps the frame and stops.
    virtual bool may_take() = 0;
    virtual void take(Frame frame) = 0;
  };

  enum class Stop {
    kDrained,   // the socket is empty for now
    kTurnOver,  // there may be more; others first
    kRefused,   // may_take() said no
    kNoRoom,    // the budget has no room; waiter.wake will tell
    kEnd,       // the peer sends no more
    kTooLarge,  // a size below 0 or above the limit
    kBroken,    // the socket failed
  };

  explicit FrameReader(ReadContext& context) : context_(&context) {}
  ~FrameReader();
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  // Goes on where it stopped. `readable` false: only with what has been received. `wake` is used if the budget has no room.
  Stop run(int socket, bool readable, Taker& taker, const std::function<void()>& wake);

  // Received bytes, or a frame, that could be handed on without reading.
  bool has_leftover() const { return stash_.data != nullptr || (in_frame_ && filled_ == frame_.size_); }
  // A frame has begun and its rest has to come from the peer.
  bool waits_for_peer() const { return in_frame_ && filled_ < frame_.size_; }
  // Counts up whenever bytes arrive.
  uint64_t progress() const { return progress_; }
  // The frame that began last.
  struct UnderWay {
    uint64_t number = 0;  // counted from the first of the connection
    size_t size = 0;
    size_t received = 0;
  };
  UnderWay under_way() const { return {frames_begun_, frame_.size_, filled_}; }
  // Stops waiting for room, in order to move to the context of another thread.
  void move_to(ReadContext& context);
  // Size of the frame that kTooLarge was about.
  int32_t refused_size() const { return refused_size_; }

 private:
  Stop parse(const uint8_t* from, size_t size, size_t& used, Taker& taker, const std::function<void()>& wake);
  // 0: go on.
  bool begin_frame(size_t size, const std::function<void()>& wake);
  void begin_in(BufferPool::Buffer buffer, FrameBudget::Pool pool, size_t size, uint32_t offset);
  FrameBudget::Pool reserve(size_t size, const std::function<void()>& wake);
  void make_room();
  void stash(const uint8_t* from, size_t size);
  void drop_stash();
  ssize_t read_more(int socket, size_t& asked, const uint8_t*& rest, size_t& rest_size, bool& guessed);

  ReadContext* context_;
  Frame frame_;  // under way if in_frame_
  size_t filled_ = 0;
  bool in_frame_ = false;
  uint8_t head_size_ = 0;  // bytes of a size that has not come whole
  uint8_t head_[4];
  int32_t refused_size_ = 0;
  size_t last_size_ = 0;  // of the last frame
  // Received, not yet cut.
  BufferPool::Buffer stash_;
  size_t stash_begin_ = 0;
  size_t stash_end_ = 0;
  uint64_t progress_ = 0;
  uint64_t frames_begun_ = 0;
  std::unique_ptr<FrameBudget::Waiter> waiter_;  // while there is no room
};

}  // namespace odradek::net
