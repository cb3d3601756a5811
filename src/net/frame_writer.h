// The answers that one connection owes, in request order, and the sending of those that are there: int32 size, then bytes and
// file slices as base::Output says. Bytes of several answers leave with one system call; a small header in front of a slice is
// held back by the kernel (MSG_MORE) until the slice's first bytes come; slices go by sendfile in chunks of at most 256 KiB.
// A chunk that is not in the page cache is first loaded by another thread. A slice whose file has been truncated since
// (generation), or that ends early, breaks the connection: nothing is padded.
// Thread: the connection's network thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/file_slice.h"
#include "base/slice_loader.h"
#include "net/exchange.h"

namespace odradek::net {

class FrameWriter {
 public:
  static constexpr int64_t kChunk = 256 * 1024;

  // Called when an answer has been sent, or passed over.
  class Done {
   public:
    virtual ~Done() = default;
    virtual void done(Exchange& exchange) = 0;
  };

  enum class Stop {
    kNothing,   // nothing more to send now
    kBlocked,   // the socket takes no more for now
    kTurnOver,  // there is more; others first
    kCold,      // to_load() must be in the page cache first; then loaded()
    kClose,     // the connection is to be closed
    kBroken,    // the socket failed, or a slice is not there any more
  };

  // The next answer of this connection will be this one.
  void expect(Exchange* exchange);
  bool has_answer() const { return first_ != nullptr && first_->answered_; }
  Exchange* first() const { return first_; }
  // Takes all owed answers off the list, linked by next_in_order_: the connection is gone.
  Exchange* take_all();

  // `scratch`: kScratch bytes. `probe`: ask whether chunks are in the page cache.
  static constexpr size_t kScratch = 64 * 1024;
  Stop run(int socket, bool probe, uint8_t* scratch, Done& done);
  base::FileSlice to_load() const;
  // The slice that was asked for has been loaded; it is not asked for again.
  void loaded();

 private:
  struct Position {
    size_t prefix = 0;  // of the 4 bytes of the size
    size_t byte = 0;
    size_t insert = 0;
    int64_t in_slice = 0;
  };
  // Small slices are copied: cheaper than a call each.
  static constexpr int64_t kCopied = 8 * 1024;
  static constexpr int64_t kLoadAhead = 1 << 20;
  static constexpr int64_t kTurn = 1 << 20;

  bool slice_is_next() const;
  Stop send_bytes(int socket, bool probe, uint8_t* scratch, Done& done, int64_t& sent);
  Stop send_slice(int socket, bool probe, uint8_t* scratch, int64_t& sent);
  void advance(size_t sent, Done& done);
  void finish_first(Done& done);

  Exchange* first_ = nullptr;
  Exchange* last_ = nullptr;
  Position at_;  // in *first_
  int64_t known_cached_until_ = -1;  // position in the present slice's file
};

}  // namespace odradek::net
