#include <lz4.h>
#include <lz4hc.h>
#include <snappy.h>
#include <zlib.h>
#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_c_srcSizeHint
#include <zstd.h>

#include <algorithm>
#include <climits>
#include <optional>

#include "base/check.h"
#include "record/compression.h"
#include "record/framing.h"

namespace odradek::record {
namespace {

constexpr size_t kKeep = size_t{4} << 20;  // a context above this goes back after its stream

tl::unexpected<Error> too_large() { return fail(ErrorCode::kMessageTooLarge, "a batch is too large once it is compressed as the topic wants it"); }

}  // namespace

struct Compressor::State {
  Codec codec = Codec::kNone;
  int level = 0;
  Bytes* out = nullptr;
  size_t end = 0;  // `out` may not pass this size
  Bytes block;     // input of a block that is not full (snappy, lz4)

  z_stream gzip{};
  std::optional<int> gzip_level;  // set: `gzip` is ready for it
  ZSTD_CCtx* zstd = nullptr;
  std::unique_ptr<uint8_t[]> lz4_fast, lz4_high;

  ~State() {
    if (gzip_level) deflateEnd(&gzip);
    ZSTD_freeCCtx(zstd);
  }

  // Room for `size` bytes at the end of `out`; the caller cuts what it did not use.
  uint8_t* grow(size_t size) {
    size_t at = out->size();
    out->resize(at + size);
    return out->data() + at;
  }
  Result<void> checked() const { return out->size() > end ? Result<void>(too_large()) : Result<void>(); }

  void start(size_t size_hint, int8_t magic);
  Result<void> write(ByteView bytes);
  Result<void> finish();
  Result<void> write_gzip(ByteView bytes, int flush);
  Result<void> write_zstd(ByteView bytes, ZSTD_EndDirective directive);
  Result<void> write_blocks(ByteView bytes, size_t block_size);
  void put_block(ByteView bytes);
};

void Compressor::State::start(size_t size_hint, int8_t magic) {
  block.clear();
  switch (codec) {
    case Codec::kNone: break;
    case Codec::kGzip:
      if (gzip_level == level) {
        deflateReset(&gzip);
      } else {
        if (gzip_level) deflateEnd(&gzip);
        CHECK(deflateInit2(&gzip, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
        gzip_level = level;
      }
      break;
    case Codec::kSnappy: {
      uint8_t* at = grow(snappy_framing::kHeaderSize);
      std::memcpy(at, snappy_framing::kMagic.data(), snappy_framing::kMagic.size());
      base::store_be<int32_t>(at + 8, snappy_framing::kVersion);
      base::store_be<int32_t>(at + 12, snappy_framing::kVersion);
      break;
    }
    case Codec::kLz4: {
      uint8_t* at = grow(7);
      lz4::store_le32(at, lz4::kFrameMagic);
      at[4] = lz4::kFlags;
      at[5] = lz4::kBlocks;
      at[6] = lz4::header_checksum(magic == 0 ? ByteView(at, 6) : ByteView(at + 4, 2));
      break;
    }
    case Codec::kZstd:
      if (zstd == nullptr) {
        zstd = ZSTD_createCCtx();
        CHECK(zstd != nullptr);
      } else {
        ZSTD_CCtx_reset(zstd, ZSTD_reset_session_only);
      }
      ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level);
      ZSTD_CCtx_setParameter(zstd, ZSTD_c_srcSizeHint, static_cast<int>(std::min<size_t>(size_hint, INT_MAX)));
      break;
  }
}

Result<void> Compressor::State::write(ByteView bytes) {
  switch (codec) {
    case Codec::kNone:
      if (bytes.size() > end - std::min(end, out->size())) return too_large();
      out->insert(out->end(), bytes.begin(), bytes.end());
      return {};
    case Codec::kGzip: return write_gzip(bytes, Z_NO_FLUSH);
    case Codec::kSnappy: return write_blocks(bytes, snappy_framing::kBlockSize);
    case Codec::kLz4: return write_blocks(bytes, lz4::kBlockSize);
    case Codec::kZstd: return write_zstd(bytes, ZSTD_e_continue);
  }
  return {};
}

Result<void> Compressor::State::finish() {
  switch (codec) {
    case Codec::kNone: break;
    case Codec::kGzip: return write_gzip({}, Z_FINISH);
    case Codec::kSnappy:
      if (!block.empty()) put_block(block);
      break;
    case Codec::kLz4:
      if (!block.empty()) put_block(block);
      lz4::store_le32(grow(4), 0);
      break;
    case Codec::kZstd: {
      auto done = write_zstd({}, ZSTD_e_end);
      if (ZSTD_sizeof_CCtx(zstd) > kKeep) {
        ZSTD_freeCCtx(zstd);
        zstd = nullptr;
      }
      return done;
    }
  }
  block.clear();
  return checked();
}

Result<void> Compressor::State::write_gzip(ByteView bytes, int flush) {
  gzip.next_in = const_cast<uint8_t*>(bytes.data());
  gzip.avail_in = static_cast<uInt>(bytes.size());  // a batch is below 2^31 bytes
  for (;;) {
    size_t room = std::max<size_t>(bytes.size() / 2, 512);
    gzip.next_out = grow(room);
    gzip.avail_out = static_cast<uInt>(room);
    int code = deflate(&gzip, flush);
    bool full = gzip.avail_out == 0;
    out->resize(out->size() - gzip.avail_out);
    CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR);
    if (out->size() > end) return too_large();
    if (flush == Z_FINISH ? code == Z_STREAM_END : !full) return {};
  }
}

Result<void> Compressor::State::write_zstd(ByteView bytes, ZSTD_EndDirective directive) {
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    size_t room = std::max<size_t>(bytes.size() / 2, 512);
    ZSTD_outBuffer to{grow(room), room, 0};
    size_t left = ZSTD_compressStream2(zstd, &to, &in, directive);
    CHECK(!ZSTD_isError(left));
    out->resize(out->size() - (room - to.pos));
    if (out->size() > end) return too_large();
    if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return {};
  }
}

