#include "api/data/old_fetch.h"

#include <algorithm>

#include "record/down_convert.h"

namespace odradek::api {

namespace {

// Whole frames out of a slice, read in pieces.
class SliceReader {
 public:
  explicit SliceReader(const base::FileSlice& slice) : slice_(slice), left_(slice.size), position_(slice.position) {}

  // False: the end, or the file was truncated meanwhile (then some is left). Valid until the next call.
  Result<record::Frame> next() {
    for (;;) {
      ByteView rest = ByteView(buffer_).subspan(taken_);
      const size_t before = rest.size();
      auto frame = record::next_frame(rest);
      if (!frame) return frame;
      if (*frame) {
        taken_ += before - rest.size();
        return frame;
      }
      if (left_ == 0) return record::Frame();
      auto grown = read_more();
      if (!grown) return fail(std::move(grown.error()));
      if (!*grown) return record::Frame();
    }
  }
  bool has_left() const { return left_ > 0; }

 private:
  static constexpr int64_t kPiece = 256 * 1024;

  Result<bool> read_more() {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(taken_));
    taken_ = 0;
    const size_t had = buffer_.size();
    const int64_t wanted = std::min(left_, kPiece);
    buffer_.resize(had + static_cast<size_t>(wanted));
    if (!slice_.file->begin_send(slice_.generation)) {
      buffer_.resize(had);
      return false;
    }
    auto got = slice_.file->file().pread(position_, MutableByteView(buffer_).subspan(had));
    slice_.file->end_send();
    if (!got) return fail(std::move(got.error()));
    buffer_.resize(had + *got);
    position_ += static_cast<int64_t>(*got);
    left_ -= static_cast<int64_t>(*got);
    return *got > 0;
  }

  const base::FileSlice& slice_;
  int64_t left_;
  int64_t position_;
  Bytes buffer_;
  size_t taken_ = 0;
};

}  // namespace

Result<Bytes> OldFetchAnswer::convert(const storage::Log& log, Offset from, int32_t max_bytes, const replication::ReadResult& found) {
  Bytes out;
  const size_t left = kMaxConvertedBytes - std::min(converted_, kMaxConvertedBytes);
  // v0-v2 know no batch that is too large: what does not fit into the limit is read all the same, and cut.
  const bool nothing_fits = found.records.size == 0 && found.cold.size == 0 && from < found.upper_bound;
  if (left == 0 || (found.records.size == 0 && !(cuts_ && nothing_fits))) return out;
  const size_t most = static_cast<size_t>(std::max(max_bytes, 0));
  const size_t limit = std::min(most, left);

  record::DownConverter converter(magic_, from);
  base::FileSlice slice = found.records;
  Offset next = found.records.size == 0 ? from : found.next_offset;
  for (;;) {
    if (slice.size == 0) {
      auto read = log.read(next, max_bytes, found.upper_bound, true);
      if (!read) return fail(std::move(read.error()));
      if (read->slice.size == 0) break;
      slice = std::move(read->slice);
      next = read->next_offset;
    }
    SliceReader reader(slice);
    bool truncated = false;
    for (;;) {
      auto frame = reader.next();
      if (!frame) return fail(std::move(frame.error()));
      if (!*frame) {
        truncated = reader.has_left();
        break;
      }
      auto whole = converter.convert(*frame, out, limit);
      if (!whole) {
        // What stands before it is an answer; the next one tells of the error.
        if (!out.empty()) break;
        return fail(std::move(whole.error()));
      }
      if (!*whole || out.size() >= limit) break;
    }
    if (truncated || !out.empty() || next >= found.upper_bound) break;
    slice = {};
  }
  if (cuts_ && out.size() > most) out.resize(most);
  if (converted_ > 0 && out.size() > left) out.clear();
  converted_ += out.size();
  records_ += converter.records();
  return out;
}

}  // namespace odradek::api
