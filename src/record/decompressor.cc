#include <isa-l/igzip_lib.h>
#include <snappy.h>
#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_decompressBound
#include <zstd.h>

#include <algorithm>
#include <lz4.h>
#include <xxhash.h>

#include "base/check.h"
#include "record/compression.h"
#include "record/framing.h"

namespace odradek::record {
namespace {

constexpr size_t kPieceSize = size_t{128} << 10;  // of the codecs that yield as much as one asks for
constexpr size_t kKeep = size_t{1} << 20;         // a buffer above this goes back after its stream
constexpr size_t kKeepZstd = size_t{3} << 20;     // zstd's context, which holds the window: 2 MiB at the usual levels
constexpr int kMaxZstdWindowLog = 27;

// Memory that is not zeroed and does not keep its content when it grows.
class Scratch {
 public:
  uint8_t* reserve(size_t size) {
    if (size > size_) {
      memory_.reset();
      memory_ = std::make_unique_for_overwrite<uint8_t[]>(size);
      size_ = size;
    }
    return memory_.get();
  }
  void give_back_if_large() {
    if (size_ > kKeep) {
      memory_.reset();
      size_ = 0;
    }
  }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t size_ = 0;
};

tl::unexpected<Error> broken(Codec codec, const char* why) {
  return fail(ErrorCode::kInvalidRecord, "Failed to decompress record stream: " + std::string(name_of(codec)) + ": " + why);
}

tl::unexpected<Error> too_much() {
  return fail(ErrorCode::kMessageTooLarge, "a compressed batch holds more than the broker is willing to decompress");
}

}  // namespace

struct Decompressor::State {
  Codec codec = Codec::kNone;
  ByteView rest;       // compressed bytes not yet read
  size_t limit = 0;    // bytes it may still yield
  bool ended = false;  // the stream is complete
  bool begun = false;  // kNone: handed through; zstd: the stream was looked at
  Scratch buffer;
  Bytes whole;  // of all()

  std::unique_ptr<inflate_state> gzip;  // isa-l: some three times the speed of zlib's inflate
  ZSTD_DCtx* zstd = nullptr;
  bool zstd_frame_open = false;
  bool xerial = false;
  lz4::Frame lz4;

  ~State() {
    ZSTD_freeDCtx(zstd);
  }

  Result<void> start();
  Result<ByteView> next() {
    if (ended) return ByteView();
    switch (codec) {
      case Codec::kNone: return next_plain();
      case Codec::kGzip: return next_gzip();
      case Codec::kSnappy: return next_snappy();
      case Codec::kLz4: return next_lz4();
      case Codec::kZstd: return next_zstd();
    }
    return broken(codec, "no such codec");
  }
  Result<ByteView> next_plain() {
    ended = true;
    return rest;
  }
  void start_gzip_member() {
    isal_inflate_init(gzip.get());
    gzip->crc_flag = ISAL_GZIP;  // header and checksum belong to the stream
  }
  Result<ByteView> next_gzip();
  Result<ByteView> next_snappy();
  Result<ByteView> next_snappy_block(ByteView block);
  Result<ByteView> next_lz4();
  Result<ByteView> next_zstd();
};

Result<void> Decompressor::State::start() {
  ended = begun = false;
  buffer.give_back_if_large();
  switch (codec) {
    case Codec::kNone: return {};
    case Codec::kGzip:
      if (!gzip) gzip = std::make_unique<inflate_state>();
      start_gzip_member();
      return {};
    case Codec::kSnappy:
      xerial = snappy_framing::has_header(rest);
      if (!xerial) return {};
      if (snappy_framing::compatible_version(rest) > snappy_framing::kVersion) return broken(codec, "a later version of the framing");
      rest = rest.subspan(snappy_framing::kHeaderSize);
      return {};
    case Codec::kLz4: {
      const char* fault = lz4.parse(rest);
      if (fault != nullptr) return broken(codec, fault);
      return {};
    }
    case Codec::kZstd:
      if (zstd == nullptr) {
        zstd = ZSTD_createDCtx();
        CHECK(zstd != nullptr);
        ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, kMaxZstdWindowLog);
      } else {
        ZSTD_DCtx_reset(zstd, ZSTD_reset_session_only);
      }
      zstd_frame_open = false;
      return {};
  }
  return fail(ErrorCode::kUnsupportedCompressionType, "Unknown compression type id: " + std::to_string(static_cast<int>(codec)));
}

