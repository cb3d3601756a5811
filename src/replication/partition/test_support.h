// What the tests of this room and of `api` share: logs in memory, batches, states as a controller would send them. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/manual_runtime.h"
#include "base/memory_files.h"
#include "metrics/registry.h"
#include "protocol/messages/stop_replica.h"
#include "record/batch.h"
#include "record/batch_builder.h"
#include "replication/partition/partition.h"
#include "storage/log_manager.h"

namespace odradek::replication::testing {

inline Bytes make_batch(int records, size_t value_size = 10, const record::BuilderOptions& options = {}) {
  record::BatchBuilder builder(options);
  const std::string value(value_size, 'v');
  for (int i = 0; i < records; ++i) builder.append(base::ManualRuntime::kStartMs + i, std::nullopt, as_bytes(value));
  return builder.build();
}

// Base offsets of the batches in a slice.
inline std::vector<int64_t> base_offsets(const base::FileSlice& slice) {
  std::vector<int64_t> offsets;
  if (slice.size == 0) return offsets;
  Bytes bytes(static_cast<size_t>(slice.size));
  EXPECT_EQ(slice.file->file().pread(slice.position, bytes).value_or(0), bytes.size());
  ByteView rest = bytes;
  while (!rest.empty()) {
    auto batch = record::next_batch(rest);
    if (!batch) break;
    offsets.push_back(batch->base_offset().value);
  }
  return offsets;
}

// Log dirs in memory, a clock that stands still.
struct Disk {
  base::MemoryFiles files;
  base::ManualRuntime runtime{&files};
  metrics::Registry metrics{runtime.clock()};
  std::unique_ptr<storage::LogManager> logs = open();

  std::unique_ptr<storage::LogManager> open() {
    storage::LogManagerOptions options;
    options.dirs = {"/data"};
    auto manager = std::make_unique<storage::LogManager>(runtime, options, metrics);
    auto started = manager->start([](const std::string&) { return std::make_shared<const storage::LogConfig>(); });
    EXPECT_TRUE(started) << started.error().what;
    return manager;
  }
  std::shared_ptr<storage::Log> log(const TopicPartition& tp, storage::LogConfig config = {}) {
    auto made = logs->get_or_create(tp, Uuid{}, std::make_shared<const storage::LogConfig>(config));
    EXPECT_TRUE(made) << made.error().what;
    return made ? *made : nullptr;
  }
};

// Brokers that live unless they are said to be dead.
struct Brokers : LiveBrokers {
  std::set<BrokerId> dead;
  bool is_alive(BrokerId broker) const override { return !dead.contains(broker); }
};

inline std::vector<BrokerId> ids(std::initializer_list<int32_t> values) {
  std::vector<BrokerId> all;
  for (int32_t value : values) all.push_back({value});
  return all;
}

inline protocol::StopReplicaRequest make_stop(const std::string& topic, int32_t partition, int32_t epoch, bool remove) {
  protocol::StopReplicaRequest request;
  request.controller_epoch = 1;
  auto& one = request.topic_states.emplace_back();
  one.topic_name = topic;
  auto& state = one.partition_states.emplace_back();
  state.partition_index = partition;
  state.leader_epoch = epoch;
  state.delete_partition = remove;
  return request;
}

inline PartitionState make_state(int32_t leader, int32_t epoch, std::initializer_list<int32_t> isr, std::initializer_list<int32_t> replicas) {
  PartitionState state;
  state.leader = {leader};
  state.leader_epoch = {epoch};
  state.partition_epoch = epoch;
  state.isr = ids(isr);
  state.replicas = ids(replicas);
  return state;
}

}  // namespace odradek::replication::testing
