// What the tests of this room share: batches, a broker's disk in memory, a log on it. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/manual_runtime.h"
#include "base/memory_files.h"
#include "metrics/registry.h"
#include "record/batch_builder.h"
#include "record/control.h"
#include "storage/log_manager.h"

namespace odradek::storage::testing {

struct BatchOptions {
  int records = 1;
  int64_t timestamp = base::ManualRuntime::kStartMs;
  size_t value_size = 20;
  ProducerId producer = kNoProducer;
  int16_t epoch = record::kNoProducerEpoch;
  int32_t sequence = record::kNoSequence;
  bool transactional = false;
  Offset base{0};
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
};

inline Bytes make_batch(const BatchOptions& options = {}) {
  record::BuilderOptions built;
  built.producer_id = options.producer;
  built.producer_epoch = options.epoch;
  built.base_sequence = options.sequence;
  built.transactional = options.transactional;
  built.base_offset = options.base;
  built.leader_epoch = options.leader_epoch;
  record::BatchBuilder builder(built);
  std::string value(options.value_size, 'v');
  for (int i = 0; i < options.records; ++i) builder.append(options.timestamp + i, as_bytes("key"), as_bytes(value));
  return builder.build();
}

// The bytes of a slice.
inline Bytes bytes_of(const base::FileSlice& slice) {
  Bytes bytes(static_cast<size_t>(slice.size));
  if (slice.size == 0) return bytes;
  auto got = slice.file->file().pread(slice.position, bytes);
  EXPECT_TRUE(got && *got == bytes.size());
  return bytes;
}

inline std::vector<record::BatchView> batches_of(ByteView bytes) {
  std::vector<record::BatchView> batches;
  for (;;) {
    auto batch = record::next_batch(bytes);
    EXPECT_TRUE(batch);
    if (!batch || !*batch) return batches;
    EXPECT_TRUE(batch->crc_matches());
    batches.push_back(*batch);
  }
}

// Offsets of the first record of each batch from `from` to the log end, read in pieces of `step` bytes.
inline std::vector<int64_t> base_offsets(const Log& log, Offset from = {0}, int32_t step = 1 << 20) {
  std::vector<int64_t> offsets;
  while (from < log.log_end_offset()) {
    auto read = log.read(from, step, log.log_end_offset(), true);
    EXPECT_TRUE(read) << read.error().what;
    if (!read || read->slice.size == 0) break;
    Bytes bytes = bytes_of(read->slice);
    for (const auto& batch : batches_of(bytes)) offsets.push_back(batch.base_offset().value);
    from = read->next_offset;
  }
  return offsets;
}

// One log dir "/data" in memory, and a log manager that can be stopped, killed or cut off from power, and started again.
class Disk {
 public:
  explicit Disk(uint64_t seed = 1) : runtime(&files, seed), registry(runtime.clock()) {
    files.set_clock(&runtime.clock());
    options.dirs = {"/data"};
    config = std::make_shared<LogConfig>();
    start();
  }
  ~Disk() { manager.reset(); }

  void start() {
    manager = std::make_unique<LogManager>(runtime, options, registry);
    auto started = manager->start([this](const std::string&) { return config; });
    ASSERT_TRUE(started) << started.error().what;
  }
  // In other dirs, without what was in the former.
  void start_in(std::vector<std::string> dirs) {
    manager.reset();
    options.dirs = std::move(dirs);
    start();
  }
  void stop_and_start() {
    manager->stop();
    manager.reset();
    start();
  }
  void kill_and_start() {
    files.kill();
    manager.reset();
    start();
  }
  void cut_power_and_start(base::Random* random = nullptr) {
    files.power_cut(random);
    manager.reset();
    start();
  }
  void configure(LogConfig changed) {
    config = std::make_shared<LogConfig>(changed);
    for (const auto& log : manager->all()) log->update_config(config);
  }
  std::shared_ptr<Log> log(const std::string& topic = "t", int partition = 0) {
    auto log = manager->get_or_create({topic, partition}, Uuid{}, config, true);
    EXPECT_TRUE(log) << log.error().what;
    return *log;
  }
  std::vector<std::string> names(const std::string& folder) {
    std::vector<std::string> names;
    auto entries = files.list(folder);
    EXPECT_TRUE(entries);
    for (const auto& entry : *entries) names.push_back(entry.name);
    return names;
  }
  Bytes content(const std::string& path) {
    auto bytes = base::read_file(files, path, 64 << 20);
    EXPECT_TRUE(bytes) << bytes.error().what;
    return bytes ? *bytes : Bytes{};
  }
  std::string text(const std::string& path) { return std::string(as_text(content(path))); }

  base::MemoryFiles files;
  base::ManualRuntime runtime;
  metrics::Registry registry;
  LogManagerOptions options;
  std::shared_ptr<const LogConfig> config;
  std::unique_ptr<LogManager> manager;
};

inline tl::expected<AppendInfo, AppendError> append(Log& log, const BatchOptions& options = {}, LeaderEpoch epoch = {0},
                                                    record::AppendOrigin origin = record::AppendOrigin::kClient) {
  Bytes batch = make_batch(options);
  return log.append_as_leader(batch, epoch, {origin, 11});
}

}  // namespace odradek::storage::testing
