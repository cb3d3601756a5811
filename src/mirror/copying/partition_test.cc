// One partition against a source and a target in memory that lose, delay and refuse as brokers do.
#include "mirror/copying/partition.h"

#include <gtest/gtest.h>

#include <random>

#include "base/manual_runtime.h"
#include "record/batch_builder.h"

namespace odradek::mirror {
namespace {

constexpr ProducerId kProducer{4711};

// A target's log with the sequence rules of a broker: the last number must be followed, the last five batches may come again.
struct Target {
  struct Entry {
    Offset base;
    std::vector<int64_t> values;
  };
  std::vector<Entry> batches;
  Offset end{0};

  // Nullopt: out of sequence.
  std::optional<Offset> append(ByteView bytes) {
    record::BatchView batch(bytes);
    EXPECT_TRUE(batch.crc_matches());
    EXPECT_EQ(batch.producer_id(), kProducer);
    for (size_t i = batches.size() < 5 ? 0 : batches.size() - 5; i < batches.size(); ++i) {
      if (sequence_at(batches[i].base) == batch.base_sequence() && static_cast<int32_t>(batches[i].values.size()) == batch.count()) return batches[i].base;
    }
    if (end.value > 0 && batch.base_sequence() != sequence_at(end)) return std::nullopt;
    Entry entry{end, {}};
    record::Decompressor decompressor;
    auto reader = record::RecordReader::open(batch, decompressor);
    record::RecordView record;
    while (*reader->next(record)) entry.values.push_back(std::stoll(std::string(as_text(*record.value))));
    end = end + static_cast<int64_t>(entry.values.size());
    batches.push_back(std::move(entry));
    return batches.back().base;
  }
  std::vector<int64_t> all() const {
    std::vector<int64_t> values;
    for (const Entry& entry : batches) values.insert(values.end(), entry.values.begin(), entry.values.end());
    return values;
  }
};

// Each record's value is its offset.
struct Source {
  std::vector<std::pair<Offset, Bytes>> batches;  // by last offset
  std::vector<int64_t> all;
  Offset end{0};
  LeaderEpoch epoch{0};

  void append(int count, int hole) {
    end = end + hole;
    record::BatchBuilder builder({.base_offset = end, .leader_epoch = epoch});
    for (int i = 0; i < count; ++i, end = end + 1) {
      all.push_back(end.value);
      builder.append(1, std::nullopt, as_bytes(std::to_string(end.value)));
    }
    batches.emplace_back(end + -1, builder.build());
  }
  // An unclean election: what is at `at` and behind it is gone, another epoch begins.
  void cut(Offset at) {
    while (!batches.empty() && batches.back().first >= at) {
      end = record::BatchView(batches.back().second).base_offset();
      batches.pop_back();
    }
    std::erase_if(all, [&](int64_t offset) { return offset >= end.value; });
    epoch = {epoch.value + 1};
  }
  // Of the last batch that begins below `offset`.
  LeaderEpoch epoch_before(Offset offset) const {
    LeaderEpoch last = kNoLeaderEpoch;
    for (const auto& each : batches) {
      if (record::BatchView batch(each.second); batch.base_offset() < offset) last = batch.leader_epoch();
    }
    return last;
  }
  // Whether a leader's answer to a fetch with last_fetched_epoch is a diverging epoch.
  bool departs(Offset from, LeaderEpoch last) const {
    Offset epoch_end{0};
    LeaderEpoch found = kNoLeaderEpoch;
    for (const auto& each : batches) {
      record::BatchView batch(each.second);
      if (batch.leader_epoch() > last) return found != last || batch.base_offset() < from;
      found = batch.leader_epoch();
      epoch_end = batch.next_offset();
    }
    return found != last || end < from;
  }
  std::shared_ptr<Bytes> fetch(Offset from, int32_t max_bytes) const {
    auto answer = std::make_shared<Bytes>();
    for (const auto& [last, bytes] : batches) {
      if (last < from) continue;
      if (!answer->empty() && answer->size() + bytes.size() > static_cast<size_t>(max_bytes)) break;
      answer->insert(answer->end(), bytes.begin(), bytes.end());
    }
    return answer;
  }
};

// What the positions topic would hold.
struct Stored {
  uint64_t tickets = 0, durable = 0;
  std::map<int64_t, std::string> chunks, pending;
  std::map<int64_t, std::string> next;  // as of the last announcement

