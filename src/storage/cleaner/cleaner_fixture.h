// What the tests of this room share: a disk in memory with a cleaner on it, in hand-driven time; records in words. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "record/frame.h"
#include "record/message.h"
#include "storage/cleaner/cleaner.h"
#include "storage/test_support.h"

namespace odradek::storage::testing {

struct KeyValue {
  std::optional<std::string> key, value;
  int64_t timestamp = base::ManualRuntime::kStartMs;
};

inline std::optional<ByteView> view(const std::optional<std::string>& text) {
  return text ? std::optional<ByteView>(as_bytes(*text)) : std::nullopt;
}

// "7 a=1", "8 b" (a tombstone), "9 COMMIT" per record that is there, and "10 -" per batch without any.
inline std::vector<std::string> shown(ByteView bytes) {
  std::vector<std::string> all;
  record::Decompressor decompressor;
  auto text = [](const std::optional<ByteView>& field) { return field ? std::string(as_text(*field)) : std::string("null"); };
  auto show = [&](int64_t offset, const auto& record) {
    all.push_back(std::to_string(offset) + " " + text(record.key) + (record.value ? "=" + text(record.value) : ""));
  };
  for (;;) {
    auto frame = record::next_frame(bytes);
    EXPECT_TRUE(frame);
    if (!frame || !*frame) return all;
    EXPECT_TRUE(frame->crc_matches());
    if (!frame->is_batch()) {
      auto reader = record::MessageReader::open(frame->message(), decompressor);
      EXPECT_TRUE(reader);
      for (record::MessageRecord record; *reader->next(record);) show(record.offset.value, record);
    } else if (frame->batch().count() == 0) {
      all.push_back(std::to_string(frame->last_offset().value) + " -");
    } else if (frame->batch().is_control()) {
      all.push_back(std::to_string(frame->last_offset().value) + " " + std::string(record::name_of(record::parse_end_txn_marker(frame->batch())->type)));
    } else {
      auto reader = record::RecordReader::open(frame->batch(), decompressor);
      EXPECT_TRUE(reader);
      for (record::RecordView record; *reader->next(record);) show(record.offset.value, record);
    }
  }
}

inline Bytes content_of(const Log& log, Offset from = {0}) {
  Bytes all;
  while (from < log.log_end_offset()) {
    auto read = log.read(from, 1 << 20, log.log_end_offset(), true);
    EXPECT_TRUE(read) << read.error().what;
    if (!read || read->slice.size == 0) break;
    Bytes bytes = bytes_of(read->slice);
    all.insert(all.end(), bytes.begin(), bytes.end());
    from = read->next_offset;
  }
  return all;
}
inline std::vector<std::string> records(const Log& log) { return shown(content_of(log)); }

class CleanerTest : public ::testing::Test {
 protected:
  CleanerTest() {
    config.compact_policy = true;
    config.delete_policy = false;
    config.segment_index_bytes = 4096;
    config.delete_retention_ms = 1000;
    config.min_cleanable_dirty_ratio = 0.01;
    disk.configure(config);
    options.backoff_ms = 100;
  }
  ~CleanerTest() override { cleaner.reset(); }

  void configure() { disk.configure(config); }
  void start() {
    cleaner = std::make_unique<Cleaner>(disk.runtime, *disk.manager, options, disk.registry);
    cleaner->start();
  }
  // Until it finds nothing more to do.
  void clean(int64_t ms = 500) {
    if (cleaner == nullptr) start();
    disk.runtime.advance(ms);
  }
  std::shared_ptr<Log> log(int partition = 0) { return disk.log("t", partition); }

  void append(const std::vector<KeyValue>& records, record::BuilderOptions built = {}, int partition = 0) {
    record::BatchBuilder builder(built);
    for (const auto& record : records) builder.append(record.timestamp, view(record.key), view(record.value));
    auto target = log(partition);
    Bytes batch = builder.build();
    auto appended = target->append_as_leader(batch, {0}, {record::AppendOrigin::kCoordinator, 11});
    ASSERT_TRUE(appended) << appended.error().error.what;
    target->update_high_watermark(target->log_end_offset());
  }
  void append(const std::string& key, std::optional<std::string> value, int partition = 0) { append({{key, std::move(value)}}, {}, partition); }
  void end_transaction(record::ControlType type, ProducerId producer, int16_t epoch = 0) {
    Bytes marker = record::build_end_txn_marker({type, 0}, disk.runtime.clock().wall_ms(), producer, epoch);
    auto appended = log()->append_as_leader(marker, {0}, {record::AppendOrigin::kCoordinator, 11});
    ASSERT_TRUE(appended) << appended.error().error.what;
    log()->update_high_watermark(log()->log_end_offset());
  }
  void roll(int partition = 0) { ASSERT_TRUE(log(partition)->roll()); }
  double metric(const std::string& name) {
    std::string text = disk.registry.prometheus_text();
    size_t at = text.find("\n" + name);
    EXPECT_NE(at, std::string::npos) << name;
    return at == std::string::npos ? -1 : std::stod(text.substr(text.find(' ', at + 1)));
  }

  Disk disk;
  LogConfig config;
  CleanerOptions options;
  std::unique_ptr<Cleaner> cleaner;
};

}  // namespace odradek::storage::testing
