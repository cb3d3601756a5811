#include "adopt/adoption.h"

#include <gtest/gtest.h>

#include <set>

#include "adopt/internal_topics.h"
#include "adopt/plan.h"
#include "base/clock.h"
#include "base/random.h"
#include "metadata/store/embedded_store.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "metrics/registry.h"
#include "protocol/codec.h"
#include "protocol/messages/offset_commit_key.h"
#include "protocol/messages/offset_commit_value.h"
#include "record/batch_builder.h"
#include "storage/files/checkpoint.h"
#include "storage/files/partition_folder.h"
#include "storage/log_manager.h"

namespace odradek::adopt {
namespace {

constexpr const char* kCluster = "AAAAAAAAAAAAAAAAAAAAAA";

// Log dirs as a broker leaves them, on the disk: the store is an SQLite file.
class AdoptionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "odradek-adoption-" + std::to_string(runtime_->random().next());
    ASSERT_TRUE(files_.create_directories(one()));
    ASSERT_TRUE(files_.create_directories(two()));
  }
  void TearDown() override { (void)files_.remove_all(folder_); }
  std::string one() const { return folder_ + "/one"; }
  std::string two() const { return folder_ + "/two"; }

  // Each dir gets these partitions, three records in each; those of topics in `keyed` have a key.
  void fill(const std::vector<std::pair<std::string, std::vector<TopicPartition>>>& dirs, const std::set<std::string>& keyed = {}) {
    for (const auto& [dir, partitions] : dirs) {
      storage::LogManagerOptions options;
      options.dirs = {dir};
      metrics::Registry metrics(runtime_->clock());
      storage::LogManager logs(*runtime_, options, metrics);
      auto config = std::make_shared<const storage::LogConfig>();
      ASSERT_TRUE(logs.start([&](const std::string&) { return config; }));
      for (const TopicPartition& tp : partitions) {
        auto log = logs.get_or_create(tp, id_, config);
        ASSERT_TRUE(log) << log.error().what;
        record::BatchBuilder builder({.producer_id = {1500}, .producer_epoch = 0, .base_sequence = 0});
        for (int i = 0; i < 3; ++i) builder.append(1000 + i, keyed.contains(tp.topic) ? std::optional(as_bytes("k")) : std::nullopt, as_bytes("v"));
        Bytes batch = builder.build();
        ASSERT_TRUE((*log)->append_as_leader(batch, LeaderEpoch{4}, {}));
      }
      logs.stop();
      storage::MetaProperties properties;
      properties.cluster_id = kCluster;
      properties.broker_id = BrokerId{7};
      ASSERT_TRUE(storage::write_meta_properties(files_, dir, properties));
    }
  }
  std::shared_ptr<const config::BrokerConfig> config(const std::string& more = "broker.id=7") {
    auto loaded = config::load_broker_config(std::nullopt, std::vector<std::string>{"log.dirs=" + one() + "," + two(), more});
    EXPECT_TRUE(loaded) << loaded.error().what;
    return *loaded;
  }
  bool run(const Options& options = {}, const std::string& more = "broker.id=7") {
    report_.clear();
    auto done = adopt(*runtime_, *config(more), options, [this](const std::string& line) { report_ += line + "\n"; });
    EXPECT_TRUE(done) << done.error().what;
    return done.value_or(false);
  }
  bool refused_for(const std::string& words) { return !run({.execute = true}) && report_.find(words) != std::string::npos && !files_.exists(store()); }
  std::string store() const { return one() + "/" + metadata::kEmbeddedStoreFile; }

  std::unique_ptr<base::Runtime> runtime_ = base::make_system_runtime();
  base::FileSystem& files_ = base::posix_files();
  Uuid id_ = base::random_uuid(runtime_->random());
  std::string folder_, report_;
};

TEST_F(AdoptionTest, FoldersOfAllDirsBecomeTopicsWithTheirIdsAboveEveryEpochAndProducerId) {
  fill({{one(), {{"t", 0}}}, {two(), {{"t", 1}}}});
  ASSERT_TRUE(run());
  EXPECT_NE(report_.find("topic t: 2 partitions, 6 offsets"), std::string::npos) << report_;
  EXPECT_FALSE(files_.exists(store()));
  EXPECT_NE(unadopted(files_, *config()).find("--adopt"), std::string::npos);

  ASSERT_TRUE(run({.execute = true})) << report_;
  EXPECT_EQ(unadopted(files_, *config()), "");
  auto tree = metadata::read_store_file(files_, store());
  ASSERT_TRUE(tree) << tree.error().what;
  EXPECT_EQ(*metadata::cluster_id_of(*tree), kCluster);
  auto topic = metadata::decode_topic((*tree)[metadata::paths::topic("t")].data);
  ASSERT_TRUE(topic);
  EXPECT_EQ(topic->id, id_);
  EXPECT_EQ(topic->partitions.size(), 2u);
  auto state = metadata::decode_partition_state((*tree)[metadata::paths::partition_state("t", 1)].data);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->leader, BrokerId{7});
  EXPECT_EQ(state->leader_epoch, LeaderEpoch{5});
  auto block = metadata::decode_producer_id_block((*tree)[metadata::paths::kProducerIdBlock].data);
  ASSERT_TRUE(block && *block);
  EXPECT_GT((*block)->last, 1500);
  EXPECT_FALSE(run({.execute = true}));
  EXPECT_NE(report_.find("already holds"), std::string::npos) << report_;
}

