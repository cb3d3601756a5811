import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.serialization.*;

/**
 * write ADDRESS: fills a cluster. open ADDRESS: leaves a transaction open, at the end of tx-0, and ends at once.
 * old ADDRESS: a topic with messages of each format (for a broker that still writes old ones). modern ADDRESS: a group of the new protocol. users ADDRESS: quotas and a SCRAM user. more ADDRESS: a few records and commits.
 * churn ADDRESS: compacted topics with tombstones and transactions, the same records each time. stir ADDRESS: more of them without transactions.
 * read ADDRESS: prints what is there, one line a thing: topics with ids and configs, partitions with offsets and the SHA-256 of what a
 * consumer of each isolation level sees, groups with offsets.
 */
public class Exchange {
    static String address;

    public static void main(String[] args) throws Exception {
        address = args[1];
        switch (args[0]) {
            case "write" -> write();
            case "open" -> open();
            case "old" -> old();
            case "modern" -> modern();
            case "users" -> users();
            case "more" -> more();
            case "churn" -> churn();
            case "stir" -> stir();
            case "read" -> read();
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static Properties common() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        properties.put("default.api.timeout.ms", "60000");
        return properties;
    }

    static KafkaProducer<byte[], byte[]> producer(String... more) {
        Properties properties = common();
        properties.put("linger.ms", "5");
        for (int i = 0; i < more.length; i += 2) properties.put(more[i], more[i + 1]);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(String... more) {
        Properties properties = common();
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        for (int i = 0; i < more.length; i += 2) properties.put(more[i], more[i + 1]);
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void send(Producer<byte[], byte[]> producer, String topic, int partition, String key, String value) {
        var record = new ProducerRecord<byte[], byte[]>(topic, partition, key == null ? null : bytes(key), value == null ? null : bytes(value));
        record.headers().add("h", bytes("of " + key));
        producer.send(record);
    }

    static void write() throws Exception {
        try (Admin admin = Admin.create(common())) {
            admin.createTopics(List.of(
                new NewTopic("plain", 3, (short) 1).configs(Map.of("segment.bytes", "1048576", "index.interval.bytes", "512")),
                new NewTopic("compacted", 2, (short) 1).configs(Map.of("cleanup.policy", "compact", "segment.bytes", "1048576",
                    "min.cleanable.dirty.ratio", "0.01", "segment.ms", "1000")),
                new NewTopic("tx", 2, (short) 1),
                new NewTopic("configured.topic-1_2", 1, (short) 1).configs(Map.of("retention.ms", "1234567890", "max.message.bytes", "200000")),
                new NewTopic("empty", 2, (short) 1))).all().get();
        }
        int number = 0;
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            try (var producer = producer("compression.type", codec)) {
                for (int i = 0; i < 400; ++i, ++number) send(producer, "plain", number % 3, i % 7 == 0 ? null : "key" + number, "value " + number + " " + "x".repeat(i % 300));
            }
        }
        try (var producer = producer("batch.size", "2000")) {
            for (int round = 0; round < 20; ++round) {
                if (round % 8 == 7) Thread.sleep(1100);  // beyond segment.ms
                for (int i = 0; i < 60; ++i) send(producer, "compacted", i % 2, "key" + i, round % 5 == 4 && i % 10 == 0 ? null : "round " + round + " " + "y".repeat(100));
                producer.flush();
            }
            send(producer, "configured.topic-1_2", 0, "one", "two");
        }
        commit("assigned", List.of(new TopicPartition("plain", 0), new TopicPartition("plain", 1)), 17, "by hand");
        try (var consumer = consumer("group.id", "classic", "max.poll.records", "100")) {
            consumer.subscribe(List.of("plain", "configured.topic-1_2"));
            for (int seen = 0; seen < 250; ) seen += consumer.poll(Duration.ofSeconds(30)).count();
            consumer.commitSync();
        }
        try (var producer = producer("transactional.id", "t1")) {
            producer.initTransactions();
            for (int round = 0; round < 4; ++round) {
                producer.beginTransaction();
                for (int i = 0; i < 50; ++i) send(producer, "tx", i % 2, "k" + i, "transaction " + round + " " + i);
                producer.sendOffsetsToTransaction(Map.of(new TopicPartition("plain", 0), new OffsetAndMetadata(100 + round, Optional.of(0), "in transaction " + round)),
                    new ConsumerGroupMetadata("transactional"));
                producer.flush();
                if (round % 2 == 0) producer.commitTransaction();
                else producer.abortTransaction();
            }
        }
        try (var producer = producer()) {
            for (int i = 0; i < 10; ++i) send(producer, "tx", i % 2, "k" + i, "plain " + i);
        }
    }

    static void open() {
        // Longer than any test: nobody ends it meanwhile.
        var producer = producer("transactional.id", "t2", "transaction.timeout.ms", "900000");
        producer.initTransactions();
        producer.beginTransaction();
        for (int i = 0; i < 5; ++i) send(producer, "tx", 0, "open" + i, "never ended " + i);
        producer.flush();
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static void old() throws Exception {
        try (Admin admin = Admin.create(common())) {
            admin.createTopics(List.of(new NewTopic("old", 1, (short) 1))).all().get();
            for (String format : List.of("0.9.0", "0.10.2", "2.8")) {
                admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, "old"),
                    List.of(new AlterConfigOp(new ConfigEntry("message.format.version", format), AlterConfigOp.OpType.SET)))).all().get();
                Thread.sleep(500);  // brokers hear of it later
                for (String codec : List.of("none", "gzip", "lz4")) {
                    try (var producer = producer("compression.type", codec, "enable.idempotence", "false")) {
                        for (int i = 0; i < 20; ++i) {
                            producer.send(new ProducerRecord<>("old", 0, i % 3 == 0 ? null : bytes("k" + i), bytes(format + " " + codec + " " + i)));
                        }
                    }
                }
            }
        }
    }

