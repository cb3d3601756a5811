// DescribeConfigs' rows against the answers of a real broker (testdata/describe_kafka.tsv).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "config/config.h"
#include "config/topic_config.h"

namespace odradek::config {
namespace {

using Lines = std::set<std::string>;

Lines answers_of(const std::string& section) {
  std::ifstream file(std::string(ODRADEK_SOURCE_DIR) + "/src/config/testdata/describe_kafka.tsv");
  Lines lines;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    if (line.starts_with('[')) {
      inside = line == "[" + section + "]";
    } else if (inside) {
      lines.insert(line);
    }
  }
  EXPECT_FALSE(lines.empty());
  return lines;
}

std::string line_of(const DescribedConfig& row) {
  std::string synonyms;
  for (const Synonym& synonym : row.synonyms) {
    synonyms += fmt::format("{}{}={}@{}", synonyms.empty() ? "" : ";", synonym.name, synonym.value.value_or("~"), static_cast<int>(synonym.source));
  }
  return fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}", row.name, row.value.value_or("~"), row.read_only ? 1 : 0, static_cast<int>(row.source), row.is_sensitive ? 1 : 0,
                     static_cast<int>(row.type), synonyms);
}

// Without the keys that Kafka does not know.
Lines lines_of(const std::vector<DescribedConfig>& rows) {
  Lines lines;
  for (const DescribedConfig& row : rows) {
    const ConfigKey* key = find_broker_key(row.name);
    if (key == nullptr) key = find_topic_key(row.name);
    if (key == nullptr || !key->ours) lines.insert(line_of(row));
  }
  return lines;
}

// The settings of the broker that answered, without zookeeper.connect.
std::shared_ptr<const BrokerConfig> same_broker() {
  auto config = BrokerConfig::make(
      {{"broker.id", "0"}, {"listeners", "PLAINTEXT://127.0.0.1:9092"}, {"log.dirs", "/kafka/data"}, {"offsets.topic.replication.factor", "1"},
       {"transaction.state.log.replication.factor", "1"}, {"transaction.state.log.min.isr", "1"}, {"group.initial.rebalance.delay.ms", "0"},
       {"offsets.topic.num.partitions", "5"}, {"transaction.state.log.num.partitions", "5"}, {"num.network.threads", "2"}, {"num.io.threads", "4"},
       {"zookeeper.session.timeout.ms", "6000"}, {"log.retention.minutes", "5000"}, {"log.roll.ms", "123456789"}, {"my.plugin.key", "hello"},
       {"listener.name.plaintext.max.connections", "500"}, {"ssl.keystore.password", "secret"}},
      {{"log.segment.bytes", "2000000"}, {"log.roll.ms", "777777777"}, {"compression.type", "lz4"}, {"custom.y", "z"}, {"listener.name.plaintext.max.connections", "400"}},
      {{"log.cleaner.backoff.ms", "20000"}, {"num.io.threads", "8"}, {"log.segment.bytes", "1000000"}, {"log.retention.ms", "99999999"}, {"custom.x", "5"},
       {"leader.replication.throttled.rate", "777"}});
  EXPECT_TRUE(config) << config.error().what;
  return *config;
}

TEST(DescribeConfigs, AnswersForABrokerAsKafka) {
  Lines expected = answers_of("broker"), actual = lines_of(same_broker()->describe());
  const std::set<std::string, std::less<>> different = {  // other values here
      "zookeeper.connect", "socket.send.buffer.bytes", "socket.receive.buffer.bytes", "replica.socket.receive.buffer.bytes", "zookeeper.max.in.flight.requests"};
  auto drop = [&](Lines& lines) { std::erase_if(lines, [&](const std::string& line) { return different.contains(line.substr(0, line.find('\t'))); }); };
  drop(expected);
  drop(actual);
  EXPECT_EQ(actual, expected);
}

TEST(DescribeConfigs, AnswersForTheClusterDefaultAsKafka) { EXPECT_EQ(lines_of(same_broker()->describe_dynamic_default()), answers_of("default")); }

TEST(DescribeConfigs, AnswersForTopicsAsKafka) {
  auto broker = same_broker();
  EXPECT_EQ(lines_of(describe_topic(*broker, {{"retention.ms", "1000"}, {"cleanup.policy", "compact,delete"}, {"max.message.bytes", "2000"}})), answers_of("topic t1"));
  EXPECT_EQ(lines_of(describe_topic(*broker, {})), answers_of("topic t2"));
}

TEST(DescribeConfigs, NeverShowsAPassword) {
  for (const DescribedConfig& row : same_broker()->describe()) {
    if (row.name != "ssl.keystore.password") continue;
    EXPECT_TRUE(row.is_sensitive);
    EXPECT_EQ(row.value, std::nullopt);
    ASSERT_EQ(row.synonyms.size(), 1u);
    EXPECT_EQ(row.synonyms[0].value, std::nullopt);
  }
}

TEST(ConfigReference, IsTheCommittedFile) {
  std::ifstream file(std::string(ODRADEK_SOURCE_DIR) + "/docs/config.md");
  std::string committed((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_TRUE(committed == reference_markdown()) << "odradek-server --print-config-reference > docs/config.md";
}

}  // namespace
}  // namespace odradek::config