Result<ByteView> Decompressor::State::next_gzip() {
  uint8_t* to = buffer.reserve(kPieceSize);
  gzip->next_out = to;
  gzip->avail_out = kPieceSize;
  while (gzip->avail_out > 0 && !ended) {
    auto given = static_cast<uint32_t>(std::min<size_t>(rest.size(), UINT32_MAX));
    uint32_t room = gzip->avail_out;
    gzip->next_in = const_cast<uint8_t*>(rest.data());
    gzip->avail_in = given;
    int code = isal_inflate(gzip.get());
    rest = rest.subspan(given - gzip->avail_in);
    if (code < 0 || code == ISAL_NEED_DICT) return broken(codec, code == ISAL_INCORRECT_CHECKSUM ? "the checksum does not match" : "not a gzip stream");
    if (gzip->block_state == ISAL_BLOCK_FINISH) {
      // Java reads a further member if one follows and ignores any other bytes behind the stream.
      if (rest.size() > 18 && rest[0] == 0x1f && rest[1] == 0x8b && rest[2] == 8) {
        uint8_t* next_out = gzip->next_out;
        uint32_t left = gzip->avail_out;
        start_gzip_member();
        gzip->next_out = next_out;
        gzip->avail_out = left;
      } else {
        ended = true;
      }
    } else if (gzip->avail_in == given && gzip->avail_out == room) {
      return broken(codec, "the stream ends early");  // there is room, and nothing moves
    }
  }
  return ByteView(to, kPieceSize - gzip->avail_out);
}

Result<ByteView> Decompressor::State::next_snappy_block(ByteView block) {
  size_t size = 0;
  if (!snappy::GetUncompressedLength(reinterpret_cast<const char*>(block.data()), block.size(), &size)) return broken(codec, "bad block");
  // Snappy yields at most 64 bytes for 3: a greater claim cannot be true, and no memory is taken for it.
  if (size > block.size() * 22 + 64) return broken(codec, "a block claims more than it can hold");
  if (size > limit) return too_much();
  uint8_t* to = buffer.reserve(size);
  if (!snappy::RawUncompress(reinterpret_cast<const char*>(block.data()), block.size(), reinterpret_cast<char*>(to))) {
    return broken(codec, "bad block");
  }
  return ByteView(to, size);
}

Result<ByteView> Decompressor::State::next_snappy() {
  if (!xerial) {
    ended = true;
    return next_snappy_block(rest);
  }
  for (;;) {
    if (rest.size() < 4) {
      ended = true;
      return ByteView();
    }
    // Streams may follow each other.
    if (snappy_framing::has_header(rest)) {
      rest = rest.subspan(snappy_framing::kHeaderSize);
      continue;
    }
    auto size = base::load_be<int32_t>(rest.data());
    if (size < 0 || static_cast<size_t>(size) > rest.size() - 4) return broken(codec, "a block ends early");
    ByteView block = rest.subspan(4, static_cast<size_t>(size));
    rest = rest.subspan(4 + static_cast<size_t>(size));
    auto piece = next_snappy_block(block);
    if (!piece || !piece->empty()) return piece;
  }
}

