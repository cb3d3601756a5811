// What a leader pays for the records of a Produce request: CPU of the checks per byte, by record size and codec.
// `s_per_GB` is CPU seconds per 10^9 bytes of batches as they came over the wire; `ns_per_record` the same per record.
#include <benchmark/benchmark.h>

#include <random>

#include "base/crc.h"
#include "record/batch_builder.h"
#include "record/validate.h"

namespace {

using namespace odradek;
using namespace odradek::record;

// Values with about the entropy of log lines.
Bytes batch_of(int records, size_t value_size, Codec codec, bool keys = false) {
  std::mt19937_64 random(7);
  static const char* const kWords[] = {"error ", "user=", "10.0.0.", "GET /index ", "status=200 ", "session ", "took ", "ms; "};
  BatchBuilder builder({.codec = codec});
  for (int i = 0; i < records; ++i) {
    std::string value;
    while (value.size() < value_size) {
      value += kWords[random() % std::size(kWords)];
      value += std::to_string(random() % 10'000);
    }
    value.resize(value_size);
    std::string key = "key-" + std::to_string(random() % 100'000);
    builder.append(1'700'000'000'000 + i / 20, keys ? std::optional(as_bytes(key)) : std::nullopt, as_bytes(value));
  }
  return builder.build();
}

void report(benchmark::State& state, size_t bytes, int records) {
  auto runs = static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<int64_t>(runs * static_cast<double>(bytes)));
  using benchmark::Counter;
  state.counters["s_per_GB"] = Counter(runs * static_cast<double>(bytes) / 1e9, Counter::kIsRate | Counter::kInvert);
  state.counters["ns_per_record"] = Counter(runs * records / 1e9, Counter::kIsRate | Counter::kInvert);
}

// Arguments: records in a batch, bytes in a value, codec. The batches lie in 64 MiB, as they come from many connections: cold.
void validate(benchmark::State& state, bool cold, ValidateOptions options = {}) {
  auto records = static_cast<int>(state.range(0));
  Bytes one = batch_of(records, static_cast<size_t>(state.range(1)), static_cast<Codec>(state.range(2)), options.compacted);
  options.max_message_bytes = INT32_MAX;
  options.now_ms = 1'700'000'001'000;
  options.after_max_ms = 3'600'000;
  size_t copies = cold ? (size_t{64} << 20) / one.size() + 1 : 1;
  Bytes all;
  for (size_t i = 0; i < copies; ++i) all.insert(all.end(), one.begin(), one.end());
  size_t next = 0;
  for (auto _ : state) {
    MutableByteView batch(all.data() + next * one.size(), one.size());
    set_base_offset(batch, {0});
    if (options.timestamp_type == TimestampType::kLogAppendTime) {
      state.PauseTiming();
      set_max_timestamp(batch, TimestampType::kCreateTime, 0);  // as a producer sent it
      state.ResumeTiming();
    }
    auto valid = validate_and_assign_offsets(batch, options);
    if (!valid) state.SkipWithError(valid.error().error.what.c_str());
    benchmark::DoNotOptimize(valid);
    next = next + 1 == copies ? 0 : next + 1;
  }
  report(state, one.size(), records);
}

void Validate(benchmark::State& state) { validate(state, false); }
void ValidateCold(benchmark::State& state) { validate(state, true); }
void ValidateCompacted(benchmark::State& state) { validate(state, false, {.compacted = true}); }
void ValidateLogAppendTime(benchmark::State& state) { validate(state, false, {.timestamp_type = TimestampType::kLogAppendTime}); }
void RebuildToLz4(benchmark::State& state) { validate(state, false, {.target_codec = Codec::kLz4}); }
void RebuildToGzip(benchmark::State& state) { validate(state, false, {.target_codec = Codec::kGzip}); }
void RebuildToZstd(benchmark::State& state) { validate(state, false, {.target_codec = Codec::kZstd}); }

void CrcOnly(benchmark::State& state) {
  Bytes one = batch_of(static_cast<int>(state.range(0)), static_cast<size_t>(state.range(1)), Codec::kNone);
  for (auto _ : state) benchmark::DoNotOptimize(base::crc32c(ByteView(one).subspan(kAttributesAt)));
  report(state, one.size(), static_cast<int>(state.range(0)));
}

void Read(benchmark::State& state) {
  Bytes one = batch_of(static_cast<int>(state.range(0)), static_cast<size_t>(state.range(1)), static_cast<Codec>(state.range(2)));
  Decompressor decompressor;
  for (auto _ : state) {
    auto reader = RecordReader::open(BatchView(one), decompressor);
    RecordView record;
    int64_t sum = 0;
    for (;;) {
      auto more = reader->next(record);
      if (!more || !*more) break;
      sum += record.offset.value + static_cast<int64_t>(record.value->size());
    }
    benchmark::DoNotOptimize(sum);
  }
  report(state, one.size(), static_cast<int>(state.range(0)));
}

void Build(benchmark::State& state) {
  Bytes value(static_cast<size_t>(state.range(1)), 'x');
  size_t bytes = 0;
  BatchBuilder builder({.codec = static_cast<Codec>(state.range(2))});
  for (auto _ : state) {
    for (int i = 0; i < state.range(0); ++i) builder.append(1'700'000'000'000 + i, std::nullopt, ByteView(value));
    bytes = builder.size_in_bytes();
    benchmark::DoNotOptimize(builder.build());
  }
  report(state, bytes, static_cast<int>(state.range(0)));
}

BENCHMARK(CrcOnly)->Args({150, 100, 0})->Args({16, 1024, 0});
BENCHMARK(Validate)->ArgsProduct({{150}, {100}, {0, 1, 2, 3, 4}})->Args({16, 1024, 0})->Args({1, 100, 0})->Args({5000, 200, 1})->Args({5000, 200, 2})->Args({5000, 200, 3})->Args({5000, 200, 4});
BENCHMARK(ValidateCold)->Args({150, 100, 0})->Args({16, 1024, 0});
BENCHMARK(ValidateCompacted)->Args({150, 100, 0});
BENCHMARK(ValidateLogAppendTime)->Args({150, 100, 0});
BENCHMARK(RebuildToLz4)->Args({150, 100, 0})->Args({150, 100, 1});
BENCHMARK(RebuildToGzip)->Args({150, 100, 0});
BENCHMARK(RebuildToZstd)->Args({150, 100, 0})->Args({150, 100, 2});
BENCHMARK(Read)->ArgsProduct({{150}, {100}, {0, 3}});
BENCHMARK(Build)->Args({150, 100, 0})->Args({16, 1024, 0});

}  // namespace

BENCHMARK_MAIN();
