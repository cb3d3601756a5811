// A log dir with one of each kind of file, whatever may have happened to these files since, and what must hold when a broker starts on
// them: it ends, and what it then serves is whole. For the bit flips (broken_dir_test.cc) and the fuzzer (fuzz/fuzz_storage_dir.cc). Tests only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/manual_runtime.h"
#include "base/memory_files.h"
#include "metrics/registry.h"
#include "record/batch.h"
#include "record/batch_builder.h"
#include "record/control.h"
#include "storage/log_manager.h"

namespace odradek::storage::testing {

// One log dir "/data" of a broker that can be started, stopped or killed.
class BrokenDir {
 public:
  using Files = std::map<std::string, Bytes>;  // by path

  explicit BrokenDir(const Files& files) : runtime_(&disk_) {
    config_ = std::make_shared<LogConfig>();
    config_->segment_bytes = 1'000;
    config_->index_interval_bytes = 0;
    config_->segment_index_bytes = 240;  // of the active segment all of it is in the file
    disk_.set_clock(&runtime_.clock());
    check(disk_.create_directories("/data/t-0"));
    for (const auto& [path, bytes] : files) {
      auto file = disk_.open(path, base::OpenMode::kTruncate);
      CHECK(file.has_value());
      check((*file)->pwrite(0, bytes));
    }
    if (!files.empty()) {
      for (const char* folder : {"/data/t-0", "/data", "/"}) check(disk_.sync_directory(folder));
    }
  }
  ~BrokenDir() { manager_.reset(); }

  // False: refused, with an error.
  bool start() {
    LogManagerOptions options;
    options.dirs = {"/data"};
    registry_ = std::make_unique<metrics::Registry>(runtime_.clock());
    manager_ = std::make_unique<LogManager>(runtime_, options, *registry_);
    return manager_->lock_dirs() && manager_->read_identity() && manager_->start([this](const std::string&) { return config_; });
  }
  void stop() {
    manager_->stop();
    manager_.reset();
  }
  void kill() {
    disk_.kill();
    manager_.reset();
  }
  // Null: its dir went offline.
  std::shared_ptr<Log> log() { return manager_->find({"t", 0}); }

  // Segments by size, idempotent and transactional producers, aborted and open transactions, two leader epochs, all checkpoints; the newest
  // batches are not flushed.
  void fill() {
    auto made = manager_->get_or_create({"t", 0}, Uuid{1, 2}, config_, true);
    CHECK(made.has_value());
    Log& log = **made;
    for (int32_t round = 0; round < 6; ++round) {
      append(log, {100}, round, false, round / 3);
      append(log, {200 + round}, 0, true, round / 3);
      if (round < 5) {
        record::EndTxnMarker marker{round % 2 == 0 ? record::ControlType::kAbort : record::ControlType::kCommit, 5};
        Bytes bytes = record::build_end_txn_marker(marker, kTime, {200 + round}, 0);
        CHECK(log.append_as_leader(bytes, {round / 3}, {record::AppendOrigin::kCoordinator, 11}).has_value());
      }
      log.update_high_watermark(log.log_end_offset());
      if (round == 4) {
        check(log.flush());
        manager_->write_checkpoints();
      }
    }
    check(manager_->write_identity("cluster", BrokerId{1}));
  }

  Files files() {
    Files found;
    for (const std::string folder : {"/data/", "/data/t-0/"}) {
      auto entries = disk_.list(folder);
      CHECK(entries.has_value());
      for (const auto& entry : *entries) {
        if (entry.is_directory) continue;
        auto bytes = base::read_file(disk_, folder + entry.name, 1 << 20);
        CHECK(bytes.has_value());
        found[folder + entry.name] = *bytes;
      }
    }
    return found;
  }

