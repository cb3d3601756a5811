#include "record/compression.h"

#include <gtest/gtest.h>
#include <lz4frame.h>
#include <snappy.h>
#include <zstd.h>

#include "base/crc.h"
#include "record/framing.h"
#include "record/test_support.h"

namespace odradek::record {
namespace {

using namespace testing;

Bytes random_bytes(std::mt19937_64& random, size_t size) {
  Bytes bytes(size);
  int kind = static_cast<int>(random() % 3);
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<uint8_t>(kind == 0 ? random() : kind == 1 ? 'a' + random() % 3 : i / 100);
  }
  return bytes;
}

Result<Bytes> decompress(Codec codec, ByteView bytes, size_t limit = kMaxDecompressedBytes, int8_t magic = 2) {
  Decompressor decompressor;
  auto all = decompressor.all(codec, bytes, limit, magic);
  if (!all) return fail(all.error());
  return Bytes(all->begin(), all->end());
}

std::vector<int> levels_of(Codec codec) {
  switch (codec) {
    case Codec::kGzip: return {-1, 1, 6, 9};
    case Codec::kLz4: return {1, 8, 9, 10, 12, 17};
    case Codec::kZstd: return {-131072, -5, 1, 3, 19, 22};
    default: return {0};
  }
}

TEST(Compression, RoundTripsEverySizeLevelAndCodec) {
  std::mt19937_64 random(1);
  for (size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{32767}, size_t{32768}, size_t{32769}, size_t{65536}, size_t{65537}, size_t{131072},
                      size_t{500'000}, size_t{1'500'000}}) {
    Bytes bytes = random_bytes(random, size);
    for (Codec codec : kAllCodecs) {
      for (int level : levels_of(codec)) {
        if (size > 140'000 && level > 9) continue;
        auto packed = compress(codec, level, bytes);
        ASSERT_TRUE(packed);
        auto again = decompress(codec, *packed);
        ASSERT_TRUE(again) << name_of(codec) << " level " << level << " size " << size << ": " << again.error().what;
        ASSERT_EQ(*again, bytes) << name_of(codec) << " level " << level << " size " << size;
      }
    }
  }
}

TEST(Compression, OneDecompressorServesStreamsOfAllCodecsInTurn) {
  std::mt19937_64 random(2);
  Decompressor decompressor;
  for (int round = 0; round < 200; ++round) {
    Codec codec = kAllCodecs[random() % kAllCodecs.size()];
    Bytes bytes = random_bytes(random, random() % 300'000);
    auto packed = compress(codec, default_level(codec), bytes);
    ASSERT_TRUE(packed);
    if (random() % 4 == 0) packed->resize(packed->size() / 2);  // a broken one in between must not disturb the next
    auto all = decompressor.all(codec, *packed);
    if (packed->size() == compress(codec, default_level(codec), bytes)->size()) {
      ASSERT_TRUE(all);
      ASSERT_TRUE(std::equal(all->begin(), all->end(), bytes.begin(), bytes.end()));
    }
  }
}

TEST(Compression, WritingInPiecesGivesAReadableStream) {
  std::mt19937_64 random(3);
  for (Codec codec : kAllCodecs) {
    Bytes bytes = random_bytes(random, 400'000);
    Bytes out;
    Compressor compressor;
    compressor.start(codec, default_level(codec), out, SIZE_MAX / 2);
    for (size_t at = 0; at < bytes.size();) {
      size_t take = std::min<size_t>(random() % 50'000, bytes.size() - at);
      ASSERT_TRUE(compressor.write(ByteView(bytes).subspan(at, take)));
      at += take;
    }
    ASSERT_TRUE(compressor.finish());
    auto again = decompress(codec, out);
    ASSERT_TRUE(again) << name_of(codec);
    ASSERT_EQ(*again, bytes) << name_of(codec);
  }
}

TEST(Compression, CompressorStopsAtItsLimit) {
  std::mt19937_64 random(4);
  Bytes bytes(200'000);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (Codec codec : kAllCodecs) {
    Bytes out(10);
    Compressor compressor;
    compressor.start(codec, default_level(codec), out, 100'000);
    auto done = compressor.write(bytes);
    if (done) done = compressor.finish();
    ASSERT_FALSE(done) << name_of(codec);
    EXPECT_EQ(done.error().code, ErrorCode::kMessageTooLarge);
  }
}

TEST(Compression, DecompressorStopsAtItsLimit) {
  Bytes zeros(5'000'000);
  for (Codec codec : kAllCodecs) {
    auto packed = compress(codec, default_level(codec), zeros);
    ASSERT_TRUE(packed);
    EXPECT_TRUE(decompress(codec, *packed, zeros.size()));
    auto stopped = decompress(codec, *packed, zeros.size() - 1);
    ASSERT_FALSE(stopped) << name_of(codec);
    EXPECT_EQ(stopped.error().code, ErrorCode::kMessageTooLarge);
  }
}

TEST(Compression, EveryCutStreamIsRefused) {
  Bytes bytes = random_bytes(*std::make_unique<std::mt19937_64>(5), 1000);
  for (Codec codec : {Codec::kGzip, Codec::kLz4, Codec::kZstd}) {
    auto packed = compress(codec, default_level(codec), bytes);
    for (size_t size = 0; size < packed->size(); ++size) {
      if (codec == Codec::kZstd && size == 0) continue;  // no frame at all: an empty stream
      Bytes cut(packed->begin(), packed->begin() + static_cast<ptrdiff_t>(size));
      auto result = decompress(codec, cut);
      ASSERT_FALSE(result) << name_of(codec) << " cut at " << size;
      EXPECT_EQ(result.error().code, ErrorCode::kInvalidRecord);
    }
  }
}

TEST(Compression, BrokenStreamsGiveAnErrorAndNothingWorse) {
  for (Codec codec : {Codec::kGzip, Codec::kSnappy, Codec::kLz4, Codec::kZstd}) {
    for (uint64_t seed = 0; seed < 3000; ++seed) {
      std::mt19937_64 random(seed);
      auto packed = compress(codec, default_level(codec), random_bytes(random, 2000));
      for (int i = 0; i < 3; ++i) (*packed)[random() % packed->size()] = static_cast<uint8_t>(random());
      Bytes exact(packed->begin(), packed->end());
      (void)decompress(codec, exact, 1 << 20);
    }
  }
}

TEST(Compression, SnappyIsWrittenInJavasStream) {
  Bytes bytes(70'000, 'x');
  auto packed = compress(Codec::kSnappy, 0, bytes);
  EXPECT_EQ(Bytes(packed->begin(), packed->begin() + 16), from_hex("82534e41505059000000000100000001"));
  size_t at = 16;
  std::vector<size_t> sizes;
  while (at < packed->size()) {
    auto size = static_cast<size_t>(base::load_be<int32_t>(packed->data() + at));
    size_t plain = 0;
    ASSERT_TRUE(snappy::GetUncompressedLength(reinterpret_cast<const char*>(packed->data()) + at + 4, size, &plain));
    sizes.push_back(plain);
    at += 4 + size;
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{32768, 32768, 70'000 - 65536}));
}

TEST(Compression, SnappyIsReadBareAndConcatenated) {
  Bytes bytes(70'000, 'x');
  std::string bare;
  snappy::Compress(reinterpret_cast<const char*>(bytes.data()), bytes.size(), &bare);
  auto plain = decompress(Codec::kSnappy, as_bytes(bare));
  ASSERT_TRUE(plain);
  EXPECT_EQ(*plain, bytes);
  auto framed = compress(Codec::kSnappy, 0, bytes);
  Bytes twice = *framed;
  twice.insert(twice.end(), framed->begin(), framed->end());
  plain = decompress(Codec::kSnappy, twice);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->size(), 2 * bytes.size());
}

TEST(Compression, SnappysClaimOfAHugeSizeTakesNoMemory) {
  Bytes claim = from_hex("ffffffff0f00");  // 4 GiB
  auto result = decompress(Codec::kSnappy, claim);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidRecord);
}

TEST(Compression, Lz4IsWrittenAsJavaWritesIt) {
  Bytes bytes(200'000, 'x');
  auto packed = compress(Codec::kLz4, 9, bytes);
  EXPECT_EQ(Bytes(packed->begin(), packed->begin() + 7), from_hex("04224d18604082"));
  EXPECT_EQ(Bytes(packed->end() - 4, packed->end()), from_hex("00000000"));
  // In magic 0 the check byte covers the frame magic too.
  auto old = compress(Codec::kLz4, 9, bytes, 0);
  EXPECT_EQ(Bytes(old->begin(), old->begin() + 7), from_hex("04224d1860401a"));
  EXPECT_FALSE(decompress(Codec::kLz4, *old));
  auto again = decompress(Codec::kLz4, *old, kMaxDecompressedBytes, 0);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, bytes);
  // The frame library reads it.
  LZ4F_dctx* context = nullptr;
  LZ4F_createDecompressionContext(&context, LZ4F_VERSION);
  Bytes plain(bytes.size() + 10);
  size_t out = plain.size();
  size_t in = packed->size();
  size_t result = 1;
  size_t out_at = 0;
  size_t in_at = 0;
  while (result != 0 && in_at < packed->size()) {
    out = plain.size() - out_at;
    in = packed->size() - in_at;
    result = LZ4F_decompress(context, plain.data() + out_at, &out, packed->data() + in_at, &in, nullptr);
    ASSERT_FALSE(LZ4F_isError(result));
    out_at += out;
    in_at += in;
  }
  LZ4F_freeDecompressionContext(context);
  plain.resize(out_at);
  EXPECT_EQ(plain, bytes);
}

Bytes lz4_frame(ByteView bytes, LZ4F_blockMode_t mode, LZ4F_blockSizeID_t size, bool block_checksum, bool content_checksum, bool content_size) {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.blockMode = mode;
  preferences.frameInfo.blockSizeID = size;
  preferences.frameInfo.blockChecksumFlag = block_checksum ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum;
  preferences.frameInfo.contentChecksumFlag = content_checksum ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
  preferences.frameInfo.contentSize = content_size ? bytes.size() : 0;
  Bytes out(LZ4F_compressFrameBound(bytes.size(), &preferences));
  out.resize(LZ4F_compressFrame(out.data(), out.size(), bytes.data(), bytes.size(), &preferences));
  return out;
}

TEST(Compression, Lz4FramesWithChecksumsContentSizeAndLargerBlocksAreRead) {
  std::mt19937_64 random(7);
  Bytes bytes = random_bytes(random, 700'000);
  for (auto size : {LZ4F_max64KB, LZ4F_max256KB, LZ4F_max1MB, LZ4F_max4MB}) {
    for (int flags = 0; flags < 8; ++flags) {
      Bytes frame = lz4_frame(bytes, LZ4F_blockIndependent, size, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0);
      auto plain = decompress(Codec::kLz4, frame);
      ASSERT_TRUE(plain) << plain.error().what;
      ASSERT_EQ(*plain, bytes);
    }
  }
}

TEST(Compression, Lz4DependentBlocksAreRefused) {
  Bytes bytes(200'000, 'y');
  Bytes frame = lz4_frame(bytes, LZ4F_blockLinked, LZ4F_max64KB, false, false, false);
  auto plain = decompress(Codec::kLz4, frame);
  ASSERT_FALSE(plain);
  EXPECT_NE(plain.error().what.find("dependent"), std::string::npos);
}

TEST(Compression, Lz4HeaderAndBlockChecksumsAreVerified) {
  Bytes bytes(1000, 'y');
  Bytes frame = lz4_frame(bytes, LZ4F_blockIndependent, LZ4F_max64KB, true, false, false);
  ASSERT_TRUE(decompress(Codec::kLz4, frame));
  Bytes header = frame;
  header[6] ^= 1;
  EXPECT_FALSE(decompress(Codec::kLz4, header));
  EXPECT_TRUE(decompress(Codec::kLz4, header, kMaxDecompressedBytes, 0));
  Bytes block = frame;
  block[frame.size() - 5] ^= 1;  // the checksum before the end mark
  EXPECT_FALSE(decompress(Codec::kLz4, block));
}

TEST(Compression, GzipMembersAreConcatenatedAndBytesBehindThemIgnored) {
  auto one = *compress(Codec::kGzip, -1, as_bytes("hello "));
  auto two = *compress(Codec::kGzip, -1, as_bytes("world"));
  Bytes both = one;
  both.insert(both.end(), two.begin(), two.end());
  EXPECT_EQ(as_text(*decompress(Codec::kGzip, both)), "hello world");
  one.insert(one.end(), {1, 2, 3, 4});
  EXPECT_EQ(as_text(*decompress(Codec::kGzip, one)), "hello ");
}

TEST(Compression, ZstdFramesAreConcatenatedAndAWindowAbove128MiBIsRefused) {
  auto one = *compress(Codec::kZstd, 3, as_bytes("hello "));
  auto two = *compress(Codec::kZstd, 3, as_bytes("world"));
  one.insert(one.end(), two.begin(), two.end());
  EXPECT_EQ(as_text(*decompress(Codec::kZstd, one)), "hello world");
  // A frame header that asks for a window of 2^28, whose blocks claim 4 MiB together.
  Bytes wide = from_hex("28b52ffd00" "90");
  for (int i = 0; i < 32; ++i) {
    uint32_t block = (uint32_t{131072} << 3) | 2;  // 128 KiB of one byte
    wide.insert(wide.end(), {static_cast<uint8_t>(block), static_cast<uint8_t>(block >> 8), static_cast<uint8_t>(block >> 16), 'x'});
  }
  wide[wide.size() - 4] |= 1;  // the last block
  EXPECT_FALSE(decompress(Codec::kZstd, wide));
  wide[5] = 0x88;  // 2^27
  auto plain = decompress(Codec::kZstd, wide);
  ASSERT_TRUE(plain) << plain.error().what;
  EXPECT_EQ(plain->size(), size_t{4} << 20);
}

// The values of wrapper messages of magic 0 and 1 that Apache Kafka 3.9.2 wrote: three inner messages each.
TEST(Compression, ReadsWhatApacheKafkaCompressedInTheOldFormats) {
  struct Wrapper {
    int8_t magic;
    Codec codec;
    const char* hex;
    size_t inner_size;  // of one message
  };
  const Wrapper wrappers[] = {
      {0, Codec::kGzip,
       "000000000000000200000056d10b7cae0001ffffffff000000481f8b08000000000000ff63608003d148c9da23601653b60190642d030203a82423100b9b4fe15ec7c0f01f"
       "0860d28650692690fecd8fce5c85ea3782293002000a2ea04f61000000",
       33},
      {1, Codec::kGzip,
       "00000000000000020000006974494b1e0101000001a1ee565e02ffffffff000000531f8b08000000000000ff63608003d9c5cd55f28c4006e3c27761712011a66c0320c95a"
       "0604065045207969fdcc3201b842c6ff400053660855c60432efdc8d77b970654c60f38c600a8d00168f0dc079000000",
       41},
      {0, Codec::kLz4,
       "00000000000000020000006c84e9a6260003ffffffff0000005e04224d1860401a4f00000016000100511559197dc40f00b0026b3000000005767676760900000200f40001"
       "0000001337940bae0000ffffffff1f0010311c00c20000000200000015b3e2ccd50e00b06b3200000005767676763200000000",
       33},
      {1, Codec::kLz4,
       "000000000000000200000084d901aa8f0103000001a1ee565e02ffffffff0000006e04224d186040825f00000016000100e01da3837a1f0100000001a1ee565e1800b0026b"
       "3000000005767676760900000200002000501b2f69761009000129005401ffffffff270010312400c5000000020000001dced8ee6d2700001200c0026b3200000005767676"
       "763200000000",
       41},
  };
  for (const Wrapper& wrapper : wrappers) {
    Bytes bytes = from_hex(wrapper.hex);
    auto frame = peek_frame(bytes);
    ASSERT_TRUE(frame && *frame);
    EXPECT_EQ((*frame)->magic, wrapper.magic);
    EXPECT_EQ((*frame)->total_size, bytes.size());
    EXPECT_EQ((*frame)->offset, 2);
    EXPECT_EQ(base::crc32(ByteView(bytes).subspan(kMagicAt)), base::load_be<uint32_t>(bytes.data() + 12));
    size_t value_at = (wrapper.magic == 0 ? 18 : 26) + 8;
    auto plain = decompress(wrapper.codec, ByteView(bytes).subspan(value_at), kMaxDecompressedBytes, wrapper.magic);
    ASSERT_TRUE(plain) << plain.error().what;
    auto first = peek_frame(*plain);
    ASSERT_TRUE(first && *first);
    EXPECT_EQ((*first)->total_size, wrapper.inner_size);
    EXPECT_EQ((*first)->magic, wrapper.magic);
    // The messages of magic 0 and 1 may be damaged by nothing but the codec: their own checksum says so.
    ByteView inner(plain->data(), wrapper.inner_size);
    EXPECT_EQ(base::crc32(inner.subspan(kMagicAt)), base::load_be<uint32_t>(inner.data() + 12));
  }
}

TEST(Compression, UnknownCodecIsRefused) {
  auto result = decompress(static_cast<Codec>(5), as_bytes("x"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupportedCompressionType);
}

}  // namespace
}  // namespace odradek::record
