// The codecs of record batches, in the framings that Java clients write and read.
//   gzip: RFC 1952. zstd: plain frames.
//   snappy: written as the "xerial" stream (82 'SNAPPY' 00, version 1, compatible 1, then blocks: i32 length, raw block of at most
//     32 KiB of input); read also as one bare raw block.
//   lz4: one LZ4 frame, FLG 60 BD 40 (independent blocks of 64 KiB, no checksums); dependent blocks are refused, as Java's reader
//     does. In magic 0 the header checksum covers the frame magic too (KAFKA-3160): so written there, not checked there.
// Nothing a stream claims is believed: output is bounded by the caller's limit; memory by what the codec needs at once (zstd: its
// window, 128 MiB at most; lz4: a block, 4 MiB at most; snappy: a block, at most 22 times its bytes) and given back after the
// stream if it is more than usual.
// Thread: a Decompressor or Compressor belongs to one thread at a time; keep one per thread and use it again.
#pragma once

#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "model/error_code.h"
#include "record/codec.h"

namespace odradek::record {

// No batch may yield more than this, whatever its codec.
inline constexpr size_t kMaxDecompressedBytes = size_t{1} << 30;

class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  // Begins a stream; `compressed` must outlive it. `limit`: the most bytes it may yield. kNone hands `compressed` through.
  // Errors: kUnsupportedCompressionType: no such codec. kInvalidRecord: the framing's header is not legal.
  Result<void> start(Codec codec, ByteView compressed, size_t limit = kMaxDecompressedBytes, int8_t magic = 2);
  // The next piece of output, never empty before the end; empty at the end. Valid until the next call.
  // Errors: kInvalidRecord: not a legal stream, or it ends early. kMessageTooLarge: more than `limit` bytes.
  Result<ByteView> next();

  // All output of a stream in one piece, in a buffer of this object that the next call uses again.
  Result<ByteView> all(Codec codec, ByteView compressed, size_t limit = kMaxDecompressedBytes, int8_t magic = 2);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class Compressor {
 public:
  Compressor();
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  // Begins a stream that is appended to `out`, which must outlive it. `limit`: the most bytes it may append.
  // `level` must be legal for the codec (is_legal_level). `size_hint`: about how many bytes will be written, 0 = unknown; it keeps
  // zstd's memory (hundreds of MiB at its highest levels) near what the input needs.
  void start(Codec codec, int level, Bytes& out, size_t limit, size_t size_hint = 0, int8_t magic = 2);
  // Errors (of both): kMessageTooLarge: the stream would pass `limit`.
  Result<void> write(ByteView bytes);
  Result<void> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// `bytes` as one stream of `codec`.
Result<Bytes> compress(Codec codec, int level, ByteView bytes, int8_t magic = 2);

}  // namespace odradek::record