  struct Found {
    Offset start{0}, end{0};
    std::map<int64_t, Bytes> batches;  // those whose CRC matches, by base offset
    bool whole = true;                 // false: a reader meets an error before the end
  };
  // Reads everything there is, by every way.
  static Found read(const Log& log) {
    Found found{log.log_start_offset(), log.log_end_offset(), {}};
    for (Offset from = found.start; from < found.end;) {
      auto read = log.read(from, 4'096, found.end, true);
      if (!read || read->slice.size == 0) {
        found.whole = false;
        break;
      }
      Bytes bytes(static_cast<size_t>(read->slice.size));
      auto got = read->slice.file->file().pread(read->slice.position, bytes);
      CHECK(got.has_value() && *got == bytes.size());
      Offset next = take_batches(bytes, from, found.batches);
      CHECK(next == read->next_offset && next > from);
      from = next;
    }
    for (int64_t time : {int64_t{0}, kTime + 3, INT64_MAX}) (void)log.offset_for_timestamp(time, found.end);
    (void)log.max_timestamp_offset();
    (void)log.legacy_offsets_before(-1, 5);
    if (auto aborted = log.aborted_transactions(found.start, found.end)) {
      for (const AbortedTransaction& transaction : *aborted) CHECK(transaction.first_offset <= transaction.last_offset);
    }
    (void)log.active_producers();
    CHECK(log.last_stable_offset(log.high_watermark()) <= log.high_watermark());
    CHECK(log.high_watermark() <= found.end && found.start <= found.end);
    (void)log.end_offset_for_epoch({1});
    return found;
  }

  static constexpr int64_t kTime = base::ManualRuntime::kStartMs;

  // Like a client's; false: refused.
  static bool append(Log& log, ProducerId producer, int32_t sequence, bool transactional, int32_t epoch) {
    record::BuilderOptions options;
    options.producer_id = producer;
    options.producer_epoch = producer.value < 0 ? record::kNoProducerEpoch : int16_t{0};
    options.base_sequence = producer.value < 0 ? record::kNoSequence : sequence * 2;
    options.transactional = transactional;
    record::BatchBuilder builder(options);
    for (int i = 0; i < 2; ++i) builder.append(kTime + sequence * 10 + i, as_bytes("key"), as_bytes(std::string(60, static_cast<char>('a' + sequence % 26))));
    Bytes bytes = builder.build();
    return log.append_as_leader(bytes, {epoch}, {record::AppendOrigin::kClient, 11}).has_value();
  }

 private:
  static void check(const Result<void>& done) { CHECK(done.has_value()); }

  // A slice holds whole batches of any format, offsets rising, the first one reaching to `from`.
  static Offset take_batches(ByteView bytes, Offset from, std::map<int64_t, Bytes>& into) {
    int64_t last = from.value - 1;
    for (bool first = true; !bytes.empty(); first = false) {
      CHECK(bytes.size() > record::kMagicAt);
      const auto size = static_cast<size_t>(base::load_be<int32_t>(bytes.data() + record::kSizeAt)) + record::kFrameOverhead;
      CHECK(size > record::kMagicAt && size <= bytes.size());
      const int64_t base_offset = base::load_be<int64_t>(bytes.data());
      int64_t end = base_offset;
      if (bytes[record::kMagicAt] >= record::kMagicV2) {
        ByteView rest = bytes.first(size);
        auto batch = record::next_batch(rest);
        CHECK(batch.has_value() && *batch);
        end = batch->last_offset().value;
        if (batch->crc_matches()) into.emplace(base_offset, Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)));
      }
      CHECK(end > last && (first || base_offset > last));
      last = end;
      bytes = bytes.subspan(size);
    }
    return {last + 1};
  }

  base::MemoryFiles disk_;
  base::ManualRuntime runtime_;
  std::shared_ptr<LogConfig> config_;
  std::unique_ptr<metrics::Registry> registry_;
  std::unique_ptr<LogManager> manager_;
};

// As a broker leaves it that is stopped or killed.
inline BrokenDir::Files make_dir(bool stopped) {
  BrokenDir dir({});
  CHECK(dir.start());
  dir.fill();
  if (stopped) {
    dir.stop();
  } else {
    dir.kill();
  }
  return dir.files();
}

}  // namespace odradek::storage::testing
