// BOOTSTRAP TOPIC GROUP INSTANCE|- : a member of a group with the Java client (see test_churn.py).
import java.time.Duration;
import java.util.*;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.*;

public class Member {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[2]);
        if (!args[3].equals("-")) config.put("group.instance.id", args[3]);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        config.put("session.timeout.ms", 6000);
        config.put("heartbeat.interval.ms", 1000);
        config.put("max.poll.interval.ms", 15000);
        config.put("partition.assignment.strategy", RangeAssignor.class.getName());
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                closed.await();
            } catch (InterruptedException ignored) {
            }
        }));
        try {
            consumer.subscribe(List.of(args[1]));
            while (true) {
                StringBuilder lines = new StringBuilder();
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(300))) {
                    lines.append("C ").append(record.partition()).append(' ').append(record.offset()).append('\n');
                }
                if (lines.length() == 0) continue;
                System.out.print(lines);
                System.out.flush();
                try {
                    consumer.commitSync(Duration.ofSeconds(5));
                } catch (WakeupException stop) {
                    throw stop;
                } catch (KafkaException rebalance) {
                    // the next owner reads it again
                }
            }
        } catch (WakeupException stop) {
            // asked to leave
        } finally {
            consumer.close(Duration.ofSeconds(5));
            closed.countDown();
        }
    }
}