    static void commit(String group, List<TopicPartition> partitions, long offset, String metadata) {
        try (var consumer = consumer("group.id", group)) {
            consumer.assign(partitions);
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (var partition : partitions) offsets.put(partition, new OffsetAndMetadata(offset + partition.partition(), Optional.of(0), metadata));
            consumer.commitSync(offsets);
        }
    }

    static void modern() {
        try (var consumer = consumer("group.id", "modern", "group.protocol", "consumer")) {
            consumer.subscribe(List.of("plain"));
            for (int seen = 0; seen < 100; ) seen += consumer.poll(Duration.ofSeconds(30)).count();
            consumer.commitSync();
        }
    }

    static void users() throws Exception {
        try (Admin admin = Admin.create(common())) {
            admin.alterUserScramCredentials(List.of(
                new UserScramCredentialUpsertion("alice", new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "secret"))).all().get();
            admin.alterClientQuotas(List.of(
                new ClientQuotaAlteration(new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, "alice", ClientQuotaEntity.CLIENT_ID, "c 1")),
                    List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1048576.0))),
                new ClientQuotaAlteration(new ClientQuotaEntity(Collections.singletonMap(ClientQuotaEntity.CLIENT_ID, null)),
                    List.of(new ClientQuotaAlteration.Op("request_percentage", 55.5))))).all().get();
            var all = new ConfigResource(ConfigResource.Type.BROKER, "");
            var one = new ConfigResource(ConfigResource.Type.BROKER, "1");
            var topic = new ConfigResource(ConfigResource.Type.TOPIC, "plain");
            admin.incrementalAlterConfigs(Map.of(
                all, List.of(new AlterConfigOp(new ConfigEntry("message.max.bytes", "2000000"), AlterConfigOp.OpType.SET)),
                one, List.of(new AlterConfigOp(new ConfigEntry("num.io.threads", "7"), AlterConfigOp.OpType.SET)),
                topic, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "987654321"), AlterConfigOp.OpType.SET)))).all().get();
            var gone = new NewTopic("gone", 1, (short) 1);
            admin.createTopics(List.of(gone)).all().get();
            admin.deleteTopics(List.of("gone")).all().get();
        }
    }

    static final List<String> CHURNED = List.of("churned", "churned-gone");
    static long moment = 1_700_000_000_000L;

    static void send(Producer<byte[], byte[]> producer, Random random, String value) {
        for (String topic : CHURNED) {
            int number = random.nextInt(60);
            byte[] payload = random.nextInt(8) == 0 ? null : bytes(value + " " + "z".repeat(random.nextInt(200)));
            producer.send(new ProducerRecord<>(topic, number % 2, moment++, bytes("key" + number), payload, List.of(new org.apache.kafka.common.header.internals.RecordHeader("h", bytes(value)))));
        }
    }

    static void churn() throws Exception {
        try (Admin admin = Admin.create(common())) {
            var configs = Map.of("cleanup.policy", "compact", "segment.bytes", "20000", "min.cleanable.dirty.ratio", "0.0", "index.interval.bytes", "500");
            var gone = new HashMap<>(configs);
            gone.put("delete.retention.ms", "100");
            admin.createTopics(List.of(new NewTopic("churned", 2, (short) 1).configs(configs), new NewTopic("churned-gone", 2, (short) 1).configs(gone))).all().get();
        }
        Random random = new Random(11);
        var codecs = List.of("none", "gzip", "snappy", "lz4", "zstd");
        for (int round = 0; round < 30; ++round) {
            String codec = codecs.get(round % 5);
            if (round % 3 == 2) {
                try (var producer = producer("transactional.id", "churn" + round % 2, "compression.type", codec)) {
                    producer.initTransactions();
                    for (int part = 0; part < 4; ++part) {
                        producer.beginTransaction();
                        for (int i = 0; i < 20; ++i) send(producer, random, "transaction " + round + " " + part + " " + i);
                        if (random.nextBoolean()) producer.commitTransaction();
                        else producer.abortTransaction();
                    }
                }
            } else {
                try (var producer = producer("compression.type", codec, "enable.idempotence", round % 3 == 0 ? "true" : "false")) {
                    for (int i = 0; i < 80; ++i) send(producer, random, "round " + round + " " + i);
                }
            }
        }
    }

    static void stir() throws Exception {
        Random random = new Random(12);
        moment += 1_000_000;
        try (var producer = producer("enable.idempotence", "false", "linger.ms", "0")) {
            for (int i = 0; i < 600; ++i) {
                send(producer, random, "stirred " + i);
                producer.flush();  // one record a batch, whoever runs
            }
        }
    }

    static void more() throws Exception {
        try (var producer = producer()) {
            for (int i = 0; i < 30; ++i) send(producer, i % 2 == 0 ? "plain" : "tx", 1, "more" + i, "more " + i);
        }
        commit("assigned", List.of(new TopicPartition("plain", 0)), 30, "later");
    }

    static void read() throws Exception {
        List<String> lines = new ArrayList<>();
        List<TopicPartition> partitions = new ArrayList<>();
        try (Admin admin = Admin.create(common())) {
            var names = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
            for (var topic : admin.describeTopics(names).allTopicNames().get().values()) {
                var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic.name());
                var own = new TreeMap<String, String>();
                for (var entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
                    if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) own.put(entry.name(), entry.value());
                }
                lines.add("topic " + topic.name() + " " + topic.topicId() + " " + topic.partitions().size() + (topic.isInternal() ? "" : " " + own));
                if (topic.isInternal()) continue;
                for (var partition : topic.partitions()) partitions.add(new TopicPartition(topic.name(), partition.partition()));
            }
            for (var group : admin.listConsumerGroups().all().get()) {
                var offsets = admin.listConsumerGroupOffsets(group.groupId()).partitionsToOffsetAndMetadata().get();
                for (var entry : offsets.entrySet()) {
                    var at = entry.getValue();
                    lines.add("group " + group.groupId() + " " + entry.getKey() + " " + at.offset() + " " + at.leaderEpoch() + " " + at.metadata());
                }
            }
        }
        for (String isolation : List.of("read_uncommitted", "read_committed")) {
            try (var consumer = consumer("isolation.level", isolation, "check.crcs", "true")) {
                var begin = consumer.beginningOffsets(partitions);
                var end = consumer.endOffsets(partitions);
                for (var partition : partitions) {
                    consumer.assign(List.of(partition));
                    consumer.seekToBeginning(List.of(partition));
                    var sha = MessageDigest.getInstance("SHA-256");
                    int count = 0;
                    long deadline = System.nanoTime() + 60_000_000_000L;
                    while (consumer.position(partition) < end.get(partition)) {
                        if (System.nanoTime() > deadline) throw new IllegalStateException(partition + " stops at " + consumer.position(partition) + " of " + end.get(partition));
                        for (var record : consumer.poll(Duration.ofMillis(500))) {
                            ++count;
                            sha.update(bytes(record.offset() + " " + record.timestamp() + " " + record.leaderEpoch() + " " + (record.key() == null) + " " + (record.value() == null) + " "));
                            if (record.key() != null) sha.update(record.key());
                            if (record.value() != null) sha.update(record.value());
                            for (Header header : record.headers()) {
                                sha.update(bytes(header.key()));
                                sha.update(header.value());
                            }
                        }
                    }
                    lines.add(isolation + " " + partition + " " + begin.get(partition) + ".." + end.get(partition) + " " + count + " " + HexFormat.of().formatHex(sha.digest()));
                }
            }
        }
        Collections.sort(lines);
        lines.forEach(System.out::println);
    }
}
