// A producer whose every acknowledged record is told; compiles with every kafka-clients since 0.8.2:
//   LoadProducer BOOTSTRAP TOPIC PREFIX PER_SECOND KEY=VALUE...
// Sends the values PREFIX.0, PREFIX.1, ... (keys: the number) until standard input ends, then waits for the answers. Lines as acked_producer.py's:
// `acked PARTITION OFFSET VALUE`, `failed VALUE REASON`, at the end `done COUNT`.
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.clients.producer.*;

public class LoadProducer {
    static volatile boolean ended = false;

    static synchronized void tell(String line) {
        System.out.println(line);
    }

    public static void main(String[] args) throws Exception {
        final String topic = args[1], prefix = args[2];
        double perSecond = Double.parseDouble(args[3]);
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[0]);
        config.put("acks", "all");
        config.put("retries", "2147483647");
        config.put("linger.ms", "5");
        config.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        config.put("value.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        for (int i = 4; i < args.length; i++) config.put(args[i].split("=", 2)[0], args[i].split("=", 2)[1]);
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
        Producer<byte[], byte[]> producer = new KafkaProducer<>(config);
        long begin = System.nanoTime();
        int count = 0;
        while (!ended) {
            if (count >= (System.nanoTime() - begin) / 1e9 * perSecond) {
                Thread.sleep(2);
                continue;
            }
            final String value = prefix + "." + count;
            try {
                producer.send(new ProducerRecord<byte[], byte[]>(topic, String.valueOf(count).getBytes(StandardCharsets.UTF_8), value.getBytes(StandardCharsets.UTF_8)),
                    new Callback() {
                        @Override
                        public void onCompletion(RecordMetadata at, Exception error) {
                            if (error == null) tell("acked " + at.partition() + " " + at.offset() + " " + value);
                            else tell("failed " + value + " " + error.toString().replace('\n', ' '));
                        }
                    });
            } catch (Exception error) {
                tell("failed " + value + " " + error.toString().replace('\n', ' '));
            }
            count++;
        }
        producer.close();
        tell("done " + count);
    }
}
