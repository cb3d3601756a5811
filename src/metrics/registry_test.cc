#include "metrics/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <thread>

#include "base/executor.h"
#include "metrics/process_metrics.h"

namespace odradek::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

class TestClock : public base::Clock {
 public:
  int64_t wall_ms() const override { return ns / 1'000'000; }
  int64_t monotonic_ns() const override { return ns; }
  int64_t ns = 1'000'000'000;
};

TEST(Counter, CountsFromManyThreads) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { for (int n = 0; n < 10000; ++n) counter.inc(2); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 80000u);
}

TEST(Histogram, PutsEachValueIntoABucketAtMostOneSixteenthWide) {
  for (uint64_t value : {0ull, 1ull, 15ull, 16ull, 17ull, 31ull, 32ull, 1000ull, 123456789ull, (1ull << 42) - 1}) {
    size_t bucket = Histogram::bucket_of(value);
    ASSERT_LT(bucket, Histogram::kBuckets);
    EXPECT_GE(Histogram::upper_edge(bucket), value);
    EXPECT_LE(Histogram::upper_edge(bucket), value + value / 16);
    if (bucket > 0) {
      EXPECT_LT(Histogram::upper_edge(bucket - 1), value);
    }
  }
  EXPECT_EQ(Histogram::bucket_of(UINT64_MAX), Histogram::kBuckets - 1);
}

TEST(Histogram, GivesPercentiles) {
  Histogram histogram;
  for (uint64_t value = 1; value <= 1000; ++value) histogram.record(value * 1000);
  Histogram::Counts zero{}, now;
  histogram.read(now);
  auto window = HistogramWindow::between(zero, now);
  EXPECT_NEAR(static_cast<double>(window.percentile(0.5)), 500'000, 500'000 / 16);
  EXPECT_NEAR(static_cast<double>(window.percentile(0.99)), 990'000, 990'000 / 16);
  EXPECT_GE(window.percentile(1), 1'000'000u);
  EXPECT_EQ(histogram.count(), 1000u);
  EXPECT_EQ(histogram.sum(), 500'500'000u);
  EXPECT_EQ(HistogramWindow::between(now, now).percentile(0.5), 0u);
}

TEST(Histogram, RecordsFromManyThreadsWithoutLoss) {
  Histogram histogram;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { for (uint64_t n = 0; n < 10000; ++n) histogram.record(n); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.count(), 40000u);
}

