// The bytes of checkpoints, meta.properties, partition.metadata; which files stay open.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "base/memory_files.h"
#include "storage/files/checkpoint.h"
#include "storage/files/file_cache.h"
#include "storage/files/leader_epoch_cache.h"
#include "storage/files/meta_properties.h"
#include "storage/files/partition_metadata.h"
#include "storage/files/passing_read.h"

namespace odradek::storage {
namespace {

using ::testing::ElementsAre;

std::string text_of(base::MemoryFiles& files, const std::string& path) {
  auto bytes = base::read_file(files, path, 1 << 20);
  return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().what + ">";
}
void put(base::MemoryFiles& files, const std::string& path, const std::string& text) {
  auto file = files.open(path, base::OpenMode::kTruncate);
  ASSERT_TRUE((*file)->pwrite(0, as_bytes(text)));
}

TEST(Checkpoint, HasKafkasFormAndComesBack) {
  base::MemoryFiles files;
  OffsetMap offsets{{{"b", 0}, {7}}, {{"a", 10}, {1}}, {{"a", 2}, {1234567890123}}};
  ASSERT_TRUE(write_offsets(files, "/f", offsets));
  EXPECT_EQ(text_of(files, "/f"), "0\n3\na 2 1234567890123\na 10 1\nb 0 7\n");
  auto read = read_offsets(files, "/f");
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, offsets);
  put(files, "/empty", "");
  EXPECT_TRUE(read_offsets(files, "/empty")->empty());
  EXPECT_TRUE(read_offsets(files, "/missing")->empty());
}

TEST(Checkpoint, RefusesWhatIsNotItsFormat) {
  base::MemoryFiles files;
  for (const char* text : {"1\n0\n", "0\n", "0\n2\na 0 1\n", "0\n0\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 1 2\n", "0\n1\na x 1\n", "x\n0\n",
                           "0\n1\na 99999999999 1\n", "0\n-1\n", "\n"}) {
    put(files, "/f", text);
    EXPECT_FALSE(read_offsets(files, "/f")) << text;
  }
}

TEST(LeaderEpochCache, BelievesTheBatchesMoreThanTheFile) {
  LeaderEpochCache cache;
  const auto entries = [&] { return cache.entries(); };
  using Entries = std::vector<EpochEntry>;
  EXPECT_TRUE(cache.note_batch({2}, {0}, {0}));
  EXPECT_FALSE(cache.note_batch({2}, {5}, {5}));
  EXPECT_FALSE(cache.note_batch(kNoLeaderEpoch, {6}, {6}));
  EXPECT_TRUE(cache.note_batch({8}, {10}, {10}));
  cache.assign({10}, {29});  // led here without a record, and cut off later
  EXPECT_TRUE(cache.note_batch({8}, {29}, {29}));
  EXPECT_EQ(entries(), (Entries{{{2}, {0}}, {{8}, {10}}}));
  EXPECT_TRUE(cache.note_batch({12}, {30}, {30}));
  // Inside, at a start: what follows stays, what cannot be goes.
  EXPECT_FALSE(cache.note_batch({8}, {11}, {11}));
  EXPECT_TRUE(cache.note_batch({9}, {20}, {20}));
  EXPECT_EQ(entries(), (Entries{{{2}, {0}}, {{8}, {10}}, {{9}, {20}}, {{12}, {30}}}));
  EXPECT_TRUE(cache.note_batch({12}, {25}, {25}));
  EXPECT_EQ(entries(), (Entries{{{2}, {0}}, {{8}, {10}}, {{9}, {20}}, {{12}, {25}}}));
  // What began within a batch that is there was cut off before it came: a leader would say of the epoch below that it ends there.
  cache.assign({14}, {35});
  EXPECT_TRUE(cache.note_batch({12}, {31}, {40}));
  EXPECT_EQ(cache.end_offset_for({12}, {41}), (std::pair<LeaderEpoch, Offset>{{12}, {41}}));
  EXPECT_EQ(entries(), (Entries{{{2}, {0}}, {{8}, {10}}, {{9}, {20}}, {{12}, {25}}}));
}

TEST(LeaderEpochCache, KeepsEpochsAndStartsRising) {
  LeaderEpochCache cache;
  EXPECT_TRUE(cache.assign({0}, {0}));
  EXPECT_FALSE(cache.assign({0}, {5}));
  EXPECT_TRUE(cache.assign({2}, {10}));
  EXPECT_TRUE(cache.assign({5}, {20}));
  EXPECT_EQ(cache.encode(), "0\n3\n0 0\n2 10\n5 20\n");
  using End = std::pair<LeaderEpoch, Offset>;
  EXPECT_EQ(cache.end_offset_for({5}, {30}), (End{{5}, {30}}));
  EXPECT_EQ(cache.end_offset_for({3}, {30}), (End{{2}, {20}}));
  EXPECT_EQ(cache.end_offset_for({2}, {30}), (End{{2}, {20}}));
  EXPECT_EQ(cache.end_offset_for({0}, {30}), (End{{0}, {10}}));
  EXPECT_EQ(cache.end_offset_for({6}, {30}), (End{{-1}, {-1}}));
  EXPECT_EQ(cache.end_offset_for({-1}, {30}), (End{{-1}, {-1}}));
  EXPECT_EQ(cache.epoch_for({9}).value, 0);
  EXPECT_EQ(cache.epoch_for({10}).value, 2);
  EXPECT_EQ(cache.epoch_for({100}).value, 5);

  LeaderEpochCache started = cache;
  EXPECT_TRUE(started.truncate_from_start({15}));
  EXPECT_THAT(started.entries(), ElementsAre(EpochEntry{{2}, {15}}, EpochEntry{{5}, {20}}));
  EXPECT_EQ(started.end_offset_for({0}, {30}), (End{{0}, {15}}));
  EXPECT_EQ(started.epoch_for({14}).value, -1);
  EXPECT_FALSE(started.truncate_from_start({15}));
  EXPECT_TRUE(cache.truncate_from_end({20}));
  EXPECT_FALSE(cache.truncate_from_end({20}));
  EXPECT_EQ(cache.latest().value, 2);
  EXPECT_TRUE(cache.assign({7}, {5}));  // contradicts epoch 2, which began behind it
  EXPECT_THAT(cache.entries(), ElementsAre(EpochEntry{{0}, {0}}, EpochEntry{{7}, {5}}));

  std::string text = cache.encode();
  auto decoded = LeaderEpochCache::decode(as_bytes(text), "f");
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->entries(), cache.entries());
  auto created = LeaderEpochCache::decode({}, "f");  // as Kafka leaves it in a partition without records
  ASSERT_TRUE(created);
  EXPECT_TRUE(created->entries().empty());
  for (const char* bad : {"\n", "0\n1\n1\n", "0\n2\n1 0\n1 5\n", "0\n2\n1 5\n2 4\n", "0\n1\n9999999999 0\n"}) {
    EXPECT_FALSE(LeaderEpochCache::decode(as_bytes(bad), "f")) << bad;
  }
}