// Kafka leaves a topic in this file when it is compacted no more.
TEST_F(AdoptionTest, ATopicThatTheCleanerHasWorkedOnLosesNothing) {
  fill({{one(), {{"changelog", 0}, {"events", 0}, {"other", 0}}}, {two(), {{"events", 1}}}}, {"changelog"});
  for (const std::string& dir : {one(), two()}) {
    ASSERT_TRUE(storage::write_offsets(files_, dir + "/" + std::string(storage::kCleanerFile), {{{"changelog", 0}, Offset{2}}, {{"events", 1}, Offset{1}}}));
  }
  auto configs_of = [&](const std::string& topic) {
    auto tree = metadata::read_store_file(files_, store());
    EXPECT_TRUE(tree) << tree.error().what;
    auto configs = metadata::decode_config((*tree)[metadata::paths::topic_config(topic)].data);
    EXPECT_TRUE(configs);
    return *configs;
  };
  ASSERT_TRUE(run({.execute = true}, "log.cleaner.max.compaction.lag.ms=86400000")) << report_;
  const std::string never = "9223372036854775807";
  EXPECT_EQ(configs_of("changelog"), (config::Properties{{"cleanup.policy", "compact"}, {"max.compaction.lag.ms", never}, {"min.compaction.lag.ms", never}}));
  EXPECT_EQ(configs_of("events"), (config::Properties{{"cleanup.policy", "delete"}, {"retention.bytes", "-1"}, {"retention.ms", "-1"}}));
  EXPECT_EQ(configs_of("other"), configs_of("events"));
  EXPECT_NE(report_.find("nothing is removed from them until you set their configs"), std::string::npos) << report_;
  EXPECT_NE(report_.find("topic events was compacted once, but its newest records have no key"), std::string::npos) << report_;
  EXPECT_NE(report_.find("until you set their configs: events, other"), std::string::npos) << report_;
}

TEST_F(AdoptionTest, AMissingPartitionIsRefused) {
  fill({{one(), {{"t", 0}, {"t", 2}}}});
  EXPECT_TRUE(refused_for("partition 2 here but not 1")) << report_;
}

TEST_F(AdoptionTest, APartitionInTwoDirsIsRefused) {
  fill({{one(), {{"t", 0}}}, {two(), {{"t", 0}}}});
  EXPECT_TRUE(refused_for("t-0 is in two log dirs")) << report_;
}

TEST_F(AdoptionTest, TheFolderOfSomebodyElseIsRefused) {
  fill({{one(), {{"t", 0}}}});
  ASSERT_TRUE(files_.create_directories(one() + "/lost+found"));
  EXPECT_TRUE(refused_for("lost+found is no partition")) << report_;
}

TEST_F(AdoptionTest, DirsOfAnotherBrokerOrOfNoneAreRefused) {
  EXPECT_TRUE(refused_for("no Kafka has run here")) << report_;
  fill({{one(), {{"t", 0}}}});
  EXPECT_FALSE(run({.execute = true}, "broker.id=8"));
  EXPECT_NE(report_.find("belong to broker 7"), std::string::npos) << report_;
}

TEST_F(AdoptionTest, AnAdoptionThatWasBrokenOffIsRepeatedAndKeepsTheBrokerFromStarting) {
  fill({{one(), {{"t", 0}}}});
  ASSERT_TRUE(base::write_file_atomically(files_, one() + "/" + std::string(kMarkFile), as_bytes("zookeeper\n")));
  EXPECT_NE(unadopted(files_, *config()).find("broken off"), std::string::npos);
  ASSERT_TRUE(run({.execute = true})) << report_;
  EXPECT_EQ(unadopted(files_, *config()), "");
}

TEST_F(AdoptionTest, CommittedOffsetsOfANewerVersionAreFoundForRewriting) {
  const std::string folder = one() + "/__consumer_offsets-0";
  ASSERT_TRUE(files_.create_directories(folder));
  protocol::OffsetCommitKey key;
  key.group = "g";
  key.topic = "t";
  protocol::OffsetCommitValue value;
  value.offset = 42;
  record::BatchBuilder builder({});
  for (int16_t version : {3, 4}) {
    key.partition = version;
    Bytes k = protocol::encode_versioned(key, 1), v = protocol::encode_versioned(value, version);
    builder.append(1000, ByteView(k), ByteView(v));
  }
  ASSERT_TRUE(base::write_file_atomically(files_, folder + "/" + segment_file(0, ".log"), builder.build()));
  auto found = read_group_topic(files_, folder);
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->groups["g"], 2);
  ASSERT_EQ(found->rewritten.size(), 1u);
  auto again = protocol::decode_versioned<protocol::OffsetCommitValue>(*found->rewritten[0].value);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->offset, 42);
  EXPECT_EQ((*found->rewritten[0].value)[1], 3);
}

}  // namespace
}  // namespace odradek::adopt
