// LIBRARY BOOTSTRAP TOPIC GROUP INSTANCE|- : a member of a group with one of three Go libraries (see test_churn.py).
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	lock sync.Mutex
	out  = bufio.NewWriter(os.Stdout)
)

func seen(partition int32, offset int64) {
	lock.Lock()
	fmt.Fprintln(out, "C", partition, offset)
	lock.Unlock()
}

func flush() {
	lock.Lock()
	out.Flush()
	lock.Unlock()
}

func franz(ctx context.Context, bootstrap, topic, group, instance string) {
	options := []kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(kgo.RangeBalancer()), kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(time.Second)}
	if instance != "-" {
		options = append(options, kgo.InstanceID(instance))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, 500)
		fetches.EachRecord(func(r *kgo.Record) { seen(r.Partition, r.Offset) })
		flush()
		if fetches.NumRecords() > 0 {
			client.CommitUncommittedOffsets(context.Background()) // an error is a rebalance: the next owner reads it again
		}
	}
}

type saramaMember struct{}

func (saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			seen(message.Partition, message.Offset)
			session.MarkMessage(message, "")
			if len(claim.Messages()) == 0 {
				flush()
				session.Commit()
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func saramaRun(ctx context.Context, bootstrap, topic, group, instance string) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = time.Second
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if instance != "-" {
		config.Consumer.Group.InstanceId = instance
	}
	member, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	if err != nil {
		log.Fatal(err)
	}
	for ctx.Err() == nil {
		if err := member.Consume(ctx, []string{topic}, saramaMember{}); err != nil {
			log.Println(err)
			time.Sleep(200 * time.Millisecond)
		}
	}
	member.Close()
}

func segment(ctx context.Context, bootstrap, topic, group string) {
	reader := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, GroupID: group, MaxWait: 300 * time.Millisecond,
		SessionTimeout: 6 * time.Second, HeartbeatInterval: time.Second, RebalanceTimeout: 10 * time.Second, StartOffset: segmentio.FirstOffset,
		GroupBalancers: []segmentio.GroupBalancer{segmentio.RangeGroupBalancer{}}})
	for ctx.Err() == nil {
		message, err := reader.FetchMessage(ctx)
		if err != nil {
			continue
		}
		seen(int32(message.Partition), message.Offset)
		flush()
		reader.CommitMessages(context.Background(), message) // an error is a rebalance: the next owner reads it again
	}
	reader.Close()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	bootstrap, topic, group, instance := os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	switch os.Args[1] {
	case "franz-go":
		franz(ctx, bootstrap, topic, group, instance)
	case "sarama":
		saramaRun(ctx, bootstrap, topic, group, instance)
	case "kafka-go":
		segment(ctx, bootstrap, topic, group)
	}
	flush()
}
