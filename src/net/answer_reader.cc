#include "net/answer_reader.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace odradek::net {
namespace {

constexpr size_t kFirstRoom = 64 * 1024;
constexpr size_t kReadPerTurn = 1 << 20;  // then other links have their turn

}  // namespace

AnswerReader::Stop AnswerReader::run(int socket, MutableByteView scratch, Taker& taker) {
  for (size_t turn = 0; turn < kReadPerTurn;) {
    iovec parts[2];
    int count = 0;
    size_t direct = 0;
    if (in_answer_) {
      make_room();
      direct = std::min(answer_size_ - answer_.size(), answer_.room().size());
      parts[count++] = {answer_.room().data(), direct};
    }
    // What follows the answer, if all of it fits.
    bool with_scratch = !in_answer_ || answer_.size() + direct == answer_size_;
    if (with_scratch) parts[count++] = {scratch.data(), scratch.size()};
    ssize_t got = ::readv(socket, parts, count);
    if (got == 0) return Stop::kEnd;
    if (got < 0) {
      if (errno == EAGAIN) return Stop::kDrained;
      if (errno == EINTR) continue;
      error_ = errno;
      return Stop::kBroken;
    }
    auto bytes = static_cast<size_t>(got);
    turn += bytes;
    received_.fetch_add(got, std::memory_order_relaxed);
    size_t into_answer = std::min(bytes, direct);
    if (in_answer_) {
      answer_.filled(into_answer);
      if (!end_answer(taker)) return Stop::kRefused;
    }
    if (Stop stop = parse(ByteView(scratch).first(bytes - into_answer), taker); stop != Stop::kDrained) return stop;
    if (bytes < direct + (with_scratch ? scratch.size() : 0)) break;  // there was no more
  }
  return Stop::kDrained;
}

AnswerReader::Stop AnswerReader::parse(ByteView bytes, Taker& taker) {
  while (!bytes.empty()) {
    if (!in_answer_) {
      size_t step = std::min(kSizeBytes - head_size_, bytes.size());
      std::memcpy(head_ + head_size_, bytes.data(), step);
      head_size_ += step;
      bytes = bytes.subspan(step);
      if (head_size_ < kSizeBytes) return Stop::kDrained;
      head_size_ = 0;
      auto size = base::load_be<int32_t>(head_);
      if (size < 0 || size > max_answer_bytes_) {
        refused_size_ = size;
        return Stop::kTooLarge;
      }
      in_answer_ = true;
      answer_size_ = static_cast<size_t>(size);
      // One like the last is taken at its word.
      answer_ = Answer(std::min(answer_size_, std::max(kFirstRoom, last_size_)));
    }
    make_room();
    size_t step = std::min(bytes.size(), answer_.room().size());
    std::memcpy(answer_.room().data(), bytes.data(), step);
    answer_.filled(step);
    bytes = bytes.subspan(step);
    if (!end_answer(taker)) return Stop::kRefused;
  }
  return Stop::kDrained;
}

void AnswerReader::make_room() {
  if (!answer_.room().empty() || answer_.size() == answer_size_) return;
  Answer larger(std::min(answer_size_, 2 * answer_.size()));
  std::memcpy(larger.room().data(), answer_.bytes().data(), answer_.size());
  larger.filled(answer_.size());
  answer_ = std::move(larger);
}

bool AnswerReader::end_answer(Taker& taker) {
  if (answer_.size() < answer_size_) return true;
  in_answer_ = false;
  last_size_ = answer_size_;
  return taker.take(std::exchange(answer_, {}));
}

}  // namespace odradek::net