  uint64_t announce(const OffsetMap& map, int64_t first) {
    for (int64_t chunk = std::max(first, map.first_chunk()); !map.empty() && chunk < map.end_chunk(); ++chunk) next[chunk] = map.encode_chunk(chunk);
    std::erase_if(next, [&](const auto& each) { return map.empty() || each.first < map.first_chunk() || each.first >= map.end_chunk(); });
    return ++tickets;
  }
  void write() {
    chunks = next;
    durable = tickets;
  }
  OffsetMap load() const {
    OffsetMap map;
    for (const auto& [number, text] : chunks) EXPECT_TRUE(map.decode_chunk(text)) << text;
    return map;
  }
};

struct World {
  base::ManualRuntime runtime;
  Source source;
  Target target;
  Stored stored;
  std::unique_ptr<Partition> partition;
  std::vector<Partition::Task> fetches;
  std::deque<Partition::Outgoing> on_the_way;                // in order, as on one connection
  std::deque<std::pair<Bytes, int>> late;                    // of connections that are gone, with steps until they arrive

  void start() {  // also after a crash: only what is stored is known
    stored.next = stored.chunks;
    fetches.clear();
    abandon();
    partition = std::make_unique<Partition>(TopicPartition{"t", 0}, FetchPlanOptions{.range_bytes = 600, .ranges = 4, .poll_bytes = 500}, IsolationLevel::kReadUncommitted,
                                            Identity{kProducer, 0}, [this](const TopicPartition&, const OffsetMap& map, int64_t first) { return stored.announce(map, first); },
                                            runtime.clock());
    partition->set_map(stored.load());
  }
  // The connection to the target is gone; some of what was sent still arrives, in order.
  void abandon(size_t arriving = 100) {
    for (auto& batch : on_the_way) {
      if (arriving-- == 0) break;
      late.emplace_back(Bytes(batch.bytes.begin(), batch.bytes.end()), 3);
    }
    on_the_way.clear();
  }
  void arrive(bool all) {
    while (!late.empty() && (all || --late.front().second <= 0)) {
      target.append(late.front().first);
      late.pop_front();
    }
  }
  void place() {
    auto until = partition->lost_until();
    if (!until) return;
    auto known = partition->map().source_at(target.end);
    if (known) {
      EXPECT_EQ(partition->map().epoch_before(*known), source.epoch_before(*known)) << known->value;
    }
    partition->set_source_end(source.end);
    partition->place(known.value_or(Offset{0}), target.end);
  }
  void answer_fetch(size_t which) {
    auto task = fetches[which];
    fetches.erase(fetches.begin() + static_cast<ptrdiff_t>(which));
    const bool compared = task.last_epoch != kNoLeaderEpoch;
    if (compared && source.departs(task.fetch.from, task.last_epoch)) return partition->lose(task.generation, "departed");
    auto bytes = source.fetch(task.fetch.from, task.fetch.max_bytes);
    partition->fetched(task, {.owner = bytes, .frames = *bytes, .aborted = {}, .compared = compared}, source.end);
  }
  void acknowledge() {
    auto batch = std::move(on_the_way.front());
    on_the_way.pop_front();
    auto base = target.append(batch.bytes);
    if (base) {
      partition->acknowledged(batch, *base, Offset{-1});
    } else {
      partition->out_of_place(batch, "out of sequence");
    }
  }
};

TEST(MirroredPartition, CopiesEachRecordOnceWhateverIsLostDelayedOrCrashes) {
  int64_t crashes = 0, losses = 0, lates = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    auto one_in = [&](unsigned n) { return random() % n == 0; };
    World world;
    for (int i = 0; i < 100; ++i) {
      world.source.append(1 + static_cast<int>(random() % 6), one_in(3) ? static_cast<int>(random() % 4) : 0);
      if (one_in(10)) world.source.epoch = {world.source.epoch.value + 1 + static_cast<int>(random() % 2)};
    }
    world.start();
    for (int step = 0; step < 1500; ++step) {
      world.arrive(false);
      switch (random() % 12) {
        case 0: world.place(); break;
        case 1:
        case 2:
          if (auto task = world.partition->poll()) world.fetches.push_back(*task);
          break;
        case 3:
          if (auto task = world.partition->next_range()) world.fetches.push_back(*task);
          break;
        case 4:
        case 5:
          if (!world.fetches.empty()) world.answer_fetch(random() % world.fetches.size());
          break;
        case 6: world.stored.write(); break;
        case 7:
        case 8:
          if (auto batch = world.partition->next_batch(world.stored.durable)) world.on_the_way.push_back(std::move(*batch));
          break;
        case 9:
        case 10:
          if (!world.on_the_way.empty()) world.acknowledge();
          break;
        case 11:
          if (one_in(10)) {
            lates += !world.on_the_way.empty();
            ++crashes;
            world.start();
          } else if (one_in(6)) {
            ++losses;
            auto lost = world.on_the_way;
            lates += !lost.empty();
            world.abandon(random() % 3);
            for (auto& batch : lost) world.partition->lose(batch.generation, "lost");
          } else if (one_in(6) && !world.fetches.empty()) {
            world.partition->fetch_failed(world.fetches.front());
            world.fetches.erase(world.fetches.begin());
          }
          break;
      }
    }
    // Faults are over.
    world.arrive(true);
    for (int step = 0; step < 5000 && world.target.end.value < static_cast<int64_t>(world.source.all.size()); ++step) {
      world.place();
      while (auto task = world.partition->poll()) world.fetches.push_back(*task);
      while (auto task = world.partition->next_range()) world.fetches.push_back(*task);
      while (!world.fetches.empty()) world.answer_fetch(0);
      world.stored.write();
      while (auto batch = world.partition->next_batch(world.stored.durable)) world.on_the_way.push_back(std::move(*batch));
      while (!world.on_the_way.empty()) world.acknowledge();
    }
    ASSERT_EQ(world.target.all(), world.source.all) << "seed " << seed;
    world.place();
    EXPECT_EQ(world.partition->progress().state, Progress::State::kRunning) << world.partition->progress().why;
    // The map tells where each record is, and so does what was stored.
    auto values = world.target.all();
    for (const OffsetMap& map : {world.partition->map(), world.stored.load()}) {
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(map.source_at(Offset{static_cast<int64_t>(i)}), Offset{values[i]}) << "seed " << seed;
        ASSERT_EQ(map.target_at(Offset{values[i]}), Offset{static_cast<int64_t>(i)}) << "seed " << seed;
      }
    }
  }
  EXPECT_GT(crashes, 100);
  EXPECT_GT(losses, 100);
  EXPECT_GT(lates, 100);
}