Result<void> Compressor::State::write_blocks(ByteView bytes, size_t block_size) {
  while (!bytes.empty()) {
    if (block.empty() && bytes.size() >= block_size) {
      put_block(bytes.first(block_size));
      bytes = bytes.subspan(block_size);
    } else {
      size_t take = std::min(bytes.size(), block_size - block.size());
      block.insert(block.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(take));
      bytes = bytes.subspan(take);
      if (block.size() < block_size) break;
      put_block(block);
      block.clear();
    }
    if (out->size() > end) return too_large();
  }
  return {};
}

void Compressor::State::put_block(ByteView bytes) {
  auto from = reinterpret_cast<const char*>(bytes.data());
  auto size = static_cast<int>(bytes.size());
  if (codec == Codec::kSnappy) {
    size_t room = snappy::MaxCompressedLength(bytes.size());
    uint8_t* at = grow(4 + room);
    size_t used = 0;
    snappy::RawCompress(from, bytes.size(), reinterpret_cast<char*>(at + 4), &used);
    base::store_be<int32_t>(at, static_cast<int32_t>(used));
    out->resize(out->size() - (room - used));
    return;
  }
  // A block that would not become smaller is stored.
  uint8_t* at = grow(4 + bytes.size());
  char* to = reinterpret_cast<char*>(at + 4);
  int used = 0;
  if (level == kDefaultLz4Level) {
    // Java's clients and brokers take the fast compressor at the default level and the high one at every other.
    if (!lz4_fast) lz4_fast = std::make_unique<uint8_t[]>(static_cast<size_t>(LZ4_sizeofState()));
    used = LZ4_compress_fast_extState(lz4_fast.get(), from, to, size, size - 1, 1);
  } else {
    if (!lz4_high) lz4_high = std::make_unique<uint8_t[]>(static_cast<size_t>(LZ4_sizeofStateHC()));
    used = LZ4_compress_HC_extStateHC(lz4_high.get(), from, to, size, size - 1, level);
  }
  if (used > 0) {
    lz4::store_le32(at, static_cast<uint32_t>(used));
    out->resize(out->size() - (bytes.size() - static_cast<size_t>(used)));
  } else {
    lz4::store_le32(at, static_cast<uint32_t>(size) | lz4::kStored);
    std::memcpy(at + 4, bytes.data(), bytes.size());
  }
}

Compressor::Compressor() : state_(std::make_unique<State>()) {}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

void Compressor::start(Codec codec, int level, Bytes& out, size_t limit, size_t size_hint, int8_t magic) {
  CHECK(is_legal_level(codec, level));
  State& state = *state_;
  state.codec = codec;
  state.level = level;
  state.out = &out;
  state.end = out.size() + limit;
  state.start(size_hint, magic);
}
Result<void> Compressor::write(ByteView bytes) { return state_->write(bytes); }
Result<void> Compressor::finish() { return state_->finish(); }

Result<Bytes> compress(Codec codec, int level, ByteView bytes, int8_t magic) {
  if (!is_legal_level(codec, level)) return fail(ErrorCode::kInvalidConfig, "no such level of " + std::string(name_of(codec)));
  static thread_local Compressor compressor;
  Bytes out;
  compressor.start(codec, level, out, SIZE_MAX / 2, bytes.size(), magic);
  auto written = compressor.write(bytes);
  if (written) written = compressor.finish();
  if (!written) return fail(std::move(written.error()));
  return out;
}

}  // namespace odradek::record
