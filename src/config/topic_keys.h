// The table of topic keys, in name order. After the row itself: the broker keys that supply the default, strongest first, each with
// the factor that makes it milliseconds. The columns are explained in config_key.h.
#pragma once

#include <array>

#include "config/config_key.h"
#include "config/key_rows.h"

namespace odradek::config {

struct DefaultSource {
  std::string_view broker_key;  // "": none
  int64_t factor = 1;
};
struct TopicKey {
  ConfigKey key;
  std::array<DefaultSource, 3> sources;
};

inline constexpr auto kTopicKeys = [] {
  using namespace rows;
  using enum Type;
  using enum Importance;
  using enum Update;
  return std::to_array<TopicKey>({
    {works("cleanup.policy", kList, "delete", "compact|delete", kMedium, kClusterWide,
             "What happens to old segments: delete them, compact them, or both."),
     {{{"log.cleanup.policy", 1}}}},
    {works("compression.gzip.level", kInt, "-1", "1..9 or -1", kMedium, kClusterWide,
             "Level when the broker compresses with gzip; -1: the library's default."),
     {{{"compression.gzip.level", 1}}}},
    {works("compression.lz4.level", kInt, "9", "1..17", kMedium, kClusterWide,
             "Level when the broker compresses with lz4."),
     {{{"compression.lz4.level", 1}}}},
    {works("compression.type", kString, "producer", "uncompressed|zstd|lz4|snappy|gzip|producer", kMedium, kClusterWide,
             "Codec of stored batches; producer: as they came."),
     {{{"compression.type", 1}}}},
    {works("compression.zstd.level", kInt, "3", "-131072..22", kMedium, kClusterWide,
             "Level when the broker compresses with zstd."),
     {{{"compression.zstd.level", 1}}}},
    {works("delete.retention.ms", kLong, "86400000", "0..", kMedium, kClusterWide,
             "How long markers of deleted keys are kept in a compacted topic."),
     {{{"log.cleaner.delete.retention.ms", 1}}}},
    {works("file.delete.delay.ms", kLong, "60000", "0..", kMedium, kClusterWide,
             "How long the files of a deleted segment stay under another name."),
     {{{"log.segment.delete.delay.ms", 1}}}},
    {ours(works("flush.before.ack", kString, "none", "none|acks-all|all", kHigh, kClusterWide,
             "What an answer to a producer waits for besides the replicas; see log.flush.before.ack.")),
     {{{"log.flush.before.ack", 1}}}},
    {works("flush.messages", kLong, "9223372036854775807", "1..", kMedium, kClusterWide,
             "A log is flushed after this many records."),
     {{{"log.flush.interval.messages", 1}}}},
    {works("flush.ms", kLong, "9223372036854775807", "0..", kMedium, kClusterWide,
             "A log is flushed after this long."),
     {{{"log.flush.interval.ms", 1}, {"log.flush.scheduler.interval.ms", 1}}}},
    {works("follower.replication.throttled.replicas", kList, "", "replicas", kMedium, kClusterWide,
             "Followers that follower.replication.throttled.rate slows down: * or partition:broker each."),
     {{}}},
    {works("index.interval.bytes", kInt, "4096", "0..", kMedium, kClusterWide,
             "Bytes of records between two entries of the offset index."),
     {{{"log.index.interval.bytes", 1}}}},
    {works("leader.replication.throttled.replicas", kList, "", "replicas", kMedium, kClusterWide,
             "Leaders that leader.replication.throttled.rate slows down: * or partition:broker each."),
     {{}}},
    {harmless("local.retention.bytes", kLong, "-2", "-2..", kMedium, kClusterWide,
             "Bytes kept locally of a log in remote storage.", kNoteNoRemote),
     {{{"log.local.retention.bytes", 1}}}},
    {harmless("local.retention.ms", kLong, "-2", "-2..", kMedium, kClusterWide,
             "Time kept locally of a log in remote storage.", kNoteNoRemote),
     {{{"log.local.retention.ms", 1}}}},
    {works("max.compaction.lag.ms", kLong, "9223372036854775807", "1..", kMedium, kClusterWide,
             "A record is compacted after this long even if the log is hardly dirty."),
     {{{"log.cleaner.max.compaction.lag.ms", 1}}}},
    {works("max.message.bytes", kInt, "1048588", "0..", kMedium, kClusterWide,
             "Largest batch, after compression, that is accepted."),
     {{{"message.max.bytes", 1}}}},
    {works("message.downconversion.enable", kBoolean, "true", "", kLow, kClusterWide,
             "Whether records are converted for consumers that know only older formats."),
     {{{"log.message.downconversion.enable", 1}}}},
    {ours(works("message.format.policy", kString, "v2", "v2|as-produced", kMedium, kClusterWide,
             "What becomes of messages that clients before 0.11 send: made records of format v2, or stored in the format in which they came.")),
     {{{"log.message.format.policy", 1}}}},
    {harmless("message.format.version", kString, "3.0-IV1", "release", kMedium, kClusterWide,
             "Release whose record format is stored.", kNoteFormatV2),
     {{{"log.message.format.version", 1}}}},
    {works("message.timestamp.after.max.ms", kLong, "9223372036854775807", "0..", kMedium, kClusterWide,
             "How far a record's timestamp may be in the future."),
     {{{"log.message.timestamp.after.max.ms", 1}}}},
    {works("message.timestamp.before.max.ms", kLong, "9223372036854775807", "0..", kMedium, kClusterWide,
             "How far a record's timestamp may be in the past."),
     {{{"log.message.timestamp.before.max.ms", 1}}}},
    {works("message.timestamp.difference.max.ms", kLong, "9223372036854775807", "0..", kMedium, kClusterWide,
             "Old name of the two limits above, used where they are not set."),
     {{{"log.message.timestamp.difference.max.ms", 1}}}},
    {works("message.timestamp.type", kString, "CreateTime", "CreateTime|LogAppendTime", kMedium, kClusterWide,
             "Whether records keep the producer's time or get that of the append."),
     {{{"log.message.timestamp.type", 1}}}},
    {works("min.cleanable.dirty.ratio", kDouble, "0.5", "0..1", kMedium, kClusterWide,
             "Share of dirty bytes from which the log is compacted."),
     {{{"log.cleaner.min.cleanable.ratio", 1}}}},
    {works("min.compaction.lag.ms", kLong, "0", "0..", kMedium, kClusterWide,
             "A record stays uncompacted for at least this long."),
     {{{"log.cleaner.min.compaction.lag.ms", 1}}}},
    {works("min.insync.replicas", kInt, "1", "1..", kMedium, kClusterWide,
             "In-sync replicas without which a produce with acks=all is refused."),
     {{{"min.insync.replicas", 1}}}},
    {works("preallocate", kBoolean, "false", "", kMedium, kClusterWide,
             "Whether a new segment's file is made with its full size."),
     {{{"log.preallocate", 1}}}},
    {harmless("remote.log.copy.disable", kBoolean, "false", "", kMedium, kClusterWide,
             "Whether a topic in remote storage stops copying.", kNoteNoRemote),
     {{}}},
    {harmless("remote.log.delete.on.disable", kBoolean, "false", "", kMedium, kClusterWide,
             "Whether remote segments go when remote storage is switched off.", kNoteNoRemote),
     {{}}},
    {harmless("remote.storage.enable", kBoolean, "false", "", kMedium, kClusterWide,
             "Whether segments are moved to remote storage.",
             "Setting it to true is refused, as by a Kafka broker without remote storage."),
     {{}}},
    {works("retention.bytes", kLong, "-1", "", kMedium, kClusterWide,
             "Bytes of a partition above which its oldest segments are deleted; -1: no limit."),
     {{{"log.retention.bytes", 1}}}},
    {works("retention.ms", kLong, "604800000", "-1..", kMedium, kClusterWide,
             "Age at which a segment is deleted; -1: never."),
     {{{"log.retention.ms", 1}, {"log.retention.minutes", 60000}, {"log.retention.hours", 3600000}}}},
    {works("segment.bytes", kInt, "1073741824", "14..", kMedium, kClusterWide,
             "A segment is rolled before it would exceed this many bytes."),
     {{{"log.segment.bytes", 1}}}},
    {works("segment.index.bytes", kInt, "10485760", "4..", kMedium, kClusterWide,
             "Size of the offset and time index at which a segment is rolled."),
     {{{"log.index.size.max.bytes", 1}}}},
    {works("segment.jitter.ms", kLong, "0", "0..", kMedium, kClusterWide,
             "Most that is taken at random off segment.ms, so that partitions do not roll together."),
     {{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", 3600000}}}},
    {works("segment.ms", kLong, "604800000", "1..", kMedium, kClusterWide,
             "Age at which a new segment is started."),
     {{{"log.roll.ms", 1}, {"log.roll.hours", 3600000}}}},
    {works("unclean.leader.election.enable", kBoolean, "false", "", kMedium, kClusterWide,
             "Whether a replica that is not in sync may become leader when no other is left, at the price of records."),
     {{{"unclean.leader.election.enable", 1}}}},
  });
}();

}  // namespace odradek::config
