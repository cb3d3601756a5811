// What the clients know to be true, and the judge of every answer: which records were acknowledged or seen at which offset, what the
// broker said is on the disk, how far groups have committed, who owns what.
//   killed:    everything acknowledged or seen stays, at its offset, with its bytes; nothing goes back
//   power cut: what lay below a log's recovery point stays, and what was acknowledged with flush.before.ack; the rest may be there or not
// Every record has a text of its own, so one that is found twice, elsewhere or changed is noticed.
// Thread: one.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/uuid.h"
#include "model/types.h"
#include "sim/world.h"

namespace odradek::sim {

// The text of a record: who wrote it and the how many-eth of a stream it is. A stream is one producer id at one partition.
struct RecordName {
  std::string stream;
  int64_t number = 0;
};

struct PartitionModel {
  struct Entry {
    std::string text;
    int64_t known_ns = 0;  // acknowledged, or seen
  };
  std::map<int64_t, Entry> known;
  std::map<std::string, int64_t> offset_of;  // by text, of those in `known`
  std::set<std::string> sent;                // everything that any producer has tried to write
  int64_t served_high_watermark = 0;
  int64_t served_start = 0;
  int64_t flushed_acked = 0;  // what was acknowledged below was promised to be on the disk
  int64_t may_start_at = 0;  // records below were asked to be deleted, in a cluster
  int64_t flush_due = 0;  // what was written below in this life must be flushed soon
  int64_t end_acked() const { return known.empty() ? 0 : known.rbegin()->first + 1; }
};

struct TopicModel {
  std::string name;
  Uuid id;
  std::vector<PartitionModel> partitions;
  bool dying = false;        // a deletion was asked for: nothing is promised any more
  bool flush_each = false;   // flush.messages=1
  int flushed_acks = 0;      // flush.before.ack since the creation: 0 none, 1 acks-all, 2 all
  bool acks_are_flushed(int16_t acks) const { return flushed_acks == 2 ? acks != 0 : flushed_acks == 1 && acks == -1; }
};

class Model {
 public:
  explicit Model(World& world) : world_(world) {}

  std::map<std::string, TopicModel> topics;
  TopicModel* find(const std::string& topic);
  PartitionModel* find(const std::string& topic, int32_t partition);
  // A topic that is not being deleted; null: none.
  TopicModel* any_topic();

  // --- records
  static std::string text_of(const RecordName& name, size_t padding);
  static bool parse(std::string_view text, RecordName& name);
  void on_sent(const std::string& topic, int32_t partition, const std::string& text);
  void on_acked(const std::string& topic, int32_t partition, int64_t base_offset, const std::vector<std::string>& texts, bool flush_due,
                bool flushed);
  void on_seen(const std::string& topic, int32_t partition, int64_t offset, std::string_view text);
  // What an answer says of the ends of a log (-1: it does not say), and what was known of them when it was asked for: answers of
  // several connections overtake each other.
  struct Bounds {
    int64_t start = 0, high_watermark = 0;
    int life = 0;
  };
  Bounds bounds(const TopicPartition& tp);
  void on_bounds(const TopicPartition& tp, Bounds said, Bounds known_then, const char* where);
  // Reads the batches of a fetch answer from `position` on: CRC, dense offsets, every record. Returns the next position.
  int64_t on_fetched(const std::string& topic, int32_t partition, int64_t position, ByteView records, const std::string& who);

  // --- groups
  struct Commits {
    int64_t acked = -1;
    std::set<int64_t> unanswered;
  };
  // The greatest generation of which a commit was accepted: to be kept until the answer comes.
  int32_t on_commit_sent(const std::string& group, const TopicPartition& tp, int64_t offset);
  void on_commit_acked(const std::string& group, const TopicPartition& tp, int64_t offset, int32_t generation, int32_t newest_then);
  int64_t committed(const std::string& group, const TopicPartition& tp) { return commits_[{group, tp}].acked; }
  void on_commit_fetched(const std::string& group, const TopicPartition& tp, int64_t offset, int64_t committed_then);
  void on_assigned(const std::string& group, int32_t generation, const std::string& member, const std::vector<TopicPartition>& partitions);

  // --- crashes
  // `durable`: recovery point of each log at that moment; a log that is not named keeps nothing.
  void on_power_cut(const std::map<TopicPartition, int64_t>& durable);
  // The process has died and will start again: a log start that was not written down may go back.
  void on_restart();
  int restarts() const { return restarts_; }
  bool flush_before_ack = false;  // log.flush.before.ack=all, for the groups' topic too
  int power_cuts = 0;
  int disk_faults = 0;

  // Counted for the report of a run: a simulation that does nothing finds nothing.
  int64_t acked = 0, seen = 0, commits = 0, assignments = 0;

 private:
  bool learn(const std::string& topic, int32_t partition, PartitionModel& model, int64_t offset, const std::string& text, const char* how);

  World& world_;
  std::map<std::pair<std::string, TopicPartition>, Commits> commits_;
  std::map<std::string, int32_t> generation_of_commit_;  // the greatest whose commit was accepted, by group
  std::map<std::pair<std::string, int32_t>, std::map<TopicPartition, std::string>> owners_;
  int64_t generations_began_ = 0;  // groups may count generations anew after a power cut
  int restarts_ = 0;
};

}  // namespace odradek::sim
