// The clients that were written in Scala, of Kafka 0.8.2:
//   OldScala produce BOOTSTRAP TOPIC COUNT NAME CODEC...   the old producer (Produce v0)
//   OldScala consume BOOTSTRAP COUNT GROUP TOPIC           the simple consumer (Fetch v0, offsets by its own count)
//   OldScala group ZOOKEEPER SECONDS GROUP TOPIC STORAGE MEMBERS
//     the high-level consumer: brokers, members and partitions by ZooKeeper. That many members of the group share the topic, until
//     nothing came for so many seconds; offsets are committed to STORAGE (zookeeper or kafka). Prints how many members got records, too.
// Records and what is printed: as OldProducer and OldConsumer.
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.*;
import kafka.api.FetchRequestBuilder;
import kafka.api.PartitionOffsetRequestInfo;
import kafka.common.TopicAndPartition;
import kafka.consumer.Consumer;
import kafka.consumer.ConsumerConfig;
import kafka.consumer.ConsumerIterator;
import kafka.consumer.ConsumerTimeoutException;
import kafka.consumer.KafkaStream;
import kafka.javaapi.FetchResponse;
import kafka.javaapi.OffsetRequest;
import kafka.javaapi.PartitionMetadata;
import kafka.javaapi.TopicMetadata;
import kafka.javaapi.TopicMetadataRequest;
import kafka.javaapi.consumer.ConsumerConnector;
import kafka.javaapi.consumer.SimpleConsumer;
import kafka.javaapi.producer.Producer;
import kafka.message.MessageAndMetadata;
import kafka.message.MessageAndOffset;
import kafka.producer.KeyedMessage;
import kafka.producer.ProducerConfig;

public class OldScala {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("produce")) produce(Arrays.copyOfRange(args, 1, args.length));
        else if (args[0].equals("group")) group(Arrays.copyOfRange(args, 1, args.length));
        else consume(Arrays.copyOfRange(args, 1, args.length));
    }

    static void produce(String[] args) {
        int count = Integer.parseInt(args[2]);
        for (int at = 4; at < args.length; at++) {
            Properties config = new Properties();
            config.put("metadata.broker.list", args[0]);
            config.put("compression.codec", args[at]);
            config.put("request.required.acks", "-1");
            config.put("serializer.class", "kafka.serializer.DefaultEncoder");
            config.put("key.serializer.class", "kafka.serializer.DefaultEncoder");
            Producer<byte[], byte[]> producer = new Producer<>(new ProducerConfig(config));
            List<KeyedMessage<byte[], byte[]>> messages = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                String key = args[3] + "-" + args[at] + "-" + i;
                byte[] value = (key + ":" + "abcdefghij".repeat(i % 30)).getBytes(StandardCharsets.UTF_8);
                messages.add(new KeyedMessage<byte[], byte[]>(args[1], key.getBytes(StandardCharsets.UTF_8), value));
                if (messages.size() == 50 || i + 1 == count) {
                    producer.send(messages);
                    messages.clear();
                }
            }
            producer.close();
        }
    }

    static byte[] bytesOf(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    static void consume(String[] args) throws Exception {
        String host = args[0].split(":")[0], topic = args[3];
        int port = Integer.parseInt(args[0].split(":")[1]), count = Integer.parseInt(args[1]), seen = 0;
        SimpleConsumer consumer = new SimpleConsumer(host, port, 30_000, 64 * 1024, args[2]);
        TreeMap<String, byte[]> records = new TreeMap<>();
        for (TopicMetadata metadata : consumer.send(new TopicMetadataRequest(Arrays.asList(topic))).topicsMetadata()) {
            for (PartitionMetadata partition : metadata.partitionsMetadata()) {
                int id = partition.partitionId();
                Map<TopicAndPartition, PartitionOffsetRequestInfo> asked = new HashMap<>();
                asked.put(new TopicAndPartition(topic, id), new PartitionOffsetRequestInfo(kafka.api.OffsetRequest.LatestTime(), 1));
                long end = consumer.getOffsetsBefore(new OffsetRequest(asked, kafka.api.OffsetRequest.CurrentVersion(), args[2])).offsets(topic, id)[0];
                for (long offset = 0; offset < end; ) {
                    FetchResponse response = consumer.fetch(new FetchRequestBuilder().clientId(args[2]).addFetch(topic, id, offset, 40_000).maxWait(1000).build());
                    if (response.hasError()) throw new IllegalStateException("error " + response.errorCode(topic, id) + " at offset " + offset);
                    long before = offset;
                    for (MessageAndOffset message : response.messageSet(topic, id)) {
                        if (message.offset() < offset) continue;  // the front of a wrapper
                        records.put(new String(bytesOf(message.message().key()), StandardCharsets.UTF_8), bytesOf(message.message().payload()));
                        seen++;
                        offset = message.nextOffset();
                    }
                    if (offset == before) throw new IllegalStateException("nothing came at offset " + offset + " of " + end);
                }
            }
        }
        consumer.close();
        print(seen, records);
    }

    static void group(String[] args) throws Exception {
        int members = Integer.parseInt(args[5]), busy = 0;
        Properties config = new Properties();
        config.put("zookeeper.connect", args[0]);
        config.put("group.id", args[2]);
        config.put("auto.offset.reset", "smallest");
        config.put("auto.commit.enable", "false");
        config.put("offsets.storage", args[4]);
        config.put("dual.commit.enabled", "false");
        config.put("fetch.message.max.bytes", "40000");
        config.put("rebalance.backoff.ms", "1000");
        config.put("consumer.timeout.ms", String.valueOf(1000 * Integer.parseInt(args[1])));
        List<ConsumerConnector> connectors = new ArrayList<>();
        List<KafkaStream<byte[], byte[]>> streams = new ArrayList<>();
        for (int i = 0; i < members; i++) {
            ConsumerConnector connector = Consumer.createJavaConsumerConnector(new ConsumerConfig(config));
            connectors.add(connector);
            streams.add(connector.createMessageStreams(Collections.singletonMap(args[3], 1)).get(args[3]).get(0));
        }
        TreeMap<String, byte[]> records = new TreeMap<>();
        int[] seen = new int[members];
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < members; i++) {
            int member = i;
            threads.add(new Thread(() -> {
                try {
                    for (ConsumerIterator<byte[], byte[]> it = streams.get(member).iterator(); it.hasNext(); ) {
                        MessageAndMetadata<byte[], byte[]> message = it.next();
                        synchronized (records) {
                            records.put(new String(message.key(), StandardCharsets.UTF_8), message.message());
                            seen[member]++;
                        }
                    }
                } catch (ConsumerTimeoutException end) {
                }
            }));
        }
        for (Thread thread : threads) thread.start();
        for (Thread thread : threads) thread.join();
        int total = 0;
        for (int i = 0; i < members; i++) {
            total += seen[i];
            busy += seen[i] > 0 ? 1 : 0;
            connectors.get(i).commitOffsets(true);
            connectors.get(i).shutdown();
        }
        System.out.println(busy + " of " + members + " members");
        print(total, records);
    }

    static void print(int seen, TreeMap<String, byte[]> records) throws Exception {
        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        for (Map.Entry<String, byte[]> record : records.entrySet()) {
            sha.update((record.getKey() + "\t").getBytes(StandardCharsets.UTF_8));
            sha.update(record.getValue());
            sha.update((byte) '\n');
        }
        StringBuilder hex = new StringBuilder();
        for (byte b : sha.digest()) hex.append(String.format("%02x", b));
        System.out.println(seen + " " + hex);
    }
}
