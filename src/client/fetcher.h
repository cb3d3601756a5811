// Reads partitions from their leaders: one long poll on its way to each leader, sent again before the records of the last answer
// are handed out. Follows leaders that move. Batches are checked (CRC), decompressed and, when reading committed, freed of
// aborted transactions; control records are never handed out.
// Errors: kCorruptMessage, a batch whose CRC is wrong; kOffsetOutOfRange, a position outside the log (unless reset is set);
// kUnsupportedForMessageFormat, messages older than v2; those of cluster.h. Starts no thread. Thread: one at a time.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>

#include "client/cluster.h"
#include "protocol/messages/fetch.h"
#include "record/record.h"

namespace odradek::client {

struct FetchOptions {
  IsolationLevel isolation = IsolationLevel::kReadUncommitted;
  int32_t max_wait_ms = 500;  // the long poll
  int32_t request_timeout_ms = 30'000;  // a leader that is silent for so much longer is given up
  int32_t partition_max_bytes = 1 << 20;
  int32_t max_bytes = 16 << 20;
  std::optional<int64_t> reset;  // timestamp of list_offsets (earliest, latest) for positions outside the log
};

class Fetcher {
 public:
  Fetcher(Cluster& cluster, FetchOptions options) : cluster_(cluster), options_(options) {}

  void add(const TopicPartition& partition, Offset from);
  void remove(const TopicPartition& partition);
  size_t partitions() const { return partitions_.size(); }
  // Offset behind the last record handed out or passed over.
  Offset position(const TopicPartition& partition) const;

  // False: enough, nothing more is handed out by this call.
  using OnRecord = std::function<bool(const TopicPartition&, const record::RecordView&)>;
  // Waits for answers, at most about max_wait_ms, and hands out their records. Views are valid during the call.
  Result<void> poll(const OnRecord& on_record);

 private:
  struct Partition {
    Offset position{0};  // next to be handed out
    Offset ask{0};       // next to be fetched
    bool on_the_way = false;
    int failures = 0;
    int64_t not_before_ns = 0;
    uint64_t generation = 0;  // tells answers of an assignment that is gone
  };
  struct Request {
    BrokerId broker;
    std::shared_ptr<Connection> connection;  // shared: see Cluster::hold
    Ticket ticket;
    int64_t overdue_ns = 0;  // from when on its answer is not waited for
    std::map<TopicPartition, std::pair<Offset, uint64_t>> asked;  // with the generation
  };
  using Data = protocol::FetchResponse::PartitionData;
  Result<void> send();
  void stumble(const TopicPartition& partition);
  Result<bool> take(Request request, const OnRecord& on_record);
  Result<void> look(const TopicPartition& name, Partition& partition, const Data& data, bool& usable);
  Result<bool> hand_out(const TopicPartition& name, const Data& data, Offset from, const OnRecord& on_record);
  int64_t now_ns() const { return cluster_.dialer().clock().monotonic_ns(); }

  Cluster& cluster_;
  const FetchOptions options_;
  std::map<TopicPartition, Partition> partitions_;
  std::deque<Request> in_flight_;
  uint64_t next_generation_ = 1;
  record::Decompressor decompressor_;
};

}  // namespace odradek::client
