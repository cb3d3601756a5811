// Sends records in batches, several requests on the way at once, in order.
// Per partition: records → open batch (linger, batch_bytes) → queue → request to the leader. Order holds over repetitions: an
// idempotent producer numbers its batches and, after a failure, sends the partition's batches again one by one from the first
// unanswered one; without numbers a partition has one batch on its way at a time. What is on its way to a former leader is answered before
// the next batch goes to a new one. The first batch that cannot be delivered ends
// the producer: every later call fails with its error.
// Without idempotence a batch whose answer was lost is sent once more and may be there twice.
// Errors: those of cluster.h and Kafka's codes of Produce. Starts no thread; a full batch leaves at once if max_in_flight
// allows it, and send() waits while 64 batches of its partition or 32 MiB in all wait to leave.
// Thread: one at a time.
#pragma once

#include <deque>
#include <map>
#include <span>

#include "client/cluster.h"
#include "client/partitioner.h"
#include "protocol/messages/produce.h"
#include "record/batch_builder.h"

namespace odradek::client {

struct ProducerOptions {
  int16_t acks = -1;             // -1 all in-sync replicas, 1 the leader, 0 nobody answers
  bool idempotent = true;        // only with acks = -1
  record::Codec codec = record::Codec::kNone;
  size_t batch_bytes = 256 << 10;  // before compression; a record that is larger gets a batch of its own
  int64_t linger_ms = 5;           // so long an open batch waits for more
  size_t max_in_flight = 5;        // requests without an answer, per broker
  int64_t delivery_timeout_ms = 120'000;  // of a batch, with its repetitions
  int32_t request_timeout_ms = 30'000;    // told to the broker
};

struct ProducerRecord {
  std::optional<int32_t> partition;  // nullopt: by key, without a key sticky
  int64_t timestamp = 0;
  std::optional<ByteView> key, value;
  std::span<const record::HeaderView> headers;
};

class Producer {
 public:
  // Asks for a producer id if the options want one. `cluster` and `random` must outlive it.
  static Result<std::unique_ptr<Producer>> make(Cluster& cluster, base::Random& random, ProducerOptions options);

  Result<void> send(const std::string& topic, const ProducerRecord& record);
  // Sends batches whose linger has passed (unless others of their partition wait) and takes answers that have come; does not wait.
  Result<void> poll();
  // Everything is sent and answered.
  Result<void> flush();
  // Monotonic moment at which the oldest open batch is due for poll(); nullopt: none is.
  std::optional<int64_t> next_linger_ns() const;
  int64_t delivered_records() const { return delivered_; }
  int64_t delivered_batches() const { return delivered_batches_; }
  int64_t resent_batches() const { return resent_; }

 private:
  struct Batch {
    Bytes bytes;
    int32_t count = 0;
    int32_t sequence = record::kNoSequence;
    int64_t made_ns = 0;
  };
  struct Queue {
    explicit Queue(const record::BuilderOptions& options) : open(options) {}
    record::BatchBuilder open;
    int64_t open_since_ns = 0;
    int32_t next_sequence = 0;
    std::deque<Batch> waiting;  // in order
    int on_the_way = 0;
    BrokerId broker = kNoBroker;  // where they are on the way to
    bool repeating = false;  // something failed: one at a time until the first answer that is good
    int failures = 0;
    int64_t not_before_ns = 0;
  };
  struct Request {
    BrokerId broker;
    std::shared_ptr<Connection> connection;  // shared: see Cluster::hold
    Ticket ticket;
    std::vector<std::pair<TopicPartition, Batch>> batches;
  };
  Producer(Cluster& cluster, base::Random& random, ProducerOptions options);
  Result<int32_t> partition_of(const std::string& topic, const ProducerRecord& record);
  Queue& queue(const TopicPartition& partition);
  void close(Queue& queue);
  Result<void> send_closed(Queue& to);
  void close_due(bool all);
  Result<void> pump();                     // sends what may be sent
  Result<bool> send_to(BrokerId broker, const std::vector<TopicPartition>& partitions);
  Result<void> take(size_t request);       // the answer of in_flight_[request], waiting for it
  Result<void> take_arrived();
  Result<void> answered(const TopicPartition& partition, Batch batch, Error error);
  size_t in_flight(BrokerId broker) const;
  int64_t now_ns() const { return cluster_.dialer().clock().monotonic_ns(); }

  Cluster& cluster_;
  const ProducerOptions options_;
  StickyPartitioner sticky_;
  record::BuilderOptions builder_;
  std::map<std::string, int32_t> partitions_;  // of each topic
  std::map<TopicPartition, Queue> queues_;
  size_t waiting_bytes_ = 0;       // of all queues
  std::deque<Request> in_flight_;  // in order of sending
  int64_t delivered_ = 0, delivered_batches_ = 0, resent_ = 0;
  std::optional<Error> failed_;
};

}  // namespace odradek::client
