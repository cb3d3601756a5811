#include <CLI/CLI.hpp>

#include <cstdio>
#include <map>
#include <memory>

#include <fmt/format.h>

#include "bench/load.h"
#include "cli/records/commands.h"
#include "model/error_code.h"

namespace odradek::cli {
namespace {

using bench::LoadOptions;
using bench::LoadResult;

struct Command {
  LoadOptions options;
  bool json = false;
};

int report(const Result<LoadResult>& result, const Command& command, const char* what) {
  if (!result) {
    fmt::print(stderr, "odradek bench: {} ({})\n", result.error().what, name_of(result.error().code));
    return 1;
  }
  double seconds = result->seconds > 0 ? result->seconds : 1;
  double records = static_cast<double>(result->records) / seconds;
  double mb = static_cast<double>(result->record_bytes) / seconds / 1e6;
  const bench::Latencies& latency = result->latency;
  if (command.json) {
    fmt::print(
        "{{\"what\":\"{}\",\"seconds\":{:.3f},\"records\":{},\"bytes\":{},\"requests\":{},\"errors\":{},\"records_per_second\":{:.1f},"
        "\"mb_per_second\":{:.3f},\"latency_ms\":{{\"mean\":{:.3f},\"p50\":{:.3f},\"p95\":{:.3f},\"p99\":{:.3f},\"p999\":{:.3f},\"max\":{:.3f}}}}}\n",
        what, result->seconds, result->records, result->record_bytes, result->requests, result->errors, records, mb, latency.mean_ms(),
        latency.quantile_ms(0.5), latency.quantile_ms(0.95), latency.quantile_ms(0.99), latency.quantile_ms(0.999), latency.max_ms());
  } else {
    fmt::print("{} {} records in {:.2f} s: {:.0f} records/s, {:.1f} MB/s, {} requests, {} errors{}{}\n", what, result->records, result->seconds, records,
               mb, result->requests, result->errors, result->first_error.empty() ? "" : ", first: ", result->first_error);
    fmt::print("latency ms: mean {:.3f}  p50 {:.3f}  p95 {:.3f}  p99 {:.3f}  p99.9 {:.3f}  max {:.3f}\n", latency.mean_ms(), latency.quantile_ms(0.5),
               latency.quantile_ms(0.95), latency.quantile_ms(0.99), latency.quantile_ms(0.999), latency.max_ms());
  }
  return result->errors == 0 ? 0 : 1;
}

void add_common(CLI::App& app, Command& command) {
  LoadOptions& options = command.options;
  app.add_option("-b,--bootstrap", options.bootstrap, "Address of a broker")->envname("ODRADEK_BOOTSTRAP")->capture_default_str();
  app.add_option("-t,--topic", options.topic, "Topic")->capture_default_str();
  app.add_option("-c,--connections", options.connections, "Connections, spread over the partitions")->capture_default_str()->check(CLI::Range(1, 100000));
  app.add_option("--threads", options.threads, "Threads of the generator")->capture_default_str()->check(CLI::Range(1, 256));
  app.add_option("-s,--seconds", options.seconds, "Longest time")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("-n,--records", options.records, "Stop after so many records (0: by time alone)")->capture_default_str()->check(CLI::NonNegativeNumber);
  app.add_flag("--json", command.json, "One JSON object on standard output");
}

void add_topic_options(CLI::App& app, LoadOptions& options) {
  app.add_option("--partitions", options.partitions, "Make the topic with so many partitions if it is missing (0: do not)")->capture_default_str();
  app.add_option("--replication-factor", options.replication_factor, "Replicas of a topic that is made")->capture_default_str();
  app.add_option("--record-size", options.record_size, "Bytes of a record's value")->capture_default_str()->check(CLI::Range(0, 100 << 20));
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code) {
  CLI::App* family = app.add_subcommand("bench", "Load on a broker: own connections, prebuilt requests, little CPU; works against Apache Kafka too");
  family->require_subcommand(1);

  {
    auto command = std::make_shared<Command>();
    CLI::App* produce = family->add_subcommand("produce", "Produce as fast as answers come, or at --rate (open loop)");
    add_common(*produce, *command);
    add_topic_options(*produce, command->options);
    produce->add_option("--records-per-batch", command->options.records_per_batch, "Records of a request")->capture_default_str()->check(CLI::Range(1, 1000000));
    produce->add_option("--in-flight", command->options.in_flight, "Requests of a connection without an answer")->capture_default_str()->check(CLI::Range(1, 10000));
    produce->add_option("--acks", command->options.acks, "0, 1 or -1 (all)")->capture_default_str()->check(CLI::IsMember({0, 1, -1}));
    produce->add_option("--rate", command->options.rate, "Records/s over all connections (0: no limit)")->capture_default_str();
    static const std::map<std::string, record::Codec> kCodecs{{"none", record::Codec::kNone}, {"gzip", record::Codec::kGzip}, {"snappy", record::Codec::kSnappy},
                                                              {"lz4", record::Codec::kLz4}, {"zstd", record::Codec::kZstd}};
    produce->add_option("--codec", command->options.codec, "none, gzip, snappy, lz4, zstd")->transform(CLI::CheckedTransformer(kCodecs));
    produce->footer("Examples:\n  odradek bench produce -c 140 --record-size 100 --records-per-batch 150\n"
                    "  odradek bench produce -c 10 --in-flight 5 --rate 50000 -s 30 --json");
    produce->callback([command, &exit_code] { exit_code = report(bench::run_produce(command->options), *command, "produced"); });
  }
  {
    auto command = std::make_shared<Command>();
    CLI::App* consume = family->add_subcommand("consume", "Fetch a topic from its beginning and count what comes");
    add_common(*consume, *command);
    command->options.seconds = 60;
    consume->add_option("--max-bytes", command->options.max_bytes, "Of one fetch")->capture_default_str()->check(CLI::Range(1, 1 << 30));
    auto follow = std::make_shared<bool>(false);
    consume->add_flag("--follow", *follow, "Go on behind the ends that the partitions had at the start");
    consume->add_flag("--from-end", command->options.from_end, "Begin at the ends that the partitions have; with --follow: a consumer of what comes");
    consume->add_flag("--again", command->options.again, "Begin again at the starts of the partitions until the time is over");
    consume->add_option("--bytes-per-second", command->options.bytes_per_second, "Over all connections, by pauses between fetches (0: no limit)")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    consume->footer("Examples:\n  odradek bench consume -t odradek-bench -c 12\n  odradek bench consume -c 2 --again --bytes-per-second 2e8 -s 60");
    consume->callback([command, follow, &exit_code] {
      command->options.until_end = !*follow;
      exit_code = report(bench::run_consume(command->options), *command, "consumed");
    });
  }
  {
    auto command = std::make_shared<Command>();
    CLI::App* latency = family->add_subcommand("latency", "Single records at a rate: time from the scheduled moment until a consumer has them");
    add_common(*latency, *command);
    add_topic_options(*latency, command->options);
    command->options.rate = 1000;
    latency->add_option("--rate", command->options.rate, "Records/s")->capture_default_str()->check(CLI::PositiveNumber);
    latency->add_option("--acks", command->options.acks, "1 or -1 (all)")->capture_default_str()->check(CLI::IsMember({1, -1}));
    latency->footer("Example:\n  odradek bench latency --rate 2000 -s 20");
    latency->callback([command, &exit_code] { exit_code = report(bench::run_latency(command->options), *command, "delivered"); });
  }
}

}  // namespace odradek::cli
