// Writes log dirs for tests/storage/test_kafka_dump_log.sh, which has Apache Kafka's own tool read them: every file that a partition can
// have, many segments, all codecs, transactions. Only with ODRADEK_DUMP_DIR=<empty folder>.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/check.h"
#include "storage/log/old_formats_test_support.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;

int64_t write_partition(Log& log, base::Clock& clock) {
  int32_t sequence = 0;
  const auto codecs = {record::Codec::kNone, record::Codec::kGzip, record::Codec::kSnappy, record::Codec::kLz4, record::Codec::kZstd};
  for (int round = 0; round < 60; ++round) {
    log.assign_epoch_start({round / 20}, log.log_end_offset());
    auto append = [&](Bytes batch, record::AppendOrigin origin) {
      auto appended = log.append_as_leader(batch, {round / 20}, {origin, 11});
      ASSERT_TRUE(appended) << appended.error().error.what;
    };
    for (auto codec : codecs) {
      record::BuilderOptions options;
      options.codec = codec;
      record::BatchBuilder builder(options);
      for (int i = 0; i < 20; ++i) {
        std::string key = "key" + std::to_string(i), value(static_cast<size_t>(50 + (round * 7 + i * 13) % 200), static_cast<char>('a' + i));
        builder.append(clock.wall_ms() + round * 1000 + (i * 7919) % 500, as_bytes(key), i % 5 == 0 ? std::nullopt : std::optional(as_bytes(value)));
      }
      append(builder.build(), record::AppendOrigin::kClient);
    }
    append(make_batch({.records = 3, .timestamp = clock.wall_ms() + round * 1000, .producer = {100}, .epoch = 1, .sequence = sequence}),
           record::AppendOrigin::kClient);
    const ProducerId transactional{200 + round % 3};
    append(make_batch({.records = 2, .timestamp = clock.wall_ms() + round * 1000, .producer = transactional, .epoch = 0, .sequence = 2 * (round / 3),
                       .transactional = true}),
           record::AppendOrigin::kClient);
    sequence += 3;
    if (round == 59) break;  // the last transaction stays open
    record::EndTxnMarker marker{round % 2 == 0 ? record::ControlType::kAbort : record::ControlType::kCommit, 5};
    append(record::build_end_txn_marker(marker, clock.wall_ms() + round * 1000, transactional, 0), record::AppendOrigin::kCoordinator);
  }
  return log.log_end_offset().value;
}

TEST(DumpDir, WritesLogDirsForKafkasOwnTool) {
  const char* folder = std::getenv("ODRADEK_DUMP_DIR");
  if (folder == nullptr) GTEST_SKIP() << "ODRADEK_DUMP_DIR is not set";
  auto runtime = base::make_system_runtime();
  metrics::Registry registry(runtime->clock());
  LogManagerOptions options;
  options.dirs = {std::string(folder) + "/data"};
  LogConfig config;
  config.segment_bytes = 60'000;
  config.index_interval_bytes = 1000;
  auto shared = std::make_shared<LogConfig>(config);
  auto resolver = [&](const std::string&) { return shared; };
  const Uuid id = base::random_uuid(runtime->random());

  LogConfig append_time = config;
  append_time.timestamp_type = record::TimestampType::kLogAppendTime;
  {
    LogManager manager(*runtime, options, registry);
    ASSERT_TRUE(manager.lock_dirs());
    ASSERT_TRUE(manager.write_identity("T7IX2ErtQQyDM-Lkl36jeA", {1}));
    ASSERT_TRUE(manager.start(resolver));
    auto stopped = *manager.get_or_create({"stopped", 0}, id, shared, true);
    write_partition(*stopped, runtime->clock());
    auto timed = *manager.get_or_create({"timed", 0}, id, std::make_shared<LogConfig>(append_time), true);
    write_partition(*timed, runtime->clock());
    auto killed = *manager.get_or_create({"killed", 0}, id, shared, true);
    write_partition(*killed, runtime->clock());
    // Messages of v0 and v1 from a leader with an old log, and batches between them.
    auto old = *manager.get_or_create({"old", 0}, id, shared, true);
    for (int32_t sequence = 0; old->segment_count() < 4; sequence += 2) {
      auto now = [&] { return runtime->clock().wall_ms() + old->log_end_offset().value * 10; };
      ASSERT_TRUE(old->append_as_follower(make_old_log(now(), old->log_end_offset().value).bytes));
      ASSERT_TRUE(append(*old, {.records = 2, .timestamp = now(), .producer = {100}, .epoch = 1, .sequence = sequence}));
    }
    ASSERT_TRUE(manager.get_or_create({"empty", 0}, id, shared, true));
    // Ends as after a kill: nothing is closed.
  }
  {
    LogManager manager(*runtime, options, registry);
    ASSERT_TRUE(manager.start(resolver));
    auto killed = manager.find({"killed", 0});
    killed->update_high_watermark(killed->log_end_offset());
    // Some segments go, some records are cut off.
    LogConfig small = config;
    small.retention_bytes = 150'000;
    killed->update_config(std::make_shared<LogConfig>(small));
    ASSERT_GT(*killed->delete_old_segments(), 0);
    ASSERT_TRUE(killed->truncate_to({killed->log_end_offset().value - 500}));
    ASSERT_TRUE(append(*killed, {.records = 4}, {9}));
    for (const auto& log : manager.all()) {
      printf("expect %s %lld %lld\n", log->name().to_string().c_str(), static_cast<long long>(log->log_start_offset().value),
             static_cast<long long>(log->log_end_offset().value));
    }
    manager.stop();
  }
}

}  // namespace
}  // namespace odradek::storage
