#include "config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace odradek::config {
namespace {

using testing::HasSubstr;

std::shared_ptr<const BrokerConfig> config_of(Properties values) {
  auto config = BrokerConfig::make(std::move(values));
  EXPECT_TRUE(config) << (config ? "" : config.error().what);
  return config ? *config : BrokerConfig::defaults();
}
std::string refusal_of(Properties values) {
  auto config = BrokerConfig::make(std::move(values));
  EXPECT_FALSE(config);
  return config ? "" : config.error().what;
}

TEST(BrokerConfig, HasDefaultsForEverything) {
  auto config = BrokerConfig::defaults();
  EXPECT_EQ(config->get_int("num.io.threads"), 8);
  EXPECT_EQ(config->get_long("log.retention.bytes"), -1);
  EXPECT_EQ(config->get_double("log.cleaner.min.cleanable.ratio"), 0.5);
  EXPECT_TRUE(config->get_bool("auto.create.topics.enable"));
  EXPECT_TRUE(config->is_null("log.flush.interval.ms"));
  EXPECT_EQ(config->log_dirs(), std::vector<std::string>{"/tmp/kafka-logs"});
  EXPECT_EQ(config->metadata_log_dir(), "/tmp/kafka-logs");
  EXPECT_EQ(config->broker_id(), kNoBroker);
  ASSERT_EQ(config->listeners().size(), 1u);
  EXPECT_EQ(config->listeners()[0].name, "PLAINTEXT");
  EXPECT_EQ(config->listeners()[0].host, "");
  EXPECT_EQ(config->listeners()[0].port, 9092);
  EXPECT_EQ(config->inter_broker_listener(), "PLAINTEXT");
  EXPECT_GE(config->queued_max_request_bytes(), 256ll << 20);
}

TEST(BrokerConfig, TakesAFileAndOverridesOnTop) {
  auto config = load_broker_config("broker.id=3\nlog.dirs = /a, /b\nnum.io.threads=4\n", std::vector<std::string>{"num.io.threads=5", "broker.rack = r1"});
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ((*config)->get_int("num.io.threads"), 5);
  EXPECT_EQ((*config)->get_string("broker.rack"), "r1");
  EXPECT_EQ((*config)->broker_id(), BrokerId{3});
  EXPECT_EQ((*config)->get_int("node.id"), 3);
  EXPECT_EQ((*config)->log_dirs(), (std::vector<std::string>{"/a", "/b"}));
}

TEST(BrokerConfig, RefusesAnOverrideWithoutAValue) {
  auto config = load_broker_config(std::nullopt, std::vector<std::string>{"num.io.threads"});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().what, "--override num.io.threads: expected key=value");
}

TEST(BrokerConfig, NamesAnIllegalValueInKafkasWords) {
  EXPECT_EQ(refusal_of({{"num.io.threads", "x"}}), "Invalid value x for configuration num.io.threads: Not a number of type INT");
  EXPECT_EQ(refusal_of({{"num.io.threads", "0"}}), "Invalid value 0 for configuration num.io.threads: Value must be at least 1");
  EXPECT_EQ(refusal_of({{"num.io.threads", "3000000000"}}), "Invalid value 3000000000 for configuration num.io.threads: Not a number of type INT");
  EXPECT_EQ(refusal_of({{"auto.create.topics.enable", "yes"}}), "Invalid value yes for configuration auto.create.topics.enable: Expected value to be either true or false");
  EXPECT_EQ(refusal_of({{"compression.type", "x"}}), "Invalid value x for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer");
  EXPECT_EQ(refusal_of({{"compression.gzip.level", "0"}}), "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1");
  EXPECT_EQ(refusal_of({{"log.cleaner.min.cleanable.ratio", "1.5"}}), "Invalid value 1.5 for configuration log.cleaner.min.cleanable.ratio: Value must be no more than 1");
  EXPECT_EQ(refusal_of({{"listener.name.plaintext.max.connections", "x"}}),
            "Invalid value x for configuration listener.name.plaintext.max.connections: Not a number of type INT");
}