TEST(MirroredPartition, AsksWhetherTheSourcesLogStillIsTheOneThatWasCopied) {
  World world;
  for (int i = 0; i < 4; ++i) world.source.append(3, 0);
  world.start();
  world.place();
  auto first = world.partition->poll();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->last_epoch, kNoLeaderEpoch) << "nothing was copied";
  world.fetches.push_back(*first);
  world.answer_fetch(0);
  // Another leader, which has lost records, and has other ones at their offsets now.
  world.source.cut(Offset{6});
  for (int i = 0; i < 4; ++i) world.source.append(3, 0);
  auto second = world.partition->poll();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->fetch.from, Offset{12});
  EXPECT_EQ(second->last_epoch, LeaderEpoch{0});
  world.fetches.push_back(*second);
  world.answer_fetch(0);
  EXPECT_EQ(world.partition->progress().state, Progress::State::kLost);
  EXPECT_EQ(world.partition->progress().why, "departed");
}

TEST(MirroredPartition, TakesNothingOfAnotherEpochThatWasAskedForAheadWithoutTheQuestion) {
  World world;
  for (int i = 0; i < 60; ++i) world.source.append(3, 0);
  world.start();
  world.place();
  world.fetches.push_back(*world.partition->poll());
  world.answer_fetch(0);
  auto first = world.partition->next_range(), ahead = world.partition->next_range();
  ASSERT_TRUE(first && ahead);
  EXPECT_EQ(first->last_epoch, LeaderEpoch{0});
  EXPECT_EQ(ahead->last_epoch, kNoLeaderEpoch);
  world.fetches = {*first, *ahead};
  world.answer_fetch(0);  // by the old leader
  world.source.cut(ahead->fetch.from + -5);
  for (int i = 0; i < 60; ++i) world.source.append(3, 0);
  world.answer_fetch(0);  // by the new one
  EXPECT_EQ(world.partition->progress().state, Progress::State::kRunning);
  auto again = world.partition->poll();
  ASSERT_TRUE(again) << "the ranges ahead are dropped";
  EXPECT_LE(again->fetch.from, ahead->fetch.from);
  EXPECT_GT(again->fetch.from, ahead->fetch.from + -3) << "all of the first range is copied";
  EXPECT_EQ(again->last_epoch, LeaderEpoch{0});
  world.stored.write();
  int64_t sent = 0;
  while (auto batch = world.partition->next_batch(world.stored.durable)) {
    sent += batch->count;
    world.partition->acknowledged(*batch, batch->target, Offset{-1});
  }
  EXPECT_EQ(sent, again->fetch.from.value) << "only records of the old leader";
  world.fetches.push_back(*again);
  world.answer_fetch(0);
  EXPECT_EQ(world.partition->progress().why, "departed");
}

