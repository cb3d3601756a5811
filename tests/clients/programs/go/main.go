// Three Go clients in the roles of tests/clients/test_matrix.py: `LIBRARY produce|consume BOOTSTRAP TOPIC CODEC|GROUP COUNT`.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

type pair struct{ key, value []byte }

func valueOf(i int) []byte { return []byte(strconv.Itoa(i) + "-" + strings.Repeat("abcdefghij", i%40)) }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func report(pairs []pair) {
	sort.Slice(pairs, func(a, b int) bool {
		x, _ := strconv.Atoi(string(pairs[a].key))
		y, _ := strconv.Atoi(string(pairs[b].key))
		return x < y
	})
	sha := sha256.New()
	for _, p := range pairs {
		sha.Write(p.key)
		sha.Write([]byte("\t"))
		sha.Write(p.value)
		sha.Write([]byte("\n"))
	}
	fmt.Printf("%d %x\n", len(pairs), sha.Sum(nil))
}

func franzProduce(bootstrap, topic, codec string, count int) {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codecs[codec]), kgo.AllowAutoTopicCreation())
	check(err)
	defer client.Close()
	for i := 0; i < count; i++ {
		client.Produce(context.Background(), &kgo.Record{Topic: topic, Key: []byte(strconv.Itoa(i)), Value: valueOf(i)},
			func(_ *kgo.Record, err error) { check(err) })
	}
	check(client.Flush(context.Background()))
}

func franzConsume(bootstrap, topic, group string, count int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	check(err)
	defer client.Close()
	var pairs []pair
	for len(pairs) < count {
		fetches := client.PollFetches(context.Background())
		for _, e := range fetches.Errors() {
			check(e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) { pairs = append(pairs, pair{r.Key, r.Value}) })
	}
	check(client.CommitUncommittedOffsets(context.Background()))
	report(pairs)
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	return config
}

func saramaProduce(bootstrap, topic, codec string, count int) {
	config := saramaConfig()
	config.Producer.Compression = map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}[codec]
	producer, err := sarama.NewAsyncProducer([]string{bootstrap}, config)
	check(err)
	done := make(chan bool)
	go func() {
		for i := 0; i < count; i++ {
			select {
			case err := <-producer.Errors():
				log.Fatal(err)
			case <-producer.Successes():
			}
		}
		done <- true
	}()
	for i := 0; i < count; i++ {
		producer.Input() <- &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(strconv.Itoa(i)), Value: sarama.ByteEncoder(valueOf(i))}
	}
	<-done
	check(producer.Close())
}

type saramaHandler struct {
	pairs chan pair
}

func (saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h saramaHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.pairs <- pair{m.Key, m.Value}
			session.MarkMessage(m, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func saramaConsume(bootstrap, topic, group string, count int) {
	consumer, err := sarama.NewConsumerGroup([]string{bootstrap}, group, saramaConfig())
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	handler := saramaHandler{make(chan pair, 1000)}
	finished := make(chan bool)
	go func() {
		for ctx.Err() == nil {
			if err := consumer.Consume(ctx, []string{topic}, handler); err != nil && ctx.Err() == nil {
				log.Fatal(err)
			}
		}
		finished <- true
	}()
	var pairs []pair
	for len(pairs) < count {
		pairs = append(pairs, <-handler.pairs)
	}
	cancel()
	<-finished
	check(consumer.Close())
	report(pairs)
}

func segmentioProduce(bootstrap, topic, codec string, count int) {
	codecs := map[string]segmentio.Compression{"gzip": segmentio.Gzip, "snappy": segmentio.Snappy, "lz4": segmentio.Lz4, "zstd": segmentio.Zstd}
	writer := &segmentio.Writer{Addr: segmentio.TCP(bootstrap), Topic: topic, BatchTimeout: 5 * time.Millisecond, BatchSize: 500,
		RequiredAcks: segmentio.RequireAll, Compression: codecs[codec], AllowAutoTopicCreation: true}
	messages := make([]segmentio.Message, count)
	for i := range messages {
		messages[i] = segmentio.Message{Key: []byte(strconv.Itoa(i)), Value: valueOf(i)}
	}
	for {
		err := writer.WriteMessages(context.Background(), messages...)
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "Unknown Topic") && !strings.Contains(err.Error(), "Leader Not Available") {
			log.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	check(writer.Close())
}

func segmentioConsume(bootstrap, topic, group string, count int) {
	reader := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{bootstrap}, GroupID: group, Topic: topic, MaxWait: 200 * time.Millisecond,
		StartOffset: segmentio.FirstOffset})
	var pairs []pair
	for len(pairs) < count {
		m, err := reader.ReadMessage(context.Background())
		check(err)
		pairs = append(pairs, pair{m.Key, m.Value})
	}
	check(reader.Close())
	report(pairs)
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 7 {
		log.Fatal("usage: LIBRARY produce|consume BOOTSTRAP TOPIC CODEC|GROUP COUNT")
	}
	roles := map[string]func(string, string, string, int){
		"franz-go/produce": franzProduce, "franz-go/consume": franzConsume, "sarama/produce": saramaProduce, "sarama/consume": saramaConsume,
		"kafka-go/produce": segmentioProduce, "kafka-go/consume": segmentioConsume}
	count, err := strconv.Atoi(os.Args[6])
	check(err)
	role, known := roles[os.Args[1]+"/"+os.Args[2]]
	if !known {
		log.Fatal("unknown role")
	}
	role(os.Args[3], os.Args[4], os.Args[5], count)
}