TEST(BrokerConfig, TakesSpacesAndCaseAsJavaDoes) {
  auto config = config_of({{"num.io.threads", " +5 "}, {"log.cleaner.enable", "TRUE"}, {"log.cleaner.min.cleanable.ratio", ".25"}, {"log.cleanup.policy", "compact, delete"}});
  EXPECT_EQ(config->get_int("num.io.threads"), 5);
  EXPECT_TRUE(config->get_bool("log.cleaner.enable"));
  EXPECT_EQ(config->get_double("log.cleaner.min.cleanable.ratio"), 0.25);
  EXPECT_EQ(config->get_list("log.cleanup.policy"), (std::vector<std::string>{"compact", "delete"}));
}

TEST(BrokerConfig, RefusesWhatWouldBeSilentlyUnsafe) {
  for (const Properties& unsafe : std::vector<Properties>{
           {{"authorizer.class.name", "kafka.security.authorizer.AclAuthorizer"}},
           {{"ssl.client.auth", "required"}},
           {{"listener.name.x.ssl.client.auth", "required"}},
           {{"zookeeper.ssl.client.enable", "true"}},
           {{"zookeeper.set.acl", "true"}},
           {{"zookeeper.metadata.migration.enable", "true"}},
           {{"remote.log.storage.system.enable", "true"}},
           {{"security.inter.broker.protocol", "SSL"}},
           {{"create.topic.policy.class.name", "x"}},
           {{"alter.config.policy.class.name", "x"}},
           {{"client.quota.callback.class", "x"}},
           {{"principal.builder.class", "x"}},
           {{"process.roles", "broker"}, {"node.id", "1"}},
           {{"process.roles", "controller"}, {"node.id", "1"}},
           {{"controller.quorum.voters", "1@a:1"}},
           {{"process.roles", "broker,controller"}, {"node.id", "1"}, {"controller.quorum.voters", "2@b:1"}},
           {{"process.roles", "broker,controller"}, {"node.id", "1"}, {"controller.quorum.voters", "1@a:1,2@b:1"}},
           {{"controller.quorum.bootstrap.servers", "a:1"}},
           {{"listeners", "PLAINTEXT://:9092,SASL_SSL://:9093"}},
           {{"listeners", "CLIENT://:9092"}, {"listener.security.protocol.map", "CLIENT:SSL"}},
       }) {
    std::string line = refusal_of(unsafe);
    EXPECT_THAT(line, HasSubstr("is refused: ")) << unsafe.begin()->first;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST(BrokerConfig, KeepsItsMetadataInOnePlace) {
  EXPECT_THAT(refusal_of({{"zookeeper.connect", "127.0.0.1:2181"}, {"process.roles", "broker,controller"}, {"node.id", "1"}}), HasSubstr("both set"));
  EXPECT_THAT(refusal_of({{"zookeeper.session.timeout.ms", "0"}}), HasSubstr("zookeeper.session.timeout.ms"));
  EXPECT_EQ(config_of({{"zookeeper.connect", "a:2181,b:2181/x"}})->get_string("zookeeper.connect"), "a:2181,b:2181/x");
}

TEST(BrokerConfig, TakesTheHarmlessValuesOfKeysThatCanBeRefused) {
  config_of({{"authorizer.class.name", ""}, {"ssl.client.auth", "none"}, {"zookeeper.ssl.client.enable", "false"}, {"security.inter.broker.protocol", "PLAINTEXT"}});
}

TEST(BrokerConfig, TakesTheKRaftFileOfOneNode) {
  auto config = config_of({{"process.roles", "broker,controller"}, {"node.id", "1"}, {"controller.quorum.voters", "1@localhost:9093"},
                           {"listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"}, {"advertised.listeners", "PLAINTEXT://localhost:9092"},
                           {"controller.listener.names", "CONTROLLER"}, {"inter.broker.listener.name", "PLAINTEXT"},
                           {"listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL"}});
  ASSERT_EQ(config->listeners().size(), 1u);
  EXPECT_EQ(config->listeners()[0].name, "PLAINTEXT");
  EXPECT_EQ(config->broker_id(), BrokerId{1});
}

TEST(Listeners, AreReadWithTheirNamesProtocolsAndAddresses) {
  auto config = config_of({{"listeners", "internal://127.0.0.1:0, EXTERNAL://[::1]:9093,V4://0.0.0.0:9094"}, {"listener.security.protocol.map", "INTERNAL:PLAINTEXT,external:plaintext,V4:PLAINTEXT"},
                           {"inter.broker.listener.name", "internal"}});
  ASSERT_EQ(config->listeners().size(), 3u);
  EXPECT_EQ(config->listeners()[0].name, "INTERNAL");
  EXPECT_EQ(config->listeners()[0].host, "127.0.0.1");
  EXPECT_EQ(config->listeners()[0].port, 0);
  EXPECT_EQ(config->listeners()[1].host, "::1");
  EXPECT_EQ(config->advertised_listeners()[1].host, "::1");
  EXPECT_EQ(config->advertised_listeners()[2].host, "") << "all addresses: told as that of the accepted socket";
  EXPECT_EQ(config->inter_broker_listener(), "INTERNAL");
}

TEST(Listeners, AreRefusedWhereKafkaRefusesThem) {
  EXPECT_THAT(refusal_of({{"listeners", "PLAINTEXT:9092"}}), HasSubstr("expected NAME://host:port"));
  EXPECT_THAT(refusal_of({{"listeners", "PLAINTEXT://:70000"}}), HasSubstr("expected NAME://host:port"));
  EXPECT_THAT(refusal_of({{"listeners", "FOO://:9092"}}), HasSubstr("No security protocol defined for listener FOO"));
  EXPECT_THAT(refusal_of({{"listeners", "PLAINTEXT://:9092,PLAINTEXT://:9093"}}), HasSubstr("different name"));
  EXPECT_THAT(refusal_of({{"listeners", "A://:9092,B://:9092"}, {"listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT"}}), HasSubstr("different port"));
  EXPECT_THAT(refusal_of({{"listeners", ""}}), HasSubstr("listeners names no listener"));
  EXPECT_THAT(refusal_of({{"advertised.listeners", "B://x:1"}, {"listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,B:PLAINTEXT"}}), HasSubstr("equal to or a subset"));
  EXPECT_THAT(refusal_of({{"advertised.listeners", "PLAINTEXT://0.0.0.0:1"}}), HasSubstr("0.0.0.0"));
  EXPECT_THAT(refusal_of({{"inter.broker.listener.name", "X"}}), HasSubstr("inter.broker.listener.name must be a listener name"));
  EXPECT_THAT(refusal_of({{"listener.security.protocol.map", "A:FOO"}}), HasSubstr("expected NAME:PROTOCOL"));
}

TEST(BrokerConfig, HoldsRulesBetweenKeys) {
  EXPECT_THAT(refusal_of({{"broker.id", "1"}, {"node.id", "2"}}), HasSubstr("must be the same"));
  EXPECT_THAT(refusal_of({{"broker.id", "1001"}}), HasSubstr("reserved.broker.max.id"));
  EXPECT_THAT(refusal_of({{"broker.id.generation.enable", "false"}}), HasSubstr("must be set"));
  EXPECT_THAT(refusal_of({{"log.retention.ms", "0"}}), HasSubstr("must be unlimited (-1)"));
  EXPECT_THAT(refusal_of({{"log.dirs", ""}}), HasSubstr("At least one log directory"));
  EXPECT_THAT(refusal_of({{"queued.max.request.bytes", "1000"}}), HasSubstr("socket.request.max.bytes"));
  EXPECT_THAT(refusal_of({{"max.connections.per.ip", "0"}}), HasSubstr("max.connections.per.ip.overrides"));
  EXPECT_THAT(refusal_of({{"max.connections.per.ip.overrides", "a:b"}}), HasSubstr("expected address:number"));
  EXPECT_THAT(refusal_of({{"replica.fetch.wait.max.ms", "40000"}}), HasSubstr("replica.socket.timeout.ms"));
  EXPECT_EQ(config_of({{"broker.id", "1001"}, {"reserved.broker.max.id", "2000"}})->broker_id(), BrokerId{1001});
}

TEST(BrokerConfig, RefusesValuesThatAProviderWouldFillIn) {
  EXPECT_THAT(refusal_of({{"config.providers", "file, env"}, {"log.dirs", "${env:DATA}"}}), HasSubstr("log.dirs=${env:DATA} is refused"));
  // As in Kafka: without its provider it is a text like another.
  EXPECT_EQ(config_of({{"config.providers", "file"}, {"log.dirs", "${env:DATA}"}})->log_dirs(), std::vector<std::string>{"${env:DATA}"});
}

TEST(BrokerConfig, ReadsOverridesOfConnectionLimits) {
  auto config = config_of({{"max.connections.per.ip.overrides", "127.0.0.1:200, host:3"}, {"max.connections", "10"}, {"listener.name.fast.max.connections", "7"}});
  EXPECT_EQ(config->max_connections_per_ip_overrides(), (std::map<std::string, int32_t>{{"127.0.0.1", 200}, {"host", 3}}));
  EXPECT_EQ(config->get_long_for_listener("FAST", "max.connections"), 7);
  EXPECT_EQ(config->get_long_for_listener("OTHER", "max.connections"), 10);
}

TEST(BrokerConfig, BrokersUseTheListenerThatIsCalledAsTheirProtocol) {
  auto config = [](const char* listeners) {
    return config_of({{"listeners", listeners}, {"listener.security.protocol.map", "OUT:PLAINTEXT,IN:PLAINTEXT,PLAINTEXT:PLAINTEXT"}});
  };
  EXPECT_EQ(config("OUT://h:1,PLAINTEXT://h:2,IN://h:3")->inter_broker_listener(), "PLAINTEXT");
  EXPECT_EQ(config("OUT://h:1,IN://h:3")->inter_broker_listener(), "OUT");
}

TEST(BrokerConfig, TakesACommaTooManyInListenersLogDirsAndTheirLike) {
  auto config = config_of({{"listeners", "PLAINTEXT://:9092, ,IN://127.0.0.1:9093,"},
                           {"listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,IN:PLAINTEXT,"},
                           {"log.dirs", "/a/,,/b//, /"},
                           {"max.connections.per.ip.overrides", "127.0.0.1:2,"}});
  ASSERT_EQ(config->listeners().size(), 2u);
  EXPECT_EQ(config->listeners()[1].name, "IN");
  EXPECT_EQ(config->log_dirs(), (std::vector<std::string>{"/a", "/b", "/"}));
  EXPECT_EQ(config->max_connections_per_ip_overrides(), (std::map<std::string, int32_t>{{"127.0.0.1", 2}}));
  EXPECT_THAT(refusal_of({{"log.dirs", ","}}), HasSubstr("At least one log directory"));
}

TEST(BrokerConfig, NamesWhatHasNoEffect) {
  auto lines = config_of({{"my.plugin", "1"}, {"zookeeper.ssl.protocol", "TLSv1.3"}, {"zookeeper.ssl.crl.enable", "true"}, {"num.io.threads", "2"}})->warnings();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], HasSubstr("zookeeper.ssl.crl.enable, zookeeper.ssl.protocol"));
  EXPECT_THAT(lines[1], HasSubstr("my.plugin"));
}

TEST(JavaDouble, PrintsAsJava) {
  EXPECT_EQ(java_double(0.25), "0.25");
  EXPECT_EQ(java_double(1), "1.0");
  EXPECT_EQ(java_double(0), "0.0");
  EXPECT_EQ(java_double(0.00001), "1.0E-5");
  EXPECT_EQ(java_double(12345678), "1.2345678E7");
  EXPECT_EQ(java_double(1.7976931348623157E308), "1.7976931348623157E308");
  EXPECT_EQ(java_double(9999999), "9999999.0");
}

TEST(Releases, AreThoseOfKafka) {
  for (const char* text : {"2.8", "2.8-IV1", "0.10.2", "0.10.2.1", "2.8.1", "3.9"}) config_of({{"inter.broker.protocol.version", text}});
  for (const char* text : {"zz", "2.9", "0.10", "", "2.8-IV7"}) EXPECT_THAT(refusal_of({{"inter.broker.protocol.version", text}}), HasSubstr("is not a valid version"));
}

}  // namespace
}  // namespace odradek::config
