// What a mirror must know after a crash, in the compacted topic odradek-mirror-<name>-positions (one partition) on the target. Keys and
// values are JSON or plain text:
//   producer                         {"producer_id": n, "source_cluster": "...", "target_cluster": "..."}
//   <life>/whole                     {}   everything that this life found was written under its own keys
//   <life>/runs/<topic>/<p>/<chunk>  OffsetMap's chunk
//   <life>/at/<topic>/<p>            {"source": n, "target": n, "time": ms}   where it was; for those who ask (status, fail-back)
// A life is one run of the program. Only the records of the youngest whole life count: what a former one still sends may come late, under
// keys that nobody reads any more.
// Announcements are durable (acks=all) when durable() reaches their ticket. A failure to write is repeated until it succeeds.
// Thread: open() and load() as Cluster, one at a time; the rest any. The thread `mirror-positions` writes.
#pragma once

#include <condition_variable>
#include <map>
#include <set>
#include <string>

#include "base/executor.h"
#include "base/mutex.h"
#include "client/cluster.h"
#include "client/producer.h"
#include "mirror/copying/partition.h"

namespace odradek::mirror {

// The content of a positions topic.
struct StoredPositions {
  struct At {
    Offset source, target;
    int64_t time_ms = 0;
  };
  std::optional<ProducerId> producer_id;
  std::string source_cluster, target_cluster;
  int64_t life = 0;  // the youngest one that wrote anything
  std::map<TopicPartition, OffsetMap> maps;
  std::map<TopicPartition, At> at;
  std::vector<std::string> keys;  // all that have a value, with those of former lives
};

// From the records in order, the last of each key counts. Errors: kCorruptMessage: a value that cannot be read.
Result<StoredPositions> parse_positions(const std::vector<std::pair<std::string, std::optional<std::string>>>& records);
// Reads the topic of a mirror. nullopt: there is none.
Result<std::optional<StoredPositions>> load_positions(client::Cluster& cluster, const std::string& topic);

class Positions {
 public:
  // `cluster` is for the thread that writes. Nothing is written yet.
  Positions(base::Runtime& runtime, std::unique_ptr<client::Cluster> cluster, std::string topic);
  ~Positions();  // what is queued and not written is dropped
  Positions(const Positions&) = delete;
  Positions& operator=(const Positions&) = delete;

  // Begins a life: everything that `stored` holds, under new keys, then the old ones are deleted. Waits.
  Result<void> take_over(const StoredPositions& stored, Identity identity, const std::string& source_cluster, const std::string& target_cluster);
  // Starts the thread; `on_durable` is called on it after each write.
  void start(Task on_durable);

  uint64_t announce(const TopicPartition& partition, const OffsetMap& map, int64_t first_chunk);
  uint64_t checkpoint(const TopicPartition& partition, Offset source, Offset target);
  uint64_t durable() const { return durable_.load(std::memory_order_acquire); }
  // Why the last write failed; empty: it did not.
  std::string trouble() const;

 private:
  using Records = std::vector<std::pair<std::string, std::optional<std::string>>>;
  Result<void> write(const Records& records);
  void loop();
  std::string key_of(const char* what, const TopicPartition& partition) const;

  base::Runtime& runtime_;
  const std::unique_ptr<client::Cluster> cluster_;
  const std::string topic_;
  std::unique_ptr<client::Producer> producer_;  // of the thread that writes
  int64_t life_ = 0;
  Task on_durable_;
  mutable base::Mutex mutex_;
  std::condition_variable wake_;
  Records queue_ GUARDED_BY(mutex_);
  uint64_t next_ticket_ GUARDED_BY(mutex_) = 1;
  std::map<TopicPartition, std::set<int64_t>> written_ GUARDED_BY(mutex_);  // chunks that have a value
  std::string trouble_ GUARDED_BY(mutex_);
  bool stop_ GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> durable_{0};
  std::unique_ptr<base::Executor> executor_;
};

}  // namespace odradek::mirror
