// The texts are those of a real cluster (zookeeper.md, [seen]). Compared as text after sorting: the order of keys has no meaning.
#include "metadata/tree/znode_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "metadata/tree/paths.h"

namespace odradek::metadata {
namespace {

void expect_same(const Bytes& written, std::string_view seen) {
  EXPECT_EQ(std::string(as_text(written)), nlohmann::json::parse(seen).dump());
}
std::vector<BrokerId> ids(std::initializer_list<int32_t> values) {
  std::vector<BrokerId> brokers;
  for (int32_t value : values) brokers.push_back({value});
  return brokers;
}

TEST(ZnodeJson, ReadsAndWritesABrokerAsSeen) {
  std::string_view seen =
      R"({"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT","SASL_PLAINTEXT":"SASL_PLAINTEXT"},)"
      R"("endpoints":["PLAINTEXT://127.0.0.1:28090","SASL_PLAINTEXT://127.0.0.1:28190"],)"
      R"("rack":"r0","jmx_port":-1,"port":28090,"host":"127.0.0.1","version":5,"timestamp":"1795319014015"})";
  auto broker = decode_broker({3}, as_bytes(seen));
  ASSERT_TRUE(broker) << broker.error().what;
  EXPECT_EQ(broker->id, BrokerId{3});
  ASSERT_EQ(broker->endpoints.size(), 2u);
  EXPECT_EQ(broker->endpoints[1], (Endpoint{"SASL_PLAINTEXT", "127.0.0.1", 28190, SecurityProtocol::kSaslPlaintext}));
  EXPECT_EQ(broker->rack, "r0");
  expect_same(encode_broker(*broker, 1795319014015), seen);
}

TEST(ZnodeJson, WritesABrokerWithoutPlainListenerAndRackAsKafkaDoes) {
  BrokerInfo broker{{1}, {{"IN", "::1", 9093, SecurityProtocol::kSsl}}, {}, -1};
  Bytes written = encode_broker(broker, 5);
  expect_same(written,
              R"({"features":{},"listener_security_protocol_map":{"IN":"SSL"},"endpoints":["IN://[::1]:9093"],"jmx_port":-1,"port":-1,"host":null,)"
              R"("version":5,"timestamp":"5"})");
  auto read = decode_broker({1}, written);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->endpoints, broker.endpoints);
}

TEST(ZnodeJson, ReadsBrokersOfOldAndNewerVersions) {
  auto v1 = decode_broker({1}, as_bytes(R"({"jmx_port":-1,"timestamp":"1","host":"h","version":1,"port":9092})"));
  ASSERT_TRUE(v1);
  EXPECT_EQ(v1->endpoints[0], (Endpoint{"PLAINTEXT", "h", 9092, SecurityProtocol::kPlaintext}));
  auto v9 = decode_broker({1}, as_bytes(R"({"version":9,"endpoints":["SSL://h:1"],"jmx_port":-1,"later":{"x":[1]}})"));
  ASSERT_TRUE(v9);
  EXPECT_EQ(v9->endpoints[0].protocol, SecurityProtocol::kSsl);
  for (std::string_view broken : {"", "{", "[]", "null", R"({"version":5,"endpoints":["nonsense"]})", R"({"version":5,"endpoints":["A://h:x"]})",
                                  R"({"version":5,"endpoints":["A://h:1"]})", R"({"endpoints":["SSL://h:1"]})", "\xff\xfe"}) {
    EXPECT_FALSE(decode_broker({1}, as_bytes(broken))) << broken;
  }
}

TEST(ZnodeJson, ReadsAndWritesTopicsAsSeen) {
  std::string_view seen =
      R"({"partitions":{"0":[0,2,1],"1":[2,1]},"topic_id":"3tRkel5wTV6bzVJjyyALvw","adding_replicas":{"0":[0]},"removing_replicas":{"0":[1]},"version":3})";
  auto topic = decode_topic(as_bytes(seen));
  ASSERT_TRUE(topic) << topic.error().what;
  EXPECT_EQ(topic->id->to_string(), "3tRkel5wTV6bzVJjyyALvw");
  EXPECT_EQ(topic->partitions.at(0), ids({0, 2, 1}));
  EXPECT_EQ(topic->adding.at(0), ids({0}));
  EXPECT_EQ(topic->removing.at(0), ids({1}));
  expect_same(encode_topic(*topic), seen);
  auto old = decode_topic(as_bytes(R"({"version":1,"partitions":{"10":[1]}})"));
  ASSERT_TRUE(old);
  EXPECT_FALSE(old->id);
  EXPECT_FALSE(decode_topic(as_bytes(R"({"version":3,"partitions":{"x":[1]}})")));
  EXPECT_FALSE(decode_topic(as_bytes(R"({"version":3,"partitions":{"-1":[1]}})")));
}

TEST(ZnodeJson, ReadsAndWritesPartitionStatesAsSeen) {
  std::string_view seen = R"({"controller_epoch":1,"leader":2,"version":1,"leader_epoch":3,"isr":[2,0,1]})";
  auto state = decode_partition_state(as_bytes(seen));
  ASSERT_TRUE(state);
  EXPECT_EQ(*state, (PartitionStateNode{1, {2}, {3}, ids({2, 0, 1}), false}));
  expect_same(encode_partition_state(*state), seen);
  std::string_view unclean = R"({"controller_epoch":1,"leader":2,"version":1,"leader_recovery_state":1,"leader_epoch":3,"isr":[2]})";
  auto recovering = decode_partition_state(as_bytes(unclean));
  ASSERT_TRUE(recovering);
  EXPECT_TRUE(recovering->recovering);
  expect_same(encode_partition_state(*recovering), unclean);
}

TEST(ZnodeJson, ReadsAndWritesTheControllersNodesAsSeen) {
  std::string_view seen = R"({"version":2,"brokerid":0,"timestamp":"1795319014518","kraftControllerEpoch":-1})";
  auto node = decode_controller(as_bytes(seen));
  ASSERT_TRUE(node);
  EXPECT_EQ(node->broker, BrokerId{0});
  expect_same(encode_controller(*node), seen);
  EXPECT_EQ(as_text(encode_controller_epoch(17)), "17");
  EXPECT_EQ(decode_controller_epoch(as_bytes("17")), 17);
  EXPECT_FALSE(decode_controller_epoch(as_bytes("17x")));
  EXPECT_FALSE(decode_controller_epoch({}));
  expect_same(encode_cluster_id("88VPCee0QfWeFO_O7Yje2A"), R"({"version":"1","id":"88VPCee0QfWeFO_O7Yje2A"})");
  EXPECT_EQ(decode_cluster_id(encode_cluster_id("88VPCee0QfWeFO_O7Yje2A")), "88VPCee0QfWeFO_O7Yje2A");
  expect_same(encode_feature(), R"({"features":{},"version":2,"status":1})");
}

TEST(ZnodeJson, ReadsAndWritesConfigsAndTheirNotifications) {
  std::string_view seen = R"({"version":1,"config":{"retention.ms":"3600000","segment.bytes":"1048576"}})";
  auto config = decode_config(as_bytes(seen));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->at("retention.ms"), "3600000");
  expect_same(encode_config(*config), seen);
  EXPECT_TRUE(decode_config({})->empty());
  EXPECT_FALSE(decode_config(as_bytes("{}")));
  expect_same(encode_config_change("topics/a"), R"({"version":2,"entity_path":"topics/a"})");
  EXPECT_EQ(decode_config_change(encode_config_change("topics/a")), "topics/a");
  EXPECT_EQ(decode_config_change(as_bytes(R"({"version":1,"entity_type":"topics","entity_name":"a"})")), "topics/a");
}

TEST(ZnodeJson, ReadsAndWritesTheRest) {
  std::string_view block = R"({"version":1,"broker":2,"block_start":"2000","block_end":"2999"})";
  auto read = decode_producer_id_block(as_bytes(block));
  ASSERT_TRUE(read && *read);
  EXPECT_EQ(**read, (ProducerIdBlock{{2}, 2000, 2999}));
  expect_same(encode_producer_id_block(**read), block);
  EXPECT_FALSE(decode_producer_id_block({})->has_value());
  EXPECT_EQ(decode_log_dir_event(as_bytes(R"({"version":1,"broker":2,"event":1})")), BrokerId{2});
  expect_same(encode_log_dir_event({2}), R"({"version":1,"broker":2,"event":1})");
  EXPECT_EQ(*decode_partition_list(as_bytes(R"({"version":1,"partitions":[{"topic":"u","partition":0}]})")),
            (std::vector<TopicPartition>{{"u", 0}}));
  std::string_view wanted = R"({"version":1,"partitions":[{"topic":"b","partition":1,"replicas":[0,1]}]})";
  auto reassignment = decode_reassignment(as_bytes(wanted));
  ASSERT_TRUE(reassignment);
  EXPECT_EQ((*reassignment)[0].replicas, ids({0, 1}));
  expect_same(encode_reassignment(*reassignment), wanted);
  EXPECT_EQ(paths::sequence_number("config_change_0000000017"), 17);
  EXPECT_EQ(paths::sequence_number("x"), -1);
}

}  // namespace
}  // namespace odradek::metadata