Result<ByteView> Decompressor::State::next_lz4() {
  for (;;) {
    if (rest.size() < 4) return broken(codec, "the stream ends early");
    uint32_t word = lz4::load_le32(rest.data());
    rest = rest.subspan(4);
    if (word == 0) {
      if (lz4.has_content_checksum && rest.size() < 4) return broken(codec, "the stream ends early");
      ended = true;
      return ByteView();
    }
    bool stored = (word & lz4::kStored) != 0;
    size_t size = word & ~lz4::kStored;
    if (size > lz4.max_block_size) return broken(codec, "a block is larger than the frame allows");
    if (rest.size() < size + (lz4.has_block_checksum ? 4 : 0)) return broken(codec, "the stream ends early");
    ByteView block = rest.first(size);
    rest = rest.subspan(size);
    if (lz4.has_block_checksum) {
      if (XXH32(block.data(), block.size(), 0) != lz4::load_le32(rest.data())) return broken(codec, "a block's checksum does not match");
      rest = rest.subspan(4);
    }
    if (stored) {
      if (block.empty()) continue;
      return block;
    }
    // LZ4 yields at most 255 bytes for one.
    size_t room = std::min(lz4.max_block_size, size * 255 + 64);
    uint8_t* to = buffer.reserve(room);
    int got = LZ4_decompress_safe(reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(to), static_cast<int>(size),
                                  static_cast<int>(room));
    if (got < 0) return broken(codec, "bad block");
    if (got > 0) return ByteView(to, static_cast<size_t>(got));
  }
}

Result<ByteView> Decompressor::State::next_zstd() {
  if (!begun) {
    begun = true;
    // A short stream goes straight into the buffer, without a window beside it.
    unsigned long long bound = ZSTD_decompressBound(rest.data(), rest.size());
    if (bound == ZSTD_CONTENTSIZE_ERROR) return broken(codec, "not a whole stream");
    if (bound <= kKeep) {
      ended = true;
      uint8_t* to = buffer.reserve(std::max<size_t>(bound, kPieceSize));
      size_t got = ZSTD_decompressDCtx(zstd, to, bound, rest.data(), rest.size());
      if (ZSTD_isError(got)) return broken(codec, ZSTD_getErrorName(got));
      return ByteView(to, got);
    }
  }
  uint8_t* to = buffer.reserve(kPieceSize);
  ZSTD_outBuffer out{to, kPieceSize, 0};
  ZSTD_inBuffer in{rest.data(), rest.size(), 0};
  while (out.pos < out.size) {
    if (in.pos == in.size && !zstd_frame_open) {
      ended = true;
      break;
    }
    size_t in_before = in.pos;
    size_t out_before = out.pos;
    size_t code = ZSTD_decompressStream(zstd, &out, &in);
    if (ZSTD_isError(code)) return broken(codec, ZSTD_getErrorName(code));
    zstd_frame_open = code != 0;
    // All input is read, there is room for output, and the frame still wants more.
    if (zstd_frame_open && in.pos == in_before && out.pos == out_before) return broken(codec, "the stream ends early");
  }
  rest = rest.subspan(in.pos);
  return ByteView(to, out.pos);
}

Decompressor::Decompressor() : state_(std::make_unique<State>()) {}
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

Result<void> Decompressor::start(Codec codec, ByteView compressed, size_t limit, int8_t magic) {
  State& state = *state_;
  state.codec = codec;
  state.rest = compressed;
  state.limit = limit;
  state.lz4.ignore_header_checksum = magic == 0;
  return state.start();
}

Result<ByteView> Decompressor::next() {
  State& state = *state_;
  auto piece = state.next();
  if (piece && piece->size() > state.limit) {
    state.ended = true;
    return too_much();
  }
  if (piece) state.limit -= piece->size();
  // A wide window is paid for by the stream that wants it, not kept.
  if ((!piece || piece->empty()) && state.zstd != nullptr && ZSTD_sizeof_DCtx(state.zstd) > kKeepZstd) {
    ZSTD_freeDCtx(state.zstd);
    state.zstd = nullptr;
    state.ended = true;
  }
  return piece;
}

Result<ByteView> Decompressor::all(Codec codec, ByteView compressed, size_t limit, int8_t magic) {
  auto started = start(codec, compressed, limit, magic);
  if (!started) return fail(std::move(started.error()));
  Bytes& whole = state_->whole;
  if (whole.capacity() > kKeep) Bytes().swap(whole);
  whole.clear();
  for (;;) {
    auto piece = next();
    if (!piece) return piece;
    if (piece->empty()) return ByteView(whole);
    if (codec == Codec::kNone) return piece;
    whole.insert(whole.end(), piece->begin(), piece->end());
  }
}

}  // namespace odradek::record
