#include "net/frame_writer.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"

namespace odradek::net {
namespace {

constexpr size_t kPrefix = 4;
constexpr int kParts = 64;

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

}  // namespace

void FrameWriter::expect(Exchange* exchange) {
  exchange->next_in_order_ = nullptr;
  (last_ == nullptr ? first_ : last_->next_in_order_) = exchange;
  last_ = exchange;
}

Exchange* FrameWriter::take_all() {
  last_ = nullptr;
  return std::exchange(first_, nullptr);
}

void FrameWriter::finish_first(Done& done) {
  Exchange* exchange = first_;
  first_ = exchange->next_in_order_;
  if (first_ == nullptr) last_ = nullptr;
  at_ = {};
  known_cached_until_ = -1;
  done.done(*exchange);
}

// Whether the next thing to send is a slice that goes by sendfile.
bool FrameWriter::slice_is_next() const {
  const base::Output& output = first_->output;
  return at_.prefix == kPrefix && at_.insert < output.inserts.size() && output.inserts[at_.insert].at == at_.byte &&
         output.inserts[at_.insert].slice.size > kCopied;
}

// Bytes (and small slices) from the present position, over as many answers as are there, up to the next large slice.
FrameWriter::Stop FrameWriter::send_bytes(int socket, bool probe, uint8_t* scratch, Done& done, int64_t& sent_total) {
  iovec parts[kParts];
  int count = 0;
  size_t total = 0;
  size_t scratch_used = 0;
  bool more = false;     // a slice follows at once
  bool whole = true;     // all that is there was gathered
  uint8_t prefixes[kParts / 2][kPrefix];
  int prefix_count = 0;
  auto add = [&](const void* from, size_t size) {
    if (size == 0) return;
    parts[count++] = {const_cast<void*>(from), size};
    total += size;
  };

  Position at = at_;
  for (Exchange* exchange = first_; exchange != nullptr && exchange->answered_; exchange = exchange->next_in_order_, at = {}) {
    if (exchange->answer == Exchange::Answer::kNothing) continue;
    if (exchange->answer == Exchange::Answer::kClose) break;
    const base::Output& output = exchange->output;
    if (at.prefix < kPrefix) {
      if (prefix_count == kParts / 2 || count + 2 >= kParts) {
        whole = false;
        break;
      }
      uint8_t* prefix = prefixes[prefix_count++];
      base::store_be<int32_t>(prefix, static_cast<int32_t>(output.size()));
      add(prefix + at.prefix, kPrefix - at.prefix);
      at.prefix = kPrefix;
    }
    bool stopped = false;
    for (;;) {
      bool at_insert = at.insert < output.inserts.size();
      size_t until = at_insert ? output.inserts[at.insert].at : output.bytes.size();
      if (at.byte < until) {
        if (count == kParts) break;
        add(output.bytes.data() + at.byte, until - at.byte);
        at.byte = until;
      }
      if (!at_insert) break;
      const base::FileSlice& slice = output.inserts[at.insert].slice;
      if (slice.size > kCopied) {
        more = stopped = true;
        break;
      }
      auto left = static_cast<size_t>(slice.size - at.in_slice);
      if (left > 0) {
        if (count == kParts || scratch_used + left > kScratch) break;
        int64_t position = slice.position + at.in_slice;
        bool is_next = exchange == first_ && at.insert == at_.insert;
        bool known = is_next && position + static_cast<int64_t>(left) <= known_cached_until_;
        if (probe && !known && !slice.file->file().resident(position, static_cast<int64_t>(left))) {
          if (is_next && total == 0) return Stop::kCold;
          break;  // first what was gathered
        }
        if (!slice.file->begin_send(slice.generation)) return Stop::kBroken;
        auto got = slice.file->file().pread(position, {scratch + scratch_used, left});
        slice.file->end_send();
        if (!got || *got != left) return Stop::kBroken;
        add(scratch + scratch_used, left);
        scratch_used += left;
      }
      ++at.insert;
      at.in_slice = 0;
    }
    if (stopped) break;
    if (at.byte < output.bytes.size() || at.insert < output.inserts.size()) {
      whole = false;
      break;
    }
    if (exchange->answer == Exchange::Answer::kSendAndClose) break;
  }

  if (total > 0) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<size_t>(count);
    ssize_t sent;
    do {
      sent = count == 1 ? ::send(socket, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | (more ? MSG_MORE : 0))
                        : ::sendmsg(socket, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return would_block() ? Stop::kBlocked : Stop::kBroken;
    sent_total += sent;
    advance(static_cast<size_t>(sent), done);
    if (static_cast<size_t>(sent) < total) return Stop::kBlocked;
  } else {
    advance(0, done);
  }
  return whole ? Stop::kNothing : Stop::kTurnOver;
}

// Moves the position by `sent` bytes of what send_bytes gathered, and past all that needs no bytes.
void FrameWriter::advance(size_t sent, Done& done) {
  while (first_ != nullptr && first_->answered_) {
    if (first_->answer == Exchange::Answer::kNothing) {
      finish_first(done);
      continue;
    }
    if (first_->answer == Exchange::Answer::kClose) return;
    const base::Output& output = first_->output;
    auto step = [&](size_t left) {
      size_t size = std::min(left, sent);
      sent -= size;
      return size;
    };
    at_.prefix += step(kPrefix - at_.prefix);
    if (at_.prefix < kPrefix) return;
    for (;;) {
      bool at_insert = at_.insert < output.inserts.size();
      size_t until = at_insert ? output.inserts[at_.insert].at : output.bytes.size();
      at_.byte += step(until - at_.byte);
      if (at_.byte < until) return;
      if (!at_insert) break;
      const base::FileSlice& slice = output.inserts[at_.insert].slice;
      if (slice.size > kCopied && at_.in_slice < slice.size) return;  // send_slice moves on
      at_.in_slice += static_cast<int64_t>(step(static_cast<size_t>(slice.size - at_.in_slice)));
      if (at_.in_slice < slice.size) return;
      ++at_.insert;
      at_.in_slice = 0;
      known_cached_until_ = -1;
    }
    if (first_->answer == Exchange::Answer::kSendAndClose) {
      first_->sent_bytes = output.size();
      first_->answer = Exchange::Answer::kClose;  // nothing is left of it but the end
      return;
    }
    first_->sent_bytes = output.size();
    finish_first(done);
  }
}

FrameWriter::Stop FrameWriter::send_slice(int socket, bool probe, uint8_t* scratch, int64_t& sent_total) {
  const base::FileSlice& slice = first_->output.inserts[at_.insert].slice;
  int64_t position = slice.position + at_.in_slice;
  int64_t chunk = std::min(slice.size - at_.in_slice, kChunk);
  base::File& file = slice.file->file();
  if (probe && position + chunk > known_cached_until_) {
    if (!file.resident(position, chunk)) return Stop::kCold;
    known_cached_until_ = position + chunk;
  }
  if (!slice.file->begin_send(slice.generation)) return Stop::kBroken;
  ssize_t sent;
  int error = 0;
  if (int handle = file.native_handle(); handle >= 0) {
    off_t offset = position;
    do {
      sent = ::sendfile(socket, handle, &offset, static_cast<size_t>(chunk));
      error = errno;
    } while (sent < 0 && error == EINTR);
    slice.file->end_send();
  } else {
    auto got = file.pread(position, {scratch, std::min(static_cast<size_t>(chunk), kScratch)});
    slice.file->end_send();
    if (!got || *got == 0) return Stop::kBroken;
    do {
      sent = ::send(socket, scratch, *got, MSG_NOSIGNAL);
      error = errno;
    } while (sent < 0 && error == EINTR);
  }
  if (sent < 0) {
    errno = error;
    return would_block() ? Stop::kBlocked : Stop::kBroken;
  }
  if (sent == 0) return Stop::kBroken;  // the file ends before the slice
  sent_total += sent;
  at_.in_slice += sent;
  return Stop::kNothing;
}

FrameWriter::Stop FrameWriter::run(int socket, bool probe, uint8_t* scratch, Done& done) {
  int64_t sent = 0;
  while (has_answer()) {
    if (first_->answer == Exchange::Answer::kClose) return Stop::kClose;
    if (sent >= kTurn) return Stop::kTurnOver;
    Stop stop;
    if (first_->answer != Exchange::Answer::kNothing && slice_is_next()) {
      stop = send_slice(socket, probe, scratch, sent);
      // Past its end: on to what follows, perhaps the end of the answer.
      if (stop == Stop::kNothing && at_.in_slice == first_->output.inserts[at_.insert].slice.size) advance(0, done);
    } else {
      stop = send_bytes(socket, probe, scratch, done, sent);
      if (stop == Stop::kTurnOver) stop = Stop::kNothing;
    }
    if (stop == Stop::kBlocked) known_cached_until_ = -1;  // the wait may be long
    if (stop != Stop::kNothing) return stop;
  }
  return Stop::kNothing;
}

base::FileSlice FrameWriter::to_load() const {
  base::FileSlice slice = first_->output.inserts[at_.insert].slice;
  slice.position += at_.in_slice;
  slice.size = std::min(slice.size - at_.in_slice, kLoadAhead);
  return slice;
}

void FrameWriter::loaded() {
  base::FileSlice slice = to_load();
  known_cached_until_ = slice.position + slice.size;
}

}  // namespace odradek::net