// A leader that has all of the former one's records: the question costs a fetch, nothing else.
TEST(MirroredPartition, GoesOnIntoTheNextEpoch) {
  World world;
  for (int i = 0; i < 60; ++i) {
    world.source.append(3, 0);
    if (i % 7 == 0) world.source.epoch = {i};
  }
  world.start();
  for (int step = 0; step < 200 && world.target.end < world.source.end; ++step) {
    world.place();
    while (auto task = world.partition->poll()) world.fetches.push_back(*task);
    while (auto task = world.partition->next_range()) world.fetches.push_back(*task);
    while (!world.fetches.empty()) world.answer_fetch(0);
    world.stored.write();
    while (auto batch = world.partition->next_batch(world.stored.durable)) world.on_the_way.push_back(std::move(*batch));
    while (!world.on_the_way.empty()) world.acknowledge();
  }
  EXPECT_EQ(world.target.all(), world.source.all);
  EXPECT_LE(world.partition->map().epochs().size(), 2u) << "only the last ones are kept";
}

TEST(MirroredPartition, KnowsThatItsTopicWasMadeAnewUntilSomethingOfItIsStored) {
  World world;
  world.source.append(3, 0);
  world.start();
  world.partition->set_topic_id("first");
  EXPECT_FALSE(world.partition->made_anew()) << "it had none before";
  world.place();
  world.fetches.push_back(*world.partition->poll());
  world.answer_fetch(0);
  world.stored.write();
  world.partition->set_topic_id("second");
  EXPECT_TRUE(world.partition->made_anew());
  EXPECT_TRUE(world.partition->map().empty());
  world.place();
  world.partition->lose(0, "nothing of it came yet");
  EXPECT_TRUE(world.partition->made_anew());
  // After a crash the positions tell: they are still those of the topic before.
  world.start();
  EXPECT_FALSE(world.partition->made_anew());
  world.partition->set_topic_id("second");
  EXPECT_TRUE(world.partition->made_anew());
}