TEST(Registry, WritesCountersGaugesAndLabels) {
  TestClock clock;
  Registry registry(clock);
  registry.counter(kMessagesIn)->inc(7);
  registry.counter(kMessagesIn, {"a\"b\\c"})->inc(5);
  registry.gauge(kLeaderCount)->set(-3);
  std::string text = registry.prometheus_text();
  EXPECT_THAT(text, HasSubstr("# TYPE kafka_server_brokertopicmetrics_messagesin_total counter\n"
                              "kafka_server_brokertopicmetrics_messagesin_total 7\n"
                              "kafka_server_brokertopicmetrics_messagesin_total{topic=\"a\\\"b\\\\c\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("\nkafka_server_replicamanager_leadercount -3\n"));
  EXPECT_THAT(text, Not(HasSubstr("bytesin"))) << "what was never counted has no lines";
}

TEST(Registry, GivesTheSameValueForTheSameLabels) {
  TestClock clock;
  Registry registry(clock);
  EXPECT_EQ(registry.counter(kBytesIn, {"t"}), registry.counter(kBytesIn, {"t"}));
  EXPECT_NE(registry.counter(kBytesIn, {"t"}), registry.counter(kBytesIn, {"u"}));
}

TEST(Registry, RemovesASampleWhileItsHolderGoesOn) {
  TestClock clock;
  Registry registry(clock);
  auto counter = registry.counter(kBytesIn, {"t"});
  registry.remove(kBytesIn, {"t"});
  counter->inc();
  EXPECT_THAT(registry.prometheus_text(), Not(HasSubstr("bytesin")));
}

// A partition goes while it is looked at: the last reference is the collector's.
TEST(Registry, RemovesASampleAlsoFromWithinACollector) {
  TestClock clock;
  Registry registry(clock);
  registry.counter(kBytesIn, {"t"})->inc();
  auto removing = registry.collector({&kLogSize}, [&](std::vector<SampleSink*>&) { registry.remove(kBytesIn, {"t"}); });
  EXPECT_THAT(registry.prometheus_text(), HasSubstr("bytesin"));
  EXPECT_THAT(registry.prometheus_text(), Not(HasSubstr("bytesin")));
  EXPECT_NE(registry.counter(kBytesIn, {"t"}), nullptr);  // made anew, behind all removals
  EXPECT_EQ(registry.counter(kBytesIn, {"t"})->value(), 0u);
}

TEST(Registry, WritesHistogramsAsSummariesInTheirUnit) {
  TestClock clock;
  Registry registry(clock);
  auto times = registry.histogram(kRequestTotalTime, {"Produce"});
  for (int i = 0; i < 100; ++i) times->record(2'000'000);
  std::string text = registry.prometheus_text();
  EXPECT_THAT(text, HasSubstr("# TYPE kafka_network_requestmetrics_totaltimems summary\n"));
  EXPECT_THAT(text, HasSubstr("kafka_network_requestmetrics_totaltimems{request=\"Produce\",quantile=\"0.99\"} 2.0"));
  EXPECT_THAT(text, HasSubstr("kafka_network_requestmetrics_totaltimems_sum{request=\"Produce\"} 200\n"));
  EXPECT_THAT(text, HasSubstr("kafka_network_requestmetrics_totaltimems_count{request=\"Produce\"} 100\n"));
}

TEST(Registry, ForgetsOldValuesInQuantiles) {
  TestClock clock;
  Registry registry(clock);
  auto times = registry.histogram(kLogFlushTime);
  auto p99 = [&] {
    clock.ns += 30'000'000'000;
    std::string text = registry.prometheus_text();
    size_t at = text.find("quantile=\"0.99\"} ");
    return std::atof(text.c_str() + at + 17);
  };
  times->record(1'000'000'000);
  EXPECT_NEAR(p99(), 1000, 70);
  for (int i = 0; i < 5; ++i) {
    times->record(1'000'000);
    p99();
  }
  times->record(1'000'000);
  EXPECT_NEAR(p99(), 1, 0.1);
  for (int i = 0; i < 5; ++i) p99();
  EXPECT_TRUE(std::isnan(p99())) << "nothing in the window";
}

TEST(Registry, AsksCallbacksAndCollectorsUntilTheyAreReleased) {
  TestClock clock;
  Registry registry(clock);
  auto one = registry.callback(kHandlerIdle, {}, [] { return 0.25; });
  auto many = registry.collector({&kLogSize, &kLogEndOffset}, [](std::vector<SampleSink*>& sinks) {
    sinks[0]->add({"t", "0"}, int64_t{100});
    sinks[1]->add({"t", "0"}, int64_t{5});
  });
  std::string text = registry.prometheus_text();
  EXPECT_THAT(text, HasSubstr("requesthandleravgidle_percent 0.25\n"));
  EXPECT_THAT(text, HasSubstr("kafka_log_log_size{topic=\"t\",partition=\"0\"} 100\n"));
  EXPECT_THAT(text, HasSubstr("kafka_log_log_logendoffset{topic=\"t\",partition=\"0\"} 5\n"));
  one.reset();
  many = Registration();
  EXPECT_EQ(registry.prometheus_text(), "");
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlower = 20;
#else
constexpr int kSlower = 1;
#endif

TEST(Registry, WritesFortyThousandSamplesInUnderATenthOfASecond) {
  TestClock clock;
  Registry registry(clock);
  std::vector<std::string> numbers;
  for (int i = 0; i < 100; ++i) numbers.push_back(std::to_string(i));
  auto all = registry.collector({&kLogSize, &kLogEndOffset, &kLogStartOffset, &kLogSegments}, [&](std::vector<SampleSink*>& sinks) {
    for (const std::string& topic : numbers) {
      for (const std::string& partition : numbers) {
        for (SampleSink* sink : sinks) sink->add({topic, partition}, int64_t{123456789});
      }
    }
  });
  auto best = std::chrono::nanoseconds::max();
  for (int i = 0; i < 3; ++i) {
    auto start = std::chrono::steady_clock::now();
    EXPECT_GT(registry.prometheus_text().size(), 2'000'000u);
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - start);
  }
  RecordProperty("milliseconds", static_cast<int>(best.count() / 1'000'000));
  EXPECT_LT(best, kSlower * std::chrono::milliseconds(100));
}

TEST(Registry, SurvivesScrapesWhileOthersRecordAndRegister) {
  TestClock clock;
  Registry registry(clock);
  std::atomic<int> running{3};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 300; ++n) {
        registry.counter(kBytesIn, {std::to_string(i)})->inc();
        registry.histogram(kRequestTotalTime, {"Fetch"})->record(5);
        auto callback = registry.callback(kHandlerIdle, {}, [] { return 1.0; });
        registry.remove(kBytesIn, {std::to_string(i)});
      }
      --running;
    });
  }
  while (running > 0) registry.prometheus_text();
  for (std::thread& thread : threads) thread.join();
}

