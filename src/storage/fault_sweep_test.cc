// A scripted life of a log dir, again and again: each time another call to the disk fails with EIO, once or from then on, or lacks room
// or a descriptor, once. Whatever fails: never a record at a wrong offset, never one whose CRC is right and whose bytes are not what was written, and what was
// acknowledged is there after a kill; what was flushed also after a power cut.
#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <set>

#include "record/record.h"
#include "storage/dir/log_dir.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using base::FileCall;

// Whether a call can fail in that way.
bool may_fail(FileCall call, int error) {
  switch (error) {
    case EMFILE: return call == FileCall::kOpen || call == FileCall::kSyncDirectory;
    case ENOSPC:  // of a sync it is told as EIO (base/posix_file.cc)
      return call == FileCall::kOpen || call == FileCall::kWrite || call == FileCall::kRename || call == FileCall::kCreateDirectory;
    default: return call != FileCall::kRead && call != FileCall::kList && call != FileCall::kStatus && call != FileCall::kWriteback;
  }
}

// What is known of one log.
struct Known {
  std::map<int64_t, std::string> acked;
  std::set<std::string> tried;
  int64_t flushed = 0;
  int64_t start = 0;
};

class Life {
 public:
  // The `fail_at`-th call that may fails (0: none); `for_good`: and all later ones.
  Life(int64_t fail_at, bool for_good, int error) {
    config_ = {.segment_bytes = 1'500, .index_interval_bytes = 100, .retention_bytes = 6'000, .flush_messages = 4, .file_delete_delay_ms = 0};
    disk_.configure(config_);
    disk_.files.set_fault([this, fail_at, for_good, error](FileCall call, const std::string&) {
      if (!may_fail(call, error)) return 0;
      ++calls_;
      return fail_at != 0 && (calls_ == fail_at || (for_good && calls_ > fail_at)) ? error : 0;
    });
  }