TEST(MirroredPartition, KeepsNothingOfTheSourceInMemoryWhileItsTargetHasNoLeader) {
  World world;
  for (int i = 0; i < 60; ++i) world.source.append(3, 0);
  world.start();
  world.partition->set_leaders(BrokerId{1}, BrokerId{2});
  world.place();
  std::vector<std::weak_ptr<void>> answers;
  auto answer = [&](const Partition::Task& task) {
    auto bytes = world.source.fetch(task.fetch.from, task.fetch.max_bytes);
    answers.push_back(bytes);
    world.partition->fetched(task, {.owner = bytes, .frames = *bytes, .aborted = {}, .compared = true}, world.source.end);
  };
  auto in_use = [&] { return std::count_if(answers.begin(), answers.end(), [](const auto& each) { return !each.expired(); }); };
  answer(*world.partition->poll());
  auto next = world.partition->next_range(), ahead = world.partition->next_range();
  ASSERT_TRUE(next && ahead);
  answer(*ahead);
  EXPECT_EQ(in_use(), 2) << "one waits to be sent, one for the range before it";
  world.partition->set_leaders(BrokerId{1}, BrokerId{3});
  EXPECT_FALSE(world.partition->lost_until()) << "another leader is one";
  world.partition->set_leaders(BrokerId{1}, kNoBroker);
  EXPECT_EQ(in_use(), 0);
  auto until = world.partition->lost_until();
  ASSERT_TRUE(until);
  EXPECT_FALSE(world.partition->poll() || world.partition->next_range());
  answer(*next);
  EXPECT_EQ(in_use(), 0) << "an answer that was on its way is not kept";
  world.runtime.advance(1'000);
  world.partition->set_leaders(BrokerId{1}, kNoBroker);
  EXPECT_EQ(world.partition->lost_until(), until) << "what is lost is not lost again with each look";
  world.partition->set_leaders(BrokerId{1}, BrokerId{3});
  world.place();
  auto again = world.partition->poll();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->fetch.from, Offset{0});
}

TEST(MirroredPartition, StopsWhenAnotherProducerWritesToTheTarget) {
  World world;
  world.source.append(3, 0);
  world.start();
  world.place();
  world.fetches.push_back(*world.partition->poll());
  world.answer_fetch(0);
  world.stored.write();
  auto batch = world.partition->next_batch(world.stored.durable);
  ASSERT_TRUE(batch);
  world.partition->acknowledged(*batch, Offset{5}, Offset{-1});
  EXPECT_EQ(world.partition->progress().state, Progress::State::kFailed);
  EXPECT_FALSE(world.partition->lost_until());
}

TEST(MirroredPartition, SendsNothingBeforeItsRunsAreDurableAndOneBatchUntilTheTargetKnowsTheProducer) {
  World world;
  for (int i = 0; i < 3; ++i) world.source.append(2, 0);
  world.start();
  world.place();
  world.fetches.push_back(*world.partition->poll());
  world.answer_fetch(0);
  EXPECT_TRUE(world.partition->has_output());
  EXPECT_FALSE(world.partition->next_batch(world.stored.durable)) << "where it lies is not stored yet";
  world.stored.write();
  auto first = world.partition->next_batch(world.stored.durable);
  ASSERT_TRUE(first);
  EXPECT_FALSE(world.partition->next_batch(world.stored.durable)) << "a broker takes any first number";
  world.partition->acknowledged(*first, Offset{0}, Offset{-1});
  EXPECT_TRUE(world.partition->next_batch(world.stored.durable));
  EXPECT_TRUE(world.partition->next_batch(world.stored.durable));
}

}  // namespace
}  // namespace odradek::mirror
