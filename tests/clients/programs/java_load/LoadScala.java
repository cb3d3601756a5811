// The high-level consumer of Kafka 0.8.2, which finds brokers, members and partitions by ZooKeeper and keeps its offsets at the group's coordinator:
//   LoadScala ZOOKEEPER TOPIC GROUP
// Until standard input ends. Lines: `read PARTITION OFFSET VALUE`; commits every second and tells nothing about that.
import java.nio.charset.StandardCharsets;
import java.util.*;
import kafka.consumer.Consumer;
import kafka.consumer.ConsumerConfig;
import kafka.consumer.KafkaStream;
import kafka.javaapi.consumer.ConsumerConnector;
import kafka.message.MessageAndMetadata;

public class LoadScala {
    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("zookeeper.connect", args[0]);
        config.put("group.id", args[2]);
        config.put("auto.offset.reset", "smallest");
        config.put("auto.commit.interval.ms", "1000");
        config.put("offsets.storage", "kafka");
        config.put("dual.commit.enabled", "false");
        config.put("rebalance.backoff.ms", "1000");
        config.put("rebalance.max.retries", "100");
        config.put("refresh.leader.backoff.ms", "200");
        ConsumerConnector connector = Consumer.createJavaConsumerConnector(new ConsumerConfig(config));
        KafkaStream<byte[], byte[]> stream = connector.createMessageStreams(Collections.singletonMap(args[1], 1)).get(args[1]).get(0);
        Thread reader = new Thread(() -> {
            for (MessageAndMetadata<byte[], byte[]> message : stream)
                System.out.println("read " + message.partition() + " " + message.offset() + " " + new String(message.message(), StandardCharsets.UTF_8));
        });
        reader.start();
        while (System.in.read() >= 0) {
        }
        connector.shutdown();
        reader.join();
    }
}