  void play() {
    for (int round = 0; round < 12; ++round) {
      write("a", round, true);
      write("b", round, false);
      write("c", round, false);
      disk_.runtime.advance(10);
      if (round == 4) truncate("c");
      if (round == 8) {
        disk_.manager->run_retention();
        if (auto log = find("b")) (void)log->maybe_advance_start_offset({5});
      }
      if (round % 5 == 2) disk_.manager->write_checkpoints();
      if (auto log = find("a"); log != nullptr && round == 6) (void)log->roll();
      if (round == 9) (void)disk_.manager->remove_async({"c", 0});
      note_flushed();
      check("as it runs");
    }
    disk_.runtime.advance(1'000);
    note_flushed();
  }
  int64_t calls() const { return calls_; }

  void stop() {
    disk_.manager->stop();
    check("when it was stopped");
  }
  void kill() {
    disk_.files.set_fault(nullptr);
    disk_.kill_and_start();
    check("after a kill");
    is_all_there([](const Known& known) { return known.acked.empty() ? 0 : known.acked.rbegin()->first + 1; }, "after a kill");
    goes_on();
  }
  void cut_power() {
    disk_.files.set_fault(nullptr);
    disk_.cut_power_and_start(&disk_.runtime.random());
    for (auto& [topic, known] : known_) known.acked.erase(known.acked.lower_bound(known.flushed), known.acked.end());
    check("after a power cut");
    is_all_there([](const Known& known) { return known.flushed; }, "after a power cut");
    goes_on();
  }

 private:
  std::shared_ptr<Log> find(const std::string& topic) { return disk_.manager->find({topic, 0}); }

  void write(const std::string& topic, int round, bool with_producer) {
    auto made = disk_.manager->get_or_create({topic, 0}, Uuid{}, disk_.config, true);
    if (!made) return;
    Known& known = known_[topic];
    for (int i = 0; i < 3; ++i) {
      record::BuilderOptions options;
      if (with_producer) {
        options.producer_id = {7};
        options.producer_epoch = 0;
        options.base_sequence = static_cast<int32_t>(known.tried.size());
      }
      record::BatchBuilder builder(options);
      std::vector<std::string> texts;
      for (int n = 0; n < 2; ++n) {
        texts.push_back(topic + "/" + std::to_string(round) + "/" + std::to_string(i) + "/" + std::to_string(n) + "/" + std::string(60, 'x'));
        builder.append(base::ManualRuntime::kStartMs, std::nullopt, as_bytes(texts.back()));
      }
      Bytes batch = builder.build();
      known.tried.insert(texts.begin(), texts.end());
      auto done = (*made)->append_as_leader(batch, {0}, {record::AppendOrigin::kClient, 11});
      if (!done) continue;
      for (int n = 0; n < 2; ++n) known.acked[done->first_offset.value + n] = texts[static_cast<size_t>(n)];
      (*made)->update_high_watermark((*made)->log_end_offset());
    }
  }
  void truncate(const std::string& topic) {
    auto log = find(topic);
    if (log == nullptr) return;
    const Offset to{8};
    Known& known = known_[topic];
    const bool done = log->truncate_to(to).has_value();
    known.flushed = std::min<int64_t>(known.flushed, 8);
    // A truncation that failed may be half done: what it was to cut off may be there or not.
    known.acked.erase(known.acked.lower_bound(to.value), known.acked.end());
    (void)done;
  }
  void note_flushed() {
    for (auto& [topic, known] : known_) {
      auto log = find(topic);
      if (log == nullptr || !log->dir().online()) continue;
      known.flushed = std::max(known.flushed, log->flushed_offset().value);
      known.start = std::max(known.start, log->log_start_offset().value);
    }
  }
  // Every record that can be read is the one that belongs there.
  void check(const char* when) {
    for (auto& [topic, known] : known_) {
      auto log = find(topic);
      if (log == nullptr || !log->dir().online()) continue;
      Offset from = log->log_start_offset();
      while (from < log->log_end_offset()) {
        auto read = log->read(from, 1 << 20, log->log_end_offset(), true);
        if (!read) break;  // an error is an answer
        ASSERT_GT(read->slice.size, 0) << topic << " " << when;
        Bytes bytes = bytes_of(read->slice);
        for (const auto& batch : batches_of(bytes)) {
          record::Decompressor decompressor;
          auto reader = record::RecordReader::open(batch, decompressor);
          ASSERT_TRUE(reader);
          record::RecordView record;
          int64_t offset = batch.base_offset().value;
          ASSERT_LE(offset, std::max(from.value, offset));
          for (;; ++offset) {
            auto more = reader->next(record);
            ASSERT_TRUE(more);
            if (!*more) break;
            ASSERT_EQ(record.offset.value, offset) << topic << " " << when;
            std::string text(as_text(*record.value));
            ASSERT_TRUE(known.tried.contains(text)) << topic << " " << when << ": offset " << offset << " is '" << text << "'";
            auto acked = known.acked.find(offset);
            if (acked != known.acked.end()) {
              ASSERT_EQ(text, acked->second) << topic << " " << when << ": offset " << offset;
            }
          }
          if (from < batch.base_offset()) {
            ASSERT_EQ(from, log->log_start_offset()) << topic << " " << when << ": a hole";
          }
          from = batch.next_offset();
        }
      }
    }
  }
  template <class Upto>
  void is_all_there(Upto upto, const char* when) {
    for (auto& [topic, known] : known_) {
      if (topic == "c") continue;  // deleted, or not: nothing is promised
      auto log = find(topic);
      if (upto(known) == 0) continue;
      ASSERT_NE(log, nullptr) << topic << " " << when;
      EXPECT_GE(log->log_end_offset().value, upto(known)) << topic << " " << when;
      std::set<int64_t> found;
      Offset from = log->log_start_offset();
      while (from < log->log_end_offset()) {
        auto read = log->read(from, 1 << 20, log->log_end_offset(), true);
        ASSERT_TRUE(read) << topic << " " << when << ": " << read.error().what;
        Bytes bytes = bytes_of(read->slice);
        for (const auto& batch : batches_of(bytes)) {
          for (int64_t offset = batch.base_offset().value; offset <= batch.last_offset().value; ++offset) found.insert(offset);
        }
        from = read->next_offset;
      }
      for (const auto& [offset, text] : known.acked) {
        if (offset < std::max(known.start, log->log_start_offset().value) || offset >= upto(known)) continue;
        EXPECT_TRUE(found.contains(offset)) << topic << " " << when << ": offset " << offset << " is gone";
      }
    }
  }
  void goes_on() {
    auto log = disk_.manager->get_or_create({"b", 0}, Uuid{}, disk_.config, false);
    ASSERT_TRUE(log) << log.error().what;
    EXPECT_TRUE(append(**log));
  }

  LogConfig config_;
  Disk disk_;
  int64_t calls_ = 0;
  std::map<std::string, Known> known_;
};

void sweep(bool for_good, void (*end)(Life&), int error = EIO) {
  Life whole(0, false, error);
  whole.play();
  whole.stop();
  ASSERT_GT(whole.calls(), error == EIO ? 150 : 75) << "the script does too little";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kStep = 7;  // the whole takes too long there
#else
  constexpr int kStep = 1;
#endif
  for (int64_t at = 1; at <= whole.calls(); at += kStep) {
    SCOPED_TRACE("call " + std::to_string(at) + " of " + std::to_string(whole.calls()) + " fails");
    Life life(at, for_good, error);
    life.play();
    end(life);
    if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) return;
  }
}

TEST(EveryCallThatFailsOnce, LosesNothingAcknowledgedInAKill) {
  sweep(false, [](Life& life) { life.kill(); });
}
TEST(EveryCallThatFailsOnce, LosesNothingAcknowledgedInACleanStop) {
  sweep(false, [](Life& life) {
    life.stop();
    life.kill();
  });
}
TEST(EveryCallThatFailsOnce, LosesNothingFlushedInAPowerCut) {
  sweep(false, [](Life& life) { life.cut_power(); });
}
TEST(EveryCallThatLacksRoomOnce, LosesNothingAcknowledgedInAKill) {
  sweep(false, [](Life& life) { life.kill(); }, ENOSPC);
}
TEST(EveryCallThatLacksRoomOnce, LosesNothingFlushedInAPowerCut) {
  sweep(false, [](Life& life) { life.cut_power(); }, ENOSPC);
}
TEST(EveryCallThatLacksADescriptorOnce, LosesNothingAcknowledgedInACleanStop) {
  sweep(
      false,
      [](Life& life) {
        life.stop();
        life.kill();
      },
      EMFILE);
}
TEST(EveryCallThatLacksADescriptorOnce, LosesNothingFlushedInAPowerCut) {
  sweep(false, [](Life& life) { life.cut_power(); }, EMFILE);
}
TEST(EveryCallFromSomeOn, LosesNothingAcknowledgedInAKill) {
  sweep(true, [](Life& life) { life.kill(); });
}
TEST(EveryCallFromSomeOn, LosesNothingFlushedInAPowerCut) {
  sweep(true, [](Life& life) { life.cut_power(); });
}

}  // namespace
}  // namespace odradek::storage
