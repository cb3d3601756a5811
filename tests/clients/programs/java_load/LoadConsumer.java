// A member of a group that tells what it reads and commits, with today's kafka-clients: LoadConsumer BOOTSTRAP TOPIC GROUP KEY=VALUE...
// Until standard input ends. Lines: `read PARTITION OFFSET VALUE`, `committed PARTITION OFFSET` (acknowledged by the coordinator),
// `retry REASON` (a failure after which a program goes on), `error REASON` (any other).
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;

public class LoadConsumer {
    static volatile boolean ended = false;

    static void tellFailure(Exception why) {
        boolean goesOn = why instanceof RetriableException || why instanceof RebalanceInProgressException || why instanceof CommitFailedException;
        System.out.println((goesOn ? "retry " : "error ") + why.toString().replace('\n', ' '));
    }

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[2]);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        config.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        for (int i = 3; i < args.length; i++) config.put(args[i].split("=", 2)[0], args[i].split("=", 2)[1]);
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                }
            } catch (java.io.IOException end) {
            }
            ended = true;
        });
        input.setDaemon(true);
        input.start();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config)) {
            consumer.subscribe(List.of(args[1]));
            while (!ended) {
                try {
                    ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                    StringBuilder lines = new StringBuilder();
                    Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();
                    for (ConsumerRecord<String, String> record : records) {
                        lines.append("read ").append(record.partition()).append(' ').append(record.offset()).append(' ').append(record.value()).append('\n');
                        read.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
                    }
                    System.out.print(lines);
                    if (read.isEmpty()) continue;
                    consumer.commitSync(read);
                    read.forEach((partition, at) -> System.out.println("committed " + partition.partition() + " " + at.offset()));
                } catch (Exception why) {
                    tellFailure(why);
                }
            }
        }
    }
}
