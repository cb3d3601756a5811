// One whole frame of any format: a v2 batch, a message of v0 or v1, or a wrapper of such messages. Logs may hold all of them mixed.
// Thread: views; any thread that may read the bytes.
#pragma once

#include "record/batch.h"
#include "record/message.h"

namespace odradek::record {

class Frame {
 public:
  Frame() = default;
  // `bytes` is exactly one frame that peek_frame accepted.
  explicit Frame(ByteView bytes) : bytes_(bytes) {}
  // False: no frame (what next_frame gives at the end).
  explicit operator bool() const { return !bytes_.empty(); }

  ByteView bytes() const { return bytes_; }
  size_t size_in_bytes() const { return bytes_.size(); }
  int8_t magic() const { return static_cast<int8_t>(bytes_[kMagicAt]); }
  bool is_batch() const { return magic() == kMagicV2; }
  BatchView batch() const { return BatchView(bytes_); }        // only if is_batch()
  MessageView message() const { return MessageView(bytes_); }  // only if not

  // v0, v1: the same as last_offset(); a wrapper's first offset stands only inside it.
  Offset base_offset() const { return {base::load_be<int64_t>(bytes_.data())}; }
  Offset last_offset() const { return is_batch() ? batch().last_offset() : base_offset(); }
  int64_t max_timestamp() const { return is_batch() ? batch().max_timestamp() : message().timestamp(); }
  LeaderEpoch leader_epoch() const { return is_batch() ? batch().leader_epoch() : kNoLeaderEpoch; }
  // Records in it; of a wrapper, which does not say: 1.
  int32_t count() const { return is_batch() ? batch().count() : 1; }
  bool crc_matches() const { return is_batch() ? batch().crc_matches() : message().crc_matches(); }
  std::string where() const { return is_batch() ? batch().where() : message().where(); }

 private:
  ByteView bytes_;
};

// As next_batch, for every format. Errors (`rest` unchanged): kCorruptMessage as peek_frame.
Result<Frame> next_frame(ByteView& rest);

}  // namespace odradek::record