TEST(ProcessMetrics, TellOfThisProcess) {
  auto runtime = base::make_system_runtime();
  Registry registry(runtime->clock());
  auto registrations = register_process_metrics(registry, *runtime);
  std::string text = registry.prometheus_text();
  for (const char* name : {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_threads", "process_open_fds",
                           "process_max_fds", "process_start_time_seconds"}) {
    size_t at = text.find("\n" + std::string(name) + " ");
    ASSERT_NE(at, std::string::npos) << name;
    EXPECT_GT(std::atof(text.c_str() + at + std::string(name).size() + 2), 0) << name;
  }
}

TEST(Catalog, ListsEveryRowOnceWithHelpAndLegalNames) {
  std::set<std::string_view> names;
  for (const MetricDef* def : catalog()) {
    EXPECT_TRUE(names.insert(def->name).second) << def->name;
    EXPECT_FALSE(def->help.empty()) << def->name;
    EXPECT_EQ(def->name.ends_with("_total"), def->kind == Kind::kCounter) << def->name;
  }
  std::ifstream file(std::string(ODRADEK_SOURCE_DIR) + "/src/metrics/catalog.h");
  size_t rows = 0;
  for (std::string line; std::getline(file, line);) rows += line.starts_with("inline constexpr MetricDef ");
  EXPECT_EQ(catalog().size(), rows) << "each row of catalog.h stands in catalog.cc";
}

TEST(Catalog, HoldsOnlyWhatTheSourcesFill) {
  std::ifstream file(std::string(ODRADEK_SOURCE_DIR) + "/src/metrics/catalog.h");
  std::string catalog_text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::string code;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(ODRADEK_SOURCE_DIR) + "/src")) {
    std::string path = entry.path();
    bool source = path.ends_with(".cc") || path.ends_with(".h");
    if (!source || path.ends_with("_test.cc") || path.find("/metrics/catalog.") != std::string::npos) continue;
    std::ifstream part(path);
    code.append((std::istreambuf_iterator<char>(part)), std::istreambuf_iterator<char>());
  }
  std::set<std::string> words;
  for (size_t at = 0; at < code.size();) {
    size_t end = at;
    while (end < code.size() && (std::isalnum(static_cast<unsigned char>(code[end])) || code[end] == '_')) ++end;
    if (end > at) words.insert(code.substr(at, end - at));
    at = end + 1;
  }
  std::regex row("constexpr MetricDef (k\\w+)");
  for (std::sregex_iterator at(catalog_text.begin(), catalog_text.end(), row), end; at != end; ++at) {
    EXPECT_TRUE(words.contains((*at)[1].str())) << (*at)[1];
  }
}

TEST(Catalog, PassesPromtool) {
  if (std::system("promtool --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "promtool is not installed";
  TestClock clock;
  Registry registry(clock);
  std::vector<Registration> callbacks;
  for (const MetricDef* def : catalog()) {
    size_t labels = def->labels.empty() ? 0 : 1 + static_cast<size_t>(std::count(def->labels.begin(), def->labels.end(), ','));
    auto use = [&](LabelValues values) {
      if (def->kind == Kind::kCounter) {
        registry.counter(*def, values)->inc();
      } else if (def->kind == Kind::kHistogram) {
        registry.histogram(*def, values)->record(1'000'000);
      } else {
        registry.gauge(*def, values)->set(1);
      }
    };
    use({});
    if (labels == 1) use({"x"});
    if (labels == 2) use({"x", "y"});
  }
  FILE* promtool = popen("promtool check metrics", "w");
  ASSERT_NE(promtool, nullptr);
  std::string text = registry.prometheus_text();
  fwrite(text.data(), 1, text.size(), promtool);
  EXPECT_EQ(pclose(promtool), 0) << "promtool's complaints stand above";
}

TEST(MetricsReference, IsTheCommittedFile) {
  std::ifstream file(std::string(ODRADEK_SOURCE_DIR) + "/docs/metrics.md");
  std::string committed((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_TRUE(committed == reference_markdown()) << "odradek-server --print-metrics-reference > docs/metrics.md";
}

}  // namespace
}  // namespace odradek::metrics