TEST(MetaProperties, ReadsBothVersionsAndKeepsWhatItDoesNotKnow) {
  auto zookeeper = MetaProperties::decode(as_bytes("#\n#Mon Nov 23\ncluster.id=T7IX2ErtQQyDM-Lkl36jeA\nversion=0\nbroker.id=7\ndirectory.id=abc\n"), "f");
  ASSERT_TRUE(zookeeper);
  EXPECT_EQ(*zookeeper->cluster_id, "T7IX2ErtQQyDM-Lkl36jeA");
  EXPECT_EQ(zookeeper->broker_id->value, 7);
  EXPECT_EQ(zookeeper->encode(), "#\ndirectory.id=abc\nbroker.id=7\ncluster.id=T7IX2ErtQQyDM-Lkl36jeA\nversion=0\n");
  auto kraft = MetaProperties::decode(as_bytes("version=1\nnode.id : 3\ncluster.id = x\\=y"), "f");
  ASSERT_TRUE(kraft);
  EXPECT_EQ(kraft->broker_id->value, 3);
  EXPECT_EQ(*kraft->cluster_id, "x=y");
  EXPECT_EQ(MetaProperties::decode(as_bytes("broker.id=1"), "f")->version, 0);
  EXPECT_FALSE(MetaProperties::decode(as_bytes("version=2\n"), "f"));
  EXPECT_FALSE(MetaProperties::decode(as_bytes("broker.id=x\n"), "f"));
}

TEST(PartitionMetadata, Has43BytesAsKafkas) {
  auto id = Uuid::parse("T7IX2ErtQQyDM-Lkl36jeA");
  ASSERT_TRUE(id);
  std::string text = encode_partition_metadata(*id);
  EXPECT_EQ(text, "version: 0\ntopic_id: T7IX2ErtQQyDM-Lkl36jeA");
  EXPECT_EQ(text.size(), 43u);
  EXPECT_EQ(*decode_partition_metadata(as_bytes(text), "f"), *id);
  EXPECT_FALSE(decode_partition_metadata(as_bytes("version: 1\ntopic_id: T7IX2ErtQQyDM-Lkl36jeA"), "f"));
  EXPECT_FALSE(decode_partition_metadata(as_bytes("version: 0\ntopic_id: short"), "f"));
}

TEST(FileCache, ClosesFilesThatWereNotUsedLatelyAndNoOthers) {
  struct Client : FileCache::Client {
    bool try_close_file() override { return may && (open = false, true); }
    bool open = true, may = true;
  };
  FileCache cache(3);
  std::array<Client, 5> clients;
  clients[1].may = false;
  for (Client& client : clients) {
    cache.opened(client);
    for (Client& other : clients) other.used = &other == &clients[0];
  }
  EXPECT_TRUE(clients[0].open) << "used again and again";
  EXPECT_TRUE(clients[1].open) << "has unflushed data";
  EXPECT_FALSE(clients[2].open);
  EXPECT_FALSE(clients[3].open);
  EXPECT_TRUE(clients[4].open) << "just opened";
  for (Client& client : clients) cache.closed(client);
  EXPECT_EQ(cache.size(), 0u);
}

TEST(PassingRead, LeavesThePageCacheAsItWas) {
  constexpr int64_t kPiece = 256 << 10, kSize = 24 << 20, kKnown = 12 << 20;
  std::string directory = "/tmp/odradek-passing-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  auto file = base::posix_files().open(directory + "/a", base::OpenMode::kCreate);
  ASSERT_TRUE(file);
  const Bytes text(kSize, 7);
  ASSERT_TRUE((*file)->pwrite(0, text));
  ASSERT_TRUE((*file)->sync_all());
  (*file)->drop_from_cache(0, kSize);
  if ((*file)->resident(0, kPiece)) GTEST_SKIP() << "this file system drops nothing";
  (*file)->load_into_cache(kKnown, kPiece);  // somebody else's
  PassingRead passing;
  Bytes piece(kPiece);
  for (int64_t at = 0; at < kSize; at += kPiece) {
    passing.begin(**file, at, kPiece);
    ASSERT_EQ(*(*file)->pread(at, piece), static_cast<size_t>(kPiece));
    passing.end(**file, at, kPiece);
  }
  for (int64_t at = 0; at < kSize; at += kPiece) EXPECT_EQ((*file)->resident(at, kPiece), at == kKnown) << at;
  ASSERT_TRUE(base::posix_files().remove_all(directory));
}

}  // namespace
}  // namespace odradek::storage
