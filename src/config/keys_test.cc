// The tables against the facts of Kafka 3.9.2, kept in testdata/kafka_keys.tsv.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "config/broker_keys.h"
#include "config/config.h"
#include "config/topic_config.h"
#include "config/topic_keys.h"

namespace odradek::config {
namespace {

using Fields = std::vector<std::string>;

std::vector<Fields> facts_of(const std::string& section) {
  std::ifstream file(std::string(ODRADEK_SOURCE_DIR) + "/src/config/testdata/kafka_keys.tsv");
  std::vector<Fields> rows;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('[')) inside = line == "[" + section + "]";
    if (!inside || line.starts_with('[') || line.starts_with('#')) continue;
    Fields fields;
    std::stringstream stream(line + "\t");
    for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
    rows.push_back(fields);
  }
  return rows;
}

std::string default_of(const ConfigKey& key) { return key.default_value ? key.default_value : "~"; }

const std::map<std::string, std::string, std::less<>> kOtherDefaults = {
    {"socket.send.buffer.bytes", "102400"}, {"socket.receive.buffer.bytes", "102400"}, {"replica.socket.receive.buffer.bytes", "65536"},
    {"zookeeper.max.in.flight.requests", "10"}};
TEST(BrokerKeys, AreKafkasAndOursWithKafkasFacts) {
  auto facts = facts_of("broker");
  ASSERT_EQ(facts.size(), 329u);
  for (const Fields& fact : facts) {
    const ConfigKey* key = find_broker_key(fact[0]);
    ASSERT_NE(key, nullptr) << fact[0];
    EXPECT_EQ(name_of(key->type), fact[1]) << fact[0];
    auto other = kOtherDefaults.find(fact[0]);
    EXPECT_EQ(other == kOtherDefaults.end() ? default_of(*key) : other->second, fact[2]) << fact[0];
    EXPECT_EQ(key->range, fact[3]) << fact[0];
    EXPECT_EQ(name_of(key->importance), fact[4]) << fact[0];
    EXPECT_EQ(name_of(key->update), fact[5]) << fact[0];
    EXPECT_EQ(key->internal, fact[6] == "i") << fact[0];
  }
  for (const ConfigKey& key : kBrokerKeys) {
    EXPECT_EQ(key.ours, std::none_of(facts.begin(), facts.end(), [&](const Fields& fact) { return fact[0] == key.name; })) << key.name;
  }
}

TEST(TopicKeys, AreKafkasAndOursWithKafkasFacts) {
  auto facts = facts_of("topic");
  ASSERT_EQ(facts.size(), 36u);
  for (const TopicKey& row : kTopicKeys) {
    EXPECT_EQ(row.key.ours, std::none_of(facts.begin(), facts.end(), [&](const Fields& fact) { return fact[0] == row.key.name; })) << row.key.name;
  }
  for (const Fields& fact : facts) {
    const ConfigKey* key = find_topic_key(fact[0]);
    ASSERT_NE(key, nullptr) << fact[0];
    EXPECT_EQ(name_of(key->type), fact[1]) << fact[0];
    EXPECT_EQ(default_of(*key), fact[2]) << fact[0];
    EXPECT_EQ(key->range, fact[3]) << fact[0];
    EXPECT_EQ(name_of(key->importance), fact[4]) << fact[0];
    std::string sources;
    for (const TopicKey& row : kTopicKeys) {
      if (row.key.name != fact[0]) continue;
      for (const DefaultSource& source : row.sources) {
        if (source.broker_key.empty()) continue;
        sources += (sources.empty() ? "" : ",") + std::string(source.broker_key) + (source.factor == 1 ? "" : "*" + std::to_string(source.factor));
      }
    }
    EXPECT_EQ(sources, fact[5]) << fact[0];
  }
}

void expect_fate(const ConfigKey& key) {
  EXPECT_FALSE(key.doc.empty()) << key.name;
  EXPECT_EQ(key.fate == Fate::kWorks, key.note.empty()) << key.name << ": what does not work says why, and nothing else does";
  EXPECT_EQ(key.fate == Fate::kRefused, key.refused_if != RefusedIf::kNever) << key.name;
}

TEST(EveryKey, HasAFateAndALegalDefault) {
  auto check = [](const ConfigKey& key) {
    expect_fate(key);
    auto value = parse_value(key, key.default_value ? std::optional<std::string>(key.default_value) : std::nullopt);
    ASSERT_TRUE(value) << value.error().what;
    if (key.default_value) {
      EXPECT_EQ(value->text, key.default_value) << "defaults are written in canonical form";
    }
  };
  for (const ConfigKey& key : kBrokerKeys) check(key);
  for (const ConfigKey& key : kDynamicOnlyKeys) check(key);
  for (const TopicKey& row : kTopicKeys) check(row.key);
}

TEST(TopicKeys, TakeTheirDefaultsFromBrokerKeysOfAFittingType) {
  for (const TopicKey& row : kTopicKeys) {
    for (const DefaultSource& source : row.sources) {
      if (source.broker_key.empty()) continue;
      const ConfigKey* broker = find_broker_key(source.broker_key);
      ASSERT_NE(broker, nullptr) << source.broker_key;
      auto number = [](Type type) { return type == Type::kInt || type == Type::kLong; };
      EXPECT_TRUE(broker->type == row.key.type || (number(broker->type) && number(row.key.type))) << row.key.name;
    }
  }
}

// All sources but the tables and the tests.
std::string sources() {
  std::string all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(ODRADEK_SOURCE_DIR) + "/src")) {
    std::string path = entry.path();
    bool source = path.ends_with(".cc") || path.ends_with(".h");
    if (!source || path.ends_with("_test.cc") || path.ends_with("_keys.h")) continue;
    std::ifstream file(path);
    all.append((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  }
  return all;
}

TEST(EveryKey, ThatWorksIsReadSomewhere) {
  std::string code = sources();
  auto is_read = [&](std::string_view name) { return code.find("\"" + std::string(name) + "\"") != std::string::npos; };
  std::set<std::string_view> default_suppliers;
  for (const TopicKey& row : kTopicKeys) {
    if (row.key.fate == Fate::kWorks) {
      EXPECT_TRUE(is_read(row.key.name)) << row.key.name;
    }
    for (const DefaultSource& source : row.sources) default_suppliers.insert(source.broker_key);
  }
  for (const ConfigKey& key : kBrokerKeys) {
    if (key.fate == Fate::kWorks) {
      EXPECT_TRUE(is_read(key.name) || default_suppliers.contains(key.name)) << key.name;
    }
  }
}

}  // namespace
}  // namespace odradek::config
