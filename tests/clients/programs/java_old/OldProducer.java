// A producer that compiles with every kafka-clients since 0.8.2: OldProducer BOOTSTRAP TOPIC COUNT NAME CODEC...
// Record i of a codec has key "NAME-CODEC-i" and a value made of it.
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.*;

public class OldProducer {
    static byte[] valueOf(String key, int i) {
        return (key + ":" + "abcdefghij".repeat(i % 30)).getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[2]);
        for (int at = 4; at < args.length; at++) {
            Map<String, Object> config = new HashMap<>();
            config.put("bootstrap.servers", args[0]);
            config.put("compression.type", args[at]);
            config.put("linger.ms", "5");
            config.put("retries", "0");
            config.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
            config.put("value.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
            Producer<byte[], byte[]> producer = new KafkaProducer<>(config);
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                String key = args[3] + "-" + args[at] + "-" + i;
                sent.add(producer.send(new ProducerRecord<byte[], byte[]>(args[1], key.getBytes(StandardCharsets.UTF_8), valueOf(key, i))));
            }
            for (Future<RecordMetadata> future : sent) future.get();
            producer.close();
        }
    }
}
