// A load generator that costs little: prebuilt requests, own connections, one epoll loop a thread. It speaks to any Kafka broker
// from 2.0 on (Produce v7, Fetch v11, fixed).
// Open loop: with a rate, each request has its moment in a schedule, and its latency counts from that moment, also when the
// connection was not free then: so a stall of the broker is seen by all requests that it delayed (no coordinated omission).
// Thread: run_* start `threads` threads and return when all have ended.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/latencies.h"
#include "record/codec.h"

namespace odradek::bench {

struct LoadOptions {
  std::string bootstrap = "127.0.0.1:9092";
  std::string topic = "odradek-bench";
  int partitions = 12;           // the topic is made with so many if it does not exist; 0: it must exist
  int replication_factor = 1;
  int connections = 1;
  int in_flight = 1;             // requests of one connection without an answer
  int threads = 1;
  double seconds = 10;
  int64_t records = 0;           // stop after so many; 0: only by time
  // produce
  int record_size = 100;         // bytes of a value
  int records_per_batch = 150;   // one batch a request
  record::Codec codec = record::Codec::kNone;
  int acks = 1;
  double rate = 0;               // records/s over all connections; 0: as fast as answers come
  // consume
  int max_bytes = 1 << 20;       // of a fetch, for each partition
  bool until_end = true;         // stop at the ends that the partitions had at the start
  bool from_end = false;         // begin at the ends that the partitions have at the start
  bool again = false;            // instead: from the start once more, until the time is over
  double bytes_per_second = 0;   // over all connections, by pauses between the fetches; 0: as fast as answers come
};

struct LoadResult {
  int64_t records = 0;
  int64_t record_bytes = 0;      // bytes of batches sent or received
  int64_t requests = 0;
  int64_t errors = 0;            // answers with an error code, and connections lost
  std::string first_error;
  double seconds = 0;
  Latencies latency;             // of requests; of records end to end for run_latency
};

Result<LoadResult> run_produce(const LoadOptions& options);
Result<LoadResult> run_consume(const LoadOptions& options);
// Single records at `rate`, one consumer a connection's partition: time from the scheduled moment until the consumer has it.
Result<LoadResult> run_latency(const LoadOptions& options);

}  // namespace odradek::bench
